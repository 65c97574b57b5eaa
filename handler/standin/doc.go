// Package standin is an Ollama in process: an http.Handler that puts on the wire what a real Ollama puts there,
// with a canned answer in place of a model.
//
// It imitates what was measured on real ones: one NDJSON line or one event per HTTP chunk, except that the finish
// event, the usage and [DONE] of the OpenAI dialect leave in one; the last native line with its counts; the status
// and body of each error in the dialect of the route; paths matched after decoding; Host and Origin refused; and
// above all which model a body names, because a proxy that reads a body differently guards nothing.
//
// It differs in this: the answer is always the same text, tokens are words, nothing is stored of a blob but its
// digest, /api/pull knows only the models that the stand-in was made with, models at ollama.com answer as others do if
// they are in the catalogue and do not exist otherwise, and a body with Content-Encoding zstd, which the standard
// library cannot decode, is always 400. What acts with an account there is in Seen.Account.
//
// # Misbehaviour
//
// A model of one of these names, whatever its tag, is never listed and always there, on every route that takes a
// model; it misbehaves instead of answering. A route without a model does so when the request's header X-Standin
// holds the name; the header wins over the model.
//
//	slow           sends nothing, not even headers, until Options.Step yields or 20 paces have passed; then answers
//	hang           sends nothing until the client leaves
//	hang-mid       sends two chunks (or half of a whole answer), then nothing until the client leaves
//	reset          resets the connection before any header
//	close          closes the connection before any header
//	garbage        sends bytes that are no HTTP
//	huge-header    answers with 2 MiB of response header
//	switch         answers 101 Switching Protocols and closes
//	early          answers 400 before the body has been read; by model only where "model" is the body's first key
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
// Those that stop midway cut a whole answer in half, and take the end from a stream that is too short to have a
// middle. Whatever takes over the connection needs an HTTP/1 server.
package standin
