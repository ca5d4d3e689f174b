package console

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// count has n requests end the same way.
func count(s *telemetry.Series, n int, o telemetry.Outcome) {
	for range n {
		s.Begin(0)
		s.End(0, &o)
	}
}

// pass lets time pass; the recorder does what Record would have it do meanwhile.
func (h *harness) pass(d time.Duration) {
	for end := h.now.Add(d); h.now.Before(end); {
		h.now = h.now.Add(sampleStep)
		h.console.recorder.step(h.now)
	}
}

func TestTrafficIsOfAWindow(t *testing.T) {
	h := newHarness(1)
	h.now = h.metrics.Started()
	s := h.metrics.Route("shop/r0/0")
	look := func() traffic { return get[list[routeView]](t, h, "/api/v1/routes").Items[0].Traffic }

	count(s, 100, telemetry.Outcome{Code: 200, Duration: time.Second})
	h.now = h.now.Add(50 * time.Second)
	first := look()
	if first.Requests != 100 || first.Lately.Rate != 2 || first.Lately.Seconds != 50 || first.Lately.P99 < 800 || first.Classes["2xx"] != 100 {
		t.Errorf("since the start: %+v", first)
	}
	for range 15 {
		h.pass(2 * time.Second)
		count(s, 20, telemetry.Outcome{Code: 502, Flag: model.FlagUC, Duration: time.Millisecond})
	}
	h.now = h.now.Add(2 * time.Second)
	got := look()
	if got.Requests != 400 || got.Blame["upstream"] != 300 || got.Flags["UC"] != 300 {
		t.Errorf("%+v", got)
	}
	l := got.Lately
	if l.Seconds < 10 || l.Seconds > 22 || math.Abs(l.Rate-10) > 0.01 || math.Abs(l.Blame["upstream"]-10) > 0.01 || l.P99 > 1.2 {
		t.Errorf("lately: %+v", l)
	}
	h.pass(time.Minute)
	if l := look().Lately; l.Rate != 0 || l.P99 != 0 || len(l.Blame) != 0 {
		t.Errorf("after a minute of quiet: %+v", l)
	}
}

func TestHistory(t *testing.T) {
	h := newHarness(1)
	h.now = h.metrics.Started()
	s := h.metrics.Route("shop/r0/0")
	for i := range 3 {
		count(s, 10*(i+1), telemetry.Outcome{Code: 502, Flag: model.FlagUC, Duration: time.Millisecond})
		h.pass(sampleStep)
	}
	h.pass(sampleStep)
	got := get[historyView](t, h, "/api/v1/history")
	if !slices.Equal(got.Rate, []float32{5, 7.5, 10, 7.5}) || !slices.Equal(got.Upstream, got.Rate) || !slices.Equal(got.Client, []float32{0, 0, 0, 0}) ||
		got.P99[0] <= 0 || got.P99[0] > 1.2 || got.At[3] != h.now.UnixMilli() || got.Now != h.now.UnixMilli() {
		t.Errorf("%+v", got)
	}
	if later := get[historyView](t, h, fmt.Sprint("/api/v1/history?after=", got.At[2])); !slices.Equal(later.At, got.At[3:]) || len(later.P50) != 1 {
		t.Errorf("after the third: %+v", later)
	}
	h.pass(windowStep)
	if got := get[historyView](t, h, "/api/v1/history"); got.Rate[len(got.Rate)-1] != 0 || got.P99[len(got.P99)-1] != 0 || got.Window != 10 {
		t.Errorf("after a window of quiet: %+v", got)
	}
	h.pass(2 * historySpan)
	got = get[historyView](t, h, "/api/v1/history")
	if len(got.At) != maxSamples || !slices.IsSorted(got.At) || got.At[len(got.At)-1] != h.now.UnixMilli() {
		t.Errorf("%d samples, sorted: %v", len(got.At), slices.IsSorted(got.At))
	}
	for query, want := range map[string]int{"route=none": 404, "cluster=none": 404, "route=a&cluster=b": 400, "after=now": 400, "route=" + telemetry.Unmatched: 200} {
		if w := h.do("GET", "/api/v1/history?"+query, ""); w.Code != want {
			t.Errorf("?%s: %d %s", query, w.Code, w.Body)
		}
	}
}

