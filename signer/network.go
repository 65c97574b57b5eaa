package signer

import (
	"bytes"
	"errors"
	"net/netip"
)

var (
	errBadNetwork    = errors.New("not networks such as 10.0.0.0/8,2001:db8::/32")
	errMappedNetwork = errors.New("write an IPv4 network as such, like 10.0.0.0/8")
)

// parseNetwork parses a network such as 10.0.0.0/8, or an address, which stands for the
// network of itself alone. It accepts what netip.ParsePrefix and netip.ParseAddr accept,
// but allocates no errors. It refuses addresses with a zone, because a zone means
// something on one machine only, and networks of IPv4-mapped addresses.
func parseNetwork(s []byte) (netip.Prefix, error) {
	text, length, hasLength := bytes.Cut(s, []byte{'/'})
	addr, ok := parseAddress(text)
	if !ok {
		return netip.Prefix{}, errBadNetwork
	}
	if !hasLength {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	bits, ok := parseSmall(length, 10, addr.BitLen())
	if !ok || len(length) > 1 && length[0] == '0' {
		return netip.Prefix{}, errBadNetwork
	}
	if addr.Is4In6() {
		return netip.Prefix{}, errMappedNetwork
	}
	return netip.PrefixFrom(addr, bits).Masked(), nil
}

// parseAddress parses an IPv4 or IPv6 address without a zone.
func parseAddress(s []byte) (netip.Addr, bool) {
	if bytes.IndexByte(s, ':') < 0 {
		four, ok := parseIPv4(s)
		return netip.AddrFrom4(four), ok
	}
	sixteen, ok := parseIPv6(s)
	return netip.AddrFrom16(sixteen), ok
}

// parseIPv4 parses four numbers from 0 to 255 without leading zeros.
func parseIPv4(s []byte) (addr [4]byte, ok bool) {
	for i := range addr {
		octet, rest, more := bytes.Cut(s, []byte{'.'})
		n, ok := parseSmall(octet, 10, 255)
		if !ok || len(octet) > 1 && octet[0] == '0' || more != (i < len(addr)-1) {
			return addr, false
		}
		addr[i], s = byte(n), rest
	}
	return addr, true
}

// parseIPv6 parses eight groups of one to four hexadecimal digits. One "::" may replace
// one or more groups of zeros, and an IPv4 address the last two groups.
func parseIPv6(s []byte) (addr [16]byte, ok bool) {
	gap, n := -1, 0 // the index of "::" in addr, and how many bytes of addr are set
	if bytes.HasPrefix(s, []byte("::")) {
		gap, s = 0, s[2:]
	}
	for len(s) > 0 {
		if n == len(addr) {
			return addr, false
		}
		group, rest, more := bytes.Cut(s, []byte{':'})
		if !more && bytes.IndexByte(group, '.') >= 0 {
			four, ok := parseIPv4(group)
			if !ok || n > len(addr)-len(four) {
				return addr, false
			}
			n += copy(addr[n:], four[:])
			break
		}
		value, ok := parseSmall(group, 16, 0xffff)
		if !ok || len(group) > 4 {
			return addr, false
		}
		addr[n], addr[n+1] = byte(value>>8), byte(value)
		n += 2
		switch {
		case more && len(rest) == 0: // a single colon at the end
			return addr, false
		case more && rest[0] == ':':
			if gap >= 0 {
				return addr, false
			}
			gap, rest = n, rest[1:]
		}
		s = rest
	}
	if gap < 0 || n == len(addr) {
		return addr, gap < 0 && n == len(addr)
	}
	tail := copy(addr[len(addr)-(n-gap):], addr[gap:n])
	clear(addr[gap : len(addr)-tail])
	return addr, true
}

// parseSmall parses a number from 0 to limit, which is less than 2¹⁶, in base 10 or 16.
// It accepts leading zeros: the caller must refuse them.
func parseSmall(s []byte, base, limit int) (n int, ok bool) {
	for _, c := range s {
		digit := base
		switch {
		case '0' <= c && c <= '9':
			digit = int(c - '0')
		case 'a' <= c && c <= 'f':
			digit = int(c-'a') + 10
		case 'A' <= c && c <= 'F':
			digit = int(c-'A') + 10
		}
		if digit >= base {
			return 0, false
		}
		if n = n*base + digit; n > limit {
			return 0, false
		}
	}
	return n, len(s) > 0
}
