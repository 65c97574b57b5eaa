package e2e_test

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// knock sends requests one after the other, on as few connections as they allow,
// and returns the statuses of the answers.
func knock(s *handlertest.Site, t *testing.T, method string, requests []string) (statuses []int) {
	t.Helper()
	var w *handlertest.Wire
	for _, request := range requests {
		if w == nil {
			w = s.Dial(t)
		}
		w.SetDeadline(time.Now().Add(handlertest.Timeout))
		w.Writef("%s", request)
		res := w.ReadHead(method)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Errorf("%.200q: %v", request, err)
		}
		statuses = append(statuses, res.StatusCode)
		if res.Close {
			w.Close()
			w = nil
		}
	}
	return statuses
}

// otherMethods are those that no route has, besides the ones in methods.
var otherMethods = []string{
	"PATCH", "CONNECT", "PROPFIND", "PROPPATCH", "MKCOL", "MOVE", "COPY", "LOCK", "UNLOCK", "REPORT", "SEARCH", "QUERY", "PURGE", "LINK", "M-SEARCH",
	"post", "Post", "pOST", "POSTS", "POS", "XPOST", "DELETE_", "-", "*", "POST.", "G3T", "!",
}

// TestOtherMethodsAreRefused: a method that a route does not have is refused with every
// key.
func TestOtherMethodsAreRefused(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	paths := []string{"/nowhere", "/api/me"}
	for _, p := range policy {
		paths = append(paths, p.path)
	}
	for _, key := range []string{"X-No: key", handlertest.Bearer("OLLAMA-" + s.Admin[13:]), handlertest.Bearer(s.Key), handlertest.Bearer(s.Admin)} {
		var requests []string
		var want []int
		for i, path := range paths {
			for _, method := range otherMethods {
				requests = append(requests, handlertest.Head(method, path, key)+"\r\n")
				switch {
				case key != handlertest.Bearer(s.Key) && key != handlertest.Bearer(s.Admin):
					want = append(want, 401)
				case i < 2:
					want = append(want, 404)
				default:
					want = append(want, 405)
				}
			}
		}
		for i, got := range knock(s, t, "POST", requests) {
			if got != want[i] {
				t.Errorf("%.40q: %d, not %d", requests[i], got, want[i])
			}
		}
	}
	s.ExpectNoRequest(t)
}

// TestMethodsAndPathsInHeaders: some servers let headers override the method and the
// path. The proxy checks, and sends, those of the request line.
func TestMethodsAndPathsInHeaders(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for i, h := range []string{
		"X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE", "X-Original-Method: DELETE",
		"X-Original-URL: /api/delete", "X-Rewrite-URL: /api/delete", "X-Override-URL: /api/delete", "X-Original-URI: /api/delete", "X-Accel-Redirect: /api/delete",
		"X-Forwarded-Uri: /api/delete", "X-Forwarded-Prefix: /api/delete?", "Destination: /api/delete", "Content-Location: /api/delete", "Referer: /api/delete",
	} {
		got := s.Ask(t, "GET", "/api/tags?_method=DELETE&path=/api/delete", "", h)
		if seen := s.AwaitRequest(t, i+1); got.Status != 200 || seen.Method != "GET" || seen.URI != "/api/tags?_method=DELETE&path=/api/delete" {
			t.Errorf("%s: %s, arrived as %s %s", h, got, seen.Method, seen.URI)
		}
	}
}

