package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/access"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/keyinfo"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// askWith sends a request with a key and no body.
func askWith(t *testing.T, s *handlertest.Site, key, path string) handlertest.Answer {
	t.Helper()
	w := s.Dial(t)
	defer w.Close()
	w.Send("GET", path, "", handlertest.Bearer(key))
	return w.Answer("GET")
}

// tell asks what a key may do.
func tell(t *testing.T, s *handlertest.Site, key string) (info keyinfo.Info, a handlertest.Answer) {
	t.Helper()
	a = askWith(t, s, key, "/v1/key")
	if a.Status != http.StatusOK {
		return info, a
	}
	if err := json.Unmarshal([]byte(a.Body), &info); err != nil {
		t.Fatalf("%q: %v", a.Body, err)
	}
	return info, a
}

// TestAHolderSeesWhatTheyHave: whatever the key was narrowed to.
func TestAHolderSeesWhatTheyHave(t *testing.T) {
	t.Parallel()
	const age = 24 * time.Hour
	var keys *signer.Verifier
	s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) {
		o.DefaultLimits = access.Defaults{Streams: 7}
		keys = o.Keys.(*signer.Verifier)
		keys.SetMaxAge(age)
	}})
	narrow, own := narrowKeyOf(t, s.Mint(true, "label=alice", "models=llama3.2,qwen3:*", "rpm=60"),
		signer.Caveat{Name: "models", Value: "llama*"}, signer.Caveat{Name: "from", Value: "127.0.0.0/8,::1"}, signer.Caveat{Name: "rpm", Value: "5"})
	noRoutes := s.Mint(false, "routes=chat", "routes=embed")
	soon := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	brief := s.Mint(false, "exp="+jsonNumber(soon.Unix()))
	for name, row := range map[string]struct {
		key  string
		want keyinfo.Info
	}{
		"plain": {s.Key, keyinfo.Info{Routes: []string{"chat", "embed", "models"}, Limits: []keyinfo.Limit{{Kind: "streams", Limit: 7, Remaining: 7, Default: true}}}},
		"admin": {s.Admin, keyinfo.Info{Admin: true, Routes: []string{"chat", "embed", "models", "admin"}, Limits: []keyinfo.Limit{{Kind: "streams", Limit: 7, Remaining: 7, Default: true}}}},
		"narrowed": {narrow, keyinfo.Info{Admin: true, NarrowedID: own, Label: "alice", Routes: []string{"chat", "embed", "models", "admin"}, Models: [][]string{{"llama3.2", "qwen3:*"}, {"llama*"}},
			From: [][]string{{"127.0.0.0/8", "::1"}}, Limits: []keyinfo.Limit{{Kind: "rpm", Limit: 60, Remaining: 60}, {Kind: "rpm", Limit: 5, Remaining: 5}, {Kind: "streams", Limit: 7, Remaining: 7, Default: true}}}},
		"of no route": {noRoutes, keyinfo.Info{Routes: []string{}, Limits: []keyinfo.Limit{{Kind: "streams", Limit: 7, Remaining: 7, Default: true}}}},
		"one class":   {s.Mint(true, "routes=admin", "streams=2"), keyinfo.Info{Admin: true, Routes: []string{"admin"}, Limits: []keyinfo.Limit{{Kind: "streams", Limit: 2, Remaining: 2}}}},
		"brief":       {brief, keyinfo.Info{Expires: &soon, Routes: []string{"chat", "embed", "models"}, Limits: []keyinfo.Limit{{Kind: "streams", Limit: 7, Remaining: 7, Default: true}}}},
	} {
		u, err := signer.Inspect(row.key)
		if err != nil {
			t.Fatal(err)
		}
		minted, _ := u.Minted()
		row.want.ID, row.want.Minted = u.ID.String(), &minted
		if row.want.Expires == nil {
			ends := minted.Add(age)
			row.want.Expires = &ends
		}
		got, a := tell(t, s, row.key)
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %q, not %+v", name, a.Body, row.want)
		}
		if a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Cache-Control") != "no-store" || strings.Contains(a.Body, row.key[len(row.key)-43:]) {
			t.Errorf("%s: %v %q", name, a.Header, a.Body)
		}
		asked, err := keyinfo.Ask(t.Context(), &url.URL{Scheme: "http", Host: s.Public}, row.key)
		if err != nil || !reflect.DeepEqual(asked, row.want) {
			t.Errorf("%s, asked: %+v, %v", name, asked, err)
		}
	}
	for name, row := range map[string]struct {
		key    string
		status int
	}{"forged": {s.Key[:len(s.Key)-43] + strings.Repeat("A", 43), 401}, "expired": {s.Mint(false, "exp=1"), 401}, "elsewhere": {s.Mint(false, "from=10.0.0.0/8"), 403}} {
		if _, a := tell(t, s, row.key); a.Status != row.status {
			t.Errorf("%s: %s", name, a)
		}
	}
	s.ExpectNoRequest(t)
}

