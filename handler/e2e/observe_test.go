package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// TestEachEventOnce: the recorder gets the same events for each request, once each,
// however it ends.
func TestEachEventOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method, path, body string
		key                      string
		code                     int
		events                   string // how often which
		outcome                  string
	}{
		{"a stream", "POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true), "ordinary", 200, "Answered Forwarded FirstByte StreamStarted Passed+ Uploaded+ StreamEnded", "complete"},
		{"a long line", "POST", "/v1/messages", handlertest.Chats[5].Ask("big", true), "ordinary", 200, "Answered Forwarded FirstByte StreamStarted Passed+ Uploaded+ StreamEnded", "complete"},
		{"a whole answer", "POST", "/v1/chat/completions", handlertest.Chats[2].Ask("tiny", false), "ordinary", 200, "Answered Forwarded FirstByte Passed+ Uploaded+", "complete"},
		{"an error of Ollama's", "POST", "/v1/responses", handlertest.Chats[4].Ask("nope", true), "ordinary", 404, "Answered Forwarded FirstByte Passed+ Uploaded+", "complete"},
		{"no body", "GET", "/api/version", "", "ordinary", 200, "Forwarded FirstByte Passed+", "complete"},
		{"HEAD", "HEAD", "/", "", "ordinary", 200, "Forwarded", "complete"},
		{"a body for GET", "GET", "/v1/models", "{}", "ordinary", 200, "Forwarded FirstByte Passed+ Uploaded+", "complete"},
		{"an empty answer", "DELETE", "/api/delete", `{"model":"tiny"}`, "admin", 200, "Answered Forwarded Uploaded+", "complete"},
		{"a stream cut short", "POST", "/api/generate", handlertest.Chats[1].Ask("dies-between", true), "ordinary", 502, "Answered Forwarded FirstByte StreamStarted Passed+ Uploaded+ StreamEnded UpstreamFailed", "upstream_error"},
		{"an answer cut short", "POST", "/api/generate", handlertest.Chats[1].Ask("short", false), "ordinary", 502, "Answered Forwarded FirstByte Passed+ Uploaded+ UpstreamFailed", "upstream_error"},
		{"no answer", "POST", "/v1/completions", handlertest.Chats[3].Ask("reset", true), "ordinary", 502, "Forwarded Uploaded+ UpstreamFailed", "upstream_error"},
		{"no key", "POST", "/api/chat", "{}", "", 401, "Refused", "refused"},
		{"a bad key", "POST", "/api/chat", "{}", "bad", 401, "Refused", "refused"},
		{"no route", "POST", "/api/me", "{}", "admin", 404, "Refused", "refused"},
		{"no method", "GET", "/api/chat", "", "admin", 405, "Refused", "refused"},
		{"an odd method", "PLANT", "/api/chat", "", "admin", 405, "Refused", "refused"},
		{"no admin", "POST", "/api/push", "{}", "ordinary", 403, "Refused", "refused"},
		{"no admin, a pull", "POST", "/api/pull", "{}", "ordinary", 403, "Refused Uploaded+", "refused"},
		{"too long", "POST", "/api/chat", strings.Repeat(" ", 5000), "ordinary", 413, "Refused", "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.MaxBody = 4000 }})
			key := map[string]string{"": "X-No: key", "ordinary": handlertest.Bearer(s.Key), "admin": handlertest.Bearer(s.Admin), "bad": handlertest.Bearer(s.Key[1:])}[c.key]
			w := s.Dial(t)
			w.Send(c.method, c.path, c.body, key)
			res := w.ReadHead(c.method)
			body, _ := io.ReadAll(res.Body)
			if code := s.Spy.Ended(t, 1); code != c.code {
				t.Errorf("recorded as %d", code)
			}

			want := map[string]string{"RequestStarted": "once", "RequestEnded": "once"}
			if c.key == "ordinary" || c.key == "admin" {
				want["KeySeen"] = "once"
			}
			for _, what := range strings.Fields(c.events) {
				if name, more := strings.CutSuffix(what, "+"); more {
					want[name] = "at least once"
				} else {
					want[name] = "once"
				}
			}
			all := reflect.TypeFor[*handlertest.Spy]()
			for i := range all.NumMethod() {
				what := all.Method(i).Name
				if what == "UpstreamUp" || what == "UpstreamJoined" {
					continue
				}
				n := len(s.Spy.All(what))
				if often := want[what]; often == "once" && n != 1 || often == "at least once" && n < 1 || often == "" && n != 0 {
					t.Errorf("%s was called %d times", what, n)
				}
			}
			if first, last := s.Spy.All("RequestStarted")[0], s.Spy.All("RequestEnded")[0]; first.Route != last.Route || last.Took <= 0 {
				t.Errorf("%+v, %+v", first, last)
			}

			if n := s.Spy.Sum("Uploaded"); c.code != 413 && c.code/100 != 4 && n != len(c.body) {
				t.Errorf("%d bytes up, the client sent %d", n, len(c.body))
			}
			if c.name != "no answer" && want["Forwarded"] != "" {
				event := ""
				if c.name == "a stream cut short" {
					event = `{"error":"Ollama broke off its answer"}` + "\n"
				}
				if n := s.Spy.Sum("Passed"); n+len(event) != len(body) {
					t.Errorf("%d bytes down, the client got %d", n, len(body))
				}
			}
			for i, e := range append(s.Spy.All("Passed"), s.Spy.All("Answered")...) {
				if e.Key != 1 {
					t.Errorf("event %d is of key %d", i, e.Key)
				}
			}
			for i, e := range s.Spy.All("Passed") {
				if gaps := want["StreamStarted"] != "" && i > 0; gaps != (e.Took > 0) {
					t.Errorf("the gap before chunk %d is %v", i, e.Took)
				}
			}
			for _, e := range s.Spy.All("FirstByte") {
				if e.Took <= 0 || e.Took > s.Spy.All("RequestEnded")[0].Took {
					t.Errorf("the first byte after %v", e.Took)
				}
			}
			for _, e := range s.Spy.All("Forwarded") {
				if e.Took <= 0 || e.Took > s.Spy.All("RequestEnded")[0].Took {
					t.Errorf("an overhead of %v", e.Took)
				}
			}

			lines := s.AccessLog(t, 1)
			if len(lines) != 1 || lines[0]["status"] != float64(c.code) || lines[0]["outcome"] != c.outcome {
				t.Errorf("the access log: %v", lines)
			}
		})
	}
}

