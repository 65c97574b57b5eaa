package signer

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// listServer serves one text as a file server does, and notes what it was asked.
type listServer struct {
	*httptest.Server
	text     string
	modified time.Time
	etag     string
	asked    http.Header
	status   int
	answers  []int
}

func newListServer(t *testing.T) *listServer {
	s := &listServer{modified: time.Now().Add(-time.Hour)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked = r.Header
		if s.etag != "" {
			w.Header().Set("ETag", s.etag)
		}
		if s.status != 0 {
			w.WriteHeader(s.status)
			io.WriteString(w, s.text)
			return
		}
		http.ServeContent(&noting{w, &s.answers}, r, "", s.modified, strings.NewReader(s.text))
	}))
	t.Cleanup(s.Close)
	return s
}

type noting struct {
	http.ResponseWriter
	answers *[]int
}

func (n *noting) WriteHeader(status int) {
	*n.answers = append(*n.answers, status)
	n.ResponseWriter.WriteHeader(status)
}

func TestAnUnchangedURLIsReadOnce(t *testing.T) {
	for _, size := range []int{small, large} {
		for name, set := range map[string]func(*listServer){
			"by its ETag":          func(s *listServer) { s.etag, s.modified = `"1"`, time.Time{} },
			"by its Last-Modified": func(*listServer) {},
			"by both":              func(s *listServer) { s.etag = `W/"1"` },
		} {
			server := newListServer(t)
			set(server)
			server.text = textOf(size, "a")
			s := mustSource(t, server.URL+"/list")
			for range 2 {
				content, changed, err := s.Open(t.Context())
				if err != nil || !changed {
					t.Fatalf("%s: what was not accepted is not offered again: %v", name, err)
				}
				content.Close()
			}
			look(t, s)
			for range 2 {
				if _, changed := look(t, s); changed {
					t.Errorf("%s: it did not change", name)
				}
			}
			if got := fmt.Sprint(server.answers); got != "[200 200 200 304 304]" {
				t.Errorf("%s, %d bytes: %s", name, size, got)
			}
			server.text, server.etag, server.modified = textOf(size, "b"), `"2"`, server.modified.Add(time.Minute)
			if text, changed := look(t, s); !changed || text != server.text {
				t.Errorf("%s, %d bytes: the change went unseen", name, size)
			}
		}
	}
}

// A server that makes its ETag and Last-Modified of a time in seconds says 304
// to a change within the second.
func TestAChangeWithinTheSecondIsSeen(t *testing.T) {
	for _, etag := range []string{"", `"1"`} {
		server := newListServer(t)
		server.text, server.etag, server.modified = "a", etag, time.Now()
		s := mustSource(t, server.URL)
		look(t, s)
		server.text = "b"
		if text, changed := look(t, s); !changed || text != "b" {
			t.Errorf("etag %q: not seen", etag)
		}
	}
}

func TestAServerThatKnowsNothingOfVersions(t *testing.T) {
	server := newListServer(t)
	server.text, server.modified = "a", time.Time{}
	s := mustSource(t, server.URL)
	look(t, s)
	if _, changed := look(t, s); changed {
		t.Error("the same small text counts as changed")
	}
	server.text = "b"
	if text, _ := look(t, s); text != "b" {
		t.Error("not seen")
	}
}

func TestOnlyAWholeAnswerCounts(t *testing.T) {
	server := newListServer(t)
	server.text = idA + "\n"
	s := mustSource(t, server.URL)
	for _, status := range []int{201, 203, 206, 300, 304, 400, 401, 404, 500, 503} {
		server.status = status
		if _, changed, err := s.Open(t.Context()); changed || err == nil || !strings.Contains(err.Error(), strconv.Itoa(status)) {
			t.Errorf("%d: %v", status, err)
		}
	}
	for _, size := range []int{small, large} {
		short := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(2*size))
			io.WriteString(w, textOf(size, "#"))
		}))
		defer short.Close()
		l := NewList(mustSource(t, short.URL))
		if changed, err := l.Reload(t.Context(), true); changed || !errors.Is(err, io.ErrUnexpectedEOF) || l.Current() != nil {
			t.Errorf("%d bytes: changed %v, %v", size, changed, err)
		}
	}
	huge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(maxRevocations+1))
		io.WriteString(w, "#")
	}))
	defer huge.Close()
	if _, _, err := mustSource(t, huge.URL).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
}

