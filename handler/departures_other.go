//go:build !linux

package handler

// departures cannot be learned of here: net/http serves all connections.
type departures struct{}

func newDepartures() *departures { return nil }

func (*departures) watch(*client) bool { return false }

func (*departures) forget(*client) {}

func (*departures) each(func(*client)) {}

func (*departures) close() {}
