//go:build !linux

package downstream

// Hangups cannot be learned of here: net/http serves all connections.
type Hangups struct{}

func NewHangups() *Hangups { return nil }

func (*Hangups) watch(*Conn) bool { return false }

func (*Hangups) forget(*Conn) {}

func (*Hangups) each(func(*Conn)) {}

func (*Hangups) Close() {}
