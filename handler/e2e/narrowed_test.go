package e2e_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// narrowKeyOf narrows a key as `restrict` does, and returns the id that it got.
func narrowKeyOf(t *testing.T, key string, caveats ...signer.Caveat) (narrower, id string) {
	t.Helper()
	own, err := signer.NewID()
	if err != nil {
		t.Fatal(err)
	}
	if narrower, err = signer.Restrict(key, append([]signer.Caveat{own}, caveats...)...); err != nil {
		t.Fatal(err)
	}
	return narrower, own.Value
}

// TestTheStreamsOfOneNarrowedKeyAreCut: revoking an id cuts what runs under that key and
// what was made from it; its parent and its sibling go on.
func TestTheStreamsOfOneNarrowedKeyAreCut(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	var keys *signer.Verifier
	now := make(chan os.Signal, 1)
	s := handlertest.Start(t, handlertest.Config{
		Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			io.WriteString(w, "{}\n")
			w.(http.Flusher).Flush()
			select {
			case <-goOn:
				io.WriteString(w, `{"done":true}`+"\n")
			case <-r.Context().Done():
			}
		}),
		Proxy: func(o *handler.Options) { keys = o.Keys.(*signer.Verifier) },
		Server: func(s *server.Server) {
			s.ReloadNow, s.ReloadInterval = now, time.Hour
			changed := false
			s.Reloads = []server.Reload{{Name: "revocations", Load: func(context.Context, bool) (bool, error) {
				defer func() { changed = true }()
				return changed, nil
			}}}
		},
	})
	root := s.Mint(false, "label=alice")
	narrower, id := narrowKeyOf(t, root)
	below, belowID := narrowKeyOf(t, narrower)
	sibling, siblingID := narrowKeyOf(t, root)
	all := []string{root, narrower, below, sibling}
	var streams []*http.Response
	for i, key := range all {
		w := s.Dial(t)
		w.Send("POST", "/api/chat", `{"model":"tiny","messages":[]}`, handlertest.Bearer(key))
		streams = append(streams, w.ReadHead("POST"))
		s.Spy.Await(t, "FirstByte", i+1)
	}
	list, err := signer.ParseRevocations(strings.NewReader(id))
	if err != nil {
		t.Fatal(err)
	}
	keys.SetRevocations(list)
	now <- os.Interrupt
	s.Spy.Await(t, "RequestEnded", 2)
	close(goOn)
	s.Spy.Await(t, "RequestEnded", 4)
	for i, res := range streams {
		rest, err := io.ReadAll(res.Body)
		cut := i == 1 || i == 2
		if (err != nil) != cut || strings.Contains(string(rest), `"done":true`) == cut || strings.Contains(string(rest), "has been revoked") != cut {
			t.Errorf("stream %d got %q, %v", i, rest, err)
		}
	}
	head := idOf(root)
	want := []string{head + " alice", head + "~" + id + " alice", head + "~" + belowID + " alice", head + "~" + siblingID + " alice"}
	if got := s.Spy.Texts("KeySeen"); !slices.Equal(got, want) {
		t.Errorf("the recorder has seen %q, not %q", got, want)
	}
	var logged []string
	for _, line := range s.AccessLog(t, 4) {
		logged = append(logged, line["key"].(string)+" "+line["label"].(string))
	}
	if slices.Sort(logged); !slices.Equal(logged, slices.Sorted(slices.Values(want))) {
		t.Errorf("logged are %q, not %q", logged, want)
	}
	w := s.Dial(t)
	w.Send("GET", "/api/version", "", handlertest.Bearer(below))
	if got := w.Answer("GET"); got.Status != http.StatusUnauthorized {
		t.Errorf("a revoked one gets %d", got.Status)
	}
	if line := s.AccessLog(t, 5)[4]; line["key"] != head+"~"+belowID || line["label"] != "alice" {
		t.Errorf("logged: %v", line)
	}
}
