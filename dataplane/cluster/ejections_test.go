package cluster

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/health"
)

// TestEjectionsStayInBounds: under any history of tries and changes no more hosts are
// ejected than the ceiling allows, none is for a shorter time than the first ejection lasts
// unless somebody changes something, and all of them return.
func TestEjectionsStayInBounds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var fault any // which is how rapid ends a run
		synctest.Test(t, func(*testing.T) {
			defer func() { fault = recover() }()
			ejectionsStayInBounds(r)
		})
		if fault != nil {
			panic(fault)
		}
	})
}

// inquiry is a history of ejections.
type inquiry struct {
	s    *Set
	spec *model.Cluster               // as applied last; nil: none
	out  map[netip.AddrPort]time.Time // until when hosts are, as far as nothing changed
	last time.Time                    // of the check before
}

func genOutlier(t *rapid.T) model.Outlier {
	o := outliers()
	o.MaxEjected = rapid.SampledFrom([]float64{0, 0.1, 0.34, 0.5, 1}).Draw(t, "share")
	o.MaxEjectedHosts = rapid.IntRange(0, 3).Draw(t, "most")
	o.Mode = rapid.SampledFrom([]model.Mode{model.ModeEnforce, model.ModeEnforce, model.ModeObserve, model.ModeDisabled}).Draw(t, "mode")
	o.Interval = time.Duration(rapid.IntRange(1, 5).Draw(t, "interval")) * time.Second
	o.MinRequests = rapid.IntRange(1, 10).Draw(t, "least")
	if rapid.Bool().Draw(t, "rows only") {
		o.FailureShare, o.SuccessRateDeviation, o.SlowerThanMedian = 0, 0, 0
	}
	return o
}

func ejectionsStayInBounds(t *rapid.T) {
	q := &inquiry{s: New(steady("")), out: map[netip.AddrPort]time.Time{}}
	ctx, cancel := context.WithCancel(context.Background()) // rapid's own is not of the bubble
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = q.s.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	t.Repeat(map[string]func(*rapid.T){
		"apply": func(t *rapid.T) {
			weights := make([]uint32, rapid.IntRange(0, 8).Draw(t, "hosts"))
			for i := range weights {
				weights[i] = uint32(rapid.IntRange(0, 3).Draw(t, "weight"))
			}
			o := genOutlier(t)
			q.spec = judged(func(c *model.Cluster) { c.Outlier = o })
			if rapid.IntRange(0, 9).Draw(t, "cluster") == 0 {
				q.spec = nil
			}
			apply(t, q.s, q.spec, endpoints(weights...))
			clear(q.out)
			for _, h := range q.s.Hosts() {
				if h.EjectedBy != "" {
					q.out[h.Address] = h.EjectedUntil
				}
			}
		},
		"tries": q.try,
		"wait": func(t *rapid.T) {
			time.Sleep(time.Duration(rapid.IntRange(1, 20_000).Draw(t, "ms")) * time.Millisecond)
			synctest.Wait()
		},
		"": q.check,
	})
	time.Sleep(outliers().MaxEjection + time.Second)
	for _, h := range q.s.Hosts() {
		if h.Ejected || h.EjectedBy != "" {
			t.Fatalf("%v never returns", h.Address)
		}
	}
}

// try ends tries at one host, or at all.
func (q *inquiry) try(t *rapid.T) {
	end := rapid.SampledFrom([]Outcome{good(0), bad, dead, slow, slow}).Draw(t, "end")
	at, n := rapid.IntRange(0, 8).Draw(t, "host"), rapid.IntRange(1, 20).Draw(t, "tries")
	q.s.mu.Lock()
	var hosts []*Host
	for _, c := range q.s.clusters {
		for _, h := range c.hosts {
			if at == 8 || host(h) == at {
				hosts = append(hosts, h)
			}
		}
	}
	q.s.mu.Unlock()
	for _, h := range hosts {
		for range n {
			h.Begin()
			h.End(transport.Now(), end)
		}
	}
	synctest.Wait()
}

func (q *inquiry) check(t *rapid.T) {
	now, weighted, out := time.Now(), 0, 0
	for _, h := range q.s.Hosts() {
		if h.Weight > 0 && !h.Draining {
			weighted++
			if h.EjectedBy != "" {
				out++
			}
		}
		until, known := q.out[h.Address]
		switch {
		case h.EjectedBy == "" && known:
			if now.Before(until) {
				t.Fatalf("%v was to be out until %v", h.Address, until)
			}
			delete(q.out, h.Address)
		case h.EjectedBy != "" && known && h.EjectedUntil.Equal(until):
			if now.After(until.Add(judgeEvery)) {
				t.Fatalf("%v was to be out until %v and is out", h.Address, until)
			}
		case h.EjectedBy != "":
			if h.EjectedUntil.Before(q.last.Add(outliers().BaseEjection)) {
				t.Fatalf("%v is out until %v, and was not at %v", h.Address, h.EjectedUntil, q.last)
			}
			q.out[h.Address] = h.EjectedUntil
		}
		if acts := q.spec != nil && q.spec.Outlier.Mode == model.ModeEnforce; h.Ejected != (acts && h.EjectedBy != "") || h.Ejected && h.Healthy {
			t.Fatalf("acts: %v, and %+v", acts, h)
		}
	}
	if q.spec != nil && out > health.Ceiling(&q.spec.Outlier, weighted) {
		t.Fatalf("%d of %d are ejected with %+v", out, weighted, q.spec.Outlier)
	}
	q.last = now
	q.s.mu.Lock()
	defer q.s.mu.Unlock()
	for i, c := range q.s.judges.queue {
		if c.judging.place != i+1 || c.retired || c.detection.Load() == nil {
			t.Fatalf("%s at %d: %+v", c.name, i, c.judging)
		}
	}
}
