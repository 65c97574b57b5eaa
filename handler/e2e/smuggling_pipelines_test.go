package e2e_test

import "strings"

// upgrades are attacks by what would make something else of a connection, or of
// the time at which a body is due.
var upgrades = []attack{
	{"a web socket", header("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"), "426", ""},                           // The connection ends: what follows may be no HTTP.
	{"a web socket that is not named by Connection", header("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"), "200 200", "version, pull"}, // No upgrade passes; the request is answered as if it asked for none.
	{"h2c", header("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"), "200 200", "version, pull"},
	{"h2c that is not named by Connection", header("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"), "200 200", "version, pull"},
	{"TLS", header("Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"), "200 200", "version, pull"},
	{"h2c, and its preface", "GET /api/version HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n" + K + "\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "200 401", "version"},
	{"HTTP/2 after a request", "GET /api/version HTTP/1.1\r\nHost: x\r\n" + K + "\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden, "200 401", "version"},
	{"Expect: 100-continue", post("Expect: 100-continue\r\nContent-Length: 16\r\n", tiny+hidden), "100 200 200", "show, pull"},
	{"Expect: 100-continue in capitals", post("Expect: 100-CONTINUE\r\nContent-Length: 16\r\n", tiny+hidden), "100 200 200", "show, pull"},
	{"Expect: 100-continue in a list", post("Expect: 100-continue, 100-continue\r\nContent-Length: 16\r\n", tiny+hidden), "100 200 200", "show, pull"},
	{"Expect: another", post("Expect: 200-ok\r\nContent-Length: 16\r\n", tiny+hidden), "417", ""},
	{"Expect: an empty one", post("Expect: \r\nContent-Length: 16\r\n", tiny+hidden), "200 200", "show, pull"}, // net/http takes it for none.
	{"Expect: 100-continue and a NUL", post("Expect: 100-continue\x00\r\nContent-Length: 16\r\n", tiny+hidden), "400", ""},
	{"Expect: 100-continue without a body", post("Expect: 100-continue\r\nContent-Length: 0\r\n", hidden), "400 200", "POST /api/show, pull"},
	{"Expect: 100-continue, chunked", post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", chunks+hidden), "100 200", "show"},
	{"Expect: 100-continue on a refused route", "POST /api/me HTTP/1.1\r\nHost: x\r\n" + K + "\r\nExpect: 100-continue\r\nContent-Length: 16\r\n\r\n" + hidden, "404", ""},
	{"Expect: 100-continue in HTTP/1.0", "POST /api/show HTTP/1.0\r\nConnection: keep-alive\r\n" + K + "\r\nExpect: 100-continue\r\nContent-Length: 16\r\n\r\n" + tiny + hidden, "200", "show"},
	{"Expect: twice", post("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 16\r\n", tiny+hidden), "100 200 200", "show, pull"},
}

// pipelines are several requests at once: each stands for itself.
var pipelines = []attack{
	{"two", get + hidden, "200 200", "version, pull"},
	{"the first without a key", strings.Replace(get, K, "X: y", 1) + get + hidden, "401 200 200", "version, pull"},
	{"the second without a key", get + strings.Replace(get, K, "X: y", 1) + hidden, "200 401 200", "version, pull"},
	{"sixteen", strings.Repeat(get, 15) + hidden, "200 200 200 200 200 200 200 200 200 200 200 200 200 200 200 200", "version, version, version, version, version, version, version, version, version, version, version, version, version, version, version, pull"},
	{"with bodies", show + show + get + show + hidden, "200 200 200 200 200", "show, show, version, show, pull"},
	{"with chunks", get + chunked(chunks) + hidden, "200 200", "version, show"},
	{"the second refused with a body", get + "POST /api/me HTTP/1.1\r\nHost: x\r\n" + K + "\r\nContent-Length: 16\r\n\r\n" + tiny + get + hidden, "200 404", "version"},
	{"the second refused without a body", get + "GET /api/me HTTP/1.1\r\nHost: x\r\n" + K + "\r\n\r\n" + get + hidden, "200 404 200 200", "version, version, pull"},
	{"the second malformed", get + "GET /api/version HTTP/1.1\r\n" + K + "\r\n\r\n" + get + hidden, "200 400", "version"},
	{"the second closes", get + "GET /api/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + K + "\r\n\r\n" + get + hidden, "200 200", "version, version"},
	{"the second breaks off", get + "GET /api/version HTTP/1.1\r\nHost: x\r\n", "200 | 400", "version"},
	{"the body of the second breaks off", get + post("Content-Length: 16\r\n", "{"), "200 |", "version"},
}
