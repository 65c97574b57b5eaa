package signer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	// maxReason bounds the reason on a line: 1 KiB, much less than a line may have.
	maxReason = 1 << 10

	// appendAttempts bounds how often AppendRevocations starts again because the file at
	// the path was replaced meanwhile.
	appendAttempts = 10
)

var errReplaced = errors.New("the file is being replaced over and over")

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

// AppendRevocations adds a line for each of the ids, and one for before unless it is
// zero, to the list in the file at path, with the reason on each line. It returns the
// number of lines added: what the list already has is not written again. When it returns
// without an error, the lines are on disk.
//
//   - If there is no file, it creates one that everybody may read (0644).
//   - If the file cannot be written, is not a regular file, or holds a list that
//     [ParseRevocations] refuses, it returns an error and adds nothing.
//   - If the reason is not one line of at most 1 KiB of printable text, or before is
//     not within 1970 and 9999, it returns an error and adds nothing.
//   - If a crash or a full disk interrupts it, earlier lines are unchanged, and each
//     new line is either valid or a comment. Calling it again adds the missing ones.
//
// Any number of processes may call it at the same time without losing a line. On systems
// without flock, such as Windows, only one process may.
func AppendRevocations(path string, ids []uuid.UUID, reason string, before time.Time) (added int, err error) {
	reason = strings.TrimSpace(reason)
	switch {
	case len(reason) > maxReason || !utf8.ValidString(reason) || strings.ContainsFunc(reason, unfitForLabel):
		return 0, fmt.Errorf("the reason is not one line of at most %d bytes of printable text", maxReason)
	case !before.IsZero() && (!fitForBefore(before) || before.UTC().Year() > 9999):
		return 0, errors.New("the time before which keys are to be revoked is not within 1970 and 9999")
	case isURL(path):
		return 0, errors.New("the revocation list is at a URL: add to it where it is kept")
	case len(ids) == 0 && before.IsZero():
		return 0, nil
	}
	for range appendAttempts {
		added, err = appendOnce(path, ids, reason, before)
		if err != errReplaced {
			break
		}
	}
	if err != nil {
		return 0, fmt.Errorf("revocation file: %w", err)
	}
	return added, nil
}

// appendOnce returns errReplaced if the file at the path was replaced meanwhile, so that
// nobody would read the new lines.
func appendOnce(path string, ids []uuid.UUID, reason string, before time.Time) (int, error) {
	// A FIFO without a reader would block for good.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return 0, err
	} else if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s: %w", path, errNotRegular)
	}
	unlock, err := lockFile(f)
	if err != nil {
		return 0, fmt.Errorf("%s: locking it: %w", path, err)
	}
	defer unlock()

	size, err := sizeAt(path, f)
	if err != nil {
		return 0, err
	}
	list, err := ParseRevocations(io.NewSectionReader(f, 0, size))
	if err != nil {
		return 0, fmt.Errorf("%s: %w: nothing was added", path, err)
	}
	lines := missingLines(list, ids, reason, before)
	if size == 0 {
		// Before the first line is written, so that no line can be lost with the file.
		if err := syncDirectory(path); err != nil {
			return 0, err
		}
	}
	if len(lines) == 0 {
		// Another process may have written the lines and died before they were
		// on disk.
		return 0, f.Sync()
	}
	lead := ""
	if size > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], size-1); err != nil {
			return 0, err
		}
		if last[0] != '\n' {
			lead = "\n"
		}
	}
	if err := appendLines(f, size, lead, lines); err != nil {
		return 0, err
	}
	_, err = sizeAt(path, f)
	return len(lines), err
}

// sizeAt returns the size of f, or errReplaced if path does not lead to f any more.
func sizeAt(path string, f *os.File) (int64, error) {
	held, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if found, err := os.Stat(path); err != nil || !os.SameFile(held, found) {
		return 0, errReplaced
	}
	return held.Size(), nil
}

// missingLines returns the lines that the list lacks, without the first blank.
func missingLines(list *Revocations, ids []uuid.UUID, reason string, before time.Time) (lines []string) {
	end := "\n"
	if reason != "" {
		end = " " + reason + "\n"
	}
	written := make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		if !list.has(wordsOf(id)) && !written[id] {
			written[id] = true
			lines = append(lines, id.String()+end)
		}
	}
	if before.After(list.Before()) {
		lines = append(lines, "before "+before.UTC().Format(time.RFC3339Nano)+end)
	}
	return lines
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
