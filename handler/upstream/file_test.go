package upstream_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

func TestFileLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "upstreams")
	f := upstream.NewFile(path)
	if _, err := f.Load(); err == nil {
		t.Error("a missing file was read")
	}
	for _, c := range []struct{ text, want string }{
		{"# ours\n\ngpu1=http://a,weight=2 # the large one\r\n  http://b weight=3\ndns+http://c:1", "gpu1=http://a:80 b:80=http://b:80 c:1=http://c:1"},
		{"# ours\n\ngpu1=http://a,weight=2 # the large one\r\n  http://b weight=3\ndns+http://c:1", ""},
		{"", "it lists no Ollama"},
		{"# nobody\n", "it lists no Ollama"},
		{"http://a\n\nhttp://b,weight=x", "line 3: weight=x"},
		{"http://a\nhttp://b http://c", "line 2: there is more than one"},
		{"http://a\nweight=2", "line 2: weight=2 stands before any URL"},
		{"http://a\ng=http://a", "line 2: a:80=http://a:80 and g=http://a:80 are the same"},
		{"\ndns+http://10.0.0.1", "line 2: dns+http://10.0.0.1:80 is an address already"},
		{strings.Repeat("#", 1<<20+1), "has more than 1048576 bytes"},
		{"# ours\n\ngpu1=http://a,weight=2 # the large one\r\n  http://b weight=3\ndns+http://c:1", ""},
		{"http://a", "a:80=http://a:80"},
		{"\ufeff# ours\r\nhttp://a\r\nb=http://b\r\n", "a:80=http://a:80 b=http://b:80"},
		{"\ufeffhttp://a", "a:80=http://a:80"},
		{"\xff\xfeh\x00t\x00t\x00p\x00", "line 1: "},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := f.Load()
		var got []string
		for _, u := range all {
			got = append(got, u.String())
		}
		switch text := strings.Join(got, " "); {
		case err == nil && text == c.want:
		case err != nil && all == nil && c.want != "" && strings.Contains(err.Error(), c.want):
		default:
			t.Errorf("%.40q: %q, %v", c.text, text, err)
		}
	}
}

// TestReloadAddsAndRemovesOllamas without a request that fails: one that is removed
// finishes its requests, and those that stay keep their state.
func TestReloadAddsAndRemovesOllamas(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}, Step: step})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"tiny", "other:1b"}})
	path := filepath.Join(t.TempDir(), "upstreams")
	list := func(boxes ...*handlertest.Box) {
		t.Helper()
		var text strings.Builder
		for _, b := range boxes {
			text.WriteString(b.Upstream().String() + "\n")
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list(one)
	file := upstream.NewFile(path)
	first, err := file.Load()
	if err != nil {
		t.Fatal(err)
	}
	s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.Upstreams, o.UpstreamsChange = first, true }})
	reload := s.Proxy.ReloadUpstreams(file)
	w := s.Dial(t)
	w.Send("POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true), handlertest.Bearer(s.Key))
	stream := w.ReadHead("POST")

	list(one, two)
	if changed, err := reload(context.Background(), true); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("other:1b")); a.Status != 200 || two.Requests() != 1 {
		t.Errorf("%v %s", a, a.Body)
	}
	if states := s.Proxy.UpstreamStates(); len(states) != 2 || states[0].InFlight != 1 || len(states[0].Loaded) != 1 {
		t.Errorf("%+v", states)
	}
	list(two)
	if changed, err := reload(context.Background(), false); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if changed, err := reload(context.Background(), false); changed || err != nil {
		t.Error(changed, err)
	}
	before := one.Probes.Load()
	for range 10 {
		if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Status != 200 {
			t.Fatalf("%v %s", a, a.Body)
		}
	}
	if one.Requests() != 1 || one.Probes.Load() > before+2 {
		t.Errorf("the removed Ollama got %d requests, and %d probes", one.Requests(), one.Probes.Load()-before)
	}
	close(step)
	var whole strings.Builder
	if _, err := stream.Body, stream.Write(&whole); err != nil || !strings.Contains(whole.String(), `"done":true`) {
		t.Errorf("the stream of the removed Ollama: %v %s", err, whole.String())
	}
}
