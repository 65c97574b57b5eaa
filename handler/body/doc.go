// Package body keeps request bodies in memory, in pieces, within one budget that all
// requests share.
//
// [Budget.Read] reads a body up to a limit. The first 16 KiB of each body are free;
// what all bodies take beyond that comes out of the budget, 256 MiB unless set
// otherwise. If the budget is used up, Read returns what it has together with
// [ErrNoRoom], and the caller decides: stream the rest, or refuse the request. Memory
// is taken as bytes arrive, never because a length was announced, but for the first
// 64 KiB. A [Share] is what one body has taken; releasing it twice does no harm.
//
// A [Body] is what is sent upstream: in memory, where it can be sent again, or a
// stream. The package knows nothing of HTTP statuses.
package body
