package access

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ParseNetworks reads networks in CIDR form such as 10.0.0.0/8, and single addresses,
// each of which becomes a network of one. A text may hold several, separated by commas
// without spaces. An IPv4-mapped IPv6 network, such as ::ffff:10.0.0.0/104, becomes the
// IPv4 network that it stands for.
//
// If an item is neither, has a zone, or is a mapped network that reaches beyond IPv4,
// ParseNetworks returns an error that quotes the item.
func ParseNetworks(texts []string) (networks []netip.Prefix, err error) {
	for _, text := range texts {
		for item := range strings.SplitSeq(text, ",") {
			network, err := parseNetwork(item)
			if err != nil {
				return nil, fmt.Errorf("%q %w", item, err)
			}
			networks = append(networks, network)
		}
	}
	return networks, nil
}

// mappedBits is the number of bits before the IPv4 address in an IPv4-mapped IPv6
// address.
const mappedBits = 96

func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, errors.New("has a zone, and addresses are compared without: leave it out")
		}
		network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New("is no network such as 10.0.0.0/8")
	case network.Addr().Is4In6() && network.Bits() < mappedBits:
		return netip.Prefix{}, errors.New("is more than IPv4: write IPv4 networks like 10.0.0.0/8")
	case network.Addr().Is4In6():
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-mappedBits)
	}
	return network.Masked(), nil
}

// ClientAddress returns the address of the client that sent the request. It starts with
// the peer of the connection. As long as the address is a trusted proxy's, it goes on to
// the next entry of X-Forwarded-For, from right to left; entries further left were
// written by somebody who is not trusted, and are ignored.
//
// If the peer's address cannot be read, or a trusted proxy has written something that is
// no address, ClientAddress returns the zero Addr. No zone is ever part of the result.
func ClientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap().WithZone("")
	if len(trusted) == 0 {
		return addr
	}
	said := r.Header["X-Forwarded-For"]
	for i := len(said) - 1; i >= 0; i-- {
		rest := said[i]
		for more := true; more; {
			if !isTrusted(addr, trusted) {
				return addr
			}
			var last string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, last = rest[:comma], rest[comma+1:]
			} else {
				last, more = rest, false
			}
			if addr = parseForwarded(strings.TrimSpace(last)); !addr.IsValid() {
				return netip.Addr{}
			}
		}
	}
	return addr
}

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// parseForwarded reads an address with or without a port. Some proxies write IPv6 in
// brackets even if no port follows.
func parseForwarded(s string) netip.Addr {
	bare := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		bare = s[1 : len(s)-1]
	}
	addr, err := netip.ParseAddr(bare)
	if err == nil && bare != s && addr.Is4() {
		return netip.Addr{}
	}
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone("")
}
