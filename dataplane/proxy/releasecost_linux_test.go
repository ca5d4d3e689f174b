package proxy

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/model"
)

// releaseCost are routes with releases by what of them a request costs something for.
var releaseCost = map[string]func(r *model.Release){
	"by header": func(*model.Release) {},
	"by cookie": func(r *model.Release) { r.Sampling.Key[0] = model.Key{Source: model.KeyCookie, Name: "sid"} },
	"by request": func(r *model.Release) {
		r.Sampling = model.Sampling{Unit: model.SampleRequests, Salt: testRelease}
	},
	"by an id that is given": func(r *model.Release) { r.Sampling.Key, r.Sampling.Fallback = nil, model.FallbackCookie },
	"with a cohort": func(r *model.Release) {
		r.Cohorts = []model.Cohort{{Name: "staff", When: `request.headers["x-staff"] == "1"`}}
	},
}

// askingRelease is asking for a route with a release at 50 %, as another user each time; without one
// where change is nil.
func askingRelease(t testing.TB, change func(r *model.Release)) (ask func()) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
	route := releasing(strict())
	if change == nil {
		route.Split.Release = nil
	} else {
		change(route.Split.Release)
	}
	r := startRig(t, trusts(snapshotOf(map[string]string{"stable": cannedUpstream(t, answer), "canary": cannedUpstream(t, answer)}, route)), Config{})
	if err := r.proxy.Tune(knobs(knob(1, 1, 5000))); err != nil {
		t.Fatal(err)
	}
	var requests [][]byte
	for i := range 100 {
		request := fmt.Sprintf("GET /some/path?q=1 HTTP/1.1\nHost: example.com\nX-User: u%d\nCookie: a=b; sid=%d\nX-Weir-Arm: a/b=canary\n\n", i, i)
		requests = append(requests, []byte(strings.ReplaceAll(request, "\n", "\r\n")))
	}
	return r.dial().asking("hello", requests...)
}

// TestReleasesAllocateNothing has requests drawn, judged and watched.
func TestReleasesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, change := range releaseCost {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(2000, askingRelease(t, change)); n > 0 {
				t.Errorf("%v allocations per request, want 0", n)
			}
		})
	}
}

// BenchmarkReleases is BenchmarkProtections for releases.
func BenchmarkReleases(b *testing.B) {
	for name, change := range releaseCost {
		b.Run(name, func(b *testing.B) {
			compareCost(b, askingRelease(b, nil), askingRelease(b, change))
		})
	}
}
