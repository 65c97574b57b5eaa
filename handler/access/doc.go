// Package access makes the decisions about who a client is and how much it may ask
// for: the credential in a request, the client's address behind trusted proxies, and
// rate limits.
//
// Its functions are pure but for the rate limits, which keep counts in memory, per
// replica and per key family. They return a result or one of a few sentinel errors;
// what status a client gets for it is decided elsewhere. Nothing here verifies a key:
// that is package signer's.
package access
