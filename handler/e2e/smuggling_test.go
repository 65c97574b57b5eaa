package e2e_test

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// attack is what a hostile client writes on one connection.
type attack struct {
	name string
	raw  string // K and I in it stand for the lines that carry the keys

	// With an ordinary key for K and an admin one for I: the statuses of all
	// answers, 1xx too, and what Ollama sees. The client has no more to say at "|",
	// or after the last answer.
	answers, arrives string
}

var (
	K = keyLine("K") // in the request itself
	I = keyLine("I") // in what may be another one inside of it, or after it

	get    = "GET /api/version HTTP/1.1\r\nHost: x\r\n" + K + "\r\n\r\n"
	show   = post("Content-Length: 16\r\n", tiny)
	hidden = "POST /api/pull HTTP/1.1\r\nHost: x\r\n" + I + "\r\nContent-Length: 31\r\n\r\n" + `{"model":"tiny","stream":false}`
	chunks = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(tiny), tiny)
	large  = handlertest.BodyOfSize(smallBody + 1<<10)
)

const (
	tiny = `{"model":"tiny"}`

	// smallBody is what the proxy reads of a body before Ollama hears of it.
	smallBody = 1 << 20
)

// usual are short names for what most attacks ask for.
var usual = map[string]string{
	"GET /api/version":                               "version",
	`POST /api/show {"model":"tiny"}`:                "show",
	`POST /api/pull {"model":"tiny","stream":false}`: "pull",
}

// keyLine makes room for the longest line that carries a key, so that lengths in
// an attack are right whichever key it is tried with.
func keyLine(fill string) string {
	return strings.Repeat(fill, len("Authorization: Bearer OLLAMA-ADMIN-.")+36+43)
}

func post(headers, body string) string {
	return "POST /api/show HTTP/1.1\r\nHost: x\r\n" + K + "\r\n" + headers + "\r\n" + body
}

// line, host and header are requests in which only that is not as it should be,
// with another one after them.
func line(first string) string {
	return first + "\r\nHost: x\r\n" + K + "\r\n\r\n" + hidden
}

func host(lines string) string {
	return "GET /api/version HTTP/1.1\r\n" + lines + K + "\r\n\r\n" + hidden
}

func header(lines string) string { return host("Host: x\r\n" + lines) }

func chunked(body string) string { return post("Transfer-Encoding: chunked\r\n", body) }

// with puts a key line in for a mark, as long as the mark is. What follows a
// value is white space that does not belong to it.
func with(raw, mark, line string) string {
	return strings.ReplaceAll(raw, mark, line+strings.Repeat(" ", len(mark)-len(line)))
}

var brokenOffAt = regexp.MustCompile(`\d+ bytes…$`)

// TestNoRequestIsSmuggled sends each attack with and without keys, and checks the bytes
// that Ollama gets. Without a valid key, Ollama gets nothing. No more requests are read
// than RFC 9112 says there are, each arrives well formed, and the connection ends when
// the client sends no more.
func TestNoRequestIsSmuggled(t *testing.T) {
	t.Parallel()
	for name, attacks := range map[string][]attack{
		"lengths": lengths, "codings": codings, "chunks": chunkings,
		"request lines": requestLines, "hosts": hosts, "headers": headers,
		"upgrades": upgrades, "pipelines": pipelines,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, tap := startTapped(t, handlertest.Config{})
			for _, a := range attacks {
				for _, keys := range makeKeysToTry(s, t) {
					raw := with(with(a.raw, K, keys.outer), I, keys.inner)
					before, after, _ := strings.Cut(a.answers, "|")
					t.Run(a.name+", "+keys.name, func(t *testing.T) {
						got := launch(s, t, tap, raw, len(strings.Fields(before)))
						got.check(t, raw, s.Key, s.Admin)
						if !keys.exact {
							return
						}
						// net/http waits half a second for a client that still writes to read
						// why its head is too long, and then resets the connection.
						late := len(got.answers) == 0 && a.answers == "431"
						if want := strings.Fields(before + after); !slices.Equal(got.answers, want) && !late {
							t.Errorf("answered %q, not %q", got.answers, want)
						}
						var arrives []string
						for _, request := range got.arrived {
							if strings.Contains(a.arrives, " some bytes…") {
								// How much has left when it breaks off is a matter of time.
								arrives = append(arrives, brokenOffAt.ReplaceAllString(request.String(), "some bytes…"))
								continue
							}
							arrives = append(arrives, cmp.Or(usual[request.String()], request.String()))
						}
						if strings.Join(arrives, ", ") != a.arrives {
							t.Errorf("sent on %q, not %q", arrives, a.arrives)
						}
					})
				}
			}
		})
	}
}

