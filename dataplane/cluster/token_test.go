package cluster

import (
	"testing"

	"weir.dev/weir/model"
)

func TestTokensNeverChange(t *testing.T) {
	// printf 'backend/default/shop\00010.0.0.1:80' | sha256sum
	if got := tokenOf("backend/default/shop", address("10.0.0.1:80")); got != 0x0a02f00f79075b9c {
		t.Errorf("got %#x: clients' sessions would end", got)
	}
	if tokenOf("a", address("10.0.0.1:80")) == tokenOf("b", address("10.0.0.1:80")) {
		t.Error("hosts of two clusters have one token")
	}
}

func TestByToken(t *testing.T) {
	s := New(Config{})
	apply(t, s, testCluster(), endpoints(1, 1))
	c := s.Cluster("c")
	first, second := c.hosts[address("10.0.0.1:80")], c.hosts[address("10.0.0.2:80")]
	want := func(what string, token uint64, host *Host) {
		t.Helper()
		if got := c.ByToken(token); got != host {
			t.Errorf("%s: got %v", what, got)
		}
	}
	want("a host", first.Token(), first)
	want("another", second.Token(), second)
	want("nobody's", first.Token()+1, nil)
	apply(t, s, testCluster(), endpoints(0, 1))
	want("weight 0", first.Token(), first)
	apply(t, s, testCluster(), endpoints(0, 0))
	want("no host has a weight", first.Token(), first)
	apply(t, s, testCluster(), endpoints(1, 1))
	setHealthy(s, first.Address(), false)
	want("not healthy", first.Token(), nil)
	want("the healthy one", second.Token(), second)
	panicking := testCluster(func(c *model.Cluster) { c.Balancing.PanicThreshold = 1 })
	apply(t, s, panicking, endpoints(1, 1))
	want("not healthy, but 0.7 of the requests can be served", first.Token(), first)
	setHealthy(s, first.Address(), true)
	apply(t, s, testCluster(), changed(equal(2), func(i int, e *model.Endpoint) { e.Unready = i == 1 }))
	want("not ready", second.Token(), nil)
	apply(t, s, testCluster(), endpoints())
	want("gone", first.Token(), nil)
	apply(t, s, testCluster(), endpoints(1, 1))
	if got := c.ByToken(first.Token()); got == nil || got.Address() != address("10.0.0.1:80") {
		t.Errorf("back: got %v", got)
	}
	if (&Cluster{}).ByToken(1) != nil {
		t.Error("a cluster that was never applied")
	}
}
