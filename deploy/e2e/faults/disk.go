//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

const (
	page  = 4096
	entry = len("#") + 36 + len(" 2026-01-02T15:04:05Z") + len("\n") // what revoke adds
)

// checkDisk: where revoke and secret cannot write, what was there stays as it
// was, byte for byte, and one line says so.
func checkDisk(mounts bool) {
	limited := filepath.Join(kit.Dir, "limited")
	kit.Must(os.Mkdir(limited, 0o755), "a directory")
	checkFull("a file may have no more bytes", "file too large", limited, withLimit("-f 4"), func() func() { return func() {} })
	expectFailure(withLimit("-f 0"), "file too large", "secret", "--out", filepath.Join(limited, "secret"))
	empty(limited, "list")

	full := filepath.Join(kit.Dir, "full")
	kit.Must(os.Mkdir(full, 0o755), "a directory")
	if !mounts || syscall.Mount("tmpfs", full, "tmpfs", 0, "size=64k") != nil {
		skipped = append(skipped, "a disk that is really full, or read-only (no right to mount one)")
	} else {
		checkFull("the disk is full", "no space left on device", full, nil, func() func() { return fill(full) })
		remove := fill(full)
		expectFailure(nil, "no space left on device", "secret", "--out", filepath.Join(full, "secret"))
		expectFailure(nil, "no space left on device", "revoke", "--create", "--revocations", filepath.Join(full, "another"), uuid.NewString())
		if text := kit.ReadFile(filepath.Join(full, "another")); text != "" {
			kit.Fatal("of a new list there is %q on a full disk", text)
		}
		remove()
		os.Remove(filepath.Join(full, "another"))
		checkServedFrom(full)
		empty(full, "list")
		before := kit.ReadFile(filepath.Join(full, "list"))
		kit.Must(syscall.Mount("", full, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""), "mounting read-only")
		expectFailure(nil, "read-only file system", "secret", "--out", filepath.Join(full, "secret"))
		expectFailure(nil, "read-only file system", "revoke", "--revocations", filepath.Join(full, "list"), uuid.NewString())
		if kit.ReadFile(filepath.Join(full, "list")) != before {
			kit.Fatal("a list on a read-only disk has changed")
		}
		kit.Pass("a read-only disk: revoke and secret say so, in one line")
	}
	checkUnwritable()
}

// checkFull has room for every number of bytes at the end of a list of one page,
// up to what a new entry takes.
func checkFull(what, words, place string, how func(*exec.Cmd), fill func() (relieve func())) {
	list := filepath.Join(place, "list")
	for room := range entry + 2 {
		old := uuid.NewString() + " lost\n#"
		old += strings.Repeat("x", page-room-len(old)-1) + "\n"
		kit.WriteFile(list, old)
		relieve := fill()
		id := uuid.NewString()
		if room < entry {
			expectFailure(how, words, "revoke", "--revocations", list, id)
		} else {
			_, talk, code := runCommand(how, "revoke", "--revocations", list, id)
			if code != 0 {
				kit.Fatal("%s, but for the %d bytes that an entry takes: exit %d, %s", what, room, code, talk)
			}
		}
		text := kit.ReadFile(list)
		if !strings.HasPrefix(text, old) || revoked(text) != revoked(old)+min(1, room/entry) {
			kit.Fatal("%s, but for %d bytes: revoke has left %d entries, and ...%q", what, room, revoked(text), text[len(old)-10:])
		}
		relieve()
		kit.Command("revoke", "--revocations", list, id)
		if again := kit.ReadFile(list); !strings.HasPrefix(again, text) || revoked(again) != revoked(old)+1 {
			kit.Fatal("%s, but for %d bytes, and then not any more: ...%q", what, room, again[len(old)-10:])
		}
	}
	kit.Pass("%s: for each of %d sizes of what is left, revoke says so, loses nothing, and works again afterwards", what, entry+2)
}

