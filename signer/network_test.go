package signer

import "testing"

// FuzzNetwork: whatever the standard library takes for an address or a network,
// but for what a caveat may not say, is taken for the same here, and nothing else.
func FuzzNetwork(f *testing.F) {
	for _, s := range []string{
		"10.0.0.0/8", "10.1.2.3/8", "0.0.0.0/0", "192.0.2.7", "192.0.2.7/32", "255.255.255.255", "256.0.0.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4/08", "1.2.3.4/33", "1.2.3.4/", "/8", "1..3.4", "1.2.3.4.",
		"::", "::/0", "::1", "1::", "2001:db8::/32", "2001:DB8::1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8::", "1:2:3:4::5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", ":::", ":", "1:", ":1",
		"12345::", "g::", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "::ffff:a00:1", "::10.0.0.1", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:1.2.3.4", "::1.2.3.4:5", "1.2.3.4::", "::1.2.3", "fe80::1%eth0", "fe80::1%", "fe80::%1/64",
		"2001:db8::/129", "2001:db8::/128", "2001:db8::/0", "2001:db8::/+8", "2001:db8::/8/8", " 10.0.0.1", "10.0.0.1 ", "localhost", "", "00000::", "0001::", "::0:0:0:0:0:0:0:0", "0:0:0:0:0:0:0::", "::/00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseNetwork([]byte(s))
		want, wantErr := referenceNetwork(s)
		if (err == nil) != (wantErr == nil) || got != want {
			t.Errorf("%q is %v (%v), not %v (%v)", s, got, err, want, wantErr)
		}
	})
}
