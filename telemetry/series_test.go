package telemetry

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

func TestBucketBounds(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want int
	}{
		{-time.Second, 0},
		{0, 0},
		{50 * time.Microsecond, 0},
		{50*time.Microsecond + 1, 1},
		{100 * time.Microsecond, 1},
		{100*time.Microsecond + 1, 2},
		{150 * time.Microsecond, 2},
		{200 * time.Microsecond, 3},
		{230 * time.Microsecond, 4},
		{300 * time.Microsecond, 4},
		{400 * time.Microsecond, 5},
		{100 * 1024 * 1024 * time.Microsecond, 41},
		{100*1024*1024*time.Microsecond + 1, 42},
		{1<<63 - 1, 42},
	} {
		if got := scale.Bucket(tc.d); got != tc.want {
			t.Errorf("scale.Bucket(%v) = %d, want %d", tc.d, got, tc.want)
		}
	}
}

func TestEveryDurationIsWithinItsBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Min(1).Draw(t, "d"))
		b := scale.Bucket(d)
		if b > 0 && d <= scale.Upper(b-1) {
			t.Fatalf("%v is in bucket %d, and in the one before", d, b)
		}
		if b < bucketCount-1 && d > scale.Upper(b) {
			t.Fatalf("%v is above bucket %d", d, b)
		}
	})
}

func TestQuantileIsNearTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.SliceOfN(rapid.Int64Range(1, int64(100*time.Second)), 1, 200).Draw(t, "durations")
		q := rapid.SampledFrom([]float64{0.01, 0.5, 0.95, 0.99, 1}).Draw(t, "q")
		var b Buckets
		for _, d := range durations {
			b[scale.Bucket(time.Duration(d))]++
		}
		// The true quantile's bucket: the first whose cumulated count reaches the rank.
		rank, below, want := q*float64(len(durations)), 0.0, 0
		for i, c := range b {
			if below += float64(c); c > 0 && below >= rank {
				want = i
				break
			}
		}
		got := b.Quantile(q)
		low := time.Duration(0)
		if want > 0 {
			low = scale.Upper(want - 1)
		}
		if got < low || got > scale.Upper(want) {
			t.Fatalf("quantile %v = %v, outside (%v, %v]", q, got, low, scale.Upper(want))
		}
	})
}

func TestQuantileOfNothingAndOfTheEndless(t *testing.T) {
	var b Buckets
	if got := b.Quantile(0.99); got != 0 {
		t.Errorf("of nothing: %v, want 0", got)
	}
	b[bucketCount-1] = 3
	if got, want := b.Quantile(0.5), scale.Upper(bucketCount-2); got != want {
		t.Errorf("beyond the last bound: %v, want %v", got, want)
	}
}

func TestSeriesCounts(t *testing.T) {
	m := NewMetrics(2)
	s := m.Route("shop/cart/0")
	s.Begin(0)
	s.Begin(1)
	s.Begin(7) // no such shard
	s.End(1, &Outcome{Code: 200, Duration: time.Millisecond, BytesIn: 10, BytesOut: 100})
	s.End(0, &Outcome{Code: 503, Flag: model.FlagUH, Duration: 3 * time.Millisecond, BytesIn: 5, Retries: 2})
	got := s.Snapshot()
	want := Stats{
		Requests: 2, InFlight: 1, Duration: 4 * time.Millisecond, BytesIn: 15, BytesOut: 100, Retries: 2,
	}
	want.Classes[2], want.Classes[5] = 1, 1
	want.Flags[model.FlagUH] = 1
	want.Buckets[scale.Bucket(time.Millisecond)], want.Buckets[scale.Bucket(3*time.Millisecond)] = 1, 1
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if n := got.Blamed(model.BlameUpstream); n != 1 {
		t.Errorf("blamed on the upstream: %d, want 1", n)
	}
	if n := got.Blamed(model.BlameNone); n != 1 {
		t.Errorf("blamed on nobody: %d, want 1", n)
	}
	if total := m.Totals(); total != want {
		t.Errorf("totals %+v\nwant %+v", total, want)
	}
	for _, code := range []int{0, -1, 99, 600, 1 << 30} {
		s.Begin(0)
		s.End(0, &Outcome{Code: code})
	}
	if n := s.Snapshot().Classes[0]; n != 5 {
		t.Errorf("impossible codes: %d, want 5", n)
	}
}

func TestStatsSince(t *testing.T) {
	s := newSeries(1)
	s.Begin(0)
	s.End(0, &Outcome{Code: 404, Flag: model.FlagNR, Duration: time.Second, BytesOut: 7})
	before := s.Snapshot()
	s.Begin(0)
	s.Begin(0)
	s.End(0, &Outcome{Code: 200, Duration: time.Millisecond, BytesOut: 5})
	got := s.Snapshot().Since(&before)
	if got.Requests != 1 || got.Classes[4] != 0 || got.Flags[model.FlagNR] != 0 || got.BytesOut != 5 ||
		got.Duration != time.Millisecond || got.Buckets.Count() != 1 || got.InFlight != 1 {
		t.Errorf("got %+v", got)
	}
	fresh := newSeries(1).Snapshot()
	if after := fresh.Since(&before); after != fresh {
		t.Errorf("a series that began anew: %+v, want %+v", after, fresh)
	}
}

