// Package connect is a local Ollama without keys: it listens on a loopback address,
// adds a key to each request and forwards it to a remote ollama-proxy.
//
// Whoever reaches it has the key's rights. It therefore refuses what a foreign web page
// could have sent, see package local; pages of this machine may read its answers. It
// sends the key to no other machine in the clear unless told to. Requests and answers
// pass unchanged, chunk by chunk; a client that leaves cancels the remote request, and an
// answer that breaks off never looks whole.
//
// To an ollama-proxy it does not send the key itself, but a child of it that is valid for
// five minutes by the remote's clock. To find out what the remote is, it asks for the
// version at the start, and again when a child is refused or the clocks cannot be
// trusted: at most three requests, 5 s in all. It logs what it finds, and serves whatever
// that is.
//
// It checks no key: only the remote can tell whether a key is genuine.
package connect
