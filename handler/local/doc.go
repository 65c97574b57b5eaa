// Package local recognises what belongs to this machine: loopback addresses, and
// requests that no foreign web page can have sent.
//
// A web page in the user's browser can send requests to any port of this machine, and
// if the page's host name is made to resolve to this machine (DNS rebinding), it can
// read the responses. [CheckLoopback], [CheckNetwork] and [AllowedHosts.Protect] recognise
// such requests by Host, Origin and Sec-Fetch-Site, and refuse them with a text that may
// be shown to the client. Pages that come from this machine itself may pass, see
// [IsLocalOrigin]. If in doubt they refuse. They protect ports that need no password; they
// are no substitute for a key.
//
// The package makes no DNS lookups to judge a name: only localhost is
// loopback, and the names that containers have for their host stand in a list.
package local
