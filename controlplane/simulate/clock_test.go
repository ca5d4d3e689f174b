package simulate

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestClock compares the heap with a sorted list: all that is not stopped happens once, in the
// order of moments, and of one moment in the order of planning.
func TestClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type entry struct {
			at    moment
			index int
		}
		c := &clock{now: epoch}
		var want, got []entry
		var timers []*timer
		n := rapid.IntRange(0, 3000).Draw(t, "n")
		seed := rapid.Uint64().Draw(t, "seed")
		for i := range n {
			seed = seed*6364136223846793005 + 1442695040888963407
			e := entry{epoch + moment(seed>>40%500), i}
			want = append(want, e)
			timers = append(timers, c.at(e.at, func() { got = append(got, entry{c.now, i}) }))
		}
		share := rapid.IntRange(0, 100).Draw(t, "stopped")
		stopped := map[int]bool{}
		for i, timer := range timers {
			seed = seed*6364136223846793005 + 1442695040888963407
			if int(seed>>33%100) < share {
				timer.stop()
				timer.stop()
				stopped[i] = true
			}
		}
		want = slices.DeleteFunc(want, func(e entry) bool { return stopped[e.index] })
		slices.SortStableFunc(want, func(a, b entry) int { return int(a.at - b.at) })
		for c.next(epoch + 1000) {
			if len(c.heap) < c.stopped {
				t.Fatalf("%d of %d entries are stopped", c.stopped, len(c.heap))
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d happened, want %d", len(got), len(want))
		}
		if len(c.heap) != 0 || c.now != epoch+1000 || c.stopped != 0 {
			t.Fatalf("at the end: %d in the heap, %d stopped, now %d", len(c.heap), c.stopped, c.now-epoch)
		}
	})
}
