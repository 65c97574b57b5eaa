//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// promptly bounds what must not wait for the 30 s that reading a list may take.
const promptly = 5 * time.Second

// Metrics of the list.
const (
	listGauge       = `ollama_proxy_reload_success{source="revocations"}`
	listTimestamp   = `ollama_proxy_reload_timestamp_seconds{source="revocations"}`
	revokedRefusals = `ollama_proxy_refusals_total{reason="revoked"}`
)

// A serverFault is a way in which the list's server fails.
type serverFault struct {
	name string
	do   http.HandlerFunc // nil: the server is down
	log  string           // a part of the line that is logged
}

// serverFaults returns the faults in which the server's answer ends. List is the valid list,
// and revoked the key on it.
func serverFaults(s *listServer, list, revoked string) []serverFault {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.WriteString(z, list)
	z.Close()
	return []serverFault{
		{"down", nil, "connection refused"},
		{"500", answerStatus(500), "status 500"},
		{"404", answerStatus(404), "status 404"},
		{"401", answerStatus(401), "status 401"},
		{"204", answerStatus(204), "status 204"},
		{"304 to a question that names no version", answerStatus(304), "status 304"},
		{"a reset", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		{"cut short", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(2*len(list)))
			answerText(list)(w, r)
		}, "unexpected EOF"},
		{"huge", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(int64(1<<40)))
			answerText(list)(w, r)
		}, "more than 1073741824 bytes"},
		{"empty", answerText(""), "1 revocation is missing"},
		{"compressed", answerText(zipped.String()), "line 1"},
		{"a byte order mark", answerText("\ufeff" + list), "line 1"},
		{"a whole key", answerText(list + revoked + "\n"), "line 2 holds a whole key"},
		{"a page to log in", answerText("<!DOCTYPE html>"), "line 1"},
		{"a redirect to itself", redirectTo("/list?token=planted"), "leads on more than 3 times"},
		{"a redirect to a file", redirectTo("file:///etc/passwd"), "leads on to no URL"},
		{"a redirect to another scheme", redirectTo("gopher://" + s.address + "/planted"), "leads on to no URL"},
		{"a redirect to nowhere", redirectTo(""), "leads on"},
	}
}

// checkList: whatever the list's server does, the last valid list stays in force, the gauge
// and one line of the log report the fault, and nothing else waits for the server.
func checkList() {
	s := newListServer()
	s.handleWith(answerText(""))
	p := launch("list", nil, "--revocations", s.url())
	revoked, other := p.mint(), p.mint()
	list := strings.Split(strings.TrimPrefix(revoked, "OLLAMA-"), ".")[0] + " lost\n"
	s.handleWith(answerText(list))
	kit.Await("the list", func() bool { return p.Metric("ollama_proxy_revocations") == 1 })

	faults := serverFaults(s, list, revoked)
	for _, f := range faults {
		p.checkServerFault(s, f, answerText(list), revoked, other)
	}
	kit.Pass("the list's server in %d kinds of disorder: the last good list stays, the gauge shows it, the log says so once", len(faults))

	for name, never := range map[string]http.HandlerFunc{"hangs": hang, "drips": drip} {
		p.checkEndlessAnswer(s, name, never, revoked)
		s.handleWith(answerText(list))
		p = launch("list", nil, "--revocations", s.url())
	}
	p.Stop()
	checkStart(s)
}

