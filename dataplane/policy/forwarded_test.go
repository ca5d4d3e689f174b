package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

// trusting compiles a client's trust for an http listener on port 8080.
func trusting(hops int, addresses ...string) *Forwarding {
	c := &model.Client{TrustHops: hops}
	for _, a := range addresses {
		c.TrustAddresses = append(c.TrustAddresses, netip.MustParsePrefix(a))
	}
	return CompileForwarding(c, "http", 8080)
}

// forwarded returns the fields of req as they are forwarded for peer.
func forwarded(t testing.TB, f *Forwarding, peer string, req *http1.Request, skip Generated) (Caller, []string) {
	t.Helper()
	var address netip.Addr
	if peer != "" {
		address = netip.MustParseAddr(peer)
	}
	c := f.Judge(address, "", &req.Head)
	var dst []byte
	for i := range req.Fields {
		if field := &req.Fields[i]; field.Hop || c.Drops(field.Known) {
			field.Dropped = true
			continue
		}
		dst = req.AppendRaw(dst, i)
	}
	return c, fieldLines(t, f.AppendTo(dst, &c, req, skip))
}

func TestClient(t *testing.T) {
	const example = "X-Forwarded-For: 198.51.100.9, 203.0.113.7, 10.0.0.5"
	tests := []struct {
		name       string
		forwarding *Forwarding
		peer       string
		fields     []string
		trusted    bool
		want       string
	}{
		{"addresses", trusting(0, "10.0.0.0/8"), "10.0.0.9", []string{example}, true, "203.0.113.7"},
		{"one hop", trusting(1), "10.0.0.9", []string{example}, true, "10.0.0.5"},
		{"two hops", trusting(2), "10.0.0.9", []string{example}, true, "203.0.113.7"},
		{"more hops than there are", trusting(9), "10.0.0.9", []string{example}, true, "198.51.100.9"},
		{"hop and addresses", trusting(1, "10.0.0.0/8"), "10.0.0.9", []string{example}, true, "10.0.0.5"},
		{"hop and addresses, peer outside", trusting(1, "10.0.0.0/8"), "192.0.2.1", []string{example}, false, "192.0.2.1"},
		{"nobody trusted", trusting(0), "10.0.0.9", []string{example}, false, "10.0.0.9"},
		{"peer not trusted", trusting(0, "10.0.0.0/8"), "192.0.2.1", []string{example}, false, "192.0.2.1"},
		{"several fields are one chain", trusting(0, "10.0.0.0/8"), "10.0.0.9", []string{"X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 10.0.0.5"}, true, "203.0.113.7"},
		{"no chain", trusting(3), "10.0.0.9", nil, true, "10.0.0.9"},
		{"stops at what is no address", trusting(9), "10.0.0.9", []string{"X-Forwarded-For: 203.0.113.7, unknown, 10.0.0.5"}, true, "10.0.0.5"},
		{"right-most is no address", trusting(9), "10.0.0.9", []string{"X-Forwarded-For: 203.0.113.7, _hidden"}, true, "10.0.0.9"},
		{"ports and empty elements", trusting(9), "10.0.0.9", []string{"X-Forwarded-For: [2001:db8::1]:80,, 10.0.0.5:1234 ,"}, true, "2001:db8::1"},
		{"IPv4 in IPv6", trusting(0, "10.0.0.0/8"), "::ffff:10.0.0.9", []string{"X-Forwarded-For: 203.0.113.7, ::ffff:10.0.0.5"}, true, "203.0.113.7"},
		{"prefix of IPv4 in IPv6", trusting(0, "::ffff:10.0.0.0/104"), "10.0.0.9", []string{"X-Forwarded-For: 203.0.113.7"}, true, "203.0.113.7"},
		{"zone", trusting(0, "fe80::/10"), "fe80::1%eth0", []string{"X-Forwarded-For: 203.0.113.7"}, true, "203.0.113.7"},
		{"Forwarded", trusting(2), "10.0.0.9", []string{`Forwarded: for=198.51.100.9, for="[2001:db8::7]:4711";proto=https;by=_x, For=10.0.0.5`}, true, "2001:db8::7"},
		{"Forwarded over two fields", trusting(2), "10.0.0.9", []string{`Forwarded: for=203.0.113.7`, `Forwarded: for=10.0.0.5`}, true, "203.0.113.7"},
		{"Forwarded without for", trusting(2), "10.0.0.9", []string{`Forwarded: for=203.0.113.7, proto=http`}, true, "10.0.0.9"},
		{"X-Forwarded-For before Forwarded", trusting(1), "10.0.0.9", []string{`Forwarded: for=198.51.100.9`, "X-Forwarded-For: 203.0.113.7"}, true, "203.0.113.7"},
		{"one of two Forwarded malformed", trusting(1), "10.0.0.9", []string{`Forwarded: for=`, `Forwarded: for=203.0.113.7`}, true, "10.0.0.9"},
		{"malformed Forwarded", trusting(1), "10.0.0.9", []string{`Forwarded: for=198.51.100.9, for="203.0.113.7`}, true, "10.0.0.9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.forwarding.Judge(netip.MustParseAddr(tt.peer), "", &get(t, tt.fields...).Head)
			if c.Trusted != tt.trusted || c.Client != netip.MustParseAddr(tt.want) {
				t.Errorf("trusted %v, client %v; want %v, %v", c.Trusted, c.Client, tt.trusted, tt.want)
			}
		})
	}
}

