package handler

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ParseNetworks reads networks such as 10.0.0.0/8, and single addresses. Each
// text may hold several, with commas between them.
func ParseNetworks(texts []string) (networks []netip.Prefix, err error) {
	for _, text := range texts {
		for item := range strings.SplitSeq(text, ",") {
			network, err := netip.ParsePrefix(item)
			if addr, addrErr := netip.ParseAddr(item); addrErr == nil {
				network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
			}
			if err != nil {
				return nil, fmt.Errorf("%q is no network such as 10.0.0.0/8", item)
			}
			networks = append(networks, network.Masked())
		}
	}
	return networks, nil
}

// clientAddress is where a request comes from: the peer, or, where the peer is
// a trusted proxy, who that proxy says it is for, and so on from right to
// left. What stands left of the first address that is not trusted is hearsay.
// If a trusted proxy says something that is no address, the answer is the zero
// Addr: not known.
func clientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
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

// parseForwarded reads an address with or without a port, as proxies write
// them.
func parseForwarded(s string) netip.Addr {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone("")
}
