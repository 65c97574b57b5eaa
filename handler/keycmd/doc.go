// Package keycmd runs the commands about keys: mint, restrict, inspect, revoke and
// secret.
//
// Each is a function of its options. Results go to Streams.Out, so that they can be
// piped, and what is said about them to Streams.Err. Nothing here knows flags or the
// environment, but an error names the flag that it is about. A key is never part of
// an error.
//
// They work offline: no proxy is asked. An error leaves files as they were.
package keycmd
