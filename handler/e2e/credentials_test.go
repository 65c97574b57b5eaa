package e2e_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// TestCredentials: which credentials are accepted, and which reason is recorded for the
// others.
func TestCredentials(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	key := s.Key
	another := s.Mint(false)
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
	narrower := narrow(t, key)
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
		{"api-key", []string{"api-key: " + key}, 200, ""},
		{"x-goog-api-key", []string{"X-Goog-Api-Key: " + key}, 200, ""},
		{"two spaces", []string{"Authorization: Bearer  " + key}, 200, ""},
		{"quoted", []string{`Authorization: Bearer "` + key + `"`}, 200, ""},
		{"in single quotes, with spaces", []string{"Authorization: Bearer ' " + key + " '"}, 200, ""},
		{"the scheme twice", []string{"Authorization: Bearer Bearer " + key}, 200, ""},
		{"the scheme twice, once in quotes", []string{`Authorization: bearer "Bearer ` + key + `"`}, 200, ""},
		{"x-api-key, quoted", []string{`x-api-key: "` + key + `"`}, 200, ""},
		{"Basic, the password", []string{basic("x:" + key)}, 200, ""},
		{"Basic, the password alone", []string{basic(":" + key)}, 200, ""},
		{"Basic, the user", []string{basic(key + ":")}, 200, ""},
		{"Basic, the user and some password", []string{basic(key + ":x:y")}, 200, ""},
		{"Basic, both", []string{basic(key + ":" + key)}, 200, ""},
		{"basic in lower case", []string{strings.Replace(basic("x:"+key), "Basic", "basic", 1)}, 200, ""},
		{"not yet expired", []string{handlertest.Bearer(s.Mint(false, future, "label=alice"))}, 200, ""},
		{"admin", []string{handlertest.Bearer(s.Admin)}, 200, ""},

		// What has not the shape of a key is another program's.
		{"both, one empty", []string{"Authorization: Bearer " + key, "x-api-key:"}, 200, ""},
		{"both, the other empty", []string{"Authorization:", "x-api-key: " + key}, 200, ""},
		{"beside the scheme alone", []string{"Authorization: Bearer ", "x-api-key: " + key}, 200, ""},
		{"beside another's key", []string{"Authorization: Bearer " + key, "x-api-key: sk-ant-api03-AAAA"}, 200, ""},
		{"beside another's bearer", []string{"Authorization: Bearer sk-proj-AAAA", "x-api-key: " + key}, 200, ""},
		{"beside another's in each header", []string{"Authorization: Bearer " + key, "x-api-key: a", "api-key: b", "x-goog-api-key: c"}, 200, ""},
		{"beside Basic", []string{"Authorization: Basic eDp5", "x-api-key: " + key}, 200, ""},
		{"beside Basic that cannot be read", []string{"Authorization: Basic %%%", "api-key: " + key}, 200, ""},
		{"beside another scheme", []string{"Authorization: Negotiate YII=", "x-goog-api-key: " + key}, 200, ""},
		{"beside another Authorization", []string{handlertest.Bearer(key), "Authorization: Basic eDp5"}, 200, ""},
		{"after another Authorization", []string{"Authorization: Basic eDp5", handlertest.Bearer(key)}, 200, ""},
		{"beside half a key", []string{handlertest.Bearer(key), "x-api-key: " + key[:50]}, 200, ""},

		{"Authorization twice, the same", []string{handlertest.Bearer(key), handlertest.Bearer(key)}, 200, ""},
		{"Authorization twice, one empty", []string{handlertest.Bearer(key), "Authorization:"}, 200, ""},
		{"x-api-key twice, the same", []string{"x-api-key: " + key, "X-Api-Key: " + key}, 200, ""},
		{"everywhere the same", []string{handlertest.Bearer(key), basic(key + ":" + key), "x-api-key: " + key, "api-key: '" + key + "'", "x-goog-api-key: " + key}, 200, ""},

		{"both, different", []string{"Authorization: Bearer " + key, "x-api-key: " + another}, 400, "ambiguous"},
		{"both, one forged", []string{"Authorization: Bearer " + bent, "x-api-key: " + key}, 400, "ambiguous"},
		{"both forged", []string{"Authorization: Bearer " + bent, "x-api-key: " + promoted}, 400, "ambiguous"},
		{"both, one narrower", []string{handlertest.Bearer(key), "x-api-key: " + narrower}, 400, "ambiguous"},
		{"x-api-key and api-key", []string{"x-api-key: " + key, "api-key: " + another}, 400, "ambiguous"},
		{"api-key and x-goog-api-key", []string{"api-key: " + key, "x-goog-api-key: " + another}, 400, "ambiguous"},
		{"Authorization and x-goog-api-key", []string{handlertest.Bearer(key), "x-goog-api-key: " + another}, 400, "ambiguous"},
		{"Basic, two keys", []string{basic(key + ":" + another)}, 400, "ambiguous"},
		{"Basic and Bearer", []string{basic("x:" + key), handlertest.Bearer(another)}, 400, "ambiguous"},
		{"one, another, and the one again", []string{handlertest.Bearer(key), "x-api-key: " + another, "api-key: " + key}, 400, "ambiguous"},
		{"Authorization twice", []string{handlertest.Bearer(key), handlertest.Bearer(another)}, 400, "ambiguous"},
		{"x-api-key twice", []string{"x-api-key: " + key, "X-Api-Key: " + another}, 400, "ambiguous"},

		{"none", nil, 401, "missing"},
		{"in a cookie", []string{"Cookie: Authorization=Bearer " + key + "; key=" + key}, 401, "missing"},
		{"in another header", []string{"X-Authorization: Bearer " + key, "Api_Key: " + key, "X_Api_Key: " + key, "X-Goog-Api-Key-2: " + key, "Token: " + key}, 401, "missing"},
		{"as a proxy's", []string{"Proxy-Authorization: Bearer " + key}, 401, "missing"},
		{"empty", []string{"Authorization:"}, 401, "malformed"},
		{"the scheme alone", []string{"Authorization: Bearer"}, 401, "malformed"},
		{"the scheme and a space", []string{"Authorization: Bearer "}, 401, "malformed"},
		{"no scheme", []string{"Authorization: " + key}, 401, "malformed"},
		{"another scheme", []string{"Authorization: Token " + key}, 401, "malformed"},
		{"basic", []string{"Authorization: Basic eDp5"}, 401, "malformed"},
		{"a tab", []string{"Authorization: Bearer\t" + key}, 401, "malformed"},
		{"two in one line", []string{"Authorization: Bearer " + key + ", Bearer " + another}, 401, "malformed"},
		{"half a quote", []string{`Authorization: Bearer "` + key}, 401, "malformed"},
		{"two kinds of quotes", []string{`Authorization: Bearer "` + key + `'`}, 401, "malformed"},
		{"two pairs of quotes", []string{`Authorization: Bearer "'` + key + `'"`}, 401, "malformed"},
		{"the scheme thrice", []string{"Authorization: Bearer Bearer Bearer " + key}, 401, "malformed"},
		{"a space within", []string{handlertest.Bearer(key[:9] + " " + key[9:])}, 401, "malformed"},
		{"Basic without base64", []string{"Authorization: Basic x:" + key}, 401, "malformed"},
		{"Basic without a colon", []string{basic(key)}, 401, "malformed"},
		{"Basic, a scheme in the password", []string{basic("x:Bearer " + key)}, 401, "malformed"},
		{"Basic, a forged password", []string{basic("x:" + bent)}, 401, "bad_signature"},
		{"Basic, endless", []string{basic("x:" + strings.Repeat("A", 20_000))}, 401, "malformed"},
		{"another's key alone", []string{"x-api-key: sk-ant-api03-AAAA"}, 401, "malformed"},
		{"another's keys everywhere", []string{"Authorization: Bearer a", "x-api-key: b", "api-key: c", "x-goog-api-key: d"}, 401, "malformed"},
		{"expired, beside another's key", []string{handlertest.Bearer(s.Mint(true, past)), "x-api-key: a"}, 401, "expired"},
		{"a scheme in x-api-key", []string{"x-api-key: Bearer " + key}, 401, "malformed"},
		{"an empty x-api-key", []string{"x-api-key:"}, 401, "malformed"},
		{"upper case", []string{handlertest.Bearer(strings.ToUpper(key))}, 401, "malformed"},
		{"cut short", []string{handlertest.Bearer(key[:len(key)-1])}, 401, "malformed"},
		{"one character more", []string{handlertest.Bearer(key + "A")}, 401, "malformed"},
		{"no tag", []string{handlertest.Bearer(key[:43])}, 401, "malformed"},
		{"endless", []string{handlertest.Bearer(strings.Repeat("OLLAMA-", 5000))}, 401, "malformed"},
		{"one character changed", []string{handlertest.Bearer(bent)}, 401, "bad_signature"},
		{"called an admin's", []string{handlertest.Bearer(promoted)}, 401, "bad_signature"},
		{"under another secret", []string{handlertest.Bearer(forged)}, 401, "bad_signature"},
		{"expired", []string{handlertest.Bearer(s.Mint(true, past))}, 401, "expired"},
		{"expired, and not", []string{handlertest.Bearer(s.Mint(false, future, past, future))}, 401, "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.Spy.Texts("Refused")
			arrived := len(s.Ollama.Seen())
			w := s.Dial(t)
			defer w.Close()
			w.Send("GET", "/api/tags", "", c.headers...)
			got := w.Answer("GET")
			if got.Status != c.status || got.Err != nil {
				t.Errorf("%s", got)
			}
			s.Spy.Idle(t)
			var want []string
			if c.reason != "" {
				want = []string{c.reason}
			}
			if reasons := s.Spy.Texts("Refused")[len(before):]; !slices.Equal(reasons, want) {
				t.Errorf("recorded as %q", reasons)
			}
			if reached := len(s.Ollama.Seen()) - arrived; reached != 1 && c.status == 200 || reached != 0 && c.status != 200 {
				t.Errorf("%d requests reached Ollama", reached)
			}
			challenge := got.Header.Values("WWW-Authenticate")
			if c.status == 401 && !slices.Equal(challenge, []string{"Bearer"}) || c.status != 401 && challenge != nil {
				t.Errorf("WWW-Authenticate %q", challenge)
			}
		})
	}
}

