package cluster

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// survival is what is left after one field of a cluster, its balancing or its first endpoint
// has changed.
type survival struct {
	change  func(*model.Cluster, *model.Endpoint)
	host    bool // the same object, with its requests in flight, latency, counters and pool
	rebuilt bool // another picker
	rewired bool // only its pool goes: connections are made in another way
}

// survivals has a row for every field: what changes live resets nothing that it does not name.
var survivals = map[string]survival{
	"Cluster.Name":           {change: func(c *model.Cluster, _ *model.Endpoint) { c.Name = "d" }},
	"Cluster.Hash":           {change: func(c *model.Cluster, _ *model.Endpoint) { c.Hash = "1" }, host: true},
	"Cluster.ConnectTimeout": {change: func(c *model.Cluster, _ *model.Endpoint) { c.ConnectTimeout++ }, host: true},
	"Cluster.KeepAlive":      {change: func(c *model.Cluster, _ *model.Endpoint) { c.KeepAlive++ }, host: true},
	"Cluster.DNS": {change: func(c *model.Cluster, _ *model.Endpoint) {
		c.DNS = &model.DNSName{Hostname: "example.com", Port: 80}
	}, host: true}, // until the name has been asked for
	"Cluster.Protocol": {change: func(c *model.Cluster, _ *model.Endpoint) { c.Protocol = "another" }, host: true, rewired: true},
	"Cluster.ProxyProtocol": {change: func(c *model.Cluster, _ *model.Endpoint) {
		c.ProxyProtocol = model.ProxyProtocolV2
	}, host: true, rewired: true},
	"Cluster.TLS": {change: func(c *model.Cluster, _ *model.Endpoint) {
		c.TLS = &model.UpstreamTLS{Hostname: "a.test"}
	}, host: true, rewired: true},
	"Cluster.HealthCheck": {change: func(c *model.Cluster, _ *model.Endpoint) {
		c.HealthCheck = &model.HealthCheck{Type: model.HealthCheckTCP, Interval: time.Second, Timeout: time.Second}
	}, host: true},
	"Cluster.Breaker":     {change: func(c *model.Cluster, _ *model.Endpoint) { c.Breaker.MaxRequests = 7 }, host: true},
	"Cluster.Outlier":     {change: func(c *model.Cluster, _ *model.Endpoint) { c.Outlier.Consecutive5xx = 7 }, host: true},
	"Cluster.RetryBudget": {change: func(c *model.Cluster, _ *model.Endpoint) { c.RetryBudget = &model.RetryBudget{Share: 0.2} }, host: true},
	"Cluster.Calls":       {change: func(c *model.Cluster, _ *model.Endpoint) { c.Calls = []string{"a"} }, host: true},
	"Cluster.Origins":     {change: func(c *model.Cluster, _ *model.Endpoint) { c.Origins = model.Origins{"x": {}} }, host: true},

	"Balancing.Algorithm": {change: func(c *model.Cluster, _ *model.Endpoint) { c.Balancing.Algorithm = model.Maglev }, host: true, rebuilt: true},
	"Balancing.SlowStart": {change: func(c *model.Cluster, _ *model.Endpoint) { c.Balancing.SlowStart++ }, host: true, rebuilt: true},
	"Balancing.ZoneAware": {change: func(c *model.Cluster, _ *model.Endpoint) { c.Balancing.ZoneAware = true }, host: true, rebuilt: true},
	"Balancing.PanicThreshold": {change: func(c *model.Cluster, _ *model.Endpoint) {
		c.Balancing.PanicThreshold = 0.7
	}, host: true, rebuilt: true},
	"Balancing.BoundedLoad": {change: func(c *model.Cluster, _ *model.Endpoint) { c.Balancing.BoundedLoad = 1.25 }, host: true, rebuilt: true},

	"Endpoint.Address":  {change: func(_ *model.Cluster, e *model.Endpoint) { e.Address = address("10.0.0.9:80") }, rebuilt: true},
	"Endpoint.Weight":   {change: func(_ *model.Cluster, e *model.Endpoint) { e.Weight = 7 }, host: true, rebuilt: true},
	"Endpoint.Zone":     {change: func(_ *model.Cluster, e *model.Endpoint) { e.Zone = "b" }, host: true, rebuilt: true},
	"Endpoint.Priority": {change: func(_ *model.Cluster, e *model.Endpoint) { e.Priority = 1 }, host: true, rebuilt: true},
	"Endpoint.Unready":  {change: func(_ *model.Cluster, e *model.Endpoint) { e.Unready = true }, host: true, rebuilt: true},
	"Endpoint.Labels":   {change: func(_ *model.Cluster, e *model.Endpoint) { e.Labels = map[string]string{"a": "b"} }, host: true},
}

