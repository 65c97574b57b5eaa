package handler_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// TestCredentials is who gets in, with what, and what the operator hears of
// the others.
func TestCredentials(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	key := s.key
	another := s.mint(false)
	past := fmt.Sprint("exp=", time.Now().Add(-time.Second).Unix())
	future := fmt.Sprint("exp=", time.Now().Add(time.Hour).Unix())
	stranger, _ := signer.NewSecret()
	forged, err := signer.Mint(stranger, true)
	if err != nil {
		t.Fatal(err)
	}
	last := byte('A')
	if key[len(key)-3] == last {
		last = 'B'
	}
	bent := key[:len(key)-3] + string(last) + key[len(key)-2:]
	promoted := strings.Replace(key, "OLLAMA-", "OLLAMA-ADMIN-", 1)

	for _, c := range []struct {
		name    string
		headers []string
		status  int
		reason  string // for which the recorder hears it is refused
	}{
		{"bearer", []string{"Authorization: Bearer " + key}, 200, ""},
		{"the scheme in lower case", []string{"authorization: bearer " + key}, 200, ""},
		{"the scheme in upper case", []string{"AUTHORIZATION: BEARER " + key}, 200, ""},
		{"x-api-key", []string{"x-api-key: " + key}, 200, ""},
		{"both, the same", []string{"Authorization: Bearer " + key, "x-api-key: " + key}, 200, ""},
		{"space around the value", []string{"Authorization:   Bearer " + key + " \t"}, 200, ""},
		{"not yet expired", []string{bearer(s.mint(false, future, "label=alice"))}, 200, ""},
		{"admin", []string{bearer(s.admin)}, 200, ""},

		{"both, different", []string{"Authorization: Bearer " + key, "x-api-key: " + another}, 400, "ambiguous"},
		{"both, one empty", []string{"Authorization: Bearer " + key, "x-api-key:"}, 400, "ambiguous"},
		{"both, the other empty", []string{"Authorization:", "x-api-key: " + key}, 400, "ambiguous"},
		{"both, one forged", []string{"Authorization: Bearer " + bent, "x-api-key: " + key}, 400, "ambiguous"},
		{"basic and x-api-key", []string{"Authorization: Basic eDp5", "x-api-key: " + key}, 400, "ambiguous"},
		{"Authorization twice", []string{bearer(key), bearer(another)}, 400, "ambiguous"},
		{"Authorization twice, the same", []string{bearer(key), bearer(key)}, 400, "ambiguous"},
		{"Authorization twice, one empty", []string{bearer(key), "Authorization:"}, 400, "ambiguous"},
		{"x-api-key twice", []string{"x-api-key: " + key, "X-Api-Key: " + another}, 400, "ambiguous"},
		{"x-api-key twice, the same", []string{"x-api-key: " + key, "X-Api-Key: " + key}, 400, "ambiguous"},

		{"none", nil, 401, "missing"},
		{"in a cookie", []string{"Cookie: Authorization=Bearer " + key + "; key=" + key}, 401, "missing"},
		{"in another header", []string{"X-Authorization: Bearer " + key, "Api-Key: " + key, "X_Api_Key: " + key}, 401, "missing"},
		{"as a proxy's", []string{"Proxy-Authorization: Bearer " + key}, 401, "missing"},
		{"empty", []string{"Authorization:"}, 401, "malformed"},
		{"the scheme alone", []string{"Authorization: Bearer"}, 401, "malformed"},
		{"the scheme and a space", []string{"Authorization: Bearer "}, 401, "malformed"},
		{"no scheme", []string{"Authorization: " + key}, 401, "malformed"},
		{"another scheme", []string{"Authorization: Token " + key}, 401, "malformed"},
		{"basic", []string{"Authorization: Basic eDp5"}, 401, "malformed"},
		{"two spaces", []string{"Authorization: Bearer  " + key}, 401, "malformed"},
		{"a tab", []string{"Authorization: Bearer\t" + key}, 401, "malformed"},
		{"quoted", []string{`Authorization: Bearer "` + key + `"`}, 401, "malformed"},
		{"two in one line", []string{"Authorization: Bearer " + key + ", Bearer " + another}, 401, "malformed"},
		{"a scheme in x-api-key", []string{"x-api-key: Bearer " + key}, 401, "malformed"},
		{"an empty x-api-key", []string{"x-api-key:"}, 401, "malformed"},
		{"upper case", []string{bearer(strings.ToUpper(key))}, 401, "malformed"},
		{"cut short", []string{bearer(key[:len(key)-1])}, 401, "malformed"},
		{"one character more", []string{bearer(key + "A")}, 401, "malformed"},
		{"no tag", []string{bearer(key[:43])}, 401, "malformed"},
		{"endless", []string{bearer(strings.Repeat("OLLAMA-", 5000))}, 401, "malformed"},
		{"one character changed", []string{bearer(bent)}, 401, "bad_signature"},
		{"called an admin's", []string{bearer(promoted)}, 401, "bad_signature"},
		{"under another secret", []string{bearer(forged)}, 401, "bad_signature"},
		{"expired", []string{bearer(s.mint(true, past))}, 401, "expired"},
		{"expired, and not", []string{bearer(s.mint(false, future, past, future))}, 401, "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.spy.texts("Refused")
			arrived := len(s.ollama.Seen())
			w := s.dial(t)
			defer w.Close()
			w.send("GET", "/api/tags", "", c.headers...)
			got := w.answer("GET")
			if got.status != c.status || got.err != nil {
				t.Errorf("%s", got)
			}
			s.spy.idle(t)
			var want []string
			if c.reason != "" {
				want = []string{c.reason}
			}
			if reasons := s.spy.texts("Refused")[len(before):]; !slices.Equal(reasons, want) {
				t.Errorf("recorded as %q", reasons)
			}
			if reached := len(s.ollama.Seen()) - arrived; reached != 1 && c.status == 200 || reached != 0 && c.status != 200 {
				t.Errorf("%d requests reached Ollama", reached)
			}
			challenge := got.header.Values("WWW-Authenticate")
			if c.status == 401 && !slices.Equal(challenge, []string{"Bearer"}) || c.status != 401 && challenge != nil {
				t.Errorf("WWW-Authenticate %q", challenge)
			}
		})
	}
}