// checkServedFrom: a proxy whose list and whose log are on a disk that is full
// serves as before.
func checkServedFrom(full string) {
	list := filepath.Join(full, "served.list")
	kit.WriteFile(list, "")
	p := launch("full/served", nil, "--revocations", list)
	key, victim := p.mint(), p.mint()
	p.expectStatus(victim, http.StatusOK, "before the disk is full")
	p.expectLog(0, 1, "level=INFO msg=request", "status=200", "outcome=complete")
	relieve := fill(full)
	const asked = 100 // more than the rest of a page has room for
	for range asked {
		p.expectStatus(key, http.StatusOK, "with a log on a full disk")
	}
	ledger := filepath.Join(full, "minted")
	noted := kit.ReadFile(ledger)
	const many = 30 // more than the rest of a page has room for
	out, talk, code := runCommand(nil, "mint", "--secret-file", secretOf(p.Name), "--count", fmt.Sprint(many))
	if code != 0 || strings.Count(out, "\n") != many || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, "no space left on device") || kit.ReadFile(ledger) != noted {
		kit.Fatal("mint with a ledger on a full disk: exit %d, %d keys, %q, and the ledger has %q", code, strings.Count(out, "\n"), talk, kit.ReadFile(ledger))
	}
	expectFailure(nil, "no space left on device", "revoke", "--revocations", list, victim)
	p.expectStatus(victim, http.StatusOK, "a key of which revoke has said that it is not revoked")
	p.expectMetric(`ollama_proxy_requests_total{code="200",method="GET",route="/api/version"}`, asked+2)
	p.expectMetric("ollama_proxy_revocations", 0)
	p.expectMetric(`ollama_proxy_reload_success{source="revocations"}`, 1)
	relieve()
	said := len(p.Logged())
	kit.Command("revoke", "--revocations", list, victim)
	p.expectMetric("ollama_proxy_revocations", 1)
	p.expectStatus(victim, http.StatusUnauthorized, "a key that was revoked after the disk was full")
	p.expectMetric(`ollama_proxy_refusals_total{reason="revoked"}`, 1)
	p.expectLog(said, 1, "level=INFO msg=reloaded what=revocations changed=true")
	p.expectLog(said, 1, "level=INFO msg=request", "status=401", "outcome=refused reason=revoked")
	p.expectLog(0, 0, "level=ERROR")
	p.Stop()
	for _, name := range []string{list, ledger, p.LogFile, secretOf(p.Name)} {
		kit.Must(os.Remove(name), "what was served")
	}
	kit.Pass("the list, the log and the ledger on a full disk: requests are answered and counted, keys are made, and once there is room the log goes on")
}

// revoked counts the entries of a list, which must be good.
func revoked(text string) int {
	list, err := signer.ParseRevocations(strings.NewReader(text))
	kit.Must(err, "a list after revoke")
	return list.Len()
}

// fill takes all of a disk that is free, until it is relieved.
func fill(place string) (relieve func()) {
	path := filepath.Join(place, "filler")
	f, err := os.Create(path)
	kit.Must(err, "filling a disk")
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, page))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		kit.Fatal("filling a disk: %v", err)
	}
	return func() { kit.Must(os.Remove(path), "relieving a disk") }
}

// empty fails if there is anything but what was put there.
func empty(place, but string) {
	entries, err := os.ReadDir(place)
	kit.Must(err, "a directory")
	for _, e := range entries {
		if e.Name() != but {
			kit.Fatal("%s was left behind", e.Name())
		}
	}
}

