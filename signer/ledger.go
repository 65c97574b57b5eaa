package signer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	// maxLedgerLine bounds a line of a ledger: 64 KiB, ten times what the longest
	// key takes.
	maxLedgerLine = 64 << 10

	// ordinaryLine is about how long a line is, 256 bytes, and maxReserved how much
	// of a file, 64 MiB, is taken for such lines before they are read.
	ordinaryLine = 256
	maxReserved  = 64 << 20

	// ledgerMode lets the ledger's owner read it, and nobody else: it says who has
	// keys.
	ledgerMode = 0o600
)

// LedgerEntry is a line of a ledger: what the owner of a secret notes of a key. There
// is neither the key nor its tag in it, and nothing of which either could be made.
//
// A ledger is a text file of JSON objects, one a line. No proxy reads it.
type LedgerEntry struct {
	ID      string    `json:"id"`                // what revokes the key: its last id caveat, or its UUID
	Of      string    `json:"of,omitempty"`      // the UUID of the key that it was made from, if that is another
	Label   string    `json:"label,omitempty"`   // the one that counts
	Admin   bool      `json:"admin,omitempty"`   // it reaches the management routes
	At      time.Time `json:"at"`                // when it was made
	By      string    `json:"by"`                // mint or restrict
	Secret  string    `json:"secret,omitempty"`  // names the secret, see LedgerName; "": not known
	Derived string    `json:"derived,omitempty"` // the name for which that secret was derived; "": it was not, see Derive
	Apart   bool      `json:"apart,omitempty"`   // the secret, or what it was derived from, is for ADMIN keys alone
	Caveats []string  `json:"caveats"`           // name=value, in the key's order
}

// LedgerName is the [Fingerprint] of one secret as it stands in a ledger. It gives
// nothing of the secret away that a key does not.
func LedgerName(s Secret) string { return fmt.Sprintf("%012x", Fingerprint([]Secret{s})) }

// NewLedgerEntry is what a ledger says of the key, which was made by a command at a
// time. Secret is the LedgerName of what signed it, or "". If the text has not the
// shape of a key, NewLedgerEntry returns [ErrMalformed].
func NewLedgerEntry(key, by, secret string, at time.Time) (LedgerEntry, error) {
	u, err := Inspect(key)
	if err != nil {
		return LedgerEntry{}, err
	}
	e := LedgerEntry{
		ID: u.ID.String(), Label: u.Limits.Label(), Admin: u.Admin, At: at.UTC().Truncate(time.Second),
		By: by, Secret: secret, Caveats: make([]string, 0, len(u.Caveats)),
	}
	for _, c := range u.Caveats {
		e.Caveats = append(e.Caveats, c.Name+"="+c.Value)
		if c.Name == "id" {
			e.ID, e.Of = c.Value, u.ID.String()
		}
	}
	return e, nil
}

// Expires is the earliest moment of the exp caveats, or the zero Time.
func (e *LedgerEntry) Expires() (earliest time.Time) {
	for _, c := range e.Caveats {
		if text, ok := strings.CutPrefix(c, "exp="); ok {
			seconds := parseNumber([]byte(text), maxExpiry)
			if at := time.Unix(seconds, 0).UTC(); seconds > 0 && (earliest.IsZero() || at.Before(earliest)) {
				earliest = at
			}
		}
	}
	return earliest
}

// Words says in plain words what the caveats ask for, one after the other.
func (e *LedgerEntry) Words() []string {
	words := make([]string, 0, len(e.Caveats))
	for _, c := range e.Caveats {
		name, value, _ := strings.Cut(c, "=")
		words = append(words, Caveat{name, value}.Words())
	}
	return words
}

// Revoked reports whether the list revokes the key: by its own id, or by that of a
// key that it was made from.
func (e *LedgerEntry) Revoked(list *Revocations) bool {
	revoked := func(text string) bool {
		id, ok := parseUUID(text)
		return ok && list.Revoked(id)
	}
	// Of is a key's UUID, and the time in it counts; an id caveat has one, too.
	if e.Of == "" && revoked(e.ID) || e.Of != "" && revoked(e.Of) {
		return true
	}
	for _, c := range e.Caveats {
		if text, ok := strings.CutPrefix(c, "id="); ok {
			if id, ok := parseUUID(text); ok && list.has(wordsOf(id)) {
				return true
			}
		}
	}
	return false
}

