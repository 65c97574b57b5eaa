package top_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/status"
	"github.com/ollama-proxy/ollama-proxy/handler/table"
	"github.com/ollama-proxy/ollama-proxy/handler/top"
)

func TestOnceWritesPlainLines(t *testing.T) {
	t.Parallel()
	s, key, finish := handlertest.StartStreaming(t)
	var out bytes.Buffer
	if err := top.Run(t.Context(), top.Options{Address: s.Private, Once: true, Out: &out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ollama-proxy v1.2.3", "1 request, 1 stream\n", "7 revoked", s.Upstream + ": up, ", "alice  " + key[len("OLLAMA-"):len("OLLAMA-")+36] + "  llama3.2:latest  /api/chat  streaming"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not contain %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "\x1b") || strings.Contains(out.String(), key) {
		t.Errorf("the output contains an escape sequence or a key: %q", &out)
	}
	finish()
}

// TestPlainLinesRepeat until the context ends, or until the replica does not answer, which
// is an error.
func TestPlainLinesRepeat(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Server: handlertest.WithStatus})
	var out handlertest.SyncBuffer
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error)
	go func() {
		over <- top.Run(ctx, top.Options{Address: s.Private, Interval: time.Millisecond, Out: &out})
	}()
	for text, grown := out.Text(); strings.Count(text, "ollama-proxy v1.2.3") < 3; text, grown = out.Text() {
		handlertest.Await(t, grown, "more lines")
	}
	stop()
	if err := handlertest.Await(t, over, "Top to end"); err != nil {
		t.Error(err)
	}
	go func() {
		over <- top.Run(t.Context(), top.Options{Address: s.Private, Interval: time.Millisecond, Out: &out})
	}()
	s.Stop()
	handlertest.Await(t, s.Served, "Serve to return")
	if err := handlertest.Await(t, over, "Top to end"); err == nil || !strings.Contains(err.Error(), "no proxy answers on --metrics-listen "+s.Private) {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"models":[]}`) }))
	defer other.Close()
	strange := httptest.NewServer(http.NotFoundHandler())
	defer strange.Close()
	for address, want := range map[string]string{
		handlertest.ClosedAddress:        "no proxy answers on --metrics-listen " + handlertest.ClosedAddress + ": connection refused",
		other.Listener.Addr().String():   "has no status of an ollama-proxy",
		strange.Listener.Addr().String(): "has no status of an ollama-proxy (HTTP status 404)",
		"not an address":                 `"not an address" is not an address: write a host and a port, such as 127.0.0.1:9464`,
		"\x1b[2J":                        `"\x1b[2J" is not an address`,
	} {
		err := top.Run(t.Context(), top.Options{Address: address, Once: true, Out: io.Discard})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", address, err)
		}
	}
	s := handlertest.Start(t, handlertest.Config{Server: handlertest.WithStatus})
	full := errors.New("disk full")
	if err := top.Run(t.Context(), top.Options{Address: s.Private, Once: true, Out: unwritable{full}}); !errors.Is(err, full) {
		t.Errorf("a failed write is not returned: %v", err)
	}
}

// unwritable is a Writer that fails.
type unwritable struct{ err error }

func (f unwritable) Write([]byte) (int, error) { return 0, f.err }

// evilStatus returns a Status whose names contain escape sequences and other characters
// that a terminal must not get.
func evilStatus() status.Status {
	const evil = "\x1b]0;pwned\x07\x1b[2J\r\n\u202e\u200b\u009b31m<b>日本語のとても長いラベル" + "e\u0301\u0301\u0301 and so on and on and on"
	one := []uint64{1, 2, 3}
	value := 0.25
	ends := time.Unix(1e9, 0)
	return status.Status{
		Version: evil, Now: time.Unix(2e9, 0), Draining: true, Requests: 500, Streams: 3,
		Running: []status.Running{
			{Number: 1, Key: evil, ID: evil, Route: "/v1/chat/completions", Model: evil, State: evil, Age: 1e6, Bytes: 1 << 50, Rate: 1 << 40},
			{Number: 2, Key: "a", Route: "/", Model: "", State: "waiting", Age: 0.1},
		},
		Hour:   status.Hour{Requests: one, Failed: one, Left: one, Refused: one, AllP50: &value, AllP95: &value, Reasons: map[string]uint64{evil: 3, "rpm": 9}},
		Models: []status.ModelTotals{{Model: evil, Prompt: 1 << 60, Bytes: 1 << 60}}, KeysCounted: true,
		Keys:      []status.KeyTotals{{Key: evil, ID: evil, Requests: 1 << 60}},
		Upstreams: []status.UpstreamStatus{{Name: evil, Up: true, Loaded: []string{evil, evil}}, {Name: evil}},
		Reloads:   []status.Reloaded{{Source: evil}}, CertificateEnds: &ends,
		RevocationsHash: evil, SecretFingerprint: evil,
	}
}

func TestNamesContainNoEscapeSequences(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(evilStatus()) }))
	defer server.Close()
	var out bytes.Buffer
	if err := top.Run(t.Context(), top.Options{Address: server.Listener.Addr().String(), Once: true, Out: &out}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "日本語") {
		t.Error("the printable part of a name is missing")
	}
	for _, r := range out.String() {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%U is written", r)
		}
	}
}

func TestLinesFitAnyWidth(t *testing.T) {
	t.Parallel()
	for text, width := range map[string]int{"": 0, "abc": 3, "日本語": 6, "ﾆﾎﾝ": 3, "ｗ": 2, "e\u0301": 1, "ü…": 2} {
		if got := table.Width(text); got != width {
			t.Errorf("%q takes %d columns, not %d", text, got, width)
		}
	}
	for width := 1; width < 200; width += 1 + width/20 {
		for i, text := range top.StatusLines(evilStatus(), width) {
			if table.Width(text) > width {
				t.Fatalf("in %d columns line %d takes %d: %q", width, i, table.Width(text), text)
			}
		}
	}
	for width, want := range map[int]string{200: "KEY ID MODEL ROUTE STATE AGE BYTES RATE", 60: "KEY ID MODEL AGE BYTES RATE", 43: "KEY ID AGE RATE", 10: "KEY …"} {
		titles := slices.DeleteFunc(top.StatusLines(evilStatus(), width), func(l string) bool { return !strings.HasPrefix(l, "KEY") })[0]
		if got := strings.Join(strings.Fields(titles), " "); got != want {
			t.Errorf("in %d columns there are %s", width, got)
		}
	}
}

// TestKeysWithTheSameLabelDiffer by their ids, also if these begin with the same minute
// and the terminal is narrow.
func TestKeysWithTheSameLabelDiffer(t *testing.T) {
	t.Parallel()
	s := evilStatus()
	s.Running, s.Models = nil, nil
	s.Keys = []status.KeyTotals{
		{Key: "alice", ID: "0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60", Requests: 3}, {Key: "alice", ID: "0199c3a1-8f60-7d4e-9c55-c0ffee00c0de", Requests: 2},
		{ID: "0199c3a1-8f60-7d4e-9c55-123456789abc", Requests: 1},
		// Of a key that Bob has narrowed the end of the head is always there, since he chose the rest.
		{Key: "alice", ID: "0199c3a1-8f60-7d4e-9c55-b0bb0bb0bb0b~0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60", Requests: 5},
		{Key: "other", ID: "other", Requests: 1},
	}
	for width, want := range map[int][]string{
		0:  {"alice 0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60 3", "alice 0199c3a1-8f60-7d4e-9c55-c0ffee00c0de 2", "- 0199c3a1-8f60-7d4e-9c55-123456789abc 1", "other other 1", "alice 0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60 of 0199c3a1-8f60-7d4e-9c55-b0bb0bb0bb0b 5"},
		40: {"alice …a8e7d60 3", "alice …e00c0de 2", "- …6789abc 1", "other other 1", "alice …bb0bb0b 5"},
	} {
		all := top.StatusLines(s, width)
		for _, l := range want {
			if !slices.ContainsFunc(all, func(line string) bool { return strings.HasPrefix(strings.Join(strings.Fields(line), " "), l) }) {
				t.Errorf("in %d columns there is no %q in\n%s", width, l, strings.Join(all, "\n"))
			}
		}
	}
}

func TestPipeGetsPlainLines(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Server: handlertest.WithStatus})
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error)
	go func() {
		over <- top.Run(ctx, top.Options{Address: s.Private, Interval: time.Hour, Out: write, In: read})
	}()
	for lines := bufio.NewReader(read); ; {
		line, err := lines.ReadString('\n')
		if err != nil || strings.ContainsAny(line, "\x1b\r") {
			t.Fatalf("%q, %v", line, err)
		}
		if line == "\n" {
			break
		}
	}
	stop()
	if err := handlertest.Await(t, over, "Top to end"); err != nil {
		t.Error(err)
	}
}
