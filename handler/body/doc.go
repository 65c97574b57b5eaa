// Package body keeps request bodies in memory, in pieces, within one budget that all
// requests share.
//
// [Budget.Read] reads a body up to a limit. The first 16 KiB of each body are free; all
// memory beyond that is taken from the budget, 256 MiB ([MaxBodies]) unless configured.
// If the budget is used up, Read returns what it has read together with
// [ErrOverBudget], and the caller decides: stream the rest, or refuse the request.
// Memory is allocated as bytes arrive; an announced length allocates 64 KiB at most. A
// [Share] is what one body has taken; releasing it twice does no harm.
//
// A [Body] is the body of a request to Ollama: in memory, where it can be sent again, or
// a stream. The package sets no time limits and knows nothing of HTTP statuses.
package body
