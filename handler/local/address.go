package local

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// Reachable is an address at which this machine reaches what listens on the
// given one, which may be all of its addresses.
func Reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// ListenLoopback listens on the address, a host and a port. If the host is not
// loopback (127.0.0.0/8, ::1, localhost), ListenLoopback returns an error:
// anyone who reaches the port has the key's rights.
func ListenLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is no address; write it like 127.0.0.1:11434", address)
	case !IsLoopback(host):
		return nil, notLoopback(address)
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use: is there an Ollama already? Take another port, or stop it", address)
	}
	if err != nil {
		return nil, err
	}
	// What localhost means is up to the machine.
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		l.Close()
		return nil, notLoopback(address)
	}
	return l, nil
}

func notLoopback(address string) error {
	return fmt.Errorf("%q is not a loopback address such as 127.0.0.1:11434: anyone who reaches it would have the key's rights", address)
}

func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// IsLoopback reports whether the host, a name or an address, is this machine's
// own and nobody else's. Of names only localhost is.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