func TestClientsCannotChooseLabels(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	n := 0
	for _, c := range []struct{ method, path, route, label string }{
		{"GET", "/api/tags?x", "/api/tags", "GET"},
		{"GET", "/v1/models/some-model", "/v1/models/{model}", "GET"},
		{"HEAD", "/api/blobs/sha256:00", "/api/blobs/{digest}", "HEAD"},
		{"PLANT", "/api/tags", "/api/tags", "other"},
		{"GET", "/some/path", "other", "GET"},
		{"OPTIONS", "*", "other", "other"},
		{"GET", "/api/%74ags", "other", "GET"},
	} {
		for _, key := range []string{handlertest.Bearer(s.Admin), "X-No: key"} {
			w := s.Dial(t)
			w.Send(c.method, c.path, "", key)
			w.Answer(c.method)
			n++
			if e := s.Spy.Await(t, "RequestEnded", n); e.Route != c.route || e.Text != c.label {
				t.Errorf("%s %s is recorded as %s %s", c.method, c.path, e.Text, e.Route)
			}
			if line := s.AccessLog(t, n)[n-1]; line["route"] != c.route || line["method"] != c.label {
				t.Errorf("%s %s is logged as %s %s", c.method, c.path, line["method"], line["route"])
			}
		}
	}
}

// TestAccessLog: the fields of the line for a request.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	key := s.Mint(false, "label=alice")
	w := s.Dial(t)
	w.Send("POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true), handlertest.Bearer(key))
	got := w.Answer("POST")
	line := s.AccessLog(t, 1)[0]
	u, err := signer.Inspect(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"level": "INFO", "key": u.ID.String(), "label": "alice", "route": "/api/chat", "method": "POST",
		"status": 200.0, "bytes": float64(len(got.Body)), "outcome": "complete",
	} {
		if line[name] != want {
			t.Errorf("%s is %v, not %v", name, line[name], want)
		}
	}
	duration, _ := line["duration"].(float64)
	first, _ := line["first_byte"].(float64)
	if id, _ := line["request"].(string); id == "" || first <= 0 || duration < first || duration > float64(handlertest.Timeout) {
		t.Errorf("%v", line)
	}

	w.Send("POST", "/api/pull", "{}", handlertest.Bearer(key))
	got = w.Answer("POST")
	line = s.AccessLog(t, 2)[1]
	if line["request"] != got.Header.Get("X-Request-Id") || line["reason"] != "route" || line["label"] != "alice" {
		t.Errorf("%v, the client was told %s", line, got.Header.Get("X-Request-Id"))
	}
	w = s.Dial(t)
	w.Send("GET", "/api/tags", "", handlertest.Bearer(strings.Replace(key, "-", "-ADMIN-", 1)))
	w.Answer("GET")
	if line = s.AccessLog(t, 3)[2]; line["key"] != nil || line["label"] != nil || line["reason"] != "bad_signature" {
		t.Errorf("of a forged key: %v", line)
	}
}

