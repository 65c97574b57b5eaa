package handler_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// patience is how long a test waits for what must happen. Only a failing test
// ever waits that long.
const patience = 30 * time.Second

// chat is a route that answers in a stream or in one piece.
type chat struct {
	path string
	body string // of a request, with a model and whether to stream
	end  string // what only a whole stream has in it
}

var chats = []chat{
	{"/api/chat", `{"model":%q,"stream":%t,"messages":[{"role":"user","content":"hi"}]}`, `"done":true`},
	{"/api/generate", `{"model":%q,"stream":%t,"prompt":"hi"}`, `"done":true`},
	{"/v1/chat/completions", `{"model":%q,"stream":%t,"messages":[{"role":"user","content":"hi"}]}`, "data: [DONE]"},
	{"/v1/completions", `{"model":%q,"stream":%t,"prompt":"hi"}`, "data: [DONE]"},
	{"/v1/responses", `{"model":%q,"stream":%t,"input":"hi"}`, "response.completed"},
	{"/v1/messages", `{"model":%q,"stream":%t,"max_tokens":500,"messages":[{"role":"user","content":"hi"}]}`, "message_stop"},
}

func (c chat) ask(model string, stream bool) string { return fmt.Sprintf(c.body, model, stream) }

// text is the beginning of a body, of any length.
func text(size int) string {
	const first = `{"prompt":"`
	return (first + strings.Repeat("a", size))[:size]
}

// eachChat runs a test for every chat route, streamed and whole.
func eachChat(t *testing.T, f func(t *testing.T, c chat, stream bool)) {
	for _, c := range chats {
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s stream=%t", c.path, stream), func(t *testing.T) {
				t.Parallel()
				f(t, c, stream)
			})
		}
	}
}

// config says what a test wants different from the ordinary.
type config struct {
	ollama   standin.Options
	upstream http.Handler // in place of the stand-in
	address  string       // of an Ollama, in place of both
	proxy    func(*handler.Options)
	server   func(*handler.Server)
	delay    time.Duration // of the drain
	grace    time.Duration
	cors     func(http.Handler) http.Handler

	connections  int   // at once
	bodies       int64 // bytes that they may take in memory
	certificates handler.Certificates
	log          func(io.Writer) slog.Handler
}

// site is a proxy that serves on real listeners, with an Ollama behind it.
type site struct {
	t               *testing.T
	ollama          *standin.Ollama
	upstream        string // host:port
	public, private string // host:port
	proxy           *handler.Proxy
	spy             *spy
	log             *syncBuffer
	secret          signer.Secret
	key, admin      string
	stop            context.CancelFunc // begins the drain
	served          <-chan error       // what Serve returned
	listeners       [2]net.Listener    // public, private
}

// start runs a site until the test ends, and then sees that it leaves nothing
// behind and that its recorder was told a consistent story.
func start(t *testing.T, c config) *site {
	t.Helper()
	s := &site{t: t, ollama: standin.New(c.ollama), spy: newSpy(), log: &syncBuffer{}, upstream: c.address}
	if s.upstream == "" {
		behind := c.upstream
		if behind == nil {
			behind = s.ollama
		}
		server := httptest.NewServer(unwatched(behind))
		t.Cleanup(server.Close)
		s.upstream = server.Listener.Addr().String()
	}

	s.secret, _ = signer.NewSecret()
	s.key, s.admin = s.mint(false), s.mint(true)
	transport := handler.NewTransport(&url.URL{Scheme: "http", Host: s.upstream})
	if idle, ok := transport.(interface{ CloseIdleConnections() }); ok {
		t.Cleanup(idle.CloseIdleConnections)
	}
	if c.log == nil {
		c.log = func(w io.Writer) slog.Handler {
			return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})
		}
	}
	o := handler.Options{
		Upstream:  &url.URL{Scheme: "http", Host: s.upstream},
		Keys:      signer.NewVerifier(s.secret),
		Recorder:  s.spy,
		Log:       slog.New(c.log(s.log)),
		Transport: transport,

		MaxBodyMemory: c.bodies,
	}
	if c.proxy != nil {
		c.proxy(&o)
	}

	public, private := listen(t), listen(t)
	s.listeners = [2]net.Listener{public, private}
	s.public, s.private = public.Addr().String(), private.Addr().String()
	s.proxy = handler.New(o)
	server := &handler.Server{
		Proxy:   s.proxy,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the metrics\n") }),
		Grace:   c.grace,

		DrainDelay: c.delay,
		CORS:       c.cors,

		Certificates:   c.certificates,
		MaxConnections: c.connections,
	}
	s.proxy = server.Proxy
	if c.server != nil {
		c.server(server)
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	served, over := make(chan error, 1), make(chan struct{})
	s.served = served
	go func() {
		served <- server.Serve(ctx, public, private)
		close(over)
	}()
	t.Cleanup(func() {
		s.stop()
		await(t, over, "Serve to return")
		s.spy.audit(t)
	})
	return s
}

