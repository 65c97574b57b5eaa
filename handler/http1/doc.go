// Package http1 parses the heads of HTTP/1.1 messages, and the framing of chunked
// bodies, as far as there is only one way to read them.
//
// It is fast for what nearly all clients send, and leaves everything else to net/http.
// [ReadRequest] and [Response.Read] take bytes and return one message, or report that
// the head is not simple: it is incomplete, or it has something in it that two servers
// could read differently. Then the caller gives the same bytes to net/http, which
// decides. A simple head is read exactly as net/http reads it; fuzz targets compare the
// two. Malformed chunks are an error: a [Dechunker] has no second opinion to ask.
//
// Bounds: a simple head has at most 32 headers, a simple request announces at most
// 1 MiB of body, the size of a chunk has at most 16 digits, and what is skipped beside a
// size, or in the trailers, at most 4 KiB.
//
// The package reads from no connection and keeps no state between messages, so that it
// can be tested and fuzzed without a socket. The strings of a message share one
// allocation: whoever keeps one of them keeps the whole head in memory.
package http1
