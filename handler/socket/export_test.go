package socket

import (
	"net"
)

// NewSocket is a connection as the proxy reads and writes it.
func NewSocket(c net.Conn) net.Conn { return New(c) }
