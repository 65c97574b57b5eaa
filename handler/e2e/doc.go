// Package e2e contains the end-to-end tests of the proxy: whole servers over TCP, with
// clients, key holders, attackers without a key and misbehaving Ollamas. It has no code of
// its own. Unit tests are in the packages that they test.
package e2e
