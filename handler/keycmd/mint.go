package keycmd

import (
	"bufio"
	"context"
	"fmt"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

const (
	// maxCount is how many keys one mint makes at most.
	maxCount = 1_000_000

	// batch is how many keys are noted in the ledger at once, with one write to disk.
	batch = 100_000
)

// MintOptions say which keys to make.
type MintOptions struct {
	Places
	Admin   bool   // they reach the management routes
	Derive  string // make them for the holder of this derived secret; "": for all
	Count   int    // 1 to 1,000,000
	Caveats []signer.Caveat
	JSON    bool
}

// Mint prints new keys, one a line, and notes them in the ledger, which never holds a
// key. Without a name it is the one beside the secret file used, that of ADMIN keys or
// that from which a secret was derived. If there is no secret, or the count is out of bounds, or the caveats make a key
// too long, it returns an error. A ledger that cannot be written is no error.
func Mint(ctx context.Context, s Streams, o MintOptions) error {
	if o.Count < 1 || o.Count > maxCount {
		return fmt.Errorf("--count: %d is not from 1 to %d", o.Count, maxCount)
	}
	signing, err := findSigning(ctx, o)
	if err != nil {
		return err
	}
	ledger := signing.found.Ledger(o.Ledger)
	out := bufio.NewWriter(s.Out)
	for left := o.Count; left > 0; left -= batch {
		keys, entries, err := mintBatch(signing, o, min(left, batch))
		if err != nil {
			return err
		}
		if left == o.Count {
			s.sayWhich(signing.found, false, o.Ledger == "" && ledger != "")
			s.sayIdle(keys[0], o.Count)
		}
		if !s.note(ledger, entries) {
			ledger = "" // once is enough
		}
		for _, key := range keys {
			if err := printKey(out, o.JSON, key); err != nil {
				return err
			}
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if o.Derive == "" && !signing.apart { // a proxy says nothing of such secrets
		s.say(o.differs(ctx, signing.found, list{}))
	}
	return nil
}

// mintBatch makes n keys, and what the ledger says of them.
func mintBatch(signing signing, o MintOptions, n int) (keys []string, entries []signer.LedgerEntry, err error) {
	name, now := signer.LedgerName(signing.secret), time.Now()
	for range n {
		key, err := signer.Mint(signing.secret, o.Admin, o.Caveats...)
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, key)
		entry, err := signer.NewLedgerEntry(key, "mint", name, now)
		if err != nil {
			return nil, nil, err
		}
		entry.Derived, entry.Apart = o.Derive, signing.apart
		entries = append(entries, entry)
	}
	return keys, entries, nil
}

// sayIdle says if a key can do nothing, and so all that were made like it.
func (s Streams) sayIdle(key string, n int) {
	claims, err := signer.Inspect(key)
	if err != nil {
		return
	}
	if why := claims.Idle(time.Now()); why != "" {
		fmt.Fprintf(s.Err, "%s can do nothing: %s\n", count(n, "key was made that", "keys were made that"), why)
	}
}
