package transport

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestHandshakesAreShared: never more than there may be, of a host no more than its part once many are
// under way, and nobody is kept out otherwise; and nothing is left of those that have ended.
func TestHandshakesAreShared(t *testing.T) {
	hosts := []netip.Addr{
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1"), {},
	}
	rapid.Check(t, func(t *rapid.T) {
		var h Handshakes
		most := rapid.IntRange(1, 40).Draw(t, "most")
		of, all := make([]int, len(hosts)), 0
		t.Repeat(map[string]func(*rapid.T){
			"enter": func(t *rapid.T) {
				i := rapid.IntRange(0, len(hosts)-1).Draw(t, "host")
				want := all < most && (all < most/2 || of[i] < max(most/8, 1))
				if got := h.Enter(hosts[i], most); got != want {
					t.Fatalf("host %d with %d of %d, %d of them its own: %v", i, all, most, of[i], got)
				}
				if want {
					of[i], all = of[i]+1, all+1
				}
			},
			"leave": func(t *rapid.T) {
				if i := rapid.IntRange(0, len(hosts)-1).Draw(t, "host"); of[i] > 0 {
					h.Leave(hosts[i])
					of[i], all = of[i]-1, all-1
				}
			},
			"": func(t *rapid.T) {
				known := 0
				for _, n := range of {
					known += min(n, 1)
				}
				if h.UnderWay() != all || len(h.of) != known {
					t.Fatalf("%d under way of %d hosts, want %d of %d", h.UnderWay(), len(h.of), all, known)
				}
			},
		})
	})
}

// TestHostsOfAddresses: of IPv6 a host has a network, of IPv4 an address.
func TestHostsOfAddresses(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.2", false}, {"2001:db8::1", "2001:db8::2:1", true}, {"2001:db8::1", "2001:db8:0:1::1", false},
	} {
		if same := hostOf(netip.MustParseAddr(c.a)) == hostOf(netip.MustParseAddr(c.b)); same != c.same {
			t.Errorf("%s and %s are one host: %v", c.a, c.b, same)
		}
	}
}