// unwatched answers WatchUpstreams itself, so that a test sees nothing but its
// own requests. Only the proxy's own ones carry this User-Agent.
func unwatched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isWatch(r) {
			if r.URL.Path == "/api/ps" {
				io.WriteString(w, `{"models":[]}`)
				return
			}
			io.WriteString(w, `{"models":[{"name":"llama3.2:latest"},{"name":"nomic-embed-text"},{"name":"Mine","remote_model":"gpt-oss:120b","remote_host":"https://ollama.com:443"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isWatch(r *http.Request) bool {
	return (r.URL.Path == "/api/tags" || r.URL.Path == "/api/ps") && r.UserAgent() == "ollama-proxy"
}

// nobody listens there, nor will any other test.
const nobody = "127.0.0.1:1"

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// scripted is an Ollama whose every byte is the test's. For each request it
// calls script with the connection, and closes it afterwards.
func scripted(t *testing.T, script func(c *net.TCPConn, r *http.Request)) string {
	t.Helper()
	l := listen(t)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				if isWatch(r) {
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
					return
				}
				io.Copy(io.Discard, r.Body)
				script(c.(*net.TCPConn), r)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func (s *site) mint(admin bool, caveats ...string) string {
	s.t.Helper()
	var all []signer.Caveat
	for _, c := range caveats {
		name, value, _ := strings.Cut(c, "=")
		caveat, err := signer.NewCaveat(name, value)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, caveat)
	}
	key, err := signer.Mint(s.secret, admin, all...)
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

// arrival waits for the n-th request that reaches the stand-in.
func (s *site) arrival(t *testing.T, n int) *standin.Seen {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	seen, err := s.ollama.Await(ctx, n)
	if err != nil {
		t.Fatalf("request %d did not reach Ollama: %v", n, err)
	}
	return seen
}

// nothingArrived fails the test if any request has reached the stand-in.
func (s *site) nothingArrived(t *testing.T) {
	t.Helper()
	for _, seen := range s.ollama.Seen() {
		t.Errorf("%s %s reached Ollama", seen.Method, seen.URI)
	}
}

// await waits for something to be closed, or sent.
func await[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Errorf("waited in vain for %s", what)
	}
	return v
}

// wire is a client's connection with nothing in between that would hide
// anything.
type wire struct {
	*net.TCPConn
	t   *testing.T
	r   *bufio.Reader
	raw *bytes.Buffer // all that came
}

func (s *site) dial(t *testing.T) *wire { t.Helper(); return dial(t, s.public) }

func dial(t *testing.T, address string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	raw := &bytes.Buffer{}
	return &wire{c.(*net.TCPConn), t, bufio.NewReader(io.TeeReader(c, raw)), raw}
}

func (w *wire) write(format string, a ...any) {
	w.t.Helper()
	if _, err := fmt.Fprintf(w, format, a...); err != nil {
		w.t.Fatal(err)
	}
}

// head is the start of a request: its line, a Host, the lines of headers, and
// no empty line at the end.
func head(method, target string, headers ...string) string {
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: proxy.example"}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n"
}

// send sends a request with a body of known length.
func (w *wire) send(method, target, body string, headers ...string) {
	w.t.Helper()
	if method == "POST" || body != "" {
		headers = append(headers, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	if _, err := io.WriteString(w, head(method, target, headers...)+"\r\n"+body); err != nil {
		w.t.Fatal(err)
	}
}

// answer is what came back to a request.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // why the body ended, if not by its proper end
}

// begun reads the head of an answer, and any 1xx before it; the body is left
// to read.
func (w *wire) begun(method string) *http.Response {
	w.t.Helper()
	for {
		r, err := http.ReadResponse(w.r, &http.Request{Method: method})
		if err != nil {
			w.t.Fatalf("instead of an answer: %q, %v", w.raw, err)
		}
		if r.StatusCode >= 200 {
			return r
		}
	}
}

// answer reads an answer to its end, whatever that is.
func (w *wire) answer(method string) answer {
	w.t.Helper()
	r := w.begun(method)
	body, err := io.ReadAll(r.Body)
	return answer{r.StatusCode, r.Header, string(body), err}
}

// end reads what is left, and returns how the connection ended: nil is an
// orderly close.
func (w *wire) end() error {
	_, err := io.Copy(io.Discard, w.r)
	return err
}

// closed fails the test unless the server has closed the connection, one way
// or another, without sending more.
func (w *wire) closed() {
	w.t.Helper()
	n, err := io.Copy(io.Discard, w.r)
	var late net.Error
	if n != 0 || errors.As(err, &late) && late.Timeout() {
		w.t.Errorf("the connection was not closed: %d bytes more, %v", n, err)
	}
}

func bearer(key string) string { return "Authorization: Bearer " + key }

// ask sends a request with the site's key on a connection of its own, and
// reads the answer.
func (s *site) ask(t *testing.T, method, target, body string, headers ...string) answer {
	t.Helper()
	w := s.dial(t)
	defer w.Close()
	w.send(method, target, body, append([]string{bearer(s.key)}, headers...)...)
	return w.answer(method)
}

// shape is an error answer in any of the dialects.
type shape struct {
	Type      string          `json:"type"`
	Error     json.RawMessage `json:"error"`
	RequestID string          `json:"request_id"`
}

type detail struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// errorIn reads an error in the dialect that clients of the path expect, and
// fails the test if it is in another. It returns the message and the type.
func errorIn(t *testing.T, path, body string) (message, kind string) {
	t.Helper()
	var s shape
	if err := strict(body, &s); err != nil {
		t.Errorf("%s: the error %q: %v", path, body, err)
		return "", ""
	}
	var d detail
	switch {
	case strings.HasPrefix(path, "/v1/messages"):
		if err := strict(string(s.Error), &d); err != nil || s.Type != "error" || s.RequestID == "" || d.Type == "" {
			t.Errorf("%s: %q is not an error of Anthropic's: %v", path, body, err)
		}
	case strings.HasPrefix(path, "/v1/"):
		err := strict(string(s.Error), &d)
		if err != nil || s.Type != "" || d.Type == "" || !strings.Contains(body, `"param":`) || !strings.Contains(body, `"code":`) {
			t.Errorf("%s: %q is not an error of OpenAI's: %v", path, body, err)
		}
	default:
		if err := strict(string(s.Error), &d.Message); err != nil || s.Type != "" {
			t.Errorf("%s: %q is not an error of Ollama's: %v", path, body, err)
		}
	}
	if d.Message == "" {
		t.Errorf("%s: the error %q has no message", path, body)
	}
	return d.Message, d.Type
}

// strict decodes JSON that is to hold one value, and no field that v has not.
func strict(text string, v any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one value")
	}
	return nil
}

// syncBuffer collects a log.
type syncBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{} // closed at the next write; nil if nobody waits
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
	return b.b.Write(p)
}

// look returns what is there, and a channel that is closed when there is more.
func (b *syncBuffer) look() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown == nil {
		b.grown = make(chan struct{})
	}
	return b.b.String(), b.grown
}

// event is one call of a recorder's method; fields that it has not are zero.
type event struct {
	route string
	key   int
	text  string // reason, outcome, kind or method
	n     int    // bytes or code
	took  time.Duration
}

// spy is a Recorder that remembers everything.
type spy struct {
	mu     sync.Mutex
	events map[string][]event // by method
	grown  chan struct{}      // closed at the next event; nil if nobody waits
	names  []string
}

func newSpy() *spy { return &spy{events: map[string][]event{}, names: handler.RouteNames()} }

func (s *spy) note(what string, e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events[what] = append(s.events[what], e)
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
}

func (s *spy) name(route int) string {
	if route < 0 || route >= len(s.names) {
		return fmt.Sprintf("route %d of %d", route, len(s.names))
	}
	return s.names[route]
}

func (s *spy) RequestStarted(route int) { s.note("RequestStarted", event{route: s.name(route)}) }
func (s *spy) Refused(reason string)    { s.note("Refused", event{text: reason}) }
func (s *spy) Forwarded(d time.Duration) {
	s.note("Forwarded", event{took: d})
}
func (s *spy) Uploaded(route int, n int) {
	s.note("Uploaded", event{route: s.name(route), n: n})
}
func (s *spy) FirstByte(route int, d time.Duration) {
	s.note("FirstByte", event{route: s.name(route), took: d})
}
func (s *spy) StreamStarted(route int) { s.note("StreamStarted", event{route: s.name(route)}) }
func (s *spy) Passed(route, key, n int, gap time.Duration) {
	s.note("Passed", event{route: s.name(route), key: key, n: n, took: gap})
}
func (s *spy) KeySeen(id [16]byte, label []byte) int {
	s.note("KeySeen", event{text: uuid.UUID(id).String() + " " + string(label)})
	return len(s.all("KeySeen"))
}
func (s *spy) StreamEnded(route int, outcome string) {
	s.note("StreamEnded", event{route: s.name(route), text: outcome})
}
func (s *spy) UpstreamJoined(name string) int {
	s.note("UpstreamJoined", event{text: name})
	return len(s.all("UpstreamJoined"))
}
func (s *spy) UpstreamLeft(upstream int) { s.note("UpstreamLeft", event{n: upstream}) }
func (s *spy) UpstreamFailed(upstream int, kind string) {
	s.note("UpstreamFailed", event{n: upstream, text: kind})
}
func (s *spy) UpstreamUp(upstream int, up bool) {
	s.note("UpstreamUp", event{n: upstream, text: fmt.Sprint(up)})
}
func (s *spy) UpstreamEntered(upstream int, choice string) {
	s.note("UpstreamEntered", event{n: upstream, text: choice})
}
func (s *spy) UpstreamDone(upstream int) { s.note("UpstreamDone", event{n: upstream}) }
func (s *spy) UpstreamRetried(upstream int, reason string) {
	s.note("UpstreamRetried", event{n: upstream, text: reason})
}
func (s *spy) Answered(key int, model string, bytes, prompt, completion int64) {
	s.note("Answered", event{key: key, text: model, n: int(bytes)})
	if prompt != 0 || completion != 0 {
		s.note("Tokens", event{key: key, text: fmt.Sprint(model, " ", prompt, " ", completion)})
	}
}
func (s *spy) Reloaded(source string, ok bool, _ time.Time) {
	s.note("Reloaded", event{text: fmt.Sprint(source, " ", ok)})
}
func (s *spy) RequestEnded(route int, method string, code int, d time.Duration) {
	s.note("RequestEnded", event{route: s.name(route), text: method, n: code, took: d})
}

// all returns the events of one method so far.
func (s *spy) all(what string) []event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events[what])
}

// sum adds up the bytes of one method's events.
func (s *spy) sum(what string) (n int) {
	for _, e := range s.all(what) {
		n += e.n
	}
	return n
}

// texts are the words of one method's events.
func (s *spy) texts(what string) (all []string) {
	for _, e := range s.all(what) {
		all = append(all, e.text)
	}
	return all
}

// await waits until there are n events of a method and returns the n-th.
func (s *spy) await(t *testing.T, what string, n int) event {
	t.Helper()
	late := time.After(patience)
	for {
		s.mu.Lock()
		all := s.events[what]
		if s.grown == nil {
			s.grown = make(chan struct{})
		}
		grown := s.grown
		s.mu.Unlock()
		if len(all) >= n {
			return all[n-1]
		}
		select {
		case <-grown:
		case <-late:
			t.Fatalf("waited in vain for %s number %d; there were %+v", what, n, all)
		}
	}
}

// ended waits until the n-th request is over and returns its code.
func (s *spy) ended(t *testing.T, n int) int { t.Helper(); return s.await(t, "RequestEnded", n).n }

// idle waits until as many requests have ended as have arrived.
func (s *spy) idle(t *testing.T) {
	t.Helper()
	if n := len(s.all("RequestStarted")); n > 0 {
		s.await(t, "RequestEnded", n)
	}
}

// unbalanced says what has begun and not ended.
func (s *spy) unbalanced() (all []string) {
	for _, pair := range [][2]string{{"RequestStarted", "RequestEnded"}, {"StreamStarted", "StreamEnded"}, {"UpstreamEntered", "UpstreamDone"}} {
		open := map[string]int{}
		for _, e := range s.all(pair[0]) {
			open[e.route]++
		}
		for _, e := range s.all(pair[1]) {
			open[e.route]--
		}
		for route, n := range open {
			if n != 0 {
				all = append(all, fmt.Sprintf("%s: %d more calls of %s than of %s", route, n, pair[0], pair[1]))
			}
		}
	}
	return all
}

// audit checks what holds of every site, whatever was done to it: what began
// has ended, once, and every word is one of those that are listed. A request of
// a connection that is gone may still begin when all others are over.
func (s *spy) audit(t *testing.T) {
	t.Helper()
	s.idle(t)
	for until := time.Now().Add(patience); len(s.unbalanced()) > 0; runtime.Gosched() {
		if time.Now().After(until) {
			t.Error(s.unbalanced())
			break
		}
	}
	words := map[string][]string{
		"Refused":         handler.RefusalReasons(),
		"StreamEnded":     handler.StreamOutcomes(),
		"UpstreamFailed":  handler.UpstreamErrors(),
		"UpstreamEntered": handler.UpstreamChoices(),
		"UpstreamRetried": handler.UpstreamRetries(),
		"RequestEnded":    {"GET", "HEAD", "POST", "DELETE", "other"},
	}
	for what, known := range words {
		for _, text := range s.texts(what) {
			if !slices.Contains(known, text) {
				t.Errorf("%s(%q): the word is not one of %q", what, text, known)
			}
		}
	}
	for _, e := range s.all("RequestStarted") {
		if !slices.Contains(s.names, e.route) {
			t.Errorf("RequestStarted(%s)", e.route)
		}
	}
}

// lines waits until the access log has n lines, and returns all it has.
func (s *site) lines(t *testing.T, n int) []map[string]any {
	t.Helper()
	late := time.After(patience)
	for {
		var all []map[string]any
		text, grown := s.log.look()
		for line := range strings.Lines(text) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("log line %q: %v", line, err)
			}
			if m["msg"] == "request" {
				all = append(all, m)
			}
		}
		if len(all) >= n {
			return all
		}
		select {
		case <-grown:
		case <-late:
			t.Fatalf("waited in vain for line %d of the access log", n)
		}
	}
}

func (a answer) String() string {
	return fmt.Sprintf("status %d, %d bytes, %v", a.status, len(a.body), cmp.Or(a.err, errors.New("whole")))
}

// Short names for what the tests write often.
type (
	options = handler.Options
	tcpConn = net.TCPConn
)

func listenAt(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
