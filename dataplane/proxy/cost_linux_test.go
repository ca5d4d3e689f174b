package proxy

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// protectedBy returns a route and its cluster with the protections named, all of them where none is.
func protectedBy(t testing.TB, names string) *model.Snapshot {
	has := func(name string) bool { return names == "all" || strings.Contains(names, name) }
	answer := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
	route := to("up")
	s := snapshotOf(map[string]string{"up": cannedUpstream(t, answer) + "," + cannedUpstream(t, answer)}, route)
	c := s.Clusters[0]
	if has("timeouts") {
		route.Timeouts = model.Timeouts{Request: time.Minute, PerTry: 50 * time.Second, Idle: time.Minute}
	}
	if has("retries") {
		route.Retry = &model.Retry{
			Attempts: 2, Codes: []int{503}, On: []model.RetryOn{model.RetryConnectFailure, model.RetryReset}, BodyReplay: replayLimit,
			IdempotencyHeader: "idempotency-key", Budget: &model.RetryBudget{Share: 0.2, MinPerSecond: 3},
		}
	}
	if has("hedge") {
		if route.Retry == nil {
			route.Retry = &model.Retry{BodyReplay: replayLimit}
		}
		route.Retry.Hedge = &model.Hedge{After: 30 * time.Second, Max: 1}
	}
	if has("breaker") {
		c.Breaker = model.Breaker{
			MaxConnections: 100, MaxPending: 100, MaxRequests: 100, MaxRetries: 10, Mode: model.ModeEnforce,
			Trip: &model.Trip{Failures: 0.5, Of: 20, OpenFor: time.Second, Probes: 1},
		}
	}
	if has("outliers") {
		c.Outlier = model.Outlier{
			Consecutive5xx: 5, ConsecutiveLocal: 5, FailureShare: 0.5, SuccessRateDeviation: 2, SlowerThanMedian: 3, Interval: time.Second,
			MinRequests: 10, BaseEjection: time.Second, MaxEjection: time.Minute, MaxEjected: 0.5, Mode: model.ModeEnforce,
		}
	}
	o := &model.Overload{Scope: "HTTPRoute/ns/to-up", Mode: model.ModeEnforce}
	if has("adaptive") {
		o.Adaptive = &model.Adaptive{Min: 5, Max: 100}
		o.Queue = &model.Queue{Size: 10, Timeout: time.Second, LIFO: true, FairBy: []model.Key{{Source: model.KeyHeader, Name: "x-tenant"}}}
		route.Overload = o
	}
	if has("throttle") {
		o.Throttle = &model.Throttle{AcceptRatio: 2, Window: 30 * time.Second}
		route.Overload = o
	}
	if has("degrade") {
		o.Degrade = []model.Degrade{{At: 0.8, Shed: model.ClassSheddable}, {At: 0.9, NoRetries: true}, {At: 0.95, ServeStale: time.Minute}}
		o.Limit = 100
		route.Overload = o
	}
	if has("priorities") {
		o.Priorities = []model.Priority{
			{When: `request.headers["x-batch"] == "1" || request.path.startsWith("/export")`, Class: model.ClassSheddable},
			{When: `request.method in ["POST", "PUT"] && request.cookies["tier"] == "gold"`, Class: model.ClassCriticalPlus},
		}
		o.Limit = 100
		route.Overload = o
	}
	route.Hash = model.HashOf(route)
	return s
}

// asking sends the same request again and again over one connection.
func asking(t testing.TB, s *model.Snapshot) (ask func()) {
	request := "GET /some/path?q=1 HTTP/1.1\nHost: example.com\nUser-Agent: test\nAccept: */*\nX-Tenant: one\nCookie: a=b; tier=tin\n\n"
	return startRig(t, s, Config{}).dial().asking("hello", []byte(strings.ReplaceAll(request, "\n", "\r\n")))
}

// TestProtectionsAllocateNothing has every protection on at once.
func TestProtectionsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	if n := testing.AllocsPerRun(2000, asking(t, protectedBy(t, "all"))); n > 0 {
		t.Errorf("%v allocations per request, want 0", n)
	}
}

// BenchmarkProtections compares the processor time of a request on a route with protections with that of
// one without.
func BenchmarkProtections(b *testing.B) {
	for _, names := range []string{"none", "timeouts", "retries", "hedge", "breaker", "outliers", "adaptive", "throttle", "degrade", "priorities", "all"} {
		b.Run(names, func(b *testing.B) {
			compareCost(b, asking(b, protectedBy(b, "")), asking(b, protectedBy(b, names)))
		})
	}
}

// compareCost measures the processor time, client and upstream included, of plain requests and of others. The
// two take turns, so that what else the machine does falls on both.
func compareCost(b *testing.B, plain, other func()) {
	b.ReportAllocs()
	var spent [2]time.Duration
	done := 0
	for b.Loop() {
		for i, ask := range []func(){plain, other} {
			began := processorTime(b)
			for range 500 {
				ask()
			}
			spent[i] += processorTime(b) - began
		}
		done += 500
	}
	b.ReportMetric(float64(spent[0])/float64(done), "plain-ns/request")
	b.ReportMetric(float64(spent[1]-spent[0])/float64(done), "more-ns/request")
}

// processorTime is what the process has used so far.
func processorTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