func jsonNumber(n int64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

// TestWhatIsLeftIsTold: at /v1/key, which costs nothing, and in the headers of answers.
func TestWhatIsLeftIsTold(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}), make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Nobody is to take these for the key's.
		for _, name := range []string{"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests", "X-Ratelimit-Remaining-Tokens"} {
			w.Header().Set(name, "12345")
		}
		w.Header().Set("X-Else", "passes")
		if r.URL.Path == "/api/ps" {
			began <- struct{}{}
			<-goOn
		}
		io.WriteString(w, "{}")
	})})
	key := s.Mint(false, "rpm=2", "streams=1")
	told := func(when string, rpm, streams int) {
		t.Helper()
		info, a := tell(t, s, key)
		if len(info.Limits) != 2 || info.Limits[0].Remaining != rpm || info.Limits[1].Remaining != streams {
			t.Errorf("%s: %+v", when, info.Limits)
		}
		if got := a.Header.Get("X-Ratelimit-Remaining-Requests"); got != jsonNumber(int64(rpm)) {
			t.Errorf("%s: the header says %q", when, got)
		}
	}
	limits := func(a handlertest.Answer) (all []string) {
		for _, name := range []string{"Limit-Requests", "Remaining-Requests", "Remaining-Tokens"} {
			all = append(all, a.Header.Get("X-Ratelimit-"+name))
		}
		return all
	}
	told("at first", 2, 1)
	told("again", 2, 1)
	done := make(chan handlertest.Answer)
	go func() { done <- askWith(t, s, key, "/api/ps") }()
	<-began
	told("one runs", 1, 0)
	close(goOn)
	if a := <-done; a.Status != 200 || !slices.Equal(limits(a), []string{"2", "1", ""}) || a.Header.Get("X-Else") != "passes" {
		t.Errorf("%s: %v", a, a.Header)
	}
	told("it is over", 1, 1)
	for i, want := range []struct {
		status    int
		remaining string
	}{{200, "0"}, {429, "0"}, {429, "0"}} {
		a := askWith(t, s, key, "/api/version")
		if a.Status != want.status || !slices.Equal(limits(a), []string{"2", want.remaining, ""}) {
			t.Errorf("request %d: %s %v", i, a, a.Header)
		}
		if d, err := time.ParseDuration(a.Header.Get("X-Ratelimit-Reset-Requests")); err != nil || d <= 30*time.Second || d > time.Minute {
			t.Errorf("request %d: all again in %v, %v", i, d, err)
		}
	}
	told("nothing is left", 0, 1)
	for _, key := range []string{s.Key, s.Mint(false, "streams=1")} {
		if a := askWith(t, s, key, "/api/version"); a.Status != 200 || !slices.Equal(limits(a), []string{"", "", ""}) {
			t.Errorf("a key without rpm: %v", a.Header)
		}
	}
}

// TestDefaultLimits: a family without limits of its own shares the server's, and what a
// holder adds does not lift them.
func TestDefaultLimits(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.DefaultLimits = access.Defaults{RPM: 2} }})
	wide, _ := narrowKeyOf(t, s.Key, signer.Caveat{Name: "rpm", Value: "1000"})
	for i, row := range []struct {
		key, limit string
		status     int
	}{
		{wide, "2", 200}, {s.Key, "2", 200}, {wide, "2", 429}, {s.Key, "2", 429},
		{s.Mint(false, "rpm=1000"), "1000", 200}, {s.Mint(false, "rpm=1000"), "1000", 200}, {s.Mint(false), "2", 200},
	} {
		if a := askWith(t, s, row.key, "/api/version"); a.Status != row.status || a.Header.Get("X-Ratelimit-Limit-Requests") != row.limit {
			t.Errorf("request %d: %s, of %s", i, a, a.Header.Get("X-Ratelimit-Limit-Requests"))
		}
	}
}

// TestAStreamOutlivesTheLongestLife: a key that comes of age while it is used is refused
// the next time, and what runs goes on.
func TestAStreamOutlivesTheLongestLife(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	var keys *signer.Verifier
	s := handlertest.Start(t, handlertest.Config{
		Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			io.WriteString(w, "{}\n")
			w.(http.Flusher).Flush()
			<-goOn
			io.WriteString(w, `{"done":true}`+"\n")
		}),
		Proxy:  func(o *handler.Options) { keys = o.Keys.(*signer.Verifier) },
		Server: func(s *server.Server) { s.ReloadInterval = time.Hour },
	})
	w := s.Dial(t)
	w.Send("POST", "/api/chat", `{"model":"tiny","messages":[]}`, handlertest.Bearer(s.Key))
	res := w.ReadHead("POST")
	s.Spy.Await(t, "FirstByte", 1)
	keys.SetMaxAge(time.Nanosecond)
	s.Proxy.CutRevoked()
	if a := askWith(t, s, s.Key, "/api/version"); a.Status != http.StatusUnauthorized {
		t.Errorf("a key that is too old gets %s", a)
	}
	close(goOn)
	if rest, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(rest), `"done":true`) {
		t.Errorf("the stream ends with %q, %v", rest, err)
	}
	s.Spy.Await(t, "RequestEnded", 2)
	if got := s.Spy.Texts("Refused"); !slices.Equal(got, []string{"expired"}) {
		t.Errorf("refused are %q", got)
	}
}