// TestLogsContainNoSecrets: a word is planted wherever a client or Ollama can put one,
// every kind of request is made, and the word must not be in the log.
func TestLogsContainNoSecrets(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]func(io.Writer) slog.Handler{
		"json": func(w io.Writer) slog.Handler {
			return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true})
		},
		"text": func(w io.Writer) slog.Handler {
			return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const planted = "pl4nted"
			answers := map[string]string{
				"whole":    "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-A: pl4nted\r\n\r\npl4nted",
				"short":    "HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\npl4nted",
				"garbage":  "pl4nted\r\n\r\n",
				"status":   "HTTP/1.1 pl4nted\r\n\r\n",
				"header":   "HTTP/1.1 200 OK\r\npl4nted\r\n\r\n",
				"length":   "HTTP/1.1 200 OK\r\nContent-Length: pl4nted\r\n\r\n",
				"coding":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: pl4nted\r\n\r\n",
				"chunk":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\npl4nted\r\n",
				"lines":    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npl4nted\r\npl4nted\r\n",
				"location": "HTTP/1.1 307 x\r\nLocation: http://pl4nted:%zz/\r\nContent-Length: 0\r\n\r\n",
				"switch":   "HTTP/1.1 101 pl4nted\r\nUpgrade: pl4nted\r\nConnection: upgrade\r\n\r\npl4nted",
				"nothing":  "",
			}
			s := handlertest.Start(t, handlertest.Config{Log: format, Address: handlertest.Scripted(t, func(c *net.TCPConn, r *http.Request) {
				io.WriteString(c, answers[r.URL.RawQuery[len(planted)+1:]])
			})})
			requests := 0
			for which := range answers {
				for _, auth := range []string{handlertest.Bearer(s.Key), handlertest.Bearer(s.Admin + "~" + planted), "Authorization: Basic " + planted, "x-api-key: " + planted, "Cookie: key=" + planted, handlertest.Bearer(s.Key) + "\r\n" + handlertest.Bearer(planted)} {
					for _, path := range []string{"/api/chat", "/" + planted, "/api/delete"} {
						w := s.Dial(t)
						w.Send("POST", path+"?"+planted+"="+which, `{"prompt":"`+planted+`"}`, auth, "User-Agent: "+planted, "Referer: http://"+planted, "X-Pl4nted: 1", "Origin: http://"+planted)
						io.Copy(io.Discard, http.MaxBytesReader(nil, w.ReadHead("POST").Body, 1<<20))
						w.Close()
						requests++
					}
				}
			}
			for _, broken := range []string{
				"GET /" + planted + " HTTP/9\r\n\r\n", planted + "\r\n\r\n", "GET /%zz" + planted + " HTTP/1.1\r\nHost: x\r\n\r\n",
				"GET / HTTP/1.1\r\nHost: x\r\n" + planted + "\r\n\r\n", "GET / HTTP/1.1\r\nHost: " + planted + "\x00\r\n\r\n",
				"\x16\x03\x01\x02\x00\x01\x00\x01" + planted, "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + planted + "\r\n\r\n",
			} {
				w := s.Dial(t)
				w.Writef("%s", broken)
				w.CloseWrite()
				w.ReadToEnd()
			}
			w := s.Dial(t)
			w.Writef("%s\r\n%s\r\n", handlertest.Head("POST", "/api/chat", handlertest.Bearer(s.Key), "Transfer-Encoding: chunked"), planted)
			w.Answer("POST")
			w = s.Dial(t)
			w.Send(strings.ToUpper(planted), "/api/chat", "", handlertest.Bearer(s.Key))
			w.Answer("POST")
			requests += 2
			s.Spy.Ended(t, requests)
			s.Stop()
			serveReturned(s, t)

			log, _ := s.Log.Text()
			secrets := []string{planted, strings.ToUpper(planted), s.Key, s.Admin, s.Key[len(s.Key)-43:], s.Admin[len(s.Admin)-43:]}
			for line := range strings.Lines(log) {
				for _, secret := range secrets {
					if strings.Contains(strings.ToLower(line), strings.ToLower(secret)) {
						t.Errorf("%q is in the log: %s", secret, line)
					}
				}
			}
			lines := 0
			for line := range strings.Lines(log) {
				if strings.Contains(line, `"msg":"request"`) || strings.Contains(line, " msg=request ") {
					lines++
				}
			}
			if lines != requests || lines != len(s.Spy.All("RequestEnded")) {
				t.Errorf("%d lines for %d requests", lines, requests)
			}
		})
	}
}