func TestInside(t *testing.T) {
	long := "X-Forwarded-For: 203.0.113.7" + strings.Repeat(", 10.0.0.5", maxChain)
	for _, tt := range []struct {
		name       string
		forwarding *Forwarding
		peer       string
		fields     []string
		want       bool
	}{
		{"nobody trusted", trusting(0), "10.0.0.9", nil, false},
		{"the peer", trusting(0, "10.0.0.0/8"), "10.0.0.9", nil, true},
		{"the peer by hops", trusting(1), "10.0.0.9", nil, true},
		{"another peer", trusting(0, "10.0.0.0/8"), "192.0.2.1", nil, false},
		{"another peer that claims", trusting(0, "10.0.0.0/8"), "192.0.2.1", []string{"X-Forwarded-For: 10.0.0.5"}, false},
		{"behind a proxy", trusting(0, "10.0.0.0/8"), "10.0.0.9", []string{"X-Forwarded-For: 10.0.0.5"}, true},
		{"behind two", trusting(0, "10.0.0.0/8"), "10.0.0.9", []string{"Forwarded: for=10.0.0.4, for=10.0.0.5"}, true},
		{"a stranger", trusting(0, "10.0.0.0/8"), "10.0.0.9", []string{"X-Forwarded-For: 203.0.113.7"}, false},
		{"a stranger that claims", trusting(0, "10.0.0.0/8"), "10.0.0.9", []string{"X-Forwarded-For: 10.0.0.5, 203.0.113.7"}, false},
		{"a stranger by hops", trusting(1), "10.0.0.9", []string{"X-Forwarded-For: 203.0.113.7"}, false},
		{"more hops than there are", trusting(9), "10.0.0.9", []string{"X-Forwarded-For: 203.0.113.7"}, false},
		{"no address", trusting(0, "10.0.0.0/8"), "10.0.0.9", []string{"X-Forwarded-For: _hidden, 10.0.0.5"}, false},
		{"malformed", trusting(0, "10.0.0.0/8"), "10.0.0.9", []string{`Forwarded: for="10.0.0.4, for=203.0.113.7`}, false},
		{"too many to look behind", trusting(0, "10.0.0.0/8"), "10.0.0.9", []string{long}, false},
	} {
		if c := tt.forwarding.Judge(netip.MustParseAddr(tt.peer), "", &get(t, tt.fields...).Head); c.Inside != tt.want {
			t.Errorf("%s: inside is %v", tt.name, c.Inside)
		}
	}
}