func TestNilCountsNothing(*testing.T) {
	var s *Series
	s.Begin(0)
	s.End(0, &Outcome{})
	s.Snapshot()
	var c *ConnStats
	c.Open()
	c.Refuse(RefusedLimit)
	c.Close(1, 1)
	c.EndHandshake(HandshakeFull)
	c.QueueHandshake(1)
	var l *AccessLog
	l.Write(0, &Record{})
}

func TestSeriesConcurrently(t *testing.T) {
	const goroutines, each = 8, 2000
	s := NewMetrics(4).Cluster("c")
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for range each {
				s.Begin(g % 4)
				s.End(g%4, &Outcome{Code: 200, Flag: model.FlagDC})
				if s.Snapshot().InFlight > goroutines {
					t.Error("more in flight than goroutines")
					return
				}
			}
		})
	}
	wg.Wait()
	got := s.Snapshot()
	if got.Requests != goroutines*each || got.Flags[model.FlagDC] != goroutines*each || got.InFlight != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestSeriesDoesNotAllocate(t *testing.T) {
	s := NewMetrics(2).Host("c", "10.0.0.1:80")
	o := &Outcome{Code: 200, Flag: model.FlagU5, Duration: time.Millisecond, BytesIn: 1, BytesOut: 1, Retries: 1}
	if n := testing.AllocsPerRun(100, func() { s.Begin(1); s.End(1, o) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func TestSameNameSameSeries(t *testing.T) {
	m := NewMetrics(1)
	route, host, listener := m.Route("a"), m.Host("c", "h"), m.Listener("l")
	if m.Route("a") != route || m.Host("c", "h") != host || m.Listener("l") != listener {
		t.Error("a name gave two series")
	}
	if m.Route("a") == m.Route("b") || m.Host("c", "h") == m.Host("d", "h") {
		t.Error("two names gave one series")
	}
}

func TestRetainForgetsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics(1)
		kept, gone, busy := m.Route("kept"), m.Route("gone"), m.Route("busy")
		m.Route(Unmatched)
		busy.Begin(0)
		gone.Begin(0)
		gone.End(0, &Outcome{Code: 200})
		live := Live{Route: func(name string) bool { return name == "kept" }}
		m.Retain(live)
		time.Sleep(ForgetAfter - time.Second)
		m.Retain(live)
		if _, known := m.RouteStats("gone"); !known {
			t.Fatal("forgotten too early")
		}
		time.Sleep(time.Second)
		m.Retain(live)
		if _, known := m.RouteStats("gone"); known {
			t.Error("not forgotten")
		}
		for _, name := range []string{"kept", "busy", Unmatched} {
			if _, known := m.RouteStats(name); !known {
				t.Errorf("%s was forgotten", name)
			}
		}
		if got := m.Totals().Requests; got != 1 {
			t.Errorf("total requests %d, want 1: the forgotten one counts", got)
		}
		if m.Route("kept") != kept {
			t.Error("a live series changed")
		}
		if m.Route("gone") == gone {
			t.Error("a forgotten series came back")
		}
	})
}

func TestARouteThatComesBackKeepsItsCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics(1)
		s := m.Route("r")
		none := Live{Route: func(string) bool { return false }}
		m.Retain(none)
		if m.Route("r") != s {
			t.Error("another series after a short absence")
		}
		time.Sleep(2 * ForgetAfter)
		m.routes.sweep(time.Now())
		if m.Route("r") != s {
			t.Error("forgotten although it is in use again")
		}
	})
}

func TestSeriesLimit(t *testing.T) {
	m := NewMetrics(1)
	for i := range SeriesLimit {
		m.Route(fmt.Sprint(i))
	}
	if m.Route("one more") != m.Route("another") {
		t.Error("objects beyond the limit do not share a series")
	}
	if m.routes.overflow.Load() != 2 {
		t.Errorf("overflow %d, want 2", m.routes.overflow.Load())
	}
	m.Retain(Live{Route: func(name string) bool { return name != "0" && name != "1" }})
	if m.Route("one more") == m.routes.other {
		t.Error("a series that is gone does not make room")
	}
}

func BenchmarkSeries(b *testing.B) {
	m := NewMetrics(8)
	s := m.Route("r")
	o := &Outcome{Code: 200, Duration: time.Millisecond, BytesIn: 100, BytesOut: 200}
	for b.Loop() {
		s.Begin(0)
		s.End(0, o)
	}
}

func BenchmarkSeriesContended(b *testing.B) {
	m := NewMetrics(8)
	s := m.Route("r")
	var shards sync.Mutex
	next := 0
	b.RunParallel(func(pb *testing.PB) {
		shards.Lock()
		shard := next % 8
		next++
		shards.Unlock()
		o := &Outcome{Code: 200, Duration: time.Millisecond, BytesIn: 100, BytesOut: 200}
		for pb.Next() {
			s.Begin(shard)
			s.End(shard, o)
		}
	})
}
