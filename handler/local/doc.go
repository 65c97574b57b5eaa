// Package local decides what belongs to this machine: loopback addresses, and
// requests that no foreign web page can have sent.
//
// A web page in the user's browser can send requests to any port of this machine, and
// if the name that it was loaded from now resolves to this machine (DNS rebinding), it
// can read the answers. [CheckLoopback] and [OwnNames.Only] recognise such requests by
// Host, Origin and Sec-Fetch-Site and return an error that can be shown to the client.
// They protect ports that have no password; they are no substitute for a key.
//
// The package makes no DNS lookups: of names, only localhost is loopback.
package local