// checkUnwritable has nobody try to write where nobody may, and everybody where
// nobody can.
func checkUnwritable() {
	place := filepath.Join(kit.Dir, "unwritable")
	kit.Must(os.Mkdir(place, 0o755), "a directory")
	at := func(name string) string { return filepath.Join(place, name) }
	kit.WriteFile(at("list"), uuid.NewString()+"\n")
	kit.Must(errors.Join(
		os.Chmod(at("list"), 0o644), // nobody may read it
		os.Mkdir(at("directory"), 0o755),
		os.Symlink(at("nowhere/list"), at("link")),
		os.Symlink("loop", at("loop")),
		syscall.Mkfifo(at("pipe"), 0o666),
	), "what nobody may write, and what is no file")
	nobody := func(c *exec.Cmd) {
		if os.Getuid() == 0 {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		} else {
			kit.Must(os.Chmod(place, 0o555), "a directory")
		}
	}
	before := tree(place)
	n := 0
	for _, f := range []struct {
		how                  func(*exec.Cmd)
		path, revoke, secret string // what they say
	}{
		{nobody, "list", "permission denied", "file exists"},
		{nobody, "new", "permission denied", "permission denied"},
		{nil, "directory", "not a regular file", "file exists"},
		{nil, "list/below", "not a directory", "not a directory"},
		{nil, "none/list", "no such file or directory", "no such file or directory"},
		{nil, "link", "no such file or directory", "file exists"},
		{nil, "loop", "too many levels of symbolic links", "file exists"},
		{nil, "pipe", "not a regular file", "file exists"},
		{nil, "../../../../../../../../dev/full", "not a regular file", "file exists"},
	} {
		expectFailure(f.how, f.revoke, "revoke", "--create", "--revocations", at(f.path), uuid.NewString())
		expectFailure(f.how, f.secret, "secret", "--out", at(f.path))
		n += 2
	}
	if after := tree(place); after != before {
		kit.Fatal("where nothing can be written, there is now\n%s, and not\n%s", after, before)
	}
	kit.Pass("unwritable in %d ways: revoke and secret say so, in one line each, and change nothing", n)
}

// tree is all that is in a directory.
func tree(place string) string {
	var b strings.Builder
	kit.Must(filepath.WalkDir(place, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, d.Type())
		if d.Type().IsRegular() {
			b.WriteString(kit.ReadFile(path))
		}
		return nil
	}), "a directory")
	return b.String()
}

// checkKilledRevoke: of many processes that revoke at once and are killed at any
// moment, each entry counts whose process said so, none is lost, and the list is
// good all the time.
func checkKilledRevoke() {
	const workers, each = 6, 60
	path := filepath.Join(kit.Dir, "killed")
	kit.WriteFile(path, uuid.NewString()+" without a line's end")
	p := launch("follower", nil, "--revocations", path)
	var killed, returned atomic.Int64
	var told sync.Map
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range each {
				id := uuid.New()
				c := exec.Command(filepath.Join(kit.Dir, "ollama-proxy"), "revoke", "--revocations", path, id.String())
				c.Env = kit.Environment()
				kit.Must(c.Start(), "revoke")
				if rand.IntN(3) > 0 {
					time.Sleep(time.Duration(rand.Int64N(int64(25 * time.Millisecond))))
					c.Process.Kill()
				}
				switch err := c.Wait(); {
				case err == nil:
					returned.Add(1)
					told.Store(id, true)
				case c.ProcessState.Sys().(syscall.WaitStatus).Signaled():
					killed.Add(1)
				default:
					kit.Fatal("revoke beside others: %v", err)
				}
			}
		})
	}
	over := make(chan struct{})
	go func() {
		all.Wait()
		close(over)
	}()
	var last *signer.Revocations
	looks := 0
	look := func() {
		list, err := signer.ParseRevocations(strings.NewReader(kit.ReadFile(path)))
		kit.Must(err, "the list while it is written to")
		if n := list.Lost(last); n > 0 {
			kit.Fatal("%d entries were there, and are no more", n)
		}
		last, looks = list, looks+1
	}
	for running := true; running; {
		look()
		select {
		case <-over:
			running = false
		default:
		}
	}
	look()
	told.Range(func(id, _ any) bool {
		if !last.Revoked(id.(uuid.UUID)) {
			kit.Fatal("revoke said that %s is on the list, and it is not", id)
		}
		return true
	})
	p.expectMetric("ollama_proxy_revocations", float64(last.Len()))
	p.expectMetric(`ollama_proxy_reload_success{source="revocations"}`, 1)
	p.expectLog(0, 0, "level=ERROR")
	p.Stop()
	if killed.Load() < workers*each/10 || returned.Load() < workers*each/10 {
		kit.Fatal("of %d, %d were killed and %d returned: there is nothing to see", workers*each, killed.Load(), returned.Load())
	}
	kit.Pass("%d revoke at once, %d of %d killed: what the others said is on the list, good at each of %d looks and to a proxy all the time", workers, killed.Load(), workers*each, looks)
}
