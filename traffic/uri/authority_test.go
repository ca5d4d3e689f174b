package uri

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestIPv6(t *testing.T) {
	for _, s := range []string{
		"::", "::1", "1::", "1:2:3:4:5:6:7:8", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "1::8", "2001:db8::1", "FFFF::ffff",
		"::1.2.3.4", "::ffff:0.0.0.0", "1:2:3:4:5:6:1.2.3.4", "64:ff9b::255.255.255.255",
		"", ":", ":::", "1", "1:", ":1", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8",
		"12345::", "g::", "1.2.3.4", "::1.2.3", "::1.2.3.4.5", "::1.2.3.256", "::01.2.3.4", "::1.2.3.4:5", "1:2:3:4:5:6:7:1.2.3.4",
		"fe80::1%eth0", "::1 ", "::+1",
	} {
		checkIPv6(t, s)
	}
}

// checkIPv6 compares isIPv6 with net/netip, which also knows zones and bare IPv4.
func checkIPv6(t *testing.T, s string) {
	t.Helper()
	a, err := netip.ParseAddr(s)
	want := err == nil && a.Is6() && a.Zone() == "" && !strings.Contains(s, "%")
	if got := isIPv6([]byte(s)); got != want {
		t.Errorf("isIPv6(%q) = %v, net/netip: %v", s, got, err)
	}
}

var (
	naiveName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$`)
	naivePort = regexp.MustCompile(`^[1-9][0-9]{0,4}$`)
)

// naiveAuthority splits an authority with regular expressions and net/netip.
func naiveAuthority(s string) (host, port string, ok bool) {
	host = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if n, err := strconv.Atoi(port); !naivePort.MatchString(port) || err != nil || n > 65535 {
			return "", "", false
		}
	}
	if inner, isLiteral := strings.CutPrefix(host, "["); isLiteral {
		inner, closed := strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return host, port, closed && err == nil && a.Is6() && !strings.Contains(inner, "%")
	}
	return host, port, naiveName.MatchString(host) && len(host) <= maxHost
}

func FuzzAuthority(f *testing.F) {
	for _, s := range []string{
		"a", "a.b:80", "a.", "a..b", ".", "", ":", "a:", "a:65536", "u@a", "u:p@a:1", "[::1]", "[::1]:80", "[::1", "::1", "[::1]x", "[1.2.3.4]", "[::1.2.3.4]", "1.2.3.4:5", "a_b-c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, err := SplitAuthority([]byte(s))
		wantHost, wantPort, ok := naiveAuthority(s)
		if (err == nil) != ok || ok && (string(host) != wantHost || string(port) != wantPort) {
			t.Errorf("%q: got %q, %q, %v; want %q, %q, %v", s, host, port, err, wantHost, wantPort, ok)
		}
		checkIPv6(t, s)
	})
}
