//go:build !linux

package downstream

// hangups cannot be learned of here: net/http serves all connections.
type hangups struct{}

func NewHangups() *hangups { return nil }

func (*hangups) watch(*Conn) bool { return false }

func (*hangups) forget(*Conn) {}

func (*hangups) each(func(*Conn)) {}

func (*hangups) Close() {}
