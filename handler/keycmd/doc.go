// Package keycmd runs the commands about keys: mint, keys, restrict, inspect, revoke and
// secret.
//
// Each is a function of its options. Results go to Streams.Out, so that they can be
// piped, and what is said about them to Streams.Err: among it the files that were used,
// if nobody has named them. Nothing here knows flags, but an error names the flag that
// it is about. A key is never part of an error, and of the ledger neither.
//
// They work offline, but for [InspectRemote]. Where the proxy of this machine answers
// within half a second, they say if it has other secrets or another list; nothing else
// depends on its answer. An error leaves files as they were.
package keycmd
