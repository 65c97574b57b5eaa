// Package handlertest starts whole proxies for tests: a server on loopback before a
// stand-in Ollama, with what both saw.
//
// A [Site] is a running server with its keys and its stand-in. A [Wire] is a client's
// raw connection to it. A [Spy] records what the proxy tells its recorder, and checks
// at the end that everything that began has also ended. [Scripted] is an Ollama that
// misbehaves as a test writes it. Everything ends with the test.
package handlertest
