package keycmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// Places say where to look for what a command needs.
type Places struct {
	SecretFile      string // see signer.FindSecrets
	AdminSecretFile string // see signer.FindAdminSecrets; "": ADMIN keys have no secrets of their own
	Revocations     string // the list; "": the one beside the secret that nobody named
	Ledger          string // see signer.Found.Ledger
	Proxy           string // the address of the private listener of this machine's proxy; "": none
}

// findSecrets finds the secrets. If there are none, or only such as are for another
// user, the error says what to do about it.
func (p Places) findSecrets(ctx context.Context) (signer.Found, error) {
	found, err := signer.FindSecrets(p.SecretFile)
	switch {
	case !errors.Is(err, signer.ErrNoSecret):
	case found.Denied:
		return found, fmt.Errorf("no secret that you may read: %s is for another user; be that one, perhaps with sudo, or name another file with --secret-file", signer.SystemSecretFile)
	case p.askProxy(ctx).answers:
		return found, fmt.Errorf("no secret, but the proxy on %s has one: be the user who started it, perhaps with sudo, or name its file with --secret-file", p.Proxy)
	}
	return found, err
}

// sayWhich says which secret file is used, if nobody has named it, and whether the list
// of revoked keys and the ledger beside it are.
func (s Streams) sayWhich(found signer.Found, list, ledger bool) {
	if !found.Default || found.Path == "" {
		return
	}
	var beside []string
	if list {
		beside = append(beside, filepath.Base(found.Revocations("")))
	}
	if ledger {
		beside = append(beside, filepath.Base(found.Ledger("")))
	}
	text := "Using the secret " + found.Path
	if len(beside) > 0 {
		text += ", and beside it " + strings.Join(beside, " and ")
	}
	fmt.Fprintln(s.Err, text)
	if found.Denied {
		fmt.Fprintf(s.Err, "There is also %s, which you may not read: with sudo it would be used instead\n", signer.SystemSecretFile)
	}
}

// list is a list of revoked keys as a command has read it. The zero list is none.
type list struct {
	*signer.Revocations
	location string    // a path or a URL
	changed  time.Time // the file's time when it was read; zero: not known
}

// openList reads the list of revoked keys at a path or a URL. If there is none, the
// error is fs.ErrNotExist.
func openList(ctx context.Context, location string) (l list, err error) {
	l.location = location
	source, err := signer.NewSource(location)
	if err != nil {
		return l, err
	}
	if info, err := os.Stat(location); err == nil { // before it is read
		l.changed = info.ModTime()
	}
	loaded := signer.NewList(source)
	_, err = loaded.Reload(ctx, true)
	l.Revocations = loaded.Current()
	return l, err
}

// findList reads the list that the places give. A list that nobody named need not be
// there: serve may not have made it yet.
func (p Places) findList(ctx context.Context, found signer.Found) (list, error) {
	location := found.Revocations(p.Revocations)
	if location == "" {
		return list{}, nil
	}
	l, err := openList(ctx, location)
	if errors.Is(err, fs.ErrNotExist) && p.Revocations == "" {
		return list{}, nil
	}
	return l, err
}

// ledgerOf gives the path of the ledger to be read. If there is none, it says why.
func (p Places) ledgerOf(found signer.Found) (string, error) {
	path := found.Ledger(p.Ledger)
	switch {
	case path != "":
		return path, nil
	case p.Ledger == "none":
		return "", errors.New("--ledger: none is no ledger to look into")
	case found.Path != "":
		return "", fmt.Errorf("there is no ledger beside %s: name one with --ledger FILE", filepath.Base(found.Path))
	case len(found.Secrets) > 0:
		return "", errors.New("there is no ledger beside a secret in " + signer.SecretVariable + ": name one with --ledger FILE")
	case found.Denied:
		return "", fmt.Errorf("the ledger is beside %s, which you may not read: be its owner, perhaps with sudo, or name another with --ledger FILE", signer.SystemSecretFile)
	}
	return "", errors.New("there is no ledger: it is beside the secret; name a secret with --secret-file, or a ledger with --ledger FILE")
}

// readLedger reads the ledger, and says how much of it is damaged.
func (s Streams) readLedger(path string) ([]signer.LedgerEntry, error) {
	entries, damaged, err := signer.ReadLedger(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: mint makes it with the first key", err)
	}
	if damaged > 0 && err == nil {
		fmt.Fprintf(s.Err, "%s: %s no entry, perhaps cut off by a crash, and left out\n", path, count(damaged, "line is", "lines are"))
	}
	return entries, err
}

// note adds entries to the ledger at path, unless it is "". If that cannot be, it says
// so, and no more: the keys are good without it.
func (s Streams) note(path string, entries []signer.LedgerEntry) (noted bool) {
	if path == "" || len(entries) == 0 {
		return false
	}
	_, missing := os.Stat(path)
	if err := signer.AppendLedger(path, entries); err != nil {
		fmt.Fprintf(s.Err, "%s not noted: %v; name another place with --ledger FILE, or none with --ledger none\n", count(len(entries), "key is", "keys are"), err)
		return false
	}
	if errors.Is(missing, fs.ErrNotExist) {
		fmt.Fprintf(s.Err, "From now on the ledger %s says which keys there are, but never the keys themselves; --ledger none leaves that out\n", path)
	}
	return true
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
