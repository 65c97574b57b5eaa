package e2e_test

import (
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestRedirects: where Ollama would redirect a client, it is sent to a path of the
// table, whatever else stands in the request; "" stands for nowhere.
func TestRedirects(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for _, c := range []struct {
		method, target string
		status         int
		location       string
	}{
		{"POST", "//api/chat", 307, "/api/chat"},
		{"GET", "//api/tags", 307, "/api/tags"},
		{"GET", "/api//tags", 307, "/api/tags"},
		{"POST", "///api///chat", 307, "/api/chat"},
		{"POST", "/v1//chat/completions", 307, "/v1/chat/completions"},
		{"POST", "//v1/messages", 307, "/v1/messages"},
		{"POST", "//v1/responses/", 307, "/v1/responses"},
		{"GET", "/api/tags/", 301, "/api/tags"},
		{"GET", "/v1/models/", 301, "/v1/models"},
		{"GET", "/v1//models//", 307, "/v1/models"},
		{"HEAD", "/api/tags/", 307, "/api/tags"},
		{"POST", "/api/chat/", 307, "/api/chat"},
		{"DELETE", "/api//delete", 307, "/api/delete"},
		{"GET", "//", 307, "/"},
		{"GET", "http://evil.example//api/tags", 307, "/api/tags"},

		// A query is no part of the location.
		{"GET", "/api/tags/?a=b", 301, "/api/tags"},
		{"POST", "//v1/messages?beta=true", 307, "/v1/messages"},
		{"GET", "/api/tags/?%0d%0aX:y", 301, "/api/tags"},

		{"GET", "//evil.example/api/tags", 404, ""},
		{"GET", "//api//me", 404, ""},
		{"POST", "/api/me/", 404, ""},
		{"GET", "/./api/tags", 404, ""},
		{"GET", "/v1/../api/tags", 404, ""},
		{"GET", "/api/tags/.", 404, ""},
		{"GET", "/api/tags/..", 404, ""},
		{"GET", "//api/%74ags", 404, ""},
		{"GET", "/%2fapi/tags", 404, ""},
		{"GET", "/api/tags%2f", 404, ""},
		{"GET", "//API/tags", 404, ""},
		{"GET", "//api\\tags", 404, ""},
		{"GET", "/api/tags/;x", 404, ""},
		{"GET", "/api/tags/ ", 400, ""},

		// A segment is the client's own.
		{"GET", "/v1//models/tiny", 404, ""},
		{"GET", "/v1/models/tiny/", 404, ""},
		{"GET", "/v1/models//evil.example", 404, ""},
		{"HEAD", "//api/blobs/sha256:00", 404, ""},
	} {
		for _, key := range []string{s.Key, s.Admin, ""} {
			w := s.Dial(t)
			w.Writef("%s %s HTTP/1.1\r\nHost: proxy.example\r\n%s\r\n\r\n", c.method, c.target, handlertest.Bearer(key))
			got := w.Answer(c.method)
			w.Close()
			want := c
			if key == "" && want.status != 400 {
				want.status, want.location = 401, ""
			}
			if location := got.Header.Get("Location"); got.Status != want.status || location != want.location || len(got.Header["Location"]) > 1 || got.Err != nil {
				t.Errorf("%s %s: %s, Location %q", c.method, c.target, got, location)
			}
			if got.Status/100 == 3 {
				if _, ok := api.Routes.Literal[want.location]; !ok {
					t.Errorf("%q is not in the table", want.location)
				}
				if message := "this path is written " + want.location; c.method != "HEAD" && !strings.Contains(got.Body, message) {
					t.Errorf("%s: %q", c.target, got.Body)
				}
			}
		}
	}
	s.Spy.Idle(t)
	for _, call := range s.Spy.All("RequestEnded") {
		if call.Route != api.Other {
			t.Errorf("a request off the table is recorded as %s", call.Route)
			break
		}
	}
	s.ExpectNoRequest(t)
}

// TestARedirectIsFollowed with the body and the key, as clients do by themselves.
func TestARedirectIsFollowed(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	w := s.Dial(t)
	body := handlertest.Chats[0].Ask("tiny", false)
	w.Send("POST", "//api/chat", body, handlertest.Bearer(s.Key))
	got := w.Answer("POST")
	if again := s.Ask(t, "POST", got.Header.Get("Location"), body); again.Status != 200 {
		t.Errorf("%s, and then %s", got, again)
	}
}

// TestSlips: a base URL that is meant for another kind of client is named, in the
// dialect of the client that has it.
func TestSlips(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	const none = "no such route"
	for _, c := range []struct{ path, dialect, message string }{
		{"/v1/v1/chat/completions", "/v1/chat/completions", "goes without /v1"},
		{"/v1/v1/models", "/v1/models", "goes without /v1"},
		{"/v1/v1/models/tiny", "/v1/models", "goes without /v1"},
		{"/v1/v1/messages", "/v1/messages", "goes without /v1"},
		{"/v1/v1/responses", "/v1/responses", "goes without /v1"},
		{"/v1//v1/messages", "/v1/messages", "goes without /v1"},
		{"/v1/api/chat", "/api/chat", "goes without /v1"},
		{"/v1/api/tags/", "/api/tags", "goes without /v1"},
		{"/api/api/generate", "/api/chat", "goes without /api"},
		{"/api/v1/chat/completions", "/v1/chat/completions", "goes without /api"},
		{"/api/v1/messages", "/v1/messages", "goes without /api"},
		{"/ollama/api/chat", "/api/chat", "goes without /ollama"},
		{"/ollama/v1/models", "/v1/models", "goes without /ollama"},
		{"/chat/completions", "/v1/chat/completions", "ends in /v1"},
		{"/completions", "/v1/chat/completions", "ends in /v1"},
		{"/models", "/v1/models", "ends in /v1"},
		{"/models/tiny", "/v1/models", "ends in /v1"},
		{"/embeddings", "/v1/embeddings", "ends in /v1"},
		{"/responses", "/v1/responses", "ends in /v1"},
		{"/messages", "/v1/messages", "ends in /v1"},
		{"/tags", "/api/tags", "ends in /api"},
		{"/generate", "/api/chat", "ends in /api"},
		{"/v1/tags", "/api/tags", "ends in /api, not in /v1"},
		{"/api/chat/completions", "/v1/chat/completions", "ends in /v1, not in /api"},
		{"/api/models", "/v1/models", "ends in /v1, not in /api"},
		{"/v1/chat/completions/chat/completions", "/v1/chat/completions", "ends in /v1, not in /v1/chat/completions"},
		{"/v1/chat/completions/v1/chat/completions", "/v1/chat/completions", "goes without /v1/chat/completions"},
		{"/v1/messages/v1/messages", "/v1/messages", "goes without /v1/messages"},
		{"/api/chat/api/chat", "/api/chat", "goes without /api/chat"},

		{"/v1/messages/count_tokens", "/v1/messages", none},
		{"/v1/files", "/v1/files", none},
		{"/api/me", "/api/me", none},
		{"/me", "/me", none},
		{"/v1/api/me", "/v1/api/me", none},
		{"/v1", "/v1", none}, {"/v1/", "/v1/", none}, {"/api", "/api", none}, {"/nothing", "/nothing", none},
		{"/v1/%76%31/models", "/v1/x", none},
		{"/v1/../models", "/v1/x", none},
		{"/chat/completions/..", "/x", none},
	} {
		for _, method := range []string{"GET", "POST"} {
			w := s.Dial(t)
			w.Writef("%s %s HTTP/1.1\r\nHost: proxy.example\r\n%s\r\n\r\n", method, c.path, handlertest.Bearer(s.Key))
			got := w.Answer(method)
			w.Close()
			message, _ := handlertest.ErrorIn(t, c.dialect, got.Body)
			want := none + ": this client's base URL " + c.message
			if c.message == none {
				want = none
			}
			if got.Status != 404 || message != want {
				t.Errorf("%s %s: %s, %q instead of %q", method, c.path, got, message, want)
			}
			w = s.Dial(t)
			w.Send(method, c.path, "", handlertest.Bearer("sk-x"))
			if got := w.Answer(method); got.Status != 401 || strings.Contains(got.Body, "base URL") {
				t.Errorf("%s without a key: %s %q", c.path, got, got.Body)
			}
			w.Close()
		}
	}
	s.ExpectNoRequest(t)
}