// TestHistoriesOfTheBusiest: who is busy has a past when it is first asked for, who is not
// has one from then on, and there are never too many.
func TestHistoriesOfTheBusiest(t *testing.T) {
	const routes = 3 * maxTracks
	h := newHarness(routes)
	h.now = h.metrics.Started()
	ask := func(i int) historyView {
		return get[historyView](t, h, "/api/v1/history?route="+url.QueryEscape(fmt.Sprintf("shop/r%d/0", i)))
	}
	serve := func() {
		for i := range routes {
			count(h.metrics.Route(fmt.Sprintf("shop/r%d/0", i)), i, telemetry.Outcome{Code: 200})
		}
		h.pass(windowStep)
	}
	serve()
	serve()
	if got := ask(routes - 1); len(got.At) < 5 || !slices.Contains(got.Rate, float32((routes-1)/windowStep.Seconds())) {
		t.Errorf("the busiest: %+v", got)
	}
	if got := ask(1); len(got.At) != 0 {
		t.Errorf("an idle one: %+v", got)
	}
	serve()
	if got := ask(1); !slices.Contains(got.Rate, float32(1/windowStep.Seconds())) {
		t.Errorf("an idle one that was asked for: %+v", got)
	}
	for i := range routes {
		ask(i)
	}
	if n := len(h.console.recorder.tracks); n > maxTracks+1 {
		t.Errorf("%d histories", n)
	}
	serve()
	if got := ask(routes - 1); len(got.At) == 0 {
		t.Error("the busiest lost its history")
	}
}

func TestSortedByTraffic(t *testing.T) {
	h := newHarness(300)
	h.now = h.metrics.Started()
	for i := range 300 {
		s := h.metrics.Route(fmt.Sprintf("shop/r%d/0", i))
		count(s, i, telemetry.Outcome{Code: 200, Duration: time.Duration(300-i) * time.Millisecond})
		count(s, i%7, telemetry.Outcome{Code: 502, Flag: model.FlagUC})
	}
	h.pass(windowStep)
	h.now = h.now.Add(time.Second)
	for order, figure := range map[string]func(*lately) float64{
		"rate": func(l *lately) float64 { return l.Rate }, "errors": (*lately).errors, "p99": func(l *lately) float64 { return l.P99 },
	} {
		var names []string
		var figures []float64
		token := ""
		for {
			page := get[list[routeView]](t, h, "/api/v1/routes?limit=70&sort="+order+"&continue="+token)
			for _, r := range page.Items {
				names = append(names, r.Name)
				figures = append(figures, -figure(&r.Traffic.Lately))
			}
			if token = page.Continue; token == "" {
				break
			}
		}
		if !slices.IsSorted(figures) {
			t.Errorf("%s: not sorted: %v", order, figures)
		}
		if slices.Sort(names); len(slices.Compact(names)) != 300 {
			t.Errorf("%s: %d routes on all pages", order, len(names))
		}
	}
	if w := h.do("GET", "/api/v1/hosts?sort=weight", ""); w.Code != 400 {
		t.Errorf("an unknown order: %d %s", w.Code, w.Body)
	}
}

// TestASeriesThatBeginsAnew: counters never run backwards in what is shown.
func TestASeriesThatBeginsAnew(t *testing.T) {
	before, now := tally{requests: 1000}, tally{requests: 3}
	now.since(&before)
	if now.requests != 3 {
		t.Errorf("%d requests", now.requests)
	}
	before, now = tally{requests: math.MaxUint32 - 1}, tally{requests: 3}
	now.since(&before)
	if now.requests != 5 {
		t.Errorf("%d requests over the end of the number", now.requests)
	}
}

func TestRecordEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(1)
		h.console.cfg.Now = time.Now
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { h.console.Record(ctx); close(done) }()
		time.Sleep(time.Minute) // of the bubble
		cancel()
		<-done
		if n := len(h.console.recorder.tracks[seriesKey{}].samples); n < 29 || n > 31 {
			t.Errorf("%d samples in a minute", n)
		}
	})
}

// BenchmarkRecorder is what sampling costs while 10,000 routes are all in use.
func BenchmarkRecorder(b *testing.B) {
	h := newHarness(10_000)
	h.now = h.metrics.Started()
	for i := range 10_000 {
		count(h.metrics.Route(fmt.Sprintf("shop/r%d/0", i)), 1+i%10, telemetry.Outcome{Code: 200})
	}
	b.Run("sample", func(b *testing.B) {
		for b.Loop() {
			h.now = h.now.Add(time.Millisecond)
			h.console.recorder.step(h.now)
		}
	})
	b.Run("window", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.now = h.now.Add(windowStep)
			h.console.recorder.step(h.now)
		}
	})
	b.Run("page", func(b *testing.B) {
		for b.Loop() {
			h.do("GET", "/api/v1/routes?sort=p99&limit=50&q=example", "")
		}
	})
}

// BenchmarkIndex is what the first question after a change costs with 10,000 routes.
func BenchmarkIndex(b *testing.B) {
	h := newHarness(10_000)
	b.ReportAllocs()
	for b.Loop() {
		newIndex(h.snapshot)
	}
}
