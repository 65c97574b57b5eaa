// Package http1 reads the heads of HTTP/1.1 messages, and the framing of chunked
// bodies, as far as there is only one way to read them.
//
// It exists to be fast for what nearly everybody sends and to have no opinion about
// the rest. [ReadRequest] and [Response.Read] take bytes and return one value, or say
// that the head is not simple: incomplete, or with anything in it that two servers
// could read differently. Then the caller leaves the same bytes to net/http, which
// decides. What is simple is read exactly as net/http reads it; differential fuzz
// targets hold the two together.
//
// Bounds: a simple head has at most 32 headers, a request announces at most 1 MiB of
// body, the size of a chunk has at most 16 digits, and the lines between chunks at
// most 4 KiB.
//
// The package reads no connection and keeps no state between messages, so that it can
// be tested and fuzzed without a socket. The strings of a message share one
// allocation: whoever keeps one of them keeps the whole head in memory.
package http1
