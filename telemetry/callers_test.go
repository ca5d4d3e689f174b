package telemetry_test

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/telemetry"
)

func TestCallersAreKnownForAnHour(t *testing.T) {
	calls := &telemetry.NewMetrics(1).Callers
	now := time.Unix(1000, 0)
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	calls.Note(a, "backend/ns/x", now)
	calls.Note(a, "backend/ns/x", now.Add(time.Minute))
	calls.Note(b, "backend/ns/x", now)
	want := []telemetry.ObservedCall{{Client: a, Cluster: "backend/ns/x"}, {Client: b, Cluster: "backend/ns/x"}}
	sorted := func(at time.Time) []telemetry.ObservedCall {
		list := calls.Seen(at)
		slices.SortFunc(list, func(a, b telemetry.ObservedCall) int { return a.Client.Compare(b.Client) })
		return list
	}
	if got := sorted(now.Add(59 * time.Minute)); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if got := sorted(now.Add(60*time.Minute + 30*time.Second)); !slices.Equal(got, want[:1]) {
		t.Errorf("after an hour: %v", got)
	}
}

// However many there are, what is kept is bounded, and nobody waits for anybody.
func TestCallersAreBounded(t *testing.T) {
	calls := &telemetry.NewMetrics(1).Callers
	now := time.Unix(1000, 0)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 5000 {
				calls.Note(netip.AddrFrom4([4]byte{10, byte(g), byte(i >> 8), byte(i)}), fmt.Sprintf("backend/ns/%d", i%7), now)
				if i%1000 == 0 {
					calls.Seen(now)
				}
			}
		})
	}
	all.Wait()
	if n := len(calls.Seen(now)); n < 500 || n > 1024 {
		t.Errorf("%d are kept of 20,000", n)
	}
}