// almost are paths that somebody might take for the given one.
func almost(path string) (all []string) {
	add := func(paths ...string) { all = append(all, paths...) }
	for i, c := range []byte(path) {
		before, after := path[:i], path[i+1:]
		add(fmt.Sprintf("%s%%%02x%s", before, c, after), fmt.Sprintf("%s%%%02X%s", before, c, after), fmt.Sprintf("%s%%25%02x%s", before, c, after))
		if c != '/' {
			add(before+strings.ToUpper(string(c))+after, before+string(rune(c)-'!'+'！')+after, before+string(c)+"\u0301"+after, before+string(c)+"\u200b"+after)
			continue
		}
		for _, slash := range []string{
			"//", "/./", "/../", "/x/../", "/.;/", "/;x/", "/%2e/", "/%2e%2e/", "/..%2f", "/%2f", "%2f/", "\\", "%5c", "/\\", "/%09", "/%0a", "/%00/", "/ /", "/+/",
			"\u2215", "\u2044", "\uff0f", "%c0%af", "%e0%80%af", "%f0%80%80%af", "%c1%9c", "%u002f", "\xc0\xaf", "\xaf",
		} {
			add(before + slash + after)
		}
	}
	for _, end := range []string{
		"/", "//", "/.", "/..", "/../", ".", "..", "...", ";", ";x=y", ";/", "%3b", "%20", "+", "%00", "%0a", "%0d%0a", "%09", "%3f", "%23", "#", "#?", "~", "*", "%", "%2", "%zz", "%ff",
		"\\", "|", ":80", "@x", ",", "'", "\"", ".json", "/index", "\u00a0", "\u3000", "\u200b", "\ufeff", "\x7f", "\xff",
	} {
		add(path + end)
	}
	add("/api/version/.."+path, "/api/version/%2e%2e"+path, "/v1"+path, "/."+path, "/.."+path, "/%2e%2e"+path, "."+path, ".."+path, "~"+path, "@"+path, ":"+path, "?"+path, "#"+path, "/?"+path[1:], "*"+path,
		strings.ToUpper(path), strings.TrimPrefix(path, "/"), "http:/"+path, "http://"+path, "http://x?"+path, "http://x#"+path, "http://x/."+path, "http://x/"+path, "http://x%2f"+path, "//x"+path)
	// These are the path itself, after a scheme, or as a query.
	same := []string{path, "http://" + path, "http:/" + path}
	return slices.DeleteFunc(all, func(p string) bool { return slices.Contains(same, p) || strings.HasPrefix(p, "/?") })
}

// TestAlmostAPath: a path that differs from those of the table in any byte does not
// reach Ollama, even with an ADMIN key, whatever another server would make of it. Where
// there are only slashes too many, a valid key gets a redirect to the path of the table.
func TestAlmostAPath(t *testing.T) {
	t.Parallel()
	for _, p := range []struct{ method, path string }{
		{"POST", "/api/pull"}, {"DELETE", "/api/delete"}, {"GET", "/api/tags"}, {"POST", "/v1/chat/completions"},
	} {
		t.Run(p.path, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{})
			for key, want := range map[string][]int{"X-No: key": {400, 401}, handlertest.Bearer(s.Admin): {400, 404, 405}} {
				var requests []string
				for _, path := range almost(p.path) {
					requests = append(requests, handlertest.Head(p.method, path, key)+"\r\n")
				}
				for i, got := range knock(s, t, p.method, requests) {
					want := want
					if key == handlertest.Bearer(s.Admin) && isButForSlashes(almost(p.path)[i], p.path) {
						want = []int{301, 307}
					}
					if !slices.Contains(want, got) {
						t.Errorf("%.100q: %d", requests[i], got)
					}
				}
			}
			s.ExpectNoRequest(t)
		})
	}
}

// isButForSlashes reports whether the target is the path, with more slashes.
func isButForSlashes(target, path string) bool {
	target = strings.TrimPrefix(target, "http://x")
	segments := strings.FieldsFunc(target, func(r rune) bool { return r == '/' })
	return strings.HasPrefix(target, "/") && "/"+strings.Join(segments, "/") == path
}

// TestModelSegmentOfAPath: the text for {model} reaches Ollama as one segment, and
// cannot be read as several, also once it is decoded.
func TestModelSegmentOfAPath(t *testing.T) {
	t.Parallel()
	s, tap := startTapped(t, handlertest.Config{})
	var requests []string
	for _, path := range almost("/v1/models/tiny") {
		requests = append(requests, handlertest.Head("GET", path, handlertest.Bearer(s.Key))+"\r\n")
	}
	knock(s, t, "GET", requests)
	arrived := tap.take(t, s.Upstream)
	if len(arrived) < 10 { // most are no model's name
		t.Errorf("%d requests reached Ollama", len(arrived))
	}
	for _, sent := range arrived {
		segment, ok := strings.CutPrefix(sent.target, "/v1/models/")
		decoded, err := url.PathUnescape(segment)
		if !ok && sent.target != "/v1/models" || err != nil || strings.ContainsAny(segment, "/;?#") || !isASCII(segment) ||
			decoded == "." || decoded == ".." || strings.ContainsAny(decoded, "/\\") || strings.ContainsFunc(decoded, isControl) {
			t.Errorf("sent on %q", sent.target)
		}
	}
}

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r > '~' }) }
