package keycmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// rotate puts a new secret on the first line of the file.
func rotate(s Streams, path string) error {
	if err := signer.RotateSecret(path, time.Now()); err != nil {
		return err
	}
	fmt.Fprintf(s.Err, "%s has a new secret on its first line: new keys are made with it. Old keys go on until `ollama-proxy secret --retire %[1]s`\n", path)
	return nil
}

// maxNamed bounds how many labels are named before a retirement.
const maxNamed = 10

// retire takes all secrets but the first out of the file, once it has said how many keys
// end with them, and somebody has agreed.
func retire(ctx context.Context, s Streams, o SecretOptions) error {
	secrets, _, err := signer.ReadSecrets(o.Retire)
	if err != nil {
		return err
	}
	if len(secrets) == 1 {
		fmt.Fprintf(s.Err, "%s has one secret only: there is nothing to retire\n", o.Retire)
		return nil
	}
	found := signer.Found{Secrets: secrets, Path: o.Retire}
	what, err := o.ending(ctx, s, found)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Err, "%s of %s will go: %s\n", count(len(secrets)-1, "secret", "secrets"), o.Retire, what)
	if !o.Yes {
		if err := s.confirm("Go on? [y/N] "); err != nil {
			return err
		}
	}
	if err := signer.RetireSecrets(o.Retire, signer.Fingerprint(secrets)); err != nil {
		return err
	}
	fmt.Fprintf(s.Err, "%s has one secret now\n", o.Retire)
	return nil
}

// ending says which keys of the ledger are good now and will not be once all secrets but
// the first are gone.
func (o SecretOptions) ending(ctx context.Context, s Streams, found signer.Found) (string, error) {
	path := found.Ledger(o.Ledger)
	if path == "" {
		return "how many keys end with that is not known without a ledger", nil
	}
	entries, err := s.readLedger(path)
	if errors.Is(err, os.ErrNotExist) && o.Ledger == "" {
		return "how many keys end with that is not known, for there is no ledger " + path, nil
	}
	if err != nil {
		return "", err
	}
	used, err := o.findList(ctx, found)
	if err != nil {
		return "", err
	}
	now := time.Now()
	before, after := rowsOf(entries), rowsOf(entries)
	// The file may be that of ADMIN keys.
	judge(before, &atHand{secrets: found.Secrets, admin: found.Secrets, apart: true}, used.Revocations, now)
	judge(after, &atHand{secrets: found.Secrets[:1], admin: found.Secrets[:1], apart: true}, used.Revocations, now)
	ends := 0
	var labels []string
	for i := range before {
		if before[i].state == stateValid && after[i].state == stateGone {
			ends++
			if label := before[i].Label; label != "" && !slices.Contains(labels, label) && len(labels) <= maxNamed {
				labels = append(labels, label)
			}
		}
	}
	text := count(ends, "key", "keys") + " of the ledger " + path + " that can be used now will end"
	if len(labels) > maxNamed {
		labels = append(labels[:maxNamed], "…")
	}
	if len(labels) > 0 {
		text += " (" + strings.Join(labels, ", ") + ")"
	}
	return text, nil
}

// confirm asks a question, if there is somebody to answer it.
func (s Streams) confirm(question string) error {
	in, ok := s.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return errors.New("nobody can be asked here: --yes says that you mean it; nothing was changed")
	}
	fmt.Fprint(s.Err, question)
	answer, err := bufio.NewReader(io.LimitReader(in, maxLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}
