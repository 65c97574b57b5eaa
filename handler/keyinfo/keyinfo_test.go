package keyinfo

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const key = "OLLAMA-0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestWords(t *testing.T) {
	minted, expires := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), time.Date(2026, 2, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct {
		info Info
		want []string
	}{
		{Info{ID: "a", Routes: []string{"chat", "embed"}}, []string{"id: a", "minted: its id does not say when", "until: it does not expire", "routes: chat, embed"}},
		{Info{
			ID: "a", NarrowedID: "b", Label: "alice", Minted: &minted, Expires: &expires,
			Models: [][]string{{"llama3.2", "qwen3:*"}, {"llama*"}}, From: [][]string{{"10.0.0.0/8"}},
			Limits: []Limit{{Kind: "rpm", Limit: 60, Remaining: 58, ResetSeconds: 1.96}, {Kind: "streams", Limit: 2, Remaining: 1, Default: true}, {Kind: "wishes", Limit: 3, Remaining: 3, ResetSeconds: 1e300}},
		}, []string{
			"id: a~b", "label: alice", "minted: 2026-01-02T03:04:05Z", "until: 2026-02-02T03:04:05Z", "routes: none", "only models: llama3.2, qwen3:*", "only models: llama*", "only from: 10.0.0.0/8",
			"at most: 60 requests a minute on each replica, 58 left on this one, all again in 2s",
			"at most: 2 requests at once on each replica, 1 left on this one (for all keys that were minted without such a limit, and all made from one of them together)",
			"at most: 3 wishes on each replica, 3 left on this one",
		}},
		{Info{ID: "a\x1b[2J", Label: "two\nlines\u202e", Routes: []string{"\x00"}}, []string{"id: a\ufffd[2J", "label: two\ufffdlines\ufffd", "minted: its id does not say when", "until: it does not expire", "routes: \ufffd"}},
	} {
		if got := row.info.Words(); !slices.Equal(got, row.want) {
			t.Errorf("%q\nnot\n%q", got, row.want)
		}
	}
}

// TestAsk has remotes answer in every way.
func TestAsk(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	for name, row := range map[string]struct {
		status     int
		body, want string
	}{
		"good":           {200, `{"id":"a","admin":true,"routes":["chat"],"limits":[]}`, ""},
		"of the future":  {200, `{"id":"a","admin":true,"routes":["chat"],"limits":[],"more":{}}`, ""},
		"refused":        {401, `{"error":"x"}`, "it refuses the key"},
		"elsewhere":      {403, `{"error":"x"}`, "not for use from here"},
		"old":            {404, `{"error":"x"}`, "new enough"},
		"down":           {503, "\x1b[2J", "answers 503"},
		"a web page":     {200, "<html>\x1b[2J", "something else"},
		"another object": {200, `{"object":"list"}`, "something else"},
		"no object":      {200, `[]`, "something else"},
		"endless":        {200, `{"id":"` + strings.Repeat("a", maxAnswer), "more than"},
		"leads on":       {302, other.URL, "answers 302"},
	} {
		remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/below/v1/key" || r.Header.Get("Authorization") != "Bearer "+key || r.Method != "GET" {
				t.Errorf("%s: it was asked %s %s", name, r.Method, r.URL)
			}
			if row.status == 302 {
				w.Header().Set("Location", row.body)
			}
			w.WriteHeader(row.status)
			io.WriteString(w, row.body)
		}))
		u, err := url.Parse(remote.URL + "/below")
		if err != nil {
			t.Fatal(err)
		}
		info, err := Ask(t.Context(), u, key)
		remote.Close()
		if row.want == "" {
			if want := (Info{ID: "a", Admin: true, Routes: []string{"chat"}, Limits: []Limit{}}); err != nil || !reflect.DeepEqual(info, want) {
				t.Errorf("%s: %+v, %v", name, info, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), u.Host) || strings.ContainsAny(err.Error(), "\x1b\n") || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, ErrRefused) != (row.status == 401) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if elsewhere != 0 {
		t.Error("the key went elsewhere")
	}
	gone, _ := url.Parse(other.URL)
	other.Close()
	if _, err := Ask(t.Context(), gone, key); err == nil || !strings.Contains(err.Error(), gone.Host) || strings.Contains(err.Error(), key) {
		t.Errorf("nobody there: %v", err)
	}
}