// checkServerFault makes the list's server fail, and repairs it again.
func (p *proxy) checkServerFault(s *listServer, f serverFault, good http.HandlerFunc, revoked, other string) {
	said, asked := len(p.Logged()), s.requests.Load()
	refused, hash, fresh := p.Metric(revokedRefusals), p.Metric("ollama_proxy_revocations_hash"), p.Metric(listTimestamp)
	if f.do == nil {
		s.http.Close()
	} else {
		s.handleWith(f.do)
	}
	kit.Await("the gauge to show the list's server, "+f.name, func() bool { return p.Metric(listGauge) == 0 })
	if f.do != nil {
		kit.Await("five more requests for the list", func() bool { return s.requests.Load() > asked+5 })
	}
	p.expectStatus(revoked, http.StatusUnauthorized, "a revoked key, the list's server "+f.name)
	p.expectStatus(other, http.StatusOK, "another key, the list's server "+f.name)
	if n := p.Metric("ollama_proxy_revocations"); n != 1 {
		kit.Fatal("the list's server %s: %v entries are in force", f.name, n)
	}
	if p.Metric("ollama_proxy_revocations_hash") != hash {
		kit.Fatal("the list's server %s, and there is another list in force", f.name)
	}
	p.expectMetric(revokedRefusals, refused+1)
	p.expectLog(said, 1, "level=INFO msg=request", "status=401", "outcome=refused reason=revoked")
	stale := p.Metric(listTimestamp)
	if stale < fresh || stale > float64(time.Now().UnixMilli())/1e3 {
		kit.Fatal("the list's server %s: the list is said to be of %v, after %v", f.name, stale, fresh)
	}
	if f.do == nil {
		s.open()
	}
	s.handleWith(good)
	kit.Await("the list after its server was "+f.name, func() bool { return p.Metric(listGauge) == 1 })
	if again := p.Metric(listTimestamp); again <= stale {
		kit.Fatal("the list after its server was %s is said to be of %v, as before", f.name, again)
	}
	log := p.Logged()[said:]
	p.expectLog(said, 1, `level=ERROR msg="cannot reload: what was loaded last stays in force" what=revocations`)
	if strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, f.log) || strings.Count(log, "msg=reloaded what=revocations changed=false") != 1 {
		kit.Fatal("the list's server %s: the log says\n%s", f.name, log)
	}
}

// checkEndlessAnswer: while the answer of the list's server does not end, new secrets are
// loaded, and SIGTERM ends the proxy.
func (p *proxy) checkEndlessAnswer(s *listServer, name string, never http.HandlerFunc, revoked string) {
	// The list is not read twice at once: when this request has begun, no earlier one can
	// bring a list.
	var looked atomic.Bool
	s.handleWith(func(w http.ResponseWriter, r *http.Request) {
		looked.Store(true)
		never(w, r)
	})
	kit.Await("a look at a server that "+name, looked.Load)
	stale, said := p.Metric(listTimestamp), len(p.Logged())
	kit.WriteFile(secretOf(p.Name), kit.Command("secret")+"\n"+kit.ReadFile(secretOf(p.Name)))
	young := p.mint()
	from := time.Now()
	kit.Await("a new secret while the list's server "+name, func() bool {
		status, _, err := get("http://"+p.Address+"/api/version", young)
		return err == nil && status == http.StatusOK
	})
	took := time.Since(from)
	p.Process.Signal(syscall.SIGHUP)
	p.expectStatus(revoked, http.StatusUnauthorized, "a revoked key while the list's server "+name)
	p.expectLog(said, 1, "level=INFO msg=reloaded what=secrets changed=true")
	p.expectLog(said, 0, "what=revocations")
	if p.Metric(listTimestamp) != stale {
		kit.Fatal("the list's server %s, and the list is said to be newer", name)
	}
	stopped := p.Stop()
	if took > promptly || stopped > promptly {
		kit.Fatal("the list's server %s, and a new secret counts after %s, SIGTERM after %s", name, kit.Seconds(took), kit.Seconds(stopped))
	}
	kit.Pass("the list's server %s: a new secret counts after %s, SIGTERM after %s", name, kit.Seconds(took), kit.Seconds(stopped))
}

// checkStart: the proxy does not start without a list, and SIGTERM ends a start that waits
// for one.
func checkStart(s *listServer) {
	args := []string{"serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--demo", "--revocations", s.url()}
	refuse := func(words string) {
		_, talk, code := runCommand(nil, args...)
		if code != 1 || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, words) || strings.Contains(talk, "planted") {
			kit.Fatal("a start without a list: exit %d, %q", code, talk)
		}
	}
	s.handleWith(answerStatus(500))
	refuse("status 500")
	s.handleWith(answerText("no list"))
	refuse("line 1")
	asked := s.requests.Load()
	s.handleWith(hang)
	c := exec.Command(filepath.Join(kit.Dir, "ollama-proxy"), args...)
	c.Env = kit.Environment()
	kit.Must(c.Start(), "a start")
	kit.Await("a start to look for its list", func() bool { return s.requests.Load() > asked })
	from := time.Now()
	c.Process.Signal(syscall.SIGTERM)
	c.Wait()
	if took := time.Since(from); took > promptly {
		kit.Fatal("SIGTERM to a start that waits for its list takes %s", kit.Seconds(took))
	}
	s.http.Close()
	refuse("connection refused")
	kit.Pass("no start without a list, in one line; SIGTERM ends one that waits for it")
}