// faulty is a KeyVerifier with a bug.
type faulty struct{ handler.KeyVerifier }

func (faulty) Verify(text string, _ time.Time) (signer.Key, error) { panic("a bug") }

// TestPanicIsReported: a request whose handler panics is counted like any other, and
// logged with the panic, which the client does not get.
func TestPanicIsReported(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.Keys = faulty{} }})
	w := s.Dial(t)
	w.Send("GET", "/api/tags", "", handlertest.Bearer(s.Key))
	if _, err := w.R.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the client got %q, %v", w.Received, err)
	}
	if code := s.Spy.Ended(t, 1); code != 500 {
		t.Errorf("recorded as %d", code)
	}
	s.Stop()
	serveReturned(s, t)
	log, _ := s.Log.Text()
	if !strings.Contains(log, "a bug") || !strings.Contains(log, `"level":"ERROR"`) || strings.Contains(log, s.Key) {
		t.Errorf("the log: %s", log)
	}
	s.ExpectNoRequest(t)
}

// TestWithoutALog: requests are served and recorded if the log discards everything.
func TestWithoutALog(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Log: func(w io.Writer) slog.Handler {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelError})
	}})
	for i, c := range handlertest.Chats {
		if got := s.Ask(t, "POST", c.Path, c.Ask("tiny", true)); got.Status != 200 || got.Err != nil {
			t.Error(got)
		}
		s.Spy.Ended(t, i+1)
	}
	if log, _ := s.Log.Text(); log != "" {
		t.Errorf("the log: %s", log)
	}
}

// TestManyAtOnce: for the race detector, and for events that are counted twice or not at
// all under concurrency.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	const clients = 12
	done := make(chan string, clients)
	total := make(chan int, clients*len(handlertest.Chats))
	for i := range clients {
		go func() {
			defer func() { done <- fmt.Sprint(i) }()
			for _, c := range handlertest.Chats {
				r, err := http.NewRequest("POST", "http://"+s.Public+c.Path, strings.NewReader(c.Ask([]string{"tiny", "dies-between", "nope", "big"}[i%4], i%8 < 4)))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("x-api-key", s.Key)
				res, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != 200 && i%4 != 2 {
					t.Errorf("%s: %s", c.Path, res.Status)
				}
				total <- int(n)
			}
		}()
	}
	for range clients {
		handlertest.Await(t, done, "a client")
	}
	s.Spy.Ended(t, clients*len(handlertest.Chats))
	close(total)
	got, passed := 0, s.Spy.Sum("Passed")
	for n := range total {
		got += n
	}
	// What the clients got more are the error events of streams that died.
	broken := slices.Sorted(slices.Values(s.Spy.Texts("UpstreamFailed")))
	if got < passed || got > passed+200*len(broken) {
		t.Errorf("%d bytes were recorded, the clients got %d; %d answers broke off", passed, got, len(broken))
	}
	if started, arrived := len(s.Spy.All("RequestStarted")), len(s.Ollama.Seen()); started != clients*len(handlertest.Chats) || arrived != started {
		t.Errorf("%d recorded, %d arrived", started, arrived)
	}
}

// TestLogNamesExpiredAndRevokedKeys: the operator wants to know whose key is still used.
// A forged key is not named: nothing in it can be believed.
func TestLogNamesExpiredAndRevokedKeys(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	expired := s.Mint(false, "label=alice", "exp=1")
	forged := s.Key[:len(s.Key)-43] + strings.Repeat("A", 43)
	for n, row := range []struct {
		key       string
		id, label any
	}{{expired, expired[len("OLLAMA-"):][:36], "alice"}, {forged, nil, nil}} {
		w := s.Dial(t)
		w.Send("GET", "/api/tags", "", handlertest.Bearer(row.key))
		w.Answer("GET")
		if line := s.AccessLog(t, n+1)[n]; line["key"] != row.id || line["label"] != row.label {
			t.Errorf("logged: %v", line)
		}
	}
}

// TestKeySeen: it is called for requests with a valid key only.
func TestKeySeen(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	labelled := s.Mint(false, "label=alice")
	for _, r := range []struct{ path, key string }{
		{"/api/version", labelled[:len(labelled)-1]},
		{"/api/version", labelled},
		{"/api/nothing", s.Key},
	} {
		w := s.Dial(t)
		w.Send("GET", r.path, "", handlertest.Bearer(r.key))
		w.Answer("GET")
	}
	want := []string{idOf(labelled) + " alice", idOf(s.Key) + " "}
	if got := s.Spy.Texts("KeySeen"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// idOf is the UUID of an ordinary key.
func idOf(key string) string { return strings.TrimPrefix(key, "OLLAMA-")[:36] }
