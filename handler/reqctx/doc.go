// Package reqctx provides the contexts of a client's connection and of a request on
// it, without a goroutine, and without a channel until somebody asks for one.
//
// A [Conn] ends when the client leaves. A [Request] ends when its client leaves, when
// somebody cancels it with a cause, or when it has been served; whichever comes first
// counts, and [Request.Cause] says which. One function at a time can be called at the
// end, in the goroutine that ends it: [Request.OnCancel]. Contexts derived from a
// Request by package context cost no goroutine either.
//
// Both are safe for concurrent use. A Request is embedded by value in what it belongs
// to and must not be copied once begun. The package knows nothing of HTTP.
package reqctx