// TestAKeyInAnotherPlaceIsNone: where keys end up in logs, they do not count.
func TestAKeyInAnotherPlaceIsNone(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for _, target := range []string{"/api/tags?key=", "/api/tags?api_key=", "/api/tags?access_token=", "/api/tags?Authorization=Bearer+", "/api/tags/"} {
		w := s.dial(t)
		w.send("GET", target+s.key, "")
		if got := w.answer("GET"); got.status != 401 {
			t.Errorf("%s: %s", target, got)
		}
	}
	w := s.dial(t)
	w.send("POST", "/api/chat", "access_token="+s.key, "Content-Type: application/x-www-form-urlencoded")
	if got := w.answer("POST"); got.status != 401 {
		t.Errorf("in a form: %s", got)
	}
	w = s.dial(t)
	w.write("%s\r\n2\r\n{}\r\n0\r\n%s\r\n\r\n", head("POST", "/api/chat", "Transfer-Encoding: chunked", "Trailer: Authorization"), bearer(s.key))
	if got := w.answer("POST"); got.status != 401 {
		t.Errorf("in a trailer: %s", got)
	}
	w = s.dial(t)
	w.write("GET http://user:%s@proxy.example/api/tags HTTP/1.1\r\nHost: proxy.example\r\n\r\n", s.key)
	if got := w.answer("GET"); got.status != 401 {
		t.Errorf("in the target: %s", got)
	}
	s.nothingArrived(t)
}