func basic(userinfo string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(userinfo))
}

// narrow makes a key of the same family that has one caveat more.
func narrow(t *testing.T, key string) string {
	t.Helper()
	caveat, err := signer.NewCaveat("label", "mine")
	if err != nil {
		t.Fatal(err)
	}
	narrower, err := signer.Restrict(key, caveat)
	if err != nil {
		t.Fatal(err)
	}
	return narrower
}

// TestKeyInAnotherPlaceIsRefused: a key in a place that is often logged, such as the
// URL, does not count.
func TestKeyInAnotherPlaceIsRefused(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for _, target := range []string{"/api/tags?key=", "/api/tags?api_key=", "/api/tags?access_token=", "/api/tags?Authorization=Bearer+", "/api/tags/"} {
		w := s.Dial(t)
		w.Send("GET", target+s.Key, "")
		if got := w.Answer("GET"); got.Status != 401 {
			t.Errorf("%s: %s", target, got)
		}
	}
	w := s.Dial(t)
	w.Send("POST", "/api/chat", "access_token="+s.Key, "Content-Type: application/x-www-form-urlencoded")
	if got := w.Answer("POST"); got.Status != 401 {
		t.Errorf("in a form: %s", got)
	}
	w = s.Dial(t)
	w.Writef("%s\r\n2\r\n{}\r\n0\r\n%s\r\n\r\n", handlertest.Head("POST", "/api/chat", "Transfer-Encoding: chunked", "Trailer: Authorization"), handlertest.Bearer(s.Key))
	if got := w.Answer("POST"); got.Status != 401 {
		t.Errorf("in a trailer: %s", got)
	}
	w = s.Dial(t)
	w.Writef("GET http://user:%s@proxy.example/api/tags HTTP/1.1\r\nHost: proxy.example\r\n\r\n", s.Key)
	if got := w.Answer("GET"); got.Status != 401 {
		t.Errorf("in the target: %s", got)
	}
	s.ExpectNoRequest(t)
}

