package keycmd

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// SecretOptions say where a new secret goes.
type SecretOptions struct {
	Out       string // a file to be created; "": standard output
	IfMissing bool   // a file that holds a secret already is good enough
}

// Secret makes a new secret. It never writes over a file: if there is one, Secret
// returns an error, unless IfMissing is set and the file holds secrets.
func Secret(s Streams, o SecretOptions) error {
	if o.Out == "" {
		if o.IfMissing {
			return errors.New("--if-missing is of use with --out only")
		}
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
