// Package reqctx provides the context of a client's connection and of a request on it,
// without a goroutine, and without a channel unless Done is called.
//
// A [Conn] is cancelled when the client leaves. A [Request] is cancelled when its client
// leaves, when somebody calls [Request.Cancel] with a cause, or when it has been served;
// the first of these counts, and [Request.Cause] returns it. One function at a time can
// be registered with [Request.OnCancel]; it is called in the goroutine that cancels.
// Contexts derived from a Request by package context cost no goroutine either.
//
// Both are safe for concurrent use. A Request is embedded by value in its exchange and
// must not be copied once begun. Neither has a deadline. The package knows nothing of
// HTTP.
package reqctx
