package http1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/ollama-proxy/ollama-proxy/handler/http1"
)

const plainHead = "POST /api/chat HTTP/1.1\r\nHost: gpu.example:8080\r\nAuthorization: Bearer k\r\nContent-Length: 2\r\n"

// TestWhatIsPlain is the policy: what clients of Ollama send is plain, and all
// that has ever been used to smuggle a request is not.
func TestWhatIsPlain(t *testing.T) {
	t.Parallel()
	for head, plain := range map[string]bool{
		plainHead + "\r\n":                                                     true,
		plainHead + "\r\n{}GET / HTTP/1.1\r\n":                                 true,
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                    true,
		"HEAD /api/tags HTTP/1.1\r\nhost: x\r\n\r\n":                           true,
		"DELETE /api/delete HTTP/1.1\r\nHOST:x\r\nUser-Agent:   a b  \r\n\r\n": true,
		plainHead + "Connection: keep-alive\r\n\r\n":                           true,
		plainHead + "Connection: Close\r\n\r\n":                                true,
		plainHead + "X-Empty:\r\n\r\n":                                         true,
		plainHead + "X-Twice: a\r\nx-twice: b\r\n\r\n":                         true,
		plainHead + "Content-Encoding: zstd\r\nAccept: */*\r\n\r\n":            true,
		"GET /api/blobs/sha256:0a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n":          true,

		"":               false,
		plainHead:        false, // not whole
		plainHead + "\r": false,
		strings.ReplaceAll(plainHead, "\r\n", "\n") + "\n":                             false,
		plainHead + "X: a\nY: b\r\n\r\n":                                               false,
		plainHead + "X: a\rY: b\r\n\r\n":                                               false,
		plainHead + "X: a\x00\r\n\r\n":                                                 false,
		plainHead + "X: a\tb\r\n\r\n":                                                  false,
		plainHead + "X: ä\r\n\r\n":                                                     false,
		plainHead + " folded\r\n\r\n":                                                  false,
		plainHead + "X : a\r\n\r\n":                                                    false,
		plainHead + ": a\r\n\r\n":                                                      false,
		plainHead + "X_Y: a\r\n\r\n":                                                   false,
		plainHead + "no colon\r\n\r\n":                                                 false,
		plainHead + "Host: x\r\n\r\n":                                                  false,
		plainHead + "Content-Length: 2\r\n\r\n":                                        false,
		plainHead + "Transfer-Encoding: chunked\r\n\r\n":                               false,
		plainHead + "Trailer: X\r\n\r\n":                                               false,
		plainHead + "TE: trailers\r\n\r\n":                                             false,
		plainHead + "Upgrade: h2c\r\n\r\n":                                             false,
		plainHead + "HTTP2-Settings: AAA\r\n\r\n":                                      false,
		plainHead + "Expect: 100-continue\r\n\r\n":                                     false,
		plainHead + "Pragma: no-cache\r\n\r\n":                                         false,
		plainHead + "Connection: Authorization\r\n\r\n":                                false,
		plainHead + "Connection: close, x\r\n\r\n":                                     false,
		plainHead + "Connection: close\r\nConnection: keep-alive\r\n\r\n":              false,
		plainHead + strings.Repeat("X: a\r\n", 40) + "\r\n":                            false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n":                false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n":                     false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n":                   false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n": false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n":                        false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\n":                    false,
		"GET / HTTP/1.1\r\n\r\n":                                                       false,
		"GET / HTTP/1.1\r\nHost:\r\n\r\n":                                              false,
		"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n":                                          false,
		"GET / HTTP/1.1\r\nHost: u@x\r\n\r\n":                                          false,
		"GET / HTTP/1.0\r\nHost: x\r\n\r\n":                                            false,
		"GET / HTTP/1.2\r\nHost: x\r\n\r\n":                                            false,
		"GET / http/1.1\r\nHost: x\r\n\r\n":                                            false,
		"GET /\r\nHost: x\r\n\r\n":                                                     false,
		"GET  / HTTP/1.1\r\nHost: x\r\n\r\n":                                           false,
		"GET / HTTP/1.1 \r\nHost: x\r\n\r\n":                                           false,
		" GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                           false,
		"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n":                                        false,
		"get / HTTP/1.1\r\nHost: x\r\n\r\n":                                            false,
		"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n":                                        false,
		"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n":                                     false,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                                             false,
		"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n":                                    false,
		"GET //x HTTP/1.1\r\nHost: x\r\n\r\n":                                          false,
		"GET /?a HTTP/1.1\r\nHost: x\r\n\r\n":                                          false,
		"GET /%61 HTTP/1.1\r\nHost: x\r\n\r\n":                                         false,
		"GET /a;b HTTP/1.1\r\nHost: x\r\n\r\n":                                         false,
		"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n":                                         false,
		"GET /a\\b HTTP/1.1\r\nHost: x\r\n\r\n":                                        false,
	} {
		if r, _ := http1.ReadPlain([]byte(head)); (r != nil) != plain {
			t.Errorf("plain: %t, of %q", r != nil, head)
		}
	}
}

// TestAMethodKeepsNoHeadInMemory: it becomes a label, and stays.
func TestAMethodKeepsNoHeadInMemory(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
		r, _ := http1.ReadPlain([]byte(method + " /api/chat HTTP/1.1\r\nHost: x\r\n\r\n"))
		if r == nil || r.Method != method {
			t.Fatalf("%s is %v", method, r)
		}
		between := uintptr(unsafe.Pointer(unsafe.StringData(r.RequestURI))) - uintptr(unsafe.Pointer(unsafe.StringData(r.Method)))
		if between == uintptr(len(method)+1) {
			t.Errorf("%s is a part of its head", method)
		}
	}
}

// FuzzPlain: what is plain, net/http reads the same way.
func FuzzPlain(f *testing.F) {
	for _, seed := range []string{
		plainHead + "\r\n{}", plainHead + "Connection: close\r\nx-API-key: k\r\nX-A: 1\r\nx-a:2 \r\n\r\n{}rest",
		"GET /v1/models/llama3.2:latest HTTP/1.1\r\nHost: [::1]:8080\r\nAccept-Encoding: gzip, deflate\r\n\r\n",
		"GET /../. HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\nReferer: http://x/?y\r\n\r\n",
		plainHead + "Transfer-Encoding: chunked\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ours, head := http1.ReadPlain(raw)
		if ours == nil {
			return
		}
		in := bytes.NewReader(raw)
		buffered := bufio.NewReaderSize(in, len(raw)+16)
		theirs, err := http.ReadRequest(buffered)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", raw, err)
		}
		if read := len(raw) - in.Len() - buffered.Buffered(); read != head {
			t.Errorf("%q: the head has %d bytes, not %d", raw, read, head)
		}
		what := func(r *http.Request) string {
			return fmt.Sprintf("%s %q %+v %s %d.%d %q %d %t %v %q", r.Method, r.RequestURI, *r.URL, r.Proto, r.ProtoMajor, r.ProtoMinor,
				r.Host, r.ContentLength, r.Close, r.TransferEncoding, r.Trailer)
		}
		if what(ours) != what(theirs) || !reflect.DeepEqual(ours.Header, theirs.Header) {
			t.Errorf("%q is\n%s %q, and to net/http\n%s %q", raw, what(ours), ours.Header, what(theirs), theirs.Header)
		}
	})
}
