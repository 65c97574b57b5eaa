package http1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"reflect"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/http1"
)

const responseHead = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nDate: Fri, 27 Nov 2026 10:00:00 GMT\r\n"

var post = &http.Request{Method: "POST"}

// TestWhichResponsesAreSimple holds the policy: Ollama's responses are simple, and
// nothing is that could be read in two ways.
func TestWhichResponsesAreSimple(t *testing.T) {
	t.Parallel()
	for head, simple := range map[string]bool{
		responseHead + "Content-Length: 2\r\n\r\n{}":                                                             true,
		responseHead + "Content-Length: 0\r\n\r\n":                                                               true,
		responseHead + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n":                                           true,
		responseHead + "Cache-Control: no-cache\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n": true,
		"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}":                                                  true,
		"HTTP/1.1 503 \r\nContent-Length: 2\r\n\r\n{}":                                                           true,

		"":                                     false,
		responseHead:                           false,
		responseHead + "\r\n":                  false, // without a length, it ends when the connection does
		responseHead + "Content-Length: 2\r\n": false,
		responseHead + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n":                   false,
		responseHead + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n":          false,
		responseHead + "Content-Length: -2\r\n\r\n":                                       false,
		responseHead + "Content-Length: 2, 2\r\n\r\n":                                     false,
		responseHead + "Transfer-Encoding: gzip, chunked\r\n\r\n":                         false,
		responseHead + "Transfer-Encoding: Chunked\r\n\r\n":                               false,
		responseHead + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n": false,
		responseHead + "Content-Length: 2\r\nConnection: close\r\n\r\n":                   false,
		responseHead + "Content-Length: 2\r\nTrailer: X\r\n\r\n":                          false,
		responseHead + "Content-Length: 2\r\n X\r\n\r\n":                                  false,
		responseHead + "Content-Length: 2\nX: y\r\n\r\n":                                  false,
		responseHead + "Content-Length : 2\r\n\r\n":                                       false,
		responseHead + "X: \x00\r\nContent-Length: 2\r\n\r\n":                             false,
		"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n":                              false,
		"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n":                            false,
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n":                          false,
		"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n":                                   false,
		"HTTP/1.1 +20 OK\r\nContent-Length: 2\r\n\r\n":                                    false,
		"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n":                                       false,
		"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\n":                                   false,
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n":                                    false,
		"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\n":                                  false,
		"garbage\r\n\r\n": false,
	} {
		if r, _ := http1.ReadSimpleResponse([]byte(head), post); (r != nil) != simple {
			t.Errorf("%q: simple is %t", head, r != nil)
		}
	}
	if r, _ := http1.ReadSimpleResponse([]byte(responseHead+"Content-Length: 2\r\n\r\n"), &http.Request{Method: "HEAD"}); r != nil {
		t.Error("a response to HEAD is simple")
	}
}

// FuzzResponse compares simple responses with what net/http reads from the same bytes.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		responseHead + "Content-Length: 2\r\n\r\n{}", responseHead + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nX-A: 1\r\nx-a: 2\r\nConnection: keep-alive\r\n\r\n{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		simple, head := http1.ReadSimpleResponse(raw, post)
		if simple == nil {
			return
		}
		in := bytes.NewReader(raw)
		buffered := bufio.NewReaderSize(in, len(raw)+16)
		net, err := http.ReadResponse(buffered, post)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", raw, err)
		}
		if read := len(raw) - in.Len() - buffered.Buffered(); read != head {
			t.Errorf("%q: the head has %d bytes, not %d", raw, read, head)
		}
		describe := func(r *http.Response) string {
			return fmt.Sprintf("%q %d %s %d.%d %d %t %v %v %q", r.Status, r.StatusCode, r.Proto, r.ProtoMajor, r.ProtoMinor,
				r.ContentLength, r.Close, r.Uncompressed, r.TransferEncoding, r.Trailer)
		}
		if describe(simple) != describe(net) || !reflect.DeepEqual(simple.Header, net.Header) {
			t.Errorf("%q is\n%s %q, and to net/http\n%s %q", raw, describe(simple), simple.Header, describe(net), net.Header)
		}
	})
}

// TestDechunkerReadsPiecesOfAnySize cuts bodies at every byte. What follows the last
// chunk is not read.
func TestDechunkerReadsPiecesOfAnySize(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"0\r\n\r\n":                         "",
		"5\r\nhello\r\n0\r\n\r\n":           "hello",
		"1\r\nh\r\n4\r\nello\r\n00\r\n\r\n": "hello",
		"A;x=\"y\"\r\n0123456789\r\n1 \r\n!\r\n0;\r\nX: y\r\nZ:\r\n\r\n": "0123456789!",
	} {
		for cut := range len(raw) {
			body, used, err := http1.Unchunk([]byte(raw[:cut]), []byte(raw[cut:]+"HTTP/1.1 200 OK"))
			if string(body) != want || used != len(raw) || err != io.EOF {
				t.Errorf("%q cut at %d: %q, %d bytes, %v", raw, cut, body, used, err)
			}
		}
		for end := range len(raw) {
			if _, _, err := http1.Unchunk([]byte(raw[:end])); err != nil {
				t.Errorf("%q: %v", raw[:end], err)
			}
		}
	}
}

// TestMalformedChunksAreRefused states what is no chunked body, and the bounds.
func TestMalformedChunksAreRefused(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"\r\n", "x", "-1\r\n", "+1\r\n", "1 0\r\n", " 1\r\n", "0x1\r\n", ";x\r\n", "1\nh", "1\r\r", "1\r\nhe", "1\r\nh\n", "1\r\nh\rx", "1\r\nhello\r\n",
		"123456789abcdef01\r\n", "ffffffffffffffff\r\n", "0\r\nx\r\n\r\n", "0\r\n: y\r\n", "0\r\nx y: z\r\n", "0\r\n\n", "0\r\n\rx", "0\r\nX: y\n",
		"1 ;x\r\nh", "1\t;x\r\nh", "00000000000000001\r\nh",
		"1;\n", "1;" + strings.Repeat("x", 5000) + "\r\n", "0\r\nX: " + strings.Repeat("x", 5000) + "\r\n", "0\r\n" + strings.Repeat("X: y\r\n", 2000),
	} {
		if body, _, err := http1.Unchunk([]byte(raw)); err == nil || err == io.EOF {
			t.Errorf("%.40q: %q, %v", raw, body, err)
		}
	}
}

// FuzzChunks compares complete chunked bodies with what net/http reads from the same
// bytes.
func FuzzChunks(f *testing.F) {
	for _, seed := range []string{"5\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n1 \r\n!\r\n0\r\nX: y\r\n\r\n", "fffffffffffffff\r\n", "5\r\nhe", "5\t;a\r\nhello\r\n0\r\n\r\n"} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		if cut < 0 || cut > len(raw) {
			return
		}
		whole, used, err := http1.Unchunk(raw)
		again, usedAgain, errAgain := http1.Unchunk(raw[:cut], raw[cut:])
		if !bytes.Equal(whole, again) || used != usedAgain || err != errAgain {
			t.Fatalf("%q cut at %d: %q, %d, %v, and whole %q, %d, %v", raw, cut, again, usedAgain, errAgain, whole, used, err)
		}
		if err != io.EOF {
			return
		}
		net, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw[:used])))
		if err != nil || !bytes.Equal(whole, net) {
			t.Errorf("%q: %q, but to net/http %q, %v", raw[:used], whole, net, err)
		}
	})
}
