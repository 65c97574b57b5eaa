package signer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	// maxReason bounds the reason on a line: 1 KiB, much less than a line may have.
	maxReason = 1 << 10
)

// ParseID returns the UUID to revoke from a key, its [Unverified.Name], the beginning of
// a key (OLLAMA-[ADMIN-]uuid), or a bare UUID. Of a key with id caveats it is the last of
// these, so that a narrowed key ends alone; otherwise it is the UUID of the head. It
// verifies nothing: revoking a key that was never minted does no harm. But the id of a
// narrowed key is its holder's word, and may be the UUID of somebody else's key. If the
// text is none of these, ParseID returns an error that does not quote it.
func ParseID(text string) (uuid.UUID, error) {
	text = strings.TrimSpace(text)
	if p, ok := split(text); ok {
		l, _, _ := readLimits(&p, nil) // whose caveats do not parse is known by its head
		if last, ok := l.LastID(); ok {
			return last, nil
		}
		return p.id, nil
	}
	rest, ok := strings.CutPrefix(text, adminPrefix)
	if !ok {
		rest = strings.TrimPrefix(text, userPrefix)
	}
	if head, last, ok := strings.Cut(text, "~"); ok {
		if _, ok := parseUUID(head); ok {
			rest = last
		}
	}
	id, ok := parseUUID(rest)
	if !ok {
		return uuid.UUID{}, errors.New("neither a whole key nor a UUID of 36 lower-case characters")
	}
	return id, nil
}

// Additions are what is to be added to a list of revoked keys.
type Additions struct {
	IDs    []uuid.UUID
	Before time.Time // every key minted before that moment; zero: none
	Create bool      // create the file if there is none

	// What is noted on each line, for whoever reads the list.
	When   time.Time // when it was added; zero: nothing
	Labels map[uuid.UUID]string
	Reason string
}

// AppendRevocations adds a line for each of the ids, and one for Before unless it is
// zero, to the list in the file at path, with the notes on each line. It returns the
// number of lines added: what the list already has is not written again. When it returns
// without an error, the lines are on disk.
//
//   - If there is no file, it creates one that everybody may read (0644) if Create is
//     set; otherwise the error is fs.ErrNotExist.
//   - If the file cannot be written, is not a regular file, or holds a list that
//     [ParseRevocations] refuses, it returns an error and adds nothing.
//   - If the reason is not one line of at most 1 KiB of printable text, or Before is
//     not within 1970 and 9999, it returns an error and adds nothing.
//   - If a crash or a full disk interrupts it, earlier lines are unchanged, and each
//     new line is either valid or a comment. Calling it again adds the missing ones.
//
// Any number of processes may call it at the same time without losing a line. On systems
// without flock, such as Windows, only one process may.
func AppendRevocations(path string, add Additions) (added int, err error) {
	add.Reason = strings.TrimSpace(add.Reason)
	if err := add.Check(path); err != nil {
		return 0, err
	}
	if len(add.IDs) == 0 && add.Before.IsZero() {
		return 0, nil
	}
	mode := fs.FileMode(0)
	if add.Create {
		mode = 0o644
	}
	err = appendToFile(path, mode, func(f *os.File, size int64, lead string) error {
		list, err := ParseRevocations(io.NewSectionReader(f, 0, size))
		if err != nil {
			return fmt.Errorf("%s: %w: nothing was added", path, err)
		}
		lines := missingLines(list, add)
		added = len(lines)
		if added == 0 {
			// Another process may have written the lines and died before they were
			// on disk.
			return f.Sync()
		}
		return appendLines(f, size, lead, lines)
	})
	if err != nil {
		return 0, fmt.Errorf("revocation file: %w", err)
	}
	return added, nil
}

// Check returns an error if the additions could be made to no list at path, whatever is
// there.
func (add *Additions) Check(path string) error {
	switch {
	case len(strings.TrimSpace(add.Reason)) > maxReason || !utf8.ValidString(add.Reason) || strings.ContainsFunc(strings.TrimSpace(add.Reason), unfitForLabel):
		return fmt.Errorf("the reason is not one line of at most %d bytes of printable text", maxReason)
	case !add.Before.IsZero() && (!fitForBefore(add.Before) || add.Before.UTC().Year() > 9999):
		return errors.New("the time before which keys are to be revoked is not within 1970 and 9999")
	case isURL(path):
		return errors.New("the revocation list is at a URL: add to it where it is kept")
	}
	return nil
}

// missingLines returns the lines that the list lacks, without the first blank.
func missingLines(list *Revocations, add Additions) (lines []string) {
	written := make(map[uuid.UUID]bool, len(add.IDs))
	for _, id := range add.IDs {
		if !list.has(wordsOf(id)) && !written[id] {
			written[id] = true
			lines = append(lines, id.String()+add.notes(add.Labels[id]))
		}
	}
	if add.Before.After(list.Before()) {
		lines = append(lines, "before "+add.Before.UTC().Format(time.RFC3339Nano)+add.notes(""))
	}
	return lines
}

// notes returns the end of a line. A label that could not stand in a key is left out: it
// could end the line.
func (add *Additions) notes(label string) string {
	if !isLabel([]byte(label)) {
		label = ""
	}
	text := add.Reason
	if label != "" && text != "" {
		text = label + ": " + text
	} else if text == "" {
		text = label
	}
	if !add.When.IsZero() {
		text = strings.TrimSpace(add.When.UTC().Format(time.RFC3339) + " " + text)
	}
	if text != "" {
		text = " " + text
	}
	return text + "\n"
}

// writer is the part of *os.File that appendLines uses.
type writer interface {
	io.WriterAt
	Sync() error
}

// appendLines writes the lines as comments and, once these are on disk, makes each line
// valid by changing its # to a blank. A single byte is written or not, so half a line is
// never valid, and nothing that was in the file before changes.
func appendLines(f writer, size int64, lead string, lines []string) error {
	text := lead + "#" + strings.Join(lines, "#")
	if size+int64(len(text)) > maxRevocations {
		return fmt.Errorf("the list would have more than %d bytes", maxRevocations)
	}
	if _, err := f.WriteAt([]byte(text), size); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	at := size + int64(len(lead))
	for _, line := range lines {
		if _, err := f.WriteAt([]byte(" "), at); err != nil {
			return err
		}
		at += int64(len("#") + len(line))
	}
	return f.Sync()
}
