package keycmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// KeysOptions say which keys of the ledger to list.
type KeysOptions struct {
	Places
	Names []string // only these: labels, UUIDs or keys; "-": standard input has them, one a line
	All   bool     // also those that are no good any more
	JSON  bool     // an object for each, one a line
}

// Keys lists the keys that the ledger has, the oldest first: those that are good, or
// with All also those that are not, and why. Where the proxy of this machine counts by
// key, it also says how many requests came with each.
//
// Without a named ledger it is the one beside the secret, or beside that of ADMIN keys if
// no other is at hand. If there is no ledger, or a name stands for no key in it, Keys returns an error.
// Whether the secret of a key is still there is not known where there is no secret at
// hand.
func Keys(ctx context.Context, s Streams, o KeysOptions) error {
	found, secretErr := signer.FindSecrets(o.SecretFile)
	if secretErr != nil && !errors.Is(secretErr, signer.ErrNoSecret) && o.Ledger == "" {
		return secretErr
	}
	hand, admin, err := o.atHand(found)
	if err != nil {
		return err
	}
	beside := found
	if beside.Path == "" && len(found.Secrets) == 0 && admin.Path != "" {
		beside = admin
	}
	path, err := o.ledgerOf(beside)
	if err != nil {
		return err
	}
	wanted, err := s.readTargets(o.Names)
	if err != nil {
		return err
	}
	entries, err := s.readLedger(path)
	if err != nil {
		return err
	}
	used, err := o.findList(ctx, found)
	if err != nil {
		return err
	}
	s.sayWhich(found, o.Revocations == "" && used.location != "", o.Ledger == "")
	if len(found.Secrets) == 0 {
		which := "a key"
		if hand.apart {
			which = "a key that is not ADMIN"
		}
		s.say("There is no secret at hand, so whether the one of " + which + " is still there is not known: name it with --secret-file")
	}
	if used.location == "" {
		s.say("There is no list of revoked keys at hand: name it with --revocations")
	}
	if entries, err = choose(entries, wanted, path); err != nil {
		return err
	}
	rows := rowsOf(entries)
	judge(rows, hand, used.Revocations, time.Now())
	hidden := 0
	if !o.All {
		rows, hidden = hideEnded(rows)
	}
	state := o.askProxy(ctx)
	counted := state.countRequests(rows)
	out := bufio.NewWriter(s.Out)
	if o.JSON {
		err = printJSON(out, rows)
	} else {
		err = printListing(out, listing{rows: rows, columns: s.Columns, requests: counted})
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if hidden > 0 {
		s.say(count(hidden, "more is expired, revoked or without its secret", "more are expired, revoked or without their secret") + ": --all shows all")
	} else if len(rows) == 0 {
		s.say("There is no key in " + path)
	}
	s.say(o.differs(ctx, found, used))
	return nil
}

// choose gives the entries that are wanted, or all if nothing is. If there is none for
// something that is wanted, it returns an error, which does not quote it.
func choose(entries []signer.LedgerEntry, wanted []target, path string) (chosen []signer.LedgerEntry, err error) {
	if len(wanted) == 0 {
		return entries, nil
	}
	found := make([]bool, len(wanted))
	for _, e := range entries {
		taken := false
		for i, w := range wanted {
			if w.name != "" && w.name == e.Label || w.name == "" && (w.id == e.UUID() || w.id.String() == e.Of) {
				found[i], taken = true, true
			}
		}
		if taken {
			chosen = append(chosen, e)
		}
	}
	for i, ok := range found {
		if !ok {
			return nil, fmt.Errorf("%sno key in the ledger %s has that label or id", wanted[i].place, path)
		}
	}
	return chosen, nil
}

// row is an entry of the ledger, and what is known of it now.
type row struct {
	signer.LedgerEntry
	expires  time.Time // zero: never
	state    string
	requests int64 // that the proxy has counted; -1: not known
}

// The states of a key, as they are shown.
const (
	stateValid     = "valid"
	stateExpired   = "expired"
	stateRevoked   = "revoked"
	stateUnchecked = "not checked" // no secret is at hand
	stateGone      = "secret gone"
)

func rowsOf(entries []signer.LedgerEntry) []row {
	rows := make([]row, len(entries))
	for i, e := range entries {
		rows[i] = row{LedgerEntry: e, expires: e.Expires(), state: stateValid, requests: -1}
	}
	return rows
}

// judge fills in the states, in the order in which a proxy checks a key. A key that was
// narrowed has the secret of the one that it was made from.
func judge(rows []row, hand *atHand, revoked *signer.Revocations, now time.Time) {
	heads := map[string]*row{}
	for i := range rows {
		if r := &rows[i]; r.Secret != "" {
			heads[r.Root()] = r
		}
	}
	for i := range rows {
		r := &rows[i]
		has, known := false, false
		if head := heads[r.Root()]; head != nil {
			has, known = hand.has(&head.LedgerEntry)
		}
		switch {
		case known && !has:
			r.state = stateGone
		case !r.expires.IsZero() && !now.Before(r.expires):
			r.state = stateExpired
		case r.Revoked(revoked):
			r.state = stateRevoked
		case !known:
			r.state = stateUnchecked
		}
	}
}

// hideEnded takes out those that are no good any more.
func hideEnded(rows []row) (shown []row, hidden int) {
	shown = slices.DeleteFunc(rows, func(r row) bool { return r.state != stateValid && r.state != stateUnchecked })
	return shown, len(rows) - len(shown)
}

// countRequests fills in how many requests the proxy has counted, and reports whether it
// counts by key at all. It tells of a hundred keys at most, those with most requests; of
// another, nothing is known if there may be more.
func (state *proxyState) countRequests(rows []row) bool {
	if !state.answers || !state.KeysCounted {
		return false
	}
	const shown = 100
	requests, whole := map[string]uint64{}, len(state.Keys) < shown
	for _, k := range state.Keys {
		requests[k.ID] += k.Requests
		whole = whole && k.ID != "other"
	}
	for i := range rows {
		if n, ok := requests[rows[i].Name()]; ok || whole {
			rows[i].requests = int64(n)
		}
	}
	return true
}

// printJSON prints each row as an object on a line.
func printJSON(out *bufio.Writer, rows []row) error {
	encode := json.NewEncoder(out)
	encode.SetEscapeHTML(false)
	for i := range rows {
		r := &rows[i]
		line := struct {
			ID       string     `json:"id"`
			Of       string     `json:"of,omitempty"`
			Label    string     `json:"label,omitempty"`
			Derived  string     `json:"derived,omitempty"`
			Admin    bool       `json:"admin"`
			Minted   time.Time  `json:"minted_at"`
			Expires  *time.Time `json:"expires_at,omitempty"`
			Caveats  []string   `json:"caveats"`
			Words    []string   `json:"words"`
			State    string     `json:"state"`
			Requests *int64     `json:"requests,omitempty"`
		}{ID: r.ID, Of: r.Of, Label: r.Label, Derived: r.Derived, Admin: r.Admin, Minted: r.At, Caveats: r.Caveats, Words: r.Words(), State: r.state}
		if !r.expires.IsZero() {
			line.Expires = &r.expires
		}
		if r.requests >= 0 {
			line.Requests = &r.requests
		}
		if err := encode.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// limits are what bounds what the key may do, in one line: its caveats, and the site or
// tenant that takes it.
func (r *row) limits() string {
	var words []string
	if r.Admin {
		words = append(words, "ADMIN")
	}
	if r.Derived != "" {
		words = append(words, "derived="+r.Derived)
	}
	for _, c := range r.Caveats {
		if name, _, _ := strings.Cut(c, "="); name != "label" && name != "exp" && name != "id" {
			words = append(words, c)
		}
	}
	return strings.Join(words, " ")
}