// TestRefusalsInEachDialect: a refusal has the form of the path's dialect, so that
// clients' libraries show its message. All 401s of a dialect are equal, whatever the
// reason, except for keys that were genuine.
func TestRefusalsInEachDialect(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	expired := s.Mint(false, "exp=1")
	for path, kinds := range map[string]map[int]string{
		"/api/chat":            {400: "", 401: "", 403: "", 404: "", 405: ""},
		"/v1/chat/completions": {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 405: "invalid_request_error"},
		"/v1/responses":        {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 405: "invalid_request_error"},
		"/v1/messages":         {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 405: "invalid_request_error"},
	} {
		first := handlertest.Answer{}
		for _, c := range []struct {
			method, path string
			status       int
			message      string
			headers      []string
		}{
			{"POST", path, 401, "missing or invalid API key", nil},
			{"POST", path, 401, "missing or invalid API key", []string{handlertest.Bearer("OLLAMA-nonsense")}},
			{"POST", path, 401, "missing or invalid API key", []string{handlertest.Bearer(strings.Replace(s.Key, "-", "-ADMIN-", 1))}},
			{"POST", path, 401, "missing or invalid API key", []string{handlertest.Bearer(expired[:len(expired)-4] + "AAAA")}},
			{"POST", path, 401, "missing or invalid API key", []string{"Authorization: Basic eDp5"}},
			{"GET", path + "/x", 401, "missing or invalid API key", nil},
			{"POST", path, 400, "send one API key, not two", []string{handlertest.Bearer(s.Key), handlertest.Bearer(s.Admin)}},
			{"POST", path + "/x", 404, "no such route", []string{handlertest.Bearer(s.Key)}},
			{"GET", path, 405, "use POST on this route", []string{handlertest.Bearer(s.Key)}},
		} {
			w := s.Dial(t)
			w.Send(c.method, c.path, "", c.headers...)
			got := w.Answer(c.method)
			w.Close()
			if got.Status != c.status || got.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s %.30q: %s, %v", c.method, c.path, c.headers, got, got.Header)
			}
			if again := got.Header.Get("X-Should-Retry"); again != "false" {
				t.Errorf("%s %s: %d with X-Should-Retry %q", c.method, c.path, got.Status, again)
			}
			message, kind := handlertest.ErrorIn(t, path, got.Body)
			if message != c.message || kind != kinds[c.status] {
				t.Errorf("%s %s: %q of the type %q", c.method, c.path, message, kind)
			}
			if got.Status != 401 {
				continue
			}
			if id := got.Header.Get("X-Request-Id"); id == "" || strings.HasPrefix(path, "/v1/messages") && !strings.Contains(got.Body, id) {
				t.Errorf("%s: request %q, %s", path, id, got.Body)
			}
			got = anonymous(got)
			if first.Status == 0 {
				first = got
			}
			if got.Body != first.Body || !maps.EqualFunc(got.Header, first.Header, slices.Equal) {
				t.Errorf("%s %.30q: %q %v differs from %q %v", c.path, c.headers, got.Body, got.Header, first.Body, first.Header)
			}
		}
	}
	got := s.Ask(t, "POST", "/api/pull", "{}")
	if message, _ := handlertest.ErrorIn(t, "/api/pull", got.Body); got.Status != 403 || message != "this route needs an OLLAMA-ADMIN- key" {
		t.Errorf("%s, %q", got, message)
	}
	s.ExpectNoRequest(t)
}