// AppendLedger adds the entries to the ledger at path, with one write. When it
// returns without an error they are on disk.
//
//   - If there is no file, it makes one that only its owner may read (0600).
//   - If what is there is no ledger, such as a secret file or a list of revoked keys
//     that was named by mistake, or cannot be written, it says so and adds nothing.
//   - If it is cut off, by a crash or a full disk, each earlier entry stands as it
//     was, and the part of a line that may be at the end is no entry.
//
// Any number of processes may do this at once, as with [AppendRevocations].
func AppendLedger(path string, entries []LedgerEntry) error {
	var text bytes.Buffer
	encode := json.NewEncoder(&text)
	encode.SetEscapeHTML(false)
	for i := range entries {
		line := struct {
			*LedgerEntry
			Words []string `json:"words"`
		}{&entries[i], entries[i].Words()}
		if err := encode.Encode(line); err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
	}
	err := appendToFile(path, ledgerMode, func(f *os.File, size int64, lead string) error {
		if size > 0 {
			var first [1]byte
			if _, err := f.ReadAt(first[:], 0); err != nil {
				return err
			}
			if first[0] != '{' {
				return fmt.Errorf("%s: %w", path, errNoLedger)
			}
		}
		_, err := f.WriteAt(append([]byte(lead), text.Bytes()...), size)
		if err = errors.Join(err, f.Sync()); err != nil {
			f.Truncate(size) // what is left of it otherwise is no entry
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

var errNoLedger = errors.New("this is no ledger: it does not begin as one")

// ReadLedger reads the ledger at path. Lines that are no entry, such as one that a
// crash cut off, are left out and counted. If the file cannot be read, or is not a
// regular one, or holds lines but not a single entry, ReadLedger returns an error. If
// there is no file, that is fs.ErrNotExist.
func ReadLedger(path string) (entries []LedgerEntry, damaged int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ledger: %w", err)
		}
	}()
	if info, err := os.Stat(path); err != nil {
		return nil, 0, err
	} else if !info.Mode().IsRegular() {
		return nil, 0, &fs.PathError{Op: "read", Path: path, Err: errNotRegular}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		entries = make([]LedgerEntry, 0, min(info.Size(), maxReserved)/ordinaryLine)
	}
	in := bufio.NewReaderSize(f, maxLedgerLine)
	for long := false; ; {
		line, err := in.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			long = true
			continue
		}
		if err != nil && err != io.EOF {
			return nil, 0, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 || long {
			var e LedgerEntry
			if long || json.Unmarshal(line, &e) != nil || !e.isWhole() {
				damaged++
			} else {
				entries = append(entries, e)
			}
		}
		long = false
		if err == io.EOF {
			break
		}
	}
	if len(entries) == 0 && damaged > 0 {
		return nil, damaged, fmt.Errorf("%s: %w", path, errNoLedger)
	}
	return entries, damaged, nil
}

// isWhole reports whether the entry names a key.
func (e *LedgerEntry) isWhole() bool {
	_, ok := parseUUID(e.ID)
	if ok && e.Of != "" {
		_, ok = parseUUID(e.Of)
	}
	return ok
}

// UUID is the ID, which ReadLedger has found to be one.
func (e *LedgerEntry) UUID() uuid.UUID {
	id, _ := parseUUID(e.ID)
	return id
}

// Name is the key's [Unverified.Name], by which a proxy counts.
func (e *LedgerEntry) Name() string {
	if e.Of != "" {
		return e.Of + "~" + e.ID
	}
	return e.ID
}

// Root is the UUID of the key's head.
func (e *LedgerEntry) Root() string {
	if e.Of != "" {
		return e.Of
	}
	return e.ID
}
