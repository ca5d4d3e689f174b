package policy

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseNode(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "192.0.2.1:80": "192.0.2.1", "192.0.2.1:99999": "192.0.2.1",
		"[2001:db8::1]": "2001:db8::1", "[2001:db8::1]:4711": "2001:db8::1", "2001:DB8::1": "2001:db8::1",
		"::": "::", "::1": "::1", "1::": "1::", "1:2:3:4:5:6:7:8": "1:2:3:4:5:6:7:8", "::ffff:192.0.2.1": "192.0.2.1",
		"64:ff9b::192.0.2.1": "64:ff9b::c000:201", "[::ffff:192.0.2.1]:1": "192.0.2.1",
		"": "", "unknown": "", "_a": "", "192.0.2": "", "192.0.2.256": "", "192.0.2.01": "", "192.0.2.1.": "", "192.0.2.1:": "",
		"192.0.2.1:123456": "", "192.0.2.1:8a": "", "[192.0.2.1]": "", "[2001:db8::1": "", "[::1]x": "", "[::1]:": "", ":": "", ":::": "", "1:2": "",
		"1:2:3:4:5:6:7:8:9": "", "1::2::3": "", "::1%eth0": "", "fe80::1%1": "", "12345::": "", "1:2:3:4:5:6:7::8": "", "1:": "", "1:2:3:4:5:6:7:": "",
	} {
		got := parseNode([]byte(text))
		if want == "" && got.IsValid() || want != "" && got.String() != want {
			t.Errorf("%q is %v, want %q", text, got, want)
		}
	}
}

// FuzzAddress compares the parser with netip's.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"192.0.2.1", "1.2.3", "::", "1::", "::1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::ffff:1.2.3.4",
		"1:2:3:4:5:6:7:8", "1::2::3", "01.2.3.4", "::1%a", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "1.2.3.4::",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := netip.ParseAddr(s)
		if err != nil || want.Zone() != "" {
			want = netip.Addr{}
		}
		if strings.Count(s, ":") == 1 || strings.HasPrefix(s, "[") {
			return // a port or brackets, which ParseAddr does not take
		}
		if got := parseNode([]byte(s)); got != want.Unmap() {
			t.Fatalf("%q is %v, want %v", s, got, want)
		}
	})
}
