// Package standin contains a fake Ollama server for tests and demos: an http.Handler that sends the same bytes as a
// real Ollama, with a fixed text in place of a model's answer.
//
// It imitates what was measured on real servers: one NDJSON line or one event per HTTP chunk, except that the finish
// event, the usage and [DONE] of the OpenAI dialect are sent in one chunk; the last native line with its counts; the
// status and body of each error in the dialect of the route; paths matched after decoding; Host and Origin refused;
// and above all which model a body names, since a proxy that reads another model from a body than Ollama guards
// nothing.
//
// It differs from a real server as follows. The answer is always the same text, and tokens are words. Only the digest
// of a blob is stored. /api/pull finds only the models that the stand-in was made with. Models at ollama.com answer
// like others if they are in the catalogue, and do not exist otherwise. A body with Content-Encoding zstd, which the
// standard library cannot decode, is always answered 400. Seen.Account reports what uses an ollama.com account.
//
// The requests that it remembers, the models and the blobs are bounded, so that a demo can run for long.
//
// # Misbehaviour
//
// A model with one of these names, with any tag, is never listed but exists on every route that takes a model, and
// misbehaves instead of answering. On other routes, the header X-Standin of the request can hold such a name. If both
// are given, the header counts.
//
//	slow           sends nothing, not even headers, until Options.Step yields or 20 paces have passed; then answers
//	hang           sends nothing until the client leaves
//	hang-mid       sends two chunks (or half of a whole answer), then nothing until the client leaves
//	reset          resets the connection before any header
//	close          closes the connection before any header
//	garbage        sends bytes that are not HTTP
//	huge-header    answers with 2 MiB of response header
//	switch         answers 101 Switching Protocols and closes
//	early          answers 400 before the body is read; as a model only where "model" is the first key of the body
//	busy           answers 503, the queue is full
//	broken         answers 500
//	dies-mid-line  kills the connection after two chunks and half of the third
//	dies-between   kills the connection after two chunks
//	short          kills the connection halfway through the announced Content-Length; of a stream, after two chunks
//	repeat         ends cleanly and silently: no done:true, finish event, [DONE] or usage
//	runner-killed  ends cleanly, half the answer missing, with what the dialect then shows: an error line, a chunk
//	               with an empty model, or nothing; 500 where nothing was streamed
//	error-event    ends cleanly, half the answer missing, with an error in the dialect: a line, an event, or the event
//	               response.failed; 500 where nothing was streamed
//	long           2,000 tokens, as fast as the client reads
//	big            one token of 300 KB
//
// Those that stop midway send half of an answer that is not streamed. A stream of fewer chunks breaks off at its end.
// Those that take over the connection need an HTTP/1 server.
package standin
