//go:build !linux

package downstream

// departures cannot be learned of here: net/http serves all connections.
type departures struct{}

func NewDepartures() *departures { return nil }

func (*departures) watch(*Client) bool { return false }

func (*departures) forget(*Client) {}

func (*departures) each(func(*Client)) {}

func (*departures) Close() {}
