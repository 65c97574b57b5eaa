package e2e_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// The fuzzer's keys are always the same, so that what it has learnt stays good.
const fuzzSecret = "the-secret-of-the-fuzzer-is-no-secret-0123456789"

func fuzzKey(head string) string {
	h := hmac.New(sha256.New, []byte(fuzzSecret))
	h.Write([]byte(head))
	return head + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

var (
	fuzzOrdinary = fuzzKey("OLLAMA-0197f0a0-0000-7000-8000-000000000001")
	fuzzAdmin    = fuzzKey("OLLAMA-ADMIN-0197f0a0-0000-7000-8000-000000000002")
)

// FuzzHandler writes arbitrary bytes to a server. No more requests are handled than RFC
// 9112 says there are, only those with a key reach Ollama, each well formed; nothing
// panics, and nothing hangs.
func FuzzHandler(f *testing.F) {
	fuzzServer(f, startFuzzed(f, newInProcess()).writeInProcess)
}

// FuzzSocket writes arbitrary bytes over TCP, where the simple requests are not read by
// net/http. The client closes its sending side at once, so most answers are never seen.
func FuzzSocket(f *testing.F) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	fuzzServer(f, startFuzzed(f, l).writeSocket)
}

func fuzzServer(f *testing.F, write func(t *testing.T, raw string) written) {
	for _, attacks := range [][]attack{lengths, codings, chunkings, requestLines, hosts, headers, upgrades, pipelines} {
		for _, a := range attacks {
			if len(a.raw) < 4<<10 {
				f.Add(with(with(a.raw, K, handlertest.Bearer(fuzzOrdinary)), I, handlertest.Bearer(fuzzAdmin)))
			}
		}
		for _, other := range []string{fuzzOrdinary, fuzzOrdinary[:len(fuzzOrdinary)-1] + "A", "none"} {
			f.Add(with(with(attacks[0].raw+hidden, K, handlertest.Bearer(other)), I, handlertest.Bearer(other)))
		}
	}
	for _, c := range handlertest.Chats {
		f.Add("POST " + c.Path + " HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + fuzzOrdinary + "\r\nContent-Length: 100\r\n\r\n" + c.Ask("tiny", true))
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if len(raw) > 8<<10 {
			return
		}
		w := write(t, raw)
		all, keyed := lawful(raw, fuzzOrdinary, fuzzAdmin)
		if w.handled > all || len(w.arrived) > keyed {
			t.Errorf("there are %d requests, %d of them with a key; the proxy read %d, and sent on %q", all, keyed, w.handled, w.arrived)
		}
		for _, b := range w.arrived {
			sent, n, err := parseSent(b, "ollama")
			if err != nil || n != len(b) {
				t.Errorf("sent on %q: %v", b, err)
			}
			if !isLetIn(sent.method, sent.target, strings.Contains(raw, fuzzAdmin)) {
				t.Errorf("sent on %q", b)
			}
		}
		if len(w.answers) > 0 && !bytes.HasPrefix(w.answers, []byte("HTTP/1.")) {
			t.Errorf("answered %q", w.answers)
		}
		if w.complaint != nil {
			t.Errorf("the log says %s", *w.complaint)
		}
	})
}
