package server

import (
	"net"
)

// BoundWith has the server bound itself as where so many descriptors are known
// (0: none), and gives how many requests it then lets in at once.
func BoundWith(s *Server, l net.Listener, descriptors int) (requests int) {
	s.bounded(l, descriptors)
	return s.Proxy.InFlightLimit()
}

// MostDescriptors is how many a Server expects with so many connections of clients.
func MostDescriptors(s *Server, connections int) int { return s.mostDescriptors(connections) }
