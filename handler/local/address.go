package local

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Reachable returns an address at which this machine reaches a server that listens on
// the given one: for a wildcard address, such as :8080 or 0.0.0.0:8080, that of
// 127.0.0.1.
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

// ListenLoopback listens on a TCP address, a host and a port. If the host is not
// loopback (127.0.0.0/8, ::1, localhost), or localhost does not resolve to loopback,
// ListenLoopback returns an error: anyone who reaches the port has the key's rights.
func ListenLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err == nil && !IsLoopback(host) {
		return nil, notLoopback(address)
	}
	l, err := ListenNetwork(address)
	if err != nil {
		return nil, err
	}
	// The machine may resolve localhost to any address.
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		l.Close()
		return nil, notLoopback(address)
	}
	return l, nil
}

// ListenNetwork listens on a TCP address, a host and a port, whoever can reach it. If
// the address is in use, the error says what to do.
func ListenNetwork(address string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("%q is not an address; write it like 127.0.0.1:11434", address)
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use: is there an Ollama already? Take another port, or stop it", address)
	}
	return l, err
}

// notLoopback is the error for an address that other machines may reach.
func notLoopback(address string) error {
	return fmt.Errorf("%q is not a loopback address such as 127.0.0.1:11434: anyone who reaches it would have the key's rights; --share-key allows that", address)
}

// LeadsTo reports whether the URL, whose host is a name or an address, leads to what
// listens on the address. It looks no name up: of names, only localhost is taken for this
// machine.
func LeadsTo(u *url.URL, listener net.Addr) bool {
	own, ok := listener.(*net.TCPAddr)
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if !ok || port != strconv.Itoa(own.Port) {
		return false
	}
	if strings.EqualFold(u.Hostname(), "localhost") {
		return own.IP.IsLoopback() || own.IP.IsUnspecified()
	}
	ip := net.ParseIP(u.Hostname())
	switch {
	case ip == nil:
		return false
	case !own.IP.IsUnspecified():
		return own.IP.Equal(ip)
	}
	addresses, _ := net.InterfaceAddrs()
	return ip.IsLoopback() || ip.IsUnspecified() || slices.ContainsFunc(addresses, func(a net.Addr) bool {
		network, ok := a.(*net.IPNet)
		return ok && network.IP.Equal(ip)
	})
}

// hostOf returns the host of a Host header or an address, without the port and brackets.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// IsLoopback reports whether the host, a name or an address, can only be this machine.
// Of names only localhost is.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
