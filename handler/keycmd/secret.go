package keycmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// SecretOptions say where a new secret goes, or which old ones go.
type SecretOptions struct {
	Places
	Out       string // a file to be created; "": standard output
	IfMissing bool   // a file that holds a secret already is good enough
	Rotate    string // a secret file that gets a new first line, see signer.RotateSecret
	Retire    string // one that keeps its first secret alone, see signer.RetireSecrets
	Yes       bool   // retire without asking
}

// Secret makes a new secret. It never writes over a file: if there is one, Secret
// returns an error, unless IfMissing is set and the file holds secrets.
//
// With Rotate the new secret goes into a file that has secrets already. With Retire
// there is none: Secret says how many keys of the ledger would end, asks, and takes the
// old secrets away. If nobody can be asked and Yes is not set, it returns an error.
func Secret(ctx context.Context, s Streams, o SecretOptions) error {
	ways := 0
	for _, path := range []string{o.Out, o.Rotate, o.Retire} {
		if path != "" {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("--out, --rotate and --retire exclude each other: which of them?")
	case o.Yes && o.Retire == "":
		return errors.New("--yes is of use with --retire only")
	case o.IfMissing && o.Out == "":
		return errors.New("--if-missing is of use with --out only")
	case o.Rotate != "":
		return rotate(s, o.Rotate)
	case o.Retire != "":
		return retire(ctx, s, o)
	}
	if o.Out == "" {
		_, text := signer.NewSecret()
		_, err := fmt.Fprintln(s.Out, text)
		return err
	}
	_, err := signer.CreateSecretFile(o.Out)
	if o.IfMissing && errors.Is(err, fs.ErrExist) {
		_, _, err = signer.ReadSecrets(o.Out)
		return err
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: it stays as it is, and --if-missing is content with it", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(s.Err, "Made a new secret:", o.Out)
	return nil
}
