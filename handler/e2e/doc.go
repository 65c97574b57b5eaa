// Package e2e tests whole servers over sockets: what a client, a key holder, a
// stranger or a misbehaving Ollama can make the proxy do. Unit tests stand beside what
// they test.
package e2e