// differing lists the fields in which two values of one struct type differ.
func differing(a, b any) []string {
	var list []string
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if f := x.Type().Field(i); f.Type != reflect.TypeFor[model.Balancing]() && !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			list = append(list, x.Type().Name()+"."+f.Name)
		}
	}
	return list
}

func TestEveryFieldHasItsSurvivors(t *testing.T) {
	fields := 0
	for _, in := range []reflect.Type{reflect.TypeFor[model.Cluster](), reflect.TypeFor[model.Balancing](), reflect.TypeFor[model.Endpoint]()} {
		for f := range in.Fields() {
			if f.Type == reflect.TypeFor[model.Balancing]() {
				continue // its own fields follow
			}
			fields++
			if _, ok := survivals[in.Name()+"."+f.Name]; !ok {
				t.Errorf("%s.%s has no row: what survives when it changes?", in.Name(), f.Name)
			}
		}
	}
	if fields != len(survivals) {
		t.Errorf("%d rows for %d fields", len(survivals), fields)
	}
	for name, want := range survivals {
		t.Run(name, func(t *testing.T) { survive(t, name, want) })
	}
}

func survive(t *testing.T, name string, want survival) {
	n := &network{}
	s := New(Config{Dial: n.dial, Zone: "a"})
	spec := model.Cluster{Name: "c", ConnectTimeout: time.Second, KeepAlive: time.Minute, Balancing: model.Balancing{Algorithm: model.RoundRobin, PanicThreshold: 0.5}}
	set := endpoints(1, 1)
	set.Hash = ""
	set.Endpoints[0].Zone, set.Endpoints[1].Zone = "a", "a"
	apply(t, s, &spec, set)
	c := s.Cluster("c")
	before := c.picker.Load()
	h := c.hosts[set.Endpoints[0].Address]
	used, idle := busy(t, h)

	newSpec, newSet := spec, *set
	newSet.Endpoints = append([]model.Endpoint(nil), set.Endpoints...)
	want.change(&newSpec, &newSet.Endpoints[0])
	newSet.Cluster = newSpec.Name
	differ := append(differing(spec, newSpec), differing(spec.Balancing, newSpec.Balancing)...)
	differ = append(differ, differing(set.Endpoints[0], newSet.Endpoints[0])...)
	if len(differ) != 1 || differ[0] != name {
		t.Fatalf("the row changes %v", differ)
	}
	apply(t, s, &newSpec, &newSet)

	if same := s.Cluster("c") == c; same != (name != "Cluster.Name") {
		t.Errorf("the same cluster: %v", same)
	}
	if rebuilt := c.picker.Load() != before; rebuilt != want.rebuilt {
		t.Errorf("the picker is rebuilt: %v, want %v", rebuilt, want.rebuilt)
	}
	if n.closed(t, 0) {
		t.Error("the connection of a request in flight was closed")
	}
	got := status(t, s, "10.0.0.1:80")
	if got.Requests != 2 || got.InFlight != 1 || got.Latency == 0 {
		t.Errorf("the host forgot: %+v", got)
	}
	if now := c.hosts[netip.MustParseAddrPort("10.0.0.1:80")]; now != h || got.Draining == want.host {
		t.Fatalf("the same host: %v, draining: %v", now == h, got.Draining)
	}
	kept := want.host && !want.rewired
	if n.closed(t, 1) == kept {
		t.Errorf("the idle connection is closed: %v", !kept)
	}
	if !want.host {
		return
	}
	if want.rewired {
		h.Release(used, 0, transport.Now())
		if h.End(transport.Now(), Outcome{Latency: time.Millisecond}); !n.closed(t, 0) || h.idle.Load() != 0 || h.Stats.Open.Load() != 0 {
			t.Errorf("after the request: %+v", status(t, s, "10.0.0.1:80"))
		}
		return
	}
	if again, reused, _ := h.Acquire(t.Context(), transport.Now(), 0, 0); !reused || again != idle {
		t.Error("the pool lost its connection")
	}
	h.Release(used, 0, transport.Now())
	h.End(transport.Now(), Outcome{Latency: time.Millisecond})
	if got := status(t, s, "10.0.0.1:80"); got.InFlight != 0 || got.Idle != 1 {
		t.Errorf("after the request: %+v", got)
	}
}

// busy gives a host an answer to remember, a request in flight on the first connection, and an
// idle second one.
func busy(t *testing.T, h *Host) (used, idle *transport.Conn) {
	t.Helper()
	h.Begin()
	h.End(transport.Now(), Outcome{Latency: time.Millisecond})
	h.Begin()
	used, _, _ = h.Acquire(t.Context(), transport.Now(), 0, 0)
	idle, _, _ = h.Acquire(t.Context(), transport.Now(), 0, 0)
	h.Release(idle, 0, transport.Now())
	return used, idle
}
