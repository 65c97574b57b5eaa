package signer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mustSource(tb testing.TB, location string) *Source {
	tb.Helper()
	s, err := NewSource(location)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// look opens the source, and reads and accepts what is new.
func look(tb testing.TB, s *Source) (text string, changed bool) {
	tb.Helper()
	content, changed, err := s.Open(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	if !changed {
		return "", false
	}
	defer content.Close()
	data, err := io.ReadAll(content)
	if err != nil {
		tb.Fatal(err)
	}
	s.Accept()
	return string(data), true
}

func mustWrite(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// setAge sets when the file seems to have been changed.
func setAge(tb testing.TB, path string, age time.Duration) {
	tb.Helper()
	at := time.Now().Add(-age).Truncate(time.Second)
	if err := os.Chtimes(path, at, at); err != nil {
		tb.Fatal(err)
	}
}

func TestNewSource(t *testing.T) {
	for location, want := range map[string]string{
		"revocations":        "revocations",
		"/etc/a b/?c":        "/etc/a b/?c",
		"dir/with:colon//x":  "dir/with:colon//x",
		"./a/ftp://b":        "./a/ftp://b",
		"https://a.example/": "https://a.example/",
		"HTTPS://user:password@a.example:8443/x%2fy?sig=password#password": "https://a.example:8443/x%2fy",
		"http://password@[::1]:80": "http://[::1]:80",
	} {
		s, err := NewSource(location)
		if err != nil || s.String() != want {
			t.Errorf("%q: %q, %v", location, s, err)
		}
	}
	for _, location := range []string{
		"", "http://", "https://:443/password", "http:///password", "ftp://a.example/password", "file:///password",
		"http://user:pass word@a.example/", "http://user:password/x@a.example/", "https://a.example:password/", "http://a.example/%zz?password", "https://\x7fpassword/",
	} {
		if s, err := NewSource(location); err == nil || strings.Contains(err.Error(), "pass") {
			t.Errorf("%q: %v, %v", location, s, err)
		}
	}
}

const (
	small = 100
	large = maxSmall + 100
)

func textOf(size int, mark string) string { return mark + strings.Repeat("\n", size-len(mark)) }

func TestAnUnchangedFileIsReadOnce(t *testing.T) {
	for _, size := range []int{small, maxSmall, maxSmall + 1, large} {
		path := filepath.Join(t.TempDir(), "list")
		mustWrite(t, path, textOf(size, "a"))
		setAge(t, path, time.Hour)
		s := mustSource(t, path)

		for range 2 {
			content, changed, err := s.Open(t.Context())
			if err != nil || !changed {
				t.Fatalf("%d bytes: what was not accepted is not offered again: %v", size, err)
			}
			content.Close()
		}
		if text, changed := look(t, s); text != textOf(size, "a") || !changed {
			t.Errorf("%d bytes: read %d", size, len(text))
		}
		for range 2 {
			if _, changed := look(t, s); changed {
				t.Errorf("%d bytes: it did not change", size)
			}
		}
		// Accepting what was not offered must not make a change go unseen.
		s.Accept()
		mustWrite(t, path, textOf(size, "b"))
		if text, changed := look(t, s); text != textOf(size, "b") || !changed {
			t.Errorf("%d bytes: the change went unseen", size)
		}
	}
}

func TestEveryChangeOfAFileIsSeen(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, path, text string){
		"written in place": func(t *testing.T, path, text string) {
			mustWrite(t, path, text)
		},
		"replaced by rename, as old": func(t *testing.T, path, text string) {
			mustWrite(t, path+".new", text)
			setAge(t, path+".new", time.Hour)
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
		"removed and made anew": func(t *testing.T, path, text string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			mustWrite(t, path, text)
		},
		"replaced by a link": func(t *testing.T, path, text string) {
			mustWrite(t, path+".target", text)
			setAge(t, path+".target", time.Hour)
			if err := errors.Join(os.Remove(path), os.Symlink(path+".target", path)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, size := range []int{small, large} {
			path := filepath.Join(t.TempDir(), "list")
			mustWrite(t, path, textOf(size, "a"))
			setAge(t, path, time.Hour)
			s := mustSource(t, path)
			look(t, s)
			change(t, path, textOf(size, "b"))
			if text, changed := look(t, s); !changed || text != textOf(size, "b") {
				t.Errorf("%s, %d bytes: not seen", name, size)
			}
		}
	}
}

func TestAChangeThatLeavesSizeAndTimeIsSeen(t *testing.T) {
	for _, size := range []int{small, large} {
		path := filepath.Join(t.TempDir(), "list")
		mustWrite(t, path, textOf(size, "a"))
		setAge(t, path, 0)
		at, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		s := mustSource(t, path)
		look(t, s)
		mustWrite(t, path, textOf(size, "b"))
		if err := os.Chtimes(path, at.ModTime(), at.ModTime()); err != nil {
			t.Fatal(err)
		}
		if text, changed := look(t, s); !changed || text != textOf(size, "b") {
			t.Errorf("%d bytes: not seen", size)
		}
	}
}

// Kubernetes mounts list -> ..data/list and ..data -> ..2026, and changes the
// second link by a rename.
func TestAChangeAsKubernetesDoesItIsSeen(t *testing.T) {
	for _, size := range []int{small, large} {
		dir := t.TempDir()
		mount := func(version, text string) {
			target := filepath.Join(dir, version)
			if err := os.Mkdir(target, 0o700); err != nil {
				t.Fatal(err)
			}
			mustWrite(t, filepath.Join(target, "list"), text)
			setAge(t, filepath.Join(target, "list"), time.Hour)
			if err := errors.Join(os.Symlink(version, filepath.Join(dir, "..tmp")), os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data"))); err != nil {
				t.Fatal(err)
			}
		}
		mount("..1", textOf(size, "a"))
		path := filepath.Join(dir, "list")
		if err := os.Symlink(filepath.Join("..data", "list"), path); err != nil {
			t.Fatal(err)
		}
		s := mustSource(t, path)
		look(t, s)
		mount("..2", textOf(size, "b"))
		if text, changed := look(t, s); !changed || text != textOf(size, "b") {
			t.Errorf("%d bytes: not seen", size)
		}
		if _, changed := look(t, s); changed {
			t.Errorf("%d bytes: it did not change again", size)
		}
	}
}

func TestWhatIsNoFileIsAnErrorAndNoHang(t *testing.T) {
	dir := t.TempDir()
	fifo, loop := filepath.Join(dir, "fifo"), filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	wants := map[string]error{dir: errNotRegular, filepath.Join(dir, "none"): fs.ErrNotExist, loop: nil, os.DevNull: errNotRegular}
	if exec.Command("mkfifo", fifo).Run() == nil {
		wants[fifo] = errNotRegular
	}
	for path, want := range wants {
		content, changed, err := mustSource(t, path).Open(t.Context())
		if content != nil || changed || err == nil || want != nil && !errors.Is(err, want) || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%v, want %s: %v", err, path, want)
		}
	}
}

func TestAFileThatIsTooBigIsRefusedUnread(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	mustWrite(t, path, "")
	if err := os.Truncate(path, maxRevocations+1); err != nil {
		t.Skip(err)
	}
	if _, _, err := mustSource(t, path).Open(t.Context()); err == nil {
		t.Error("it was opened")
	}
}

func mustReload(tb testing.TB, l *List, force, want bool) {
	tb.Helper()
	if changed, err := l.Reload(tb.Context(), force); err != nil || changed != want {
		tb.Fatalf("changed %v, want %v: %v", changed, want, err)
	}
}

func TestListKeepsTheLastGoodList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	l := NewList(mustSource(t, path))
	refused := func(force bool, want string) {
		t.Helper()
		was := l.Current()
		for range 2 {
			changed, err := l.Reload(t.Context(), force)
			if changed || err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), path) != 1 {
				t.Fatalf("changed %v, %v; want %s", changed, err, want)
			}
			if l.Current() != was {
				t.Fatal("the list was replaced")
			}
		}
	}
	has := func(want int) {
		t.Helper()
		if l.Current() == nil || l.Current().Len() != want {
			t.Fatalf("%d entries, want %d", l.Current().Len(), want)
		}
	}

	refused(false, "no such file")
	if l.Current() != nil {
		t.Error("there is a list before the first")
	}
	mustWrite(t, path, "nonsense")
	refused(true, "line 1 ")
	mustWrite(t, path, idA+"\n"+idB+"\nbefore 2020-01-01T00:00:00Z\n")
	mustReload(t, l, false, true)
	has(2)
	mustReload(t, l, false, false)
	mustReload(t, l, true, false)

	mustWrite(t, path, "# only words\n"+idB+"\n"+idA+"\nbefore 2020-01-01T00:00:00Z")
	mustReload(t, l, false, false)
	mustWrite(t, path, idB+"\n"+idA+"\nbefore 2021-01-01T00:00:00Z")
	mustReload(t, l, false, true)
	mustWrite(t, path, idB+"\n"+idA+"\nbefore 2021-01-01T00:00:00Z\n"+uuid7)
	mustReload(t, l, false, true)
	has(3)

	mustWrite(t, path, "")
	refused(false, "4 revocations are missing from it: if that is meant, send SIGHUP or restart")
	mustWrite(t, path, idB+"\n"+idA+"\n"+uuid7)
	refused(false, "1 revocation is missing from it")
	mustWrite(t, path, idB+"\n"+idA+"\nbefore 2021-01-01T00:00:00Z\n"+uuid7[:20])
	refused(true, "line 4 ")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refused(true, "no such file")
	has(3)

	mustWrite(t, path, idB+"\n")
	refused(false, "3 revocations are missing")
	mustReload(t, l, true, true)
	has(1)
	mustReload(t, l, false, false)

	// The same number of others is a change too.
	mustWrite(t, path, idA+"\n")
	mustReload(t, l, true, true)
	has(1)
}

const uuid7 = "0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d61"

func TestTheFirstListIsTakenEvenIfEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	mustWrite(t, path, "")
	l := NewList(mustSource(t, path))
	mustReload(t, l, false, true)
	if l.Current() == nil || l.Current().Len() != 0 {
		t.Error("there is no list")
	}
	mustReload(t, l, false, false)
}

func TestAListIsReadWhileItReloads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	ids := randomIDs(50, 7)
	mustAppend(t, path, ids[:1], "", time.Time{}, 1)
	l := NewList(mustSource(t, path))
	mustReload(t, l, false, true)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		n := 0
		for ctx.Err() == nil {
			list := l.Current()
			if list.Len() < n || !list.Revoked(ids[0]) {
				t.Error("a revocation was lost")
			}
			n = list.Len()
		}
		done <- n
	}()
	for i := range ids[1:] {
		mustAppend(t, path, ids[:i+2], "", time.Time{}, 1)
		mustReload(t, l, false, true)
	}
	stop()
	<-done
	if l.Current().Len() != len(ids) {
		t.Errorf("%d entries", l.Current().Len())
	}
}
