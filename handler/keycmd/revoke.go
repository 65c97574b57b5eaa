package keycmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/google/uuid"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// RevokeOptions say which keys to revoke, and on which list.
type RevokeOptions struct {
	Places
	Keys   []string // keys, UUIDs or labels; "-" among them: standard input has more, one a line
	AllOf  string   // a label: each key of the ledger that has it
	Reason string   // noted beside them
	Before string   // every key minted before: RFC 3339, a date, "now", or "" for none
	Create bool     // make the list if there is none
}

// Revoke appends to the list of revoked keys what is not on it yet. A label stands for
// the one key of the ledger that has it and is not revoked or expired yet; if there are
// several, Revoke lists them and returns an error.
//
// If there is no list, or a key or the time cannot be read, it returns an error. With
// any error, the list stays as it is.
func Revoke(ctx context.Context, s Streams, o RevokeOptions) error {
	found, _ := signer.FindSecrets(o.SecretFile)
	path := found.Revocations(o.Revocations)
	if path == "" {
		return errors.New("name the list with --revocations FILE")
	}
	now := time.Now()
	add := signer.Additions{When: now, Reason: o.Reason, Create: o.Create, Labels: map[uuid.UUID]string{}}
	switch o.Before {
	case "":
		if len(o.Keys) == 0 && o.AllOf == "" {
			return errors.New("no KEY, UUID or LABEL given; see ollama-proxy revoke --help")
		}
	case "now":
		add.Before = now
	default:
		var err error
		if add.Before, err = signer.ParseMoment(o.Before); err != nil {
			return fmt.Errorf("--before: %w, and not now", err)
		}
	}
	words, err := s.readTargets(o.Keys)
	if err != nil {
		return err
	}
	if err := add.Check(path); err != nil {
		return err
	}
	used, err := openList(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		if !o.Create {
			return fmt.Errorf("there is no list %s: is that the one that serve reads? --create makes a new one", path)
		}
	} else if err != nil {
		return fmt.Errorf("%w: nothing was added", err)
	}
	if err := s.resolve(o, found, words, used.Revocations, &add); err != nil {
		return err
	}
	other := o.differs(ctx, signer.Found{}, used) // before the proxy can have read what is added
	added, err := signer.AppendRevocations(path, add)
	if err != nil {
		return err
	}
	s.sayRevoked(added, path, o.Revocations == "")
	s.say(other)
	return nil
}

// sayRevoked says how many were added to which list.
func (s Streams) sayRevoked(added int, path string, byDefault bool) {
	if added == 0 {
		fmt.Fprintf(s.Err, "%s has it already: nothing was added\n", path)
		return
	}
	whose := ""
	if byDefault {
		whose = ", which serve reads if neither --secret-file nor --revocations is set"
	}
	fmt.Fprintf(s.Err, "%d added to %s%s\n", added, path, whose)
}

// resolve fills in which ids are to be revoked, and their labels.
func (s Streams) resolve(o RevokeOptions, found signer.Found, words []target, list *signer.Revocations, add *signer.Additions) error {
	var named []target
	for _, w := range words {
		if w.name != "" {
			named = append(named, w)
			continue
		}
		add.IDs = append(add.IDs, w.id)
		add.Labels[w.id] = w.label
	}
	byLabel := len(named) > 0 || o.AllOf != ""
	ledger, err := o.ledgerOf(found)
	var entries []signer.LedgerEntry
	if err == nil && byLabel {
		entries, err = s.readLedger(ledger)
	} else if err == nil {
		entries, _, _ = signer.ReadLedger(ledger) // without one, the list has fewer labels
	}
	if byLabel && err != nil {
		return fmt.Errorf("a label stands for a key of the ledger: %w", err)
	}
	for _, w := range words {
		if err := w.checkOwner(entries); err != nil {
			return err
		}
	}
	for i := range entries {
		// What the owner noted counts more than what the key's holder may have added.
		if _, wanted := add.Labels[entries[i].UUID()]; wanted {
			add.Labels[entries[i].UUID()] = entries[i].Label
		}
	}
	for _, w := range named {
		if err := s.resolveLabel(w.name, w.place, ledger, entries, list, add, false); err != nil {
			return err
		}
	}
	if o.AllOf != "" {
		return s.resolveLabel(o.AllOf, "--all-of: ", ledger, entries, list, add, true)
	}
	return nil
}

// checkOwner returns an error if the id of a narrowed key is that of another family's key
// in the ledger: its holder has put it there, and revoking it would end the wrong key.
func (t target) checkOwner(entries []signer.LedgerEntry) error {
	if t.head == (uuid.UUID{}) {
		return nil
	}
	for _, e := range entries {
		if e.UUID() == t.id && e.Of != t.head.String() {
			return fmt.Errorf("%sthe key has the id of another one, %s (%s), which would end: revoke the key that it was made from, %s", t.place, e.ID, cmp.Or(e.Label, "no label"), t.head)
		}
	}
	return nil
}

// resolveLabel adds the ids of the keys that have the label and that are neither
// revoked nor expired. If there is none such, but there was, it adds nothing. If there
// are several, and not all are meant, it lists them and returns an error. The label is
// not quoted: it might be a key that was cut off.
func (s Streams) resolveLabel(label, place, ledger string, entries []signer.LedgerEntry, list *signer.Revocations, add *signer.Additions, all bool) error {
	var live []signer.LedgerEntry
	ids, known := map[string]bool{}, false
	for _, e := range entries {
		if e.Label != label {
			continue
		}
		known = true
		expires := e.Expires()
		if ids[e.ID] || e.Revoked(list) || !expires.IsZero() && !add.When.Before(expires) {
			continue
		}
		ids[e.ID] = true
		live = append(live, e)
	}
	switch {
	case !known:
		return fmt.Errorf("%sneither a whole key, nor a UUID of 36 lower-case characters, nor a label in the ledger %s; nothing was revoked", place, ledger)
	case len(live) > 1 && !all:
		if err := printListing(s.Err, listing{rows: rowsOf(live), columns: s.Columns}); err != nil {
			return err
		}
		return fmt.Errorf("%s%d keys have this label: name one by its id, or all with --all-of; nothing was revoked", place, len(live))
	}
	for _, e := range live {
		add.IDs = append(add.IDs, e.UUID())
		add.Labels[e.UUID()] = e.Label
	}
	return nil
}