// TestRefusalsSpeakTheDialect of the path, so that the clients' own libraries
// show our message. All 401s of one are the same, whatever the reason.
func TestRefusalsSpeakTheDialect(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	expired := s.mint(false, "exp=1")
	for path, kinds := range map[string]map[int]string{
		"/api/chat":            {400: "", 401: "", 403: "", 404: "", 405: ""},
		"/v1/chat/completions": {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 405: "invalid_request_error"},
		"/v1/responses":        {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 405: "invalid_request_error"},
		"/v1/messages":         {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 405: "invalid_request_error"},
	} {
		first := answer{}
		for _, c := range []struct {
			method, path string
			status       int
			message      string
			headers      []string
		}{
			{"POST", path, 401, "missing or invalid API key", nil},
			{"POST", path, 401, "missing or invalid API key", []string{bearer("OLLAMA-nonsense")}},
			{"POST", path, 401, "missing or invalid API key", []string{bearer(strings.Replace(s.key, "-", "-ADMIN-", 1))}},
			{"POST", path, 401, "missing or invalid API key", []string{bearer(expired)}},
			{"POST", path, 401, "missing or invalid API key", []string{"Authorization: Basic eDp5"}},
			{"GET", path + "/x", 401, "missing or invalid API key", nil},
			{"POST", path, 400, "send one API key, in one header", []string{bearer(s.key), bearer(s.key)}},
			{"POST", path + "/x", 404, "no such route", []string{bearer(s.key)}},
			{"GET", path, 405, "use POST on this route", []string{bearer(s.key)}},
		} {
			w := s.dial(t)
			w.send(c.method, c.path, "", c.headers...)
			got := w.answer(c.method)
			w.Close()
			if got.status != c.status || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s %.30q: %s, %v", c.method, c.path, c.headers, got, got.header)
			}
			message, kind := errorIn(t, path, got.body)
			if message != c.message || kind != kinds[c.status] {
				t.Errorf("%s %s: %q of the type %q", c.method, c.path, message, kind)
			}
			if got.status != 401 {
				continue
			}
			if id := got.header.Get("X-Request-Id"); id == "" || strings.HasPrefix(path, "/v1/messages") && !strings.Contains(got.body, id) {
				t.Errorf("%s: request %q, %s", path, id, got.body)
			}
			got = anonymous(got)
			if first.status == 0 {
				first = got
			}
			if got.body != first.body || !maps.EqualFunc(got.header, first.header, slices.Equal) {
				t.Errorf("%s %.30q: %q %v differs from %q %v", c.path, c.headers, got.body, got.header, first.body, first.header)
			}
		}
	}
	got := s.ask(t, "POST", "/api/pull", "{}")
	if message, _ := errorIn(t, "/api/pull", got.body); got.status != 403 || message != "this route needs an OLLAMA-ADMIN- key" {
		t.Errorf("%s, %q", got, message)
	}
	s.nothingArrived(t)
}

// TestARefusalReachesWhoSends: most clients read nothing before they have sent
// all of their body, and a connection that is reset meanwhile loses the answer.
func TestARefusalReachesWhoSends(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for _, size := range []int{1, 5_000, 200_000, 2 << 20} {
		for range 3 {
			for key, want := range map[string]int{"X-No: key": 401, bearer(s.key): 404} {
				w := s.dial(t)
				w.write("%s\r\n", head("POST", "/api/me", key, fmt.Sprint("Content-Length: ", size)))
				for part := range slices.Chunk(make([]byte, size), 64<<10) {
					if _, err := w.Write(part); err != nil {
						break
					}
				}
				if got := w.answer("POST"); got.status != want || got.err != nil {
					t.Errorf("%d bytes: %s", size, got)
				}
				w.Close()
			}
		}
	}
	s.nothingArrived(t)
}

// TestARefusalDoesNotWaitForTheBody: whoever has no key must not be able to
// hold a connection by announcing a body and never sending it.
func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	waiting := map[string]*wire{}
	for _, framing := range []string{"Content-Length: 100", "Content-Length: 200000", "Content-Length: 1000000", "Transfer-Encoding: chunked", "Content-Length: 100\r\nExpect: 100-continue"} {
		waiting[framing] = s.dial(t)
		waiting[framing].write("%s\r\n", head("POST", "/api/chat", framing))
	}
	for framing, w := range waiting {
		if got := w.answer("POST"); got.status != 401 || got.err != nil {
			t.Errorf("%s: %s", framing, got)
		}
		if raw := w.raw.String(); strings.Contains(raw, "100 Continue") {
			t.Errorf("%s: the client was asked for its body: %q", framing, raw)
		}
		w.closed()
	}
}
