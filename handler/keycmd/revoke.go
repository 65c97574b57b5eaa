package keycmd

import (
	"errors"
	"fmt"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// RevokeOptions say which keys to revoke, and on which list.
type RevokeOptions struct {
	Keys        []string // keys or UUIDs; "-" alone: they are on standard input
	SecretFile  string   // without a list: the one beside the secret that serve makes
	Revocations string   // the list; "": see above
	Reason      string   // noted beside them
	Before      string   // every key minted before: RFC 3339, a date, "now", or "" for none
}

// Revoke appends to the list of revoked keys what is not on it yet. If there is no
// list to append to, or a key or the time cannot be read, it returns an error, and
// the list stays as it is.
func Revoke(s Streams, o RevokeOptions) error {
	found, _ := signer.FindSecrets(o.SecretFile)
	path := found.Revocations(o.Revocations)
	if path == "" {
		return errors.New("name the list with --revocations FILE")
	}
	var before time.Time
	switch o.Before {
	case "":
		if len(o.Keys) == 0 {
			return errors.New("no KEY or UUID given; see ollama-proxy revoke --help")
		}
	case "now":
		before = time.Now()
	default:
		var err error
		if before, err = signer.ParseMoment(o.Before); err != nil {
			return fmt.Errorf("--before: %w, and not now", err)
		}
	}
	ids, err := s.readIDs(o.Keys)
	if err != nil {
		return err
	}
	added, err := signer.AppendRevocations(path, ids, o.Reason, before)
	if err != nil {
		return err
	}
	if added == 0 {
		fmt.Fprintf(s.Err, "%s has it already: nothing was added\n", path)
		return nil
	}
	whose := ""
	if o.Revocations == "" {
		whose = ", the list of a serve without --secret-file and --revocations"
	}
	fmt.Fprintf(s.Err, "%d added to %s%s\n", added, path, whose)
	return nil
}
