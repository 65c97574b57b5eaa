//go:build unix

// Package kit is what the end-to-end check programs of deploy/e2e share: they
// start the built ollama-proxy and other programs as child processes, ask them,
// read their logs and metrics, and report.
//
// It is for programs that check one thing after the other and end at the first
// failure. So nothing here returns an error: what goes wrong is reported by
// [Fatal], which exits with status 1. A child that ends unbidden is such a
// failure, too. The children that are left when a program ends are not ended by
// it: the step in .ci that has started it ends its whole process group.
//
// A program sets [Dir] first, and [Patience] if it needs another one, before it
// starts goroutines: both are read without a lock. Programs run in the root of
// the repository, whose files they read by relative paths.
package kit
