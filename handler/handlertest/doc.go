// Package handlertest starts whole proxies for tests, like net/http/httptest: a server on
// loopback, and a stand-in Ollama behind it.
//
// A [Site] is a running server with its keys and its Ollama; [StartPool] starts one with
// several Ollamas, each a [Box]. A [Wire] is a client's raw connection. A [Spy] records the
// calls of the proxy's Recorder, and checks in the end that they are consistent. [Scripted]
// is an Ollama whose bytes the test writes.
//
// What must happen is waited for up to [Timeout]; then the test fails. Everything is closed
// when the test ends. The package makes no connection to other machines.
package handlertest
