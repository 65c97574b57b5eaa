package access

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// TestNetworksAreReadOnceForAll: whatever is taken for a network matches the
// addresses in it, in every form in which they come.
func TestNetworksAreReadOnceForAll(t *testing.T) {
	for _, row := range []struct{ text, want, inside, outside string }{
		{"10.0.0.0/8", "10.0.0.0/8", "10.1.2.3", "11.0.0.1"},
		{"10.1.2.3/8", "10.0.0.0/8", "10.9.9.9", "11.0.0.1"},
		{"127.0.0.1", "127.0.0.1/32", "127.0.0.1", "127.0.0.2"},
		{"::ffff:127.0.0.1", "127.0.0.1/32", "127.0.0.1", "127.0.0.2"},
		{"::FFFF:7f00:1", "127.0.0.1/32", "127.0.0.1", "127.0.0.2"},
		{"::ffff:127.0.0.1/128", "127.0.0.1/32", "127.0.0.1", "127.0.0.2"},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8", "10.1.2.3", "11.0.0.1"},
		{"::ffff:10.1.2.3/104", "10.0.0.0/8", "10.9.9.9", "11.0.0.1"},
		{"::ffff:0:0/96", "0.0.0.0/0", "192.0.2.1", "2001:db8::1"},
		{"2001:db8::/32", "2001:db8::/32", "2001:db8::1", "2001:db9::1"},
		{"::1", "::1/128", "::1", "::2"},
		{"fe80::/10", "fe80::/10", "fe80::1", "fec0::1"},
	} {
		got, err := ParseNetworks([]string{row.text})
		if err != nil || len(got) != 1 || got[0].String() != row.want {
			t.Errorf("%q is read as %v, %v", row.text, got, err)
			continue
		}
		from := func(peer string) netip.Addr {
			return ClientAddress(&http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {"192.0.2.99"}}}, got)
		}
		inside, outside, said := netip.MustParseAddr(row.inside), netip.MustParseAddr(row.outside), netip.MustParseAddr("192.0.2.99")
		if from(netip.AddrPortFrom(inside, 1).String()) != said || from(netip.AddrPortFrom(outside, 1).String()) != outside {
			t.Errorf("%q does not match what is in it, or matches what is not", row.text)
		}
		if inside.Is4() && from("[::ffff:"+row.inside+"]:1") != said {
			t.Errorf("%q does not match %s where it comes over IPv6", row.text, row.inside)
		}
	}
	for _, bad := range []string{
		"", "localhost", "10.0.0.0/33", "10.0.0", "010.0.0.1", "10.0.0.0/8 ", "10.0.0.1:80", "[::1]", "::1/129", "10.0.0.0/-1", "10.0.0.0/08",
		"::ffff:10.0.0.0/95", "::ffff:10.0.0.0/8", "::ffff:0:0/0", "fe80::1%eth0", "fe80::1%eth0/64", "::ffff:10.0.0.1%eth0",
	} {
		if got, err := ParseNetworks([]string{"10.0.0.0/8," + bad}); err == nil || !strings.Contains(err.Error(), strconv.Quote(bad)) {
			t.Errorf("%q is read as %v, %v", bad, got, err)
		}
	}
}

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("127.0.0.1/32")}
	for _, row := range []struct {
		name, peer string
		said       []string
		want       string
	}{
		{"the peer", "192.0.2.1:1234", nil, "192.0.2.1"},
		{"a peer that is not trusted says nothing", "192.0.2.1:1234", []string{"10.0.0.1"}, "192.0.2.1"},
		{"a trusted peer that says nothing", "10.0.0.1:1234", nil, "10.0.0.1"},
		{"a trusted peer", "10.0.0.1:1234", []string{"198.51.100.7"}, "198.51.100.7"},
		{"two trusted proxies", "10.0.0.1:1", []string{"198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		{"what the client put in front", "10.0.0.1:1", []string{"1.1.1.1, 198.51.100.7"}, "198.51.100.7"},
		{"in a line of its own", "10.0.0.1:1", []string{"1.1.1.1", "198.51.100.7,10.0.0.2"}, "198.51.100.7"},
		{"all trusted", "10.0.0.1:1", []string{"10.0.0.3,10.0.0.2"}, "10.0.0.3"},
		{"IPv6", "[2001:db8::1]:1", []string{"2001:db9::1"}, "2001:db9::1"},
		{"IPv6 with a port", "10.0.0.1:1", []string{"[2001:db9::1]:99"}, "2001:db9::1"},
		{"IPv4 with a port", "10.0.0.1:1", []string{"198.51.100.7:99"}, "198.51.100.7"},
		{"IPv4 in IPv6, the peer", "[::ffff:10.0.0.1]:1", []string{"198.51.100.7"}, "198.51.100.7"},
		{"IPv4 in IPv6, said", "10.0.0.1:1", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"IPv4 in IPv6, said with a port", "10.0.0.1:1", []string{"[::ffff:198.51.100.7]:99"}, "198.51.100.7"},
		{"IPv4 in IPv6, said by a trusted proxy of a trusted one", "10.0.0.1:1", []string{"198.51.100.7, ::ffff:10.0.0.2"}, "198.51.100.7"},
		{"IPv4 in IPv6, in hexadecimal", "10.0.0.1:1", []string{"::FFFF:c633:6407"}, "198.51.100.7"},
		{"in brackets", "10.0.0.1:1", []string{"[2001:db9::1]"}, "2001:db9::1"},
		{"IPv4 in brackets", "10.0.0.1:1", []string{"[198.51.100.7]"}, ""},
		{"half a bracket", "10.0.0.1:1", []string{"[2001:db9::1"}, ""},
		{"IPv6, and perhaps a port", "10.0.0.1:1", []string{"2001:db9::1:99"}, "2001:db9::1:99"},
		{"leading zeros", "10.0.0.1:1", []string{"198.051.100.7"}, ""},
		{"a zone", "10.0.0.1:1", []string{"fe80::1%eth0"}, "fe80::1"},
		{"a zone in brackets, with a port", "10.0.0.1:1", []string{"[fe80::1%eth0]:99"}, "fe80::1"},
		{"garbage is nowhere", "10.0.0.1:1", []string{"unknown"}, ""},
		{"garbage after a good one", "10.0.0.1:1", []string{"198.51.100.7, _hidden"}, ""},
		{"garbage before a good one", "10.0.0.1:1", []string{"unknown, 198.51.100.7"}, "198.51.100.7"},
		{"an empty element", "10.0.0.1:1", []string{"198.51.100.7,"}, ""},
		{"an empty line", "10.0.0.1:1", []string{""}, ""},
		{"a peer that is none", "@", nil, ""},
	} {
		r := &http.Request{RemoteAddr: row.peer, Header: http.Header{}}
		if row.said != nil {
			r.Header["X-Forwarded-For"] = row.said
		}
		got := ClientAddress(r, trusted)
		if want, _ := netip.ParseAddr(row.want); got != want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}

func FuzzClientAddress(f *testing.F) {
	f.Add("10.0.0.1:1", "198.51.100.7, 10.0.0.2", "unknown")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, peer, first, second string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {first, second}}}
		if got := ClientAddress(r, nil); got.IsValid() {
			want, err := netip.ParseAddrPort(peer)
			if err != nil || want.Addr().Unmap().WithZone("") != got {
				t.Errorf("nobody is trusted, yet %v for %q", got, peer)
			}
		}
		if got := ClientAddress(r, trusted); got.Is4In6() || got.Zone() != "" {
			t.Errorf("%v is not in its plain form", got)
		}
	})
}
