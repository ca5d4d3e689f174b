package main

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// The tests of this file put the example of a page into effect, and look for what the page names.

func TestBreaker(t *testing.T) {
	page, example := examples(t, "breaker.md")
	cluster := accepted(t, shop, example[0]).Snapshot.Clusters[0]
	want := model.Breaker{
		MaxConnections: 1024, MaxPending: 256, MaxRequests: 1024, MaxRetries: 16, Mode: model.ModeEnforce,
		Trip: &model.Trip{Failures: 0.5, Of: 20, OpenFor: 5 * time.Second, Probes: 3},
	}
	if !reflect.DeepEqual(cluster.Breaker, want) || !reflect.DeepEqual(cluster.RetryBudget, &model.RetryBudget{Share: 0.2, MinPerSecond: 3, Mode: model.ModeEnforce}) {
		t.Errorf("%+v, %+v", cluster.Breaker, cluster.RetryBudget)
	}
	for _, kind := range []telemetry.ProtectionKind{
		telemetry.ProtectMaxConnections, telemetry.ProtectMaxPending, telemetry.ProtectMaxRequests, telemetry.ProtectMaxRetries,
		telemetry.ProtectTrip, telemetry.ProtectRetryBudget,
	} {
		if !strings.Contains(page, "`"+string(kind)+"`") {
			t.Errorf("the page says nothing of %s", kind)
		}
	}
}

func TestEjection(t *testing.T) {
	page, example := examples(t, "ejection.md")
	want := model.Outlier{
		Consecutive5xx: 5, ConsecutiveLocal: 5, FailureShare: 0.6, SlowerThanMedian: 3,
		Interval: 10 * time.Second, MinRequests: 50, BaseEjection: 30 * time.Second, MaxEjection: 5 * time.Minute,
		MaxEjected: 0.5, Mode: model.ModeEnforce,
	}
	if got := accepted(t, shop, example[0]).Snapshot.Clusters[0].Outlier; got != want {
		t.Errorf("%+v", got)
	}
	for _, rule := range []string{"consecutive5xx", "consecutiveLocal", "failureShare", "successRateDeviation", "slowerThanMedian"} {
		if !strings.Contains(page, "- `"+rule+"`: ") {
			t.Errorf("the page says nothing of %s", rule)
		}
	}
}

func TestOverload(t *testing.T) {
	_, example := examples(t, "overload.md")
	got := accepted(t, shop, example[0]).Snapshot.RouteTables[0].Entries[0].Route.Overload
	if got == nil || got.Adaptive == nil || *got.Adaptive != (model.Adaptive{Min: 10, Max: 2000}) {
		t.Fatalf("%+v", got)
	}
	if q := got.Queue; q == nil || q.Size != 100 || q.Timeout != 50*time.Millisecond || !q.LIFO || len(q.FairBy) != 1 {
		t.Errorf("queue %+v", q)
	}
	if th := got.Throttle; th == nil || *th != (model.Throttle{AcceptRatio: 2, Window: 30 * time.Second}) {
		t.Errorf("throttle %+v", th)
	}
	if d := got.Degrade; len(d) != 2 || d[0].Shed != model.ClassSheddable || !d[1].NoRetries || d[1].ServeStale != time.Minute {
		t.Errorf("degrade %+v", d)
	}
}

// The example of the page is the defaults.
func TestPressure(t *testing.T) {
	_, example := examples(t, "pressure.md")
	streams := func(policy string) model.Streams {
		return accepted(t, shop, policy).Snapshot.Listeners[0].Client.Streams
	}
	if got, want := streams(example[0]), streams(""); got != want || got.MaxConcurrent == 0 {
		t.Errorf("the example says %+v, the defaults are %+v", got, want)
	}
}

func TestHealth(t *testing.T) {
	_, example := examples(t, "health.md")
	check := accepted(t, shop, example[0]).Snapshot.Clusters[0].HealthCheck
	if check == nil || check.Type != model.HealthCheckHTTP || check.Path != "/healthz" || check.Interval != 5*time.Second || check.Timeout != time.Second || check.HealthyAfter != 2 || check.UnhealthyAfter != 3 {
		t.Errorf("%+v", check)
	}
}

// The second example of the page is a Backend of its own.
func TestProxyProtocol(t *testing.T) {
	_, example := examples(t, "proxyprotocol.md")
	if len(example) != 2 {
		t.Fatalf("%d examples", len(example))
	}
	around := strings.ReplaceAll(shop[:strings.LastIndex(shop, "---\n")], "name: checkout", "name: shop")
	out := accepted(t, around, example[0], example[1])
	client, cluster := out.Snapshot.Listeners[0].Client, out.Snapshot.Clusters[0]
	if !client.ProxyProtocol || len(client.TrustAddresses) != 1 || client.TrustAddresses[0] != netip.MustParsePrefix("10.0.0.0/24") {
		t.Errorf("of clients: %+v", client)
	}
	if cluster.ProxyProtocol != model.ProxyProtocolV2 {
		t.Errorf("to hosts: %+v", cluster)
	}
}