// TestRefusalReachesAClientThatStillSends: most clients read only after they have sent
// their whole body, and would lose the answer if the connection were reset before.
func TestRefusalReachesAClientThatStillSends(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for _, size := range []int{1, 5_000, 200_000, 2 << 20} {
		for range 3 {
			for key, want := range map[string]int{"X-No: key": 401, handlertest.Bearer(s.Key): 404} {
				w := s.Dial(t)
				w.Writef("%s\r\n", handlertest.Head("POST", "/api/me", key, fmt.Sprint("Content-Length: ", size)))
				for part := range slices.Chunk(make([]byte, size), 64<<10) {
					if _, err := w.Write(part); err != nil {
						break
					}
				}
				if got := w.Answer("POST"); got.Status != want || got.Err != nil {
					t.Errorf("%d bytes: %s", size, got)
				}
				w.Close()
			}
		}
	}
	s.ExpectNoRequest(t)
}

// TestRefusalDoesNotWaitForTheBody: a client without a key must not be able to hold a
// connection by announcing a body that it never sends.
func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	waiting := map[string]*handlertest.Wire{}
	for _, framing := range []string{"Content-Length: 100", "Content-Length: 200000", "Content-Length: 1000000", "Transfer-Encoding: chunked", "Content-Length: 100\r\nExpect: 100-continue"} {
		waiting[framing] = s.Dial(t)
		waiting[framing].Writef("%s\r\n", handlertest.Head("POST", "/api/chat", framing))
	}
	for framing, w := range waiting {
		if got := w.Answer("POST"); got.Status != 401 || got.Err != nil {
			t.Errorf("%s: %s", framing, got)
		}
		if raw := w.Received.String(); strings.Contains(raw, "100 Continue") {
			t.Errorf("%s: the client was asked for its body: %q", framing, raw)
		}
		w.ExpectClosed()
	}
}
