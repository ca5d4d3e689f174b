package policy

import (
	"net/netip"
	"testing"

	"weir.dev/weir/model"
)

// TestTrustedIdentities: who has proved to be somebody is trusted wherever it is, and says no
// more about others than a trusted address does.
func TestTrustedIdentities(t *testing.T) {
	const shop, chain = "spiffe://example.com/ns/shop", "X-Forwarded-For: 198.51.100.9, 203.0.113.7"
	with := func(f model.Client, addresses ...string) *Forwarding {
		f.TrustIdentities = []string{"spiffe://example.com/ns/other", shop}
		for _, a := range addresses {
			f.TrustAddresses = append(f.TrustAddresses, netip.MustParsePrefix(a))
		}
		return CompileForwarding(&f, "https", 443)
	}
	for _, tt := range []struct {
		name            string
		forwarding      *Forwarding
		peer, identity  string
		fields          []string
		trusted, inside bool
		client          string
	}{
		{"nobody", with(model.Client{}), "192.0.2.1", "", nil, false, false, "192.0.2.1"},
		{"one of them", with(model.Client{}), "192.0.2.1", shop, nil, true, true, "192.0.2.1"},
		{"somebody else", with(model.Client{}), "192.0.2.1", shop + "2", nil, false, false, "192.0.2.1"},
		{"a part of its name", with(model.Client{}), "192.0.2.1", "spiffe://example.com/ns", nil, false, false, "192.0.2.1"},
		{"no identity is trusted", trusting(0), "192.0.2.1", shop, nil, false, false, "192.0.2.1"},
		{"with a chain", with(model.Client{}), "192.0.2.1", shop, []string{chain}, true, false, "203.0.113.7"},
		{"a chain of somebody else", with(model.Client{}), "192.0.2.1", "spiffe://x", []string{chain}, false, false, "192.0.2.1"},
		{"beside addresses, from elsewhere", with(model.Client{}, "10.0.0.0/8"), "192.0.2.1", shop, nil, true, true, "192.0.2.1"},
		{"beside addresses, through one", with(model.Client{}, "10.0.0.0/8"), "192.0.2.1", shop, []string{"X-Forwarded-For: 203.0.113.7, 10.0.0.5"}, true, false, "203.0.113.7"},
		{"beside addresses, all inside", with(model.Client{}, "10.0.0.0/8"), "192.0.2.1", shop, []string{"X-Forwarded-For: 10.0.0.4, 10.0.0.5"}, true, true, "10.0.0.4"},
		{"an address needs no identity", with(model.Client{}, "10.0.0.0/8"), "10.0.0.9", "", nil, true, true, "10.0.0.9"},
		{"beside hops, which count the peer", with(model.Client{TrustHops: 2}), "192.0.2.1", shop, []string{chain}, true, false, "198.51.100.9"},
		{"a peer without address", with(model.Client{}), "", shop, nil, true, true, ""},
	} {
		var peer netip.Addr
		if tt.peer != "" {
			peer = netip.MustParseAddr(tt.peer)
		}
		c := tt.forwarding.Judge(peer, tt.identity, &get(t, tt.fields...).Head)
		client := ""
		if c.Client.IsValid() {
			client = c.Client.String()
		}
		if c.Trusted != tt.trusted || c.Inside != tt.inside || client != tt.client {
			t.Errorf("%s: trusted %v, inside %v, client %s", tt.name, c.Trusted, c.Inside, client)
		}
	}
}
