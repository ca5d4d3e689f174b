package proxy

import (
	"fmt"
	"testing"

	"weir.dev/weir/model"
)

// plainAnswer is what canned upstreams answer in tests of copies.
const plainAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"hello\":\"world\"}"

const plainRequest = "GET /some/path?q=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\n\r\n"

// copyingRoutes are routes that copy a share of their requests.
func copyingRoutes(share float64) map[string]*model.Route {
	mirrored, forgotten, compared := to("up"), shadowingRoute(), shadowingRoute()
	mirrored.Mirrors = []model.Mirror{{Name: "m", Cluster: "shadow", Numerator: uint32(share * 100), Denominator: 100}}
	forgotten.Shadows[0].Compare = nil
	forgotten.Shadows[0].Share, compared.Shadows[0].Share = share, share
	return map[string]*model.Route{"mirrored": mirrored, "forgotten": forgotten, "compared": compared}
}

// TestCopiesAllocateNothing: neither the request that is copied, nor the copy, nor a comparison that finds nothing.
func TestCopiesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, route := range copyingRoutes(1) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, map[string]string{"up": cannedUpstream(t, plainAnswer), "shadow": cannedUpstream(t, plainAnswer)}, route)
			if n := testing.AllocsPerRun(2000, r.dial().asking("}", []byte(plainRequest))); n > 0 {
				t.Errorf("%v allocations per request, want 0", n)
			}
			if got := r.proxy.Shadows(); name != "mirrored" && got[0].Copies.Answered < 2000 {
				t.Errorf("got %s", fates(got[0]))
			}
			if n := r.metrics.Mirrors[0].Load(); name == "mirrored" && n < 2000 {
				t.Errorf("%d copies", n)
			}
		})
	}
}

// BenchmarkCopies is a request of a plain route and of those that copy a tenth of theirs, or all of them, on a
// connection of its own; ns/op is of both sides and of the hosts, on the whole machine.
func BenchmarkCopies(b *testing.B) {
	run := func(b *testing.B, route *model.Route) {
		r := newRig(b, map[string]string{"up": cannedUpstream(b, plainAnswer), "shadow": cannedUpstream(b, plainAnswer)}, route)
		ask := r.dial().asking("}", []byte(plainRequest))
		b.ReportAllocs()
		for b.Loop() {
			ask()
		}
	}
	b.Run("plain", func(b *testing.B) { run(b, to("up")) })
	for _, share := range []float64{0.1, 1} {
		for name, route := range copyingRoutes(share) {
			b.Run(fmt.Sprintf("%s/%v", name, share), func(b *testing.B) { run(b, route) })
		}
	}
}
