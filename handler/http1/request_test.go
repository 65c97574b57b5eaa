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

const simpleHead = "POST /api/chat HTTP/1.1\r\nHost: gpu.example:8080\r\nAuthorization: Bearer k\r\nContent-Length: 2\r\n"

// TestWhichRequestsAreSimple holds the policy: the requests of Ollama's clients are
// simple, and nothing is that has ever been used to smuggle a request.
func TestWhichRequestsAreSimple(t *testing.T) {
	t.Parallel()
	for head, simple := range map[string]bool{
		simpleHead + "\r\n":                                                    true,
		simpleHead + "\r\n{}GET / HTTP/1.1\r\n":                                true,
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                    true,
		"HEAD /api/tags HTTP/1.1\r\nhost: x\r\n\r\n":                           true,
		"DELETE /api/delete HTTP/1.1\r\nHOST:x\r\nUser-Agent:   a b  \r\n\r\n": true,
		simpleHead + "Connection: keep-alive\r\n\r\n":                          true,
		simpleHead + "Connection: Close\r\n\r\n":                               true,
		simpleHead + "X-Empty:\r\n\r\n":                                        true,
		simpleHead + "X-Twice: a\r\nx-twice: b\r\n\r\n":                        true,
		simpleHead + "Content-Encoding: zstd\r\nAccept: */*\r\n\r\n":           true,
		"GET /api/blobs/sha256:0a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n":          true,

		"":                false,
		simpleHead:        false, // incomplete
		simpleHead + "\r": false,
		strings.ReplaceAll(simpleHead, "\r\n", "\n") + "\n":                            false,
		simpleHead + "X: a\nY: b\r\n\r\n":                                              false,
		simpleHead + "X: a\rY: b\r\n\r\n":                                              false,
		simpleHead + "X: a\x00\r\n\r\n":                                                false,
		simpleHead + "X: a\tb\r\n\r\n":                                                 false,
		simpleHead + "X: ä\r\n\r\n":                                                    false,
		simpleHead + " folded\r\n\r\n":                                                 false,
		simpleHead + "X : a\r\n\r\n":                                                   false,
		simpleHead + ": a\r\n\r\n":                                                     false,
		simpleHead + "X_Y: a\r\n\r\n":                                                  false,
		simpleHead + "no colon\r\n\r\n":                                                false,
		simpleHead + "Host: x\r\n\r\n":                                                 false,
		simpleHead + "Content-Length: 2\r\n\r\n":                                       false,
		simpleHead + "Transfer-Encoding: chunked\r\n\r\n":                              false,
		simpleHead + "Trailer: X\r\n\r\n":                                              false,
		simpleHead + "TE: trailers\r\n\r\n":                                            false,
		simpleHead + "Upgrade: h2c\r\n\r\n":                                            false,
		simpleHead + "HTTP2-Settings: AAA\r\n\r\n":                                     false,
		simpleHead + "Expect: 100-continue\r\n\r\n":                                    false,
		simpleHead + "Pragma: no-cache\r\n\r\n":                                        false,
		simpleHead + "Connection: Authorization\r\n\r\n":                               false,
		simpleHead + "Connection: close, x\r\n\r\n":                                    false,
		simpleHead + "Connection: close\r\nConnection: keep-alive\r\n\r\n":             false,
		simpleHead + strings.Repeat("X: a\r\n", 40) + "\r\n":                           false,
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
		if r, _ := http1.ReadSimple([]byte(head)); (r != nil) != simple {
			t.Errorf("%q: simple is %t", head, r != nil)
		}
	}
}

// TestMethodDoesNotKeepItsHeadInMemory, because a method becomes the label of a metric
// and stays.
func TestMethodDoesNotKeepItsHeadInMemory(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
		r, _ := http1.ReadSimple([]byte(method + " /api/chat HTTP/1.1\r\nHost: x\r\n\r\n"))
		if r == nil || r.Method != method {
			t.Fatalf("%s is %v", method, r)
		}
		between := uintptr(unsafe.Pointer(unsafe.StringData(r.RequestURI))) - uintptr(unsafe.Pointer(unsafe.StringData(r.Method)))
		if between == uintptr(len(method)+1) {
			t.Errorf("%s is a part of its head", method)
		}
	}
}

// FuzzRequest compares simple requests with what net/http reads from the same bytes.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		simpleHead + "\r\n{}", simpleHead + "Connection: close\r\nx-API-key: k\r\nX-A: 1\r\nx-a:2 \r\n\r\n{}rest",
		"GET /v1/models/llama3.2:latest HTTP/1.1\r\nHost: [::1]:8080\r\nAccept-Encoding: gzip, deflate\r\n\r\n",
		"GET /../. HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\nReferer: http://x/?y\r\n\r\n",
		simpleHead + "Transfer-Encoding: chunked\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		simple, head := http1.ReadSimple(raw)
		if simple == nil {
			return
		}
		in := bytes.NewReader(raw)
		buffered := bufio.NewReaderSize(in, len(raw)+16)
		net, err := http.ReadRequest(buffered)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", raw, err)
		}
		if read := len(raw) - in.Len() - buffered.Buffered(); read != head {
			t.Errorf("%q: the head has %d bytes, not %d", raw, read, head)
		}
		describe := func(r *http.Request) string {
			return fmt.Sprintf("%s %q %+v %s %d.%d %q %d %t %v %q", r.Method, r.RequestURI, *r.URL, r.Proto, r.ProtoMajor, r.ProtoMinor,
				r.Host, r.ContentLength, r.Close, r.TransferEncoding, r.Trailer)
		}
		if describe(simple) != describe(net) || !reflect.DeepEqual(simple.Header, net.Header) {
			t.Errorf("%q is\n%s %q, and to net/http\n%s %q", raw, describe(simple), simple.Header, describe(net), net.Header)
		}
	})
}