func TestAServerThatNeverEnds(t *testing.T) {
	for _, sent := range []int{0, small, large} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if sent > 0 {
				io.WriteString(w, textOf(sent, "#"))
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		}))
		defer server.Close()
		s := mustSource(t, server.URL)
		s.timeout = 50 * time.Millisecond
		l := NewList(s)
		if _, err := l.Reload(t.Context(), false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %d bytes: %v", sent, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := mustSource(t, "http://127.0.0.1:1/").Open(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestRedirects(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(strings.Trim(r.URL.Path, "/"))
		switch {
		case err != nil:
			w.Header().Set("Location", r.URL.Query().Get("to"))
			w.WriteHeader(http.StatusFound)
		case n > 0:
			w.Header().Set("Location", fmt.Sprintf("/%d", n-1))
			w.WriteHeader([]int{301, 302, 303, 307, 308}[n%5])
		default:
			user, password, _ := r.BasicAuth()
			fmt.Fprint(w, user, password, r.Referer())
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	trusting := func(location string) *Source {
		s := mustSource(t, location)
		roots := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		s.transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
		return s
	}
	to := func(server *httptest.Server, target string) string {
		return server.URL + "/to?to=" + url.QueryEscape(target)
	}
	secureHost := strings.TrimPrefix(secure.URL, "https://")
	for name, location := range map[string]string{
		"none":              plain.URL + "/0",
		"three":             plain.URL + "/3",
		"three, by https":   secure.URL + "/3",
		"http to https":     to(plain, secure.URL+"/0"),
		"the other host":    to(secure, "//"+secureHost+"/0"),
		"nothing to a peer": to(&httptest.Server{URL: "https://user:password@" + secureHost}, secure.URL+"/0"),
	} {
		if text, _ := look(t, trusting(location)); text != "" {
			t.Errorf("%s: %q", name, text)
		}
	}
	if text, _ := look(t, trusting("https://user:password@"+secureHost+"/1")); text != "userpassword" {
		t.Errorf("signed in as %q", text)
	}
	for name, location := range map[string]string{
		"four":                  plain.URL + "/4",
		"https to http":         to(secure, plain.URL+"/0"),
		"http to https to http": to(plain, to(secure, plain.URL+"/0")),
		"to a file":             to(secure, "file:///etc/passwd"),
		"to no host":            to(secure, "https:///x"),
		"to nonsense":           to(secure, "https://a:password@b c/%zz?password"),
		"to nowhere":            secure.URL + "/to",
	} {
		_, changed, err := trusting(location).Open(t.Context())
		if changed || err == nil || !strings.Contains(err.Error(), "leads on") || strings.Contains(err.Error(), "password") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoErrorShowsWhatTheURLHides(t *testing.T) {
	refuse := httptest.NewServer(http.NotFoundHandler())
	address := refuse.Listener.Addr().String()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	garbage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }))
	defer garbage.Close()
	hide := func(address string) string { return "user:password@" + address + "/list?token=password#password" }
	var locations []string
	for _, server := range []*httptest.Server{refuse, garbage} {
		locations = append(locations, "http://"+hide(server.Listener.Addr().String()), "https://"+hide(server.Listener.Addr().String()))
	}
	locations = append(locations, "https://"+hide(secure.Listener.Addr().String()), "http://"+hide(secure.Listener.Addr().String()))
	check := func() {
		t.Helper()
		for _, location := range locations {
			s := mustSource(t, location)
			_, err := NewList(s).Reload(t.Context(), false)
			if err == nil || strings.Contains(err.Error(), "password") || strings.Contains(err.Error(), "user") || !strings.Contains(err.Error(), s.String()) {
				t.Errorf("%v", err)
			}
		}
	}
	check()
	refuse.Close()
	locations = []string{"http://" + hide(address)}
	check()
}

// TestWhatIsNoListIsNotTaken, whatever the server says that it is, and the last
// good list stays.
func TestWhatIsNoListIsNotTaken(t *testing.T) {
	var answer func(http.ResponseWriter)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
	defer server.Close()
	says := func(text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-16le")
			io.WriteString(w, text)
		}
	}
	l := NewList(mustSource(t, server.URL))
	answer = says(idA + " lost\r\n\r\n# a comment\r\n" + idB) // as Windows writes it
	if changed, err := l.Reload(t.Context(), false); !changed || err != nil || l.Current().Len() != 2 {
		t.Fatalf("changed %t, %v", changed, err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.WriteString(z, idA+"\n")
	z.Close()
	wide := func(text string) (b string) {
		for _, r := range text {
			b += string([]byte{byte(r), 0})
		}
		return b
	}
	for name, bad := range map[string]func(http.ResponseWriter){
		"compressed": func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(zipped.Bytes())
		},
		"behind a byte order mark": says("\ufeff" + idA + "\n" + idB + "\n"),
		"in UTF-16":                says("\xff\xfe" + wide(idA+"\n"+idB+"\n")),
		"in UTF-16, without mark":  says(wide(idA + "\n" + idB + "\n")),
		"in capital letters":       says(strings.ToUpper(idA) + "\n" + idB + "\n"),
		"a page to log in":         says("<!DOCTYPE html>\n<title>Sign in</title>\n"),
		"JSON":                     says(`["` + idA + `"]`),
		"cut within a line":        says(idA + "\n" + idB[:20]),
		"with a word before":       says("key " + idA + "\n"),
		"a line without end":       says(strings.Repeat("#", maxRevocationLine+1)),
	} {
		answer = bad
		for _, force := range []bool{false, true} {
			changed, err := l.Reload(t.Context(), force)
			if changed || err == nil || !strings.Contains(err.Error(), ": line ") || strings.Contains(err.Error(), idA[:8]) || l.Current().Len() != 2 {
				t.Errorf("%s: changed %t, %v", name, changed, err)
			}
		}
	}
	answer = says("") // good, but it lacks what was there
	if changed, err := l.Reload(t.Context(), false); changed || err == nil || !strings.Contains(err.Error(), "2 revocations are missing") {
		t.Errorf("an empty list: changed %t, %v", changed, err)
	}
	answer = says("\n" + idB + "\n" + idA)
	if changed, err := l.Reload(t.Context(), false); changed || err != nil {
		t.Errorf("the same in another order: changed %t, %v", changed, err)
	}
}
