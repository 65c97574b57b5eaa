package keycmd

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// RestrictOptions say which key to narrow, and by what.
type RestrictOptions struct {
	Key     string // or "-": it is on standard input
	Caveats []signer.Caveat
	NoID    bool   // give it no id of its own
	Ledger  string // a file in which to note it; "" or "none": nowhere
	JSON    bool
}

// Restrict prints a narrower key, with an id of its own by which it can be revoked alone.
// It needs no secret. If no caveat is given, or the key has not the shape of one, it
// returns an error. A ledger that cannot be written is no error.
func Restrict(s Streams, o RestrictOptions) error {
	key, err := s.readKey(o.Key)
	if err != nil {
		return err
	}
	if len(o.Caveats) == 0 {
		return errors.New("no restriction given: name one, such as --models llama3.2; see ollama-proxy restrict --help")
	}
	added := o.Caveats
	if !o.NoID {
		id, err := signer.NewID()
		if err != nil {
			return err
		}
		added = append([]signer.Caveat{id}, added...)
	}
	narrower, err := signer.Restrict(key, added...)
	if err != nil {
		return err
	}
	labels := slices.ContainsFunc(o.Caveats, func(c signer.Caveat) bool { return c.Name == "label" })
	if held, err := signer.Inspect(key); err == nil && labels && held.Limits.Label() != "" {
		fmt.Fprintf(s.Err, "--label: the key stays %q: of several labels the first counts\n", held.Limits.Label())
	}
	s.sayIdle(narrower, 1)
	if ledger := (signer.Found{}).Ledger(o.Ledger); ledger != "" {
		entry, err := signer.NewLedgerEntry(narrower, "restrict", "", time.Now())
		if err != nil {
			return err
		}
		s.note(ledger, []signer.LedgerEntry{entry})
	}
	return printKey(s.Out, o.JSON, narrower)
}
