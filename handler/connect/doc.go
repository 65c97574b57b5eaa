// Package connect is a local Ollama without keys: it listens on a loopback address,
// adds a key to each request and forwards it to a remote ollama-proxy.
//
// Whoever reaches it has the key's rights. It therefore refuses what a web page could
// have sent, see package local, and sends the key to no other machine in the clear
// unless told to. Requests and answers pass as they are, chunk by chunk; a client that
// leaves cancels the remote request, and an answer that breaks off never looks whole.
//
// It checks no key: whether a key is genuine only the remote can tell.
package connect
