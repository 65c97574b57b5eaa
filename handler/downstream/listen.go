package downstream

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
)

// Listen listens for TCP connections on the address, a host and a port: 127.0.0.1:8080,
// or 0.0.0.0:8080 for all addresses of this machine. If the text is not an address, if
// another process listens there, or if the process lacks the right to use the port, the
// error says what to do.
func Listen(address string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("%q is not an address: write a host and a port, such as 127.0.0.1:8080", address)
	}
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use: take another port, or stop what listens there", address)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: take a port from 1024 on, or run as root or with CAP_NET_BIND_SERVICE", err)
	}
	return l, err
}