type keysToTry struct {
	name, outer, inner string
	exact              bool // these are the keys of an attack's answers and arrives
}

func makeKeysToTry(s *handlertest.Site, t *testing.T) []keysToTry {
	t.Helper()
	stranger, _ := signer.NewSecret()
	key, err := signer.Mint(stranger, true)
	if err != nil {
		t.Fatal(err)
	}
	none, forged, ordinary, admin := "X-No: key", handlertest.Bearer(key), handlertest.Bearer(s.Key), handlertest.Bearer(s.Admin)
	return []keysToTry{
		{"no key", none, none, false},
		{"forged keys", forged, forged, false},
		{"a key inside alone", none, admin, false},
		{"a key outside alone", ordinary, none, false},
		{"ordinary keys", ordinary, ordinary, false},
		{"an admin key inside", ordinary, admin, true},
	}
}

// launched is what became of an attack.
type launched struct {
	answers []string // statuses
	handled int      // requests that the proxy has read
	arrived []sent   // what it has sent on
}

// launch writes an attack, waits for as many answers, says that no more will
// come, and waits for the connection's end. It fails the test if the connection
// does not end, or if Ollama reads something else than the proxy has written.
func launch(s *handlertest.Site, t *testing.T, tap *tap, raw string, wait int) (l launched) {
	t.Helper()
	seen, handled := len(s.Ollama.Seen()), len(s.Spy.All("RequestStarted"))
	w := s.Dial(t)
	defer w.Close()
	io.WriteString(w, raw) // the server need not read more than its buffer holds
	for {
		if len(l.answers) == wait {
			w.CloseWrite()
		}
		status, err := readAnswer(w.R, raw)
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) && len(raw) > 4<<10 {
			break
		}
		if err != nil {
			t.Fatalf("after %q: %v", l.answers, err)
		}
		l.answers = append(l.answers, fmt.Sprint(status))
	}
	s.Spy.Idle(t)
	l.handled = len(s.Spy.All("RequestStarted")) - handled
	l.arrived = tap.take(t, s.Upstream)
	for i, request := range l.arrived {
		got := s.AwaitRequest(t, seen+i+1)
		if got.Method != request.method || got.URI != request.target || request.whole && got.BodySum != sha256.Sum256([]byte(request.body)) {
			t.Errorf("Ollama reads %s as %s %s with %d bytes", request, got.Method, got.URI, got.BodyLen)
		}
	}
	if n := len(s.Ollama.Seen()) - seen; n != len(l.arrived) {
		t.Errorf("the proxy sent on %v, and Ollama reads %d requests", l.arrived, n)
	}
	return l
}

// check sees that no more has become of raw than may become of it.
func (l launched) check(t *testing.T, raw, key, admin string) {
	t.Helper()
	all, keyed := lawful(raw, key, admin)
	if l.handled > all || len(l.arrived) > keyed {
		t.Errorf("there are %d requests, %d of them with a key; the proxy read %d, and sent on %v", all, keyed, l.handled, l.arrived)
	}
	hasKey, hasAdmin := strings.Contains(raw, key), strings.Contains(raw, admin)
	for _, status := range l.answers {
		if !hasKey && !hasAdmin && status < "400" {
			t.Errorf("answered %q without a key", l.answers)
		}
	}
	for _, request := range l.arrived {
		if !isLetIn(request.method, request.target, hasAdmin) {
			t.Errorf("%s went through", request)
		}
	}
}

// isLetIn is the policy: see there.
func isLetIn(method, target string, admin bool) bool {
	path, _, _ := strings.Cut(target, "?")
	for _, prefix := range []string{"/v1/models/", "/api/blobs/"} {
		if segment, ok := strings.CutPrefix(path, prefix); ok && segment != "" && !strings.Contains(segment, "/") {
			path = map[string]string{"/v1/models/": "/v1/models/tiny", "/api/blobs/": "/api/blobs/sha256:0000"}[prefix]
		}
	}
	for _, p := range policy {
		if p.path == path && slices.Contains(strings.Split(p.methods, ", "), method) {
			return admin || !p.admin
		}
	}
	return false
}

// readAnswer reads one answer to its end, and returns its status.
func readAnswer(r *bufio.Reader, raw string) (status int, err error) {
	if _, err := r.Peek(1); err != nil {
		return 0, err
	}
	method := "GET"
	if strings.HasPrefix(raw, "HEAD ") {
		method = "HEAD"
	}
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return 0, fmt.Errorf("no answer: %w", err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return 0, fmt.Errorf("status %d, and then: %w", res.StatusCode, err)
	}
	return res.StatusCode, nil
}
