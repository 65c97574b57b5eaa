// Package keyinfo is the JSON in which a proxy tells the holder of a key what the key may
// do, at [Path], and the client's side of it.
//
// [Ask] asks a remote proxy and [Info.Words] says its answer in plain words. What a remote
// answers is not to be trusted: an answer of more than 64 KiB, or one that is no such
// JSON, is an error, no redirect is followed, and nothing in the words can command a
// terminal. No error shows the key.
//
// The package decides nothing about a key. The proxy fills in an Info from what it has
// verified and counted.
package keyinfo
