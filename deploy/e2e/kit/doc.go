//go:build unix

// Package kit contains the helpers of the end-to-end checks in deploy/e2e: it starts the
// built ollama-proxy and other programs as child processes, sends requests, reads logs and
// metrics, and reports results.
//
// The checks run one after the other and end at the first failure. So no function returns an
// error: failures go to [Fatal], which exits with status 1. A child that ends by itself is a
// failure, too. What is waited for must happen within [Timeout].
//
// A program sets [Dir] first, and [Timeout] if it needs another one, before it starts
// goroutines: both are read without a lock. It runs in the root of the repository, whose
// files it reads by relative paths.
//
// The package does not end the children that are left when a program ends: the step in .ci
// that has started the program ends its whole process group.
package kit
