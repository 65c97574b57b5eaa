//go:build !linux

package downstream

// Hangups ends the contexts of connections whose clients have closed them. That is not
// implemented on this system, where net/http serves all connections.
type Hangups struct{}

// NewHangups returns nil, on which all methods may be called: nothing is watched.
func NewHangups() *Hangups { return nil }

func (*Hangups) watch(*Conn) bool { return false }

func (*Hangups) forget(*Conn) {}

func (*Hangups) each(func(*Conn)) {}

// Close does nothing.
func (*Hangups) Close() {}