func TestForwardedFields(t *testing.T) {
	forged := []string{
		"X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 10.0.0.5", "X-Forwarded-Proto: https", "X-Forwarded-Host: front.example.com",
		"X-Forwarded-Port: 443", "X-Forwarded-Prefix: /a", "X-Real-IP: 203.0.113.7", "Forwarded: for=203.0.113.7", "X-Weir-Priority: Critical", "Via: 1.0 fred", "X-Other: 1",
	}
	tests := []struct {
		name       string
		forwarding *Forwarding
		peer       string
		fields     []string
		skip       Generated
		want       []string
	}{
		{
			"untrusted", trusting(0), "192.0.2.1", forged, 0,
			[]string{
				"Via: 1.0 fred", "X-Other: 1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http", "X-Forwarded-Port: 8080",
				"X-Forwarded-Host: shop.example.com:8080", "Via: 1.1 weir",
			},
		},
		{
			"trusted", trusting(1), "2001:db8::9", forged, 0,
			[]string{
				"X-Forwarded-Proto: https", "X-Forwarded-Host: front.example.com", "X-Forwarded-Port: 443", "X-Forwarded-Prefix: /a",
				"X-Real-IP: 203.0.113.7", "X-Weir-Priority: Critical", "Via: 1.0 fred", "X-Other: 1",
				"X-Forwarded-For: 203.0.113.7, 10.0.0.5, 2001:db8::9",
				`Forwarded: for=203.0.113.7, for="[2001:db8::9]";host="shop.example.com:8080";proto=http`, "Via: 1.1 weir",
			},
		},
		{
			"trusted, some missing or empty", trusting(1), "192.0.2.1",
			[]string{"X-Forwarded-Proto: https", "X-Forwarded-Host:", "Forwarded: for="},
			0,
			[]string{
				"X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Port: 8080",
				"X-Forwarded-Host: shop.example.com:8080", "Via: 1.1 weir",
			},
		},
		{
			"trusted, port only", trusting(1), "192.0.2.1",
			[]string{"X-Forwarded-Port: 443"},
			GeneratedHost,
			[]string{"X-Forwarded-Port: 443", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http", "Via: 1.1 weir"},
		},
		{
			"everything edited", trusting(1), "192.0.2.1",
			[]string{"Forwarded: for=203.0.113.7", "X-Forwarded-For: 203.0.113.7"},
			GeneratedFor | GeneratedProto | GeneratedHost | GeneratedPort | GeneratedForwarded | GeneratedVia,
			nil,
		},
		{
			"peer without an address", trusting(1), "",
			[]string{"Forwarded: for=203.0.113.7"},
			GeneratedProto | GeneratedHost | GeneratedPort | GeneratedVia,
			[]string{"X-Forwarded-For: unknown", `Forwarded: for=203.0.113.7, for=unknown;host="shop.example.com:8080";proto=http`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, got := forwarded(t, tt.forwarding, tt.peer, get(t, tt.fields...), tt.skip)
			want := append([]string{"Host: shop.example.com:8080"}, tt.want...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestForwardedOldClient(t *testing.T) {
	_, got := forwarded(t, trusting(0), "192.0.2.1", request(t, "GET / HTTP/1.0"), 0)
	want := []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http", "X-Forwarded-Port: 8080", "Via: 1.0 weir"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestForwardedHost(t *testing.T) {
	for authority, want := range map[string]string{
		"a.example": "a.example", "a.example:80": `"a.example:80"`, "[::1]": `"[::1]"`, "": `""`, `a"\`: `"a\"\\"`,
	} {
		if got := string(appendQuoted(nil, []byte(authority))); got != want {
			t.Errorf("%s is %s, want %s", authority, got, want)
		}
	}
}

func TestForwardedSyntax(t *testing.T) {
	tests := []struct {
		value string
		ok    bool
		want  string // addresses, right-most last; - where there is none
	}{
		{`for="_gazonk"`, true, "-"},
		{`For="[2001:db8:cafe::17]:4711"`, true, "2001:db8:cafe::17"},
		{`for=192.0.2.60;proto=http;by=203.0.113.43`, true, "192.0.2.60"},
		{`for=192.0.2.43, for=198.51.100.17`, true, "192.0.2.43 198.51.100.17"},
		{`by=1.2.3.4 ; for="192.0.2.43:80" ;, ,`, true, "192.0.2.43"},
		{`host="a\",for=b"; for=192.0.2.43`, true, "192.0.2.43"},
		{`for=unknown`, true, "-"},
		{`secret=a;secret=b;for=192.0.2.1`, true, "192.0.2.1"},
		{``, true, ""},
		{`for=192.0.2.1;for=192.0.2.2`, false, ""},
		{`for=[2001:db8::1]`, false, ""},
		{`for=192.0.2.1:80`, false, ""},
		{`for = 192.0.2.1`, false, ""},
		{`for="192.0.2.1`, false, ""},
		{`for="192.0.2.1\"`, false, ""},
		{`for`, false, ""},
		{`for=`, false, ""},
		{`for=a for=b`, false, ""},
		{`=a`, false, ""},
	}
	for _, tt := range tests {
		var c chain
		ok := c.pushForwarded([]byte(tt.value))
		if ok != tt.ok {
			t.Errorf("%s: well formed %v", tt.value, ok)
			continue
		}
		if got := addresses(&c); ok && got != tt.want {
			t.Errorf("%s: %q, want %q", tt.value, got, tt.want)
		}
	}
}

// addresses returns what a chain holds, left to right.
func addresses(c *chain) string {
	var all []string
	for k := min(c.n, maxChain) - 1; k >= 0; k-- {
		a, ok := c.fromRight(k)
		switch {
		case !ok:
			return "broken"
		case !a.IsValid():
			all = append(all, "-")
		default:
			all = append(all, a.String())
		}
	}
	return strings.Join(all, " ")
}

func TestChainIsBounded(t *testing.T) {
	var c chain
	for i := range maxChain + 5 {
		c.push(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	if a, ok := c.fromRight(0); !ok || a.As4()[3] != maxChain+4 {
		t.Errorf("right-most is %v, %v", a, ok)
	}
	if a, ok := c.fromRight(maxChain - 1); !ok || a.As4()[3] != 5 {
		t.Errorf("left-most is %v, %v", a, ok)
	}
	if _, ok := c.fromRight(maxChain); ok {
		t.Error("the chain is longer than its ring")
	}
	client := get(t, "X-Forwarded-For: 203.0.113.7"+strings.Repeat(", 10.0.0.1", maxChain+5))
	if got := trusting(0, "10.0.0.0/8").Judge(netip.MustParseAddr("10.0.0.9"), "", &client.Head).Client; got.String() != "10.0.0.1" {
		t.Errorf("client %v beyond the bound", got)
	}
}

func TestForwardedAllocations(t *testing.T) {
	dst := make([]byte, 0, 1024)
	peer := netip.MustParseAddr("192.0.2.1")
	for _, f := range []*Forwarding{trusting(0), trusting(2, "192.0.2.0/24", "2001:db8::/32")} {
		req := get(t, "X-Forwarded-For: bad, 203.0.113.7, 2001:db8::1", `Forwarded: for=1.2.3.4, for="[::1]"`, "X-Forwarded-Proto: https")
		noAllocations(t, func() {
			c := f.Judge(peer, "", &req.Head)
			for i := range req.Fields {
				if c.Drops(req.Fields[i].Known) {
					continue
				}
				dst = req.AppendRaw(dst, i)
			}
			dst = f.AppendTo(dst[:0], &c, req, 0)
		})
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("for=192.0.2.1", "203.0.113.7, 10.0.0.5", uint8(1))
	f.Add(`for="[2001:db8::1]:80";proto=https, host="a\"b"`, "[::1]:80,,unknown", uint8(3))
	f.Add(`for="`, "1.2.3.4:99999, ::ffff:1.2.3.4", uint8(0))
	f.Fuzz(func(t *testing.T, standard, legacy string, hops uint8) {
		raw := []byte("GET / HTTP/1.1\r\nHost: a:1\r\nForwarded: " + standard + "\r\nX-Forwarded-For: " + legacy + "\r\n\r\n")
		req := &http1.Request{}
		if n, err := req.Parse(raw, &testLimits); err != nil || n != len(raw) {
			return
		}
		c, lines := forwarded(t, trusting(int(hops)), "192.0.2.1", req, 0)
		if c.Trusted != (hops > 0) || !c.Client.IsValid() {
			t.Fatalf("%+v", c)
		}
		// What is written must be read back, with the peer as its right-most element.
		var own, continued chain
		for _, l := range lines {
			name, value, _ := strings.Cut(l, ": ")
			switch strings.ToLower(name) {
			case "x-forwarded-for":
				own.pushList([]byte(value))
			case "forwarded":
				if !continued.pushForwarded([]byte(value)) {
					t.Fatalf("%q is malformed", l)
				}
				if a, ok := continued.fromRight(0); !ok || a.String() != "192.0.2.1" {
					t.Fatalf("%q does not end with the peer", l)
				}
			}
		}
		if a, ok := own.fromRight(0); !ok || a.String() != "192.0.2.1" {
			t.Fatalf("%q: the chain does not end with the peer", lines)
		}
		if hops == 0 && own.n != 1 {
			t.Fatalf("%q: an untrusted chain was continued", lines)
		}
	})
}
