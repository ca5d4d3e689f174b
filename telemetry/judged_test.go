package telemetry

import (
	"fmt"
	"math"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// TestJudged checks which ends of a request say something, and which are failures.
func TestJudged(t *testing.T) {
	for _, c := range []struct {
		what          string
		outcome       Outcome
		total, failed uint64
	}{
		{"answered", Outcome{Code: 200}, 1, 0},
		{"not found", Outcome{Code: 404}, 1, 0},
		{"no route", Outcome{Code: 404, Flag: model.FlagNR}, 1, 0},
		{"the upstream's 500", Outcome{Code: 500, Flag: model.FlagU5}, 1, 1},
		{"a 503 without a flag", Outcome{Code: 503}, 1, 1},
		{"our own refusal", Outcome{Code: 503, Flag: model.FlagPO}, 1, 1},
		{"a rate limit", Outcome{Code: 429, Flag: model.FlagRL}, 1, 0},
		{"broken off", Outcome{Code: 200, Flag: model.FlagUC}, 1, 1},
		{"a faulty code of gRPC", Outcome{Code: 200, Flag: model.FlagU5, GRPC: EndOfCall(model.GRPCUnavailable)}, 1, 1},
		{"an injected 503", Outcome{Code: 503, Flag: model.FlagFI}, 1, 1},
		{"an injected 418", Outcome{Code: 418, Flag: model.FlagFI}, 1, 0},
		{"no answer", Outcome{}, 1, 1},
		{"the client left before", Outcome{Flag: model.FlagDC}, 0, 0},
		{"the client left amid the answer", Outcome{Code: 200, Flag: model.FlagDC}, 1, 0},
	} {
		s := newSeries(1)
		s.Begin(0)
		s.End(0, &c.outcome)
		stats := s.Snapshot()
		if total, failed := stats.Judged(); total != c.total || failed != c.failed {
			t.Errorf("%s: %d of %d failed, want %d of %d", c.what, failed, total, c.failed, c.total)
		}
	}
}

// TestSlower checks bounds at the ends of buckets and inside of them by hand.
func TestSlower(t *testing.T) {
	s := newSeries(1)
	for range 100 { // between 200 and 300 µs
		s.Begin(0)
		s.End(0, &Outcome{Code: 200, Duration: 250 * time.Microsecond})
	}
	s.Begin(0)
	s.End(0, &Outcome{Code: 200, Duration: time.Hour})
	stats := s.Snapshot()
	for d, want := range map[time.Duration]float64{
		100 * time.Microsecond: 101, 200 * time.Microsecond: 101, 225 * time.Microsecond: 76, 300 * time.Microsecond: 1, time.Second: 1, 10 * time.Hour: 1,
	} {
		if total, slower := stats.Slower(d); total != 101 || math.Abs(slower-want) > 1e-9 {
			t.Errorf("%v: %v of %v, want %v", d, slower, total, want)
		}
	}
	if !Exact(200*time.Microsecond) || Exact(225*time.Microsecond) {
		t.Error("200 µs is a bound, and 225 µs is none")
	}
}

// TestFigures checks that what is kept over time is what the page shows, but for what never had a request.
func TestFigures(t *testing.T) {
	m := busyMetrics(t)
	m.Route("idle")
	seen := map[string]int{}
	m.Figures(func(f *Figure) {
		seen[f.Name]++
		if len(f.Names) != len(f.Values) {
			t.Errorf("%s: labels %v and values %v", f.Name, f.Names, f.Values)
		}
		for i, name := range f.Names {
			if name == "route" && f.Values[i] == "idle" {
				t.Errorf("%s of a route that never had a request", f.Name)
			}
		}
	})
	for _, f := range Families {
		if f.Type != Histogram && seen[f.Name] == 0 {
			t.Errorf("no figure of %s", f.Name)
		}
	}
	for name, want := range map[string]bool{
		"weir_route_request_duration_seconds_bucket": true, "weir_host_request_duration_seconds_bucket": false,
		"weir_host_request_duration_seconds_count": true, "go_goroutines": true, "process_resident_memory_bytes": true,
	} {
		if got := seen[name] > 0; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if n, routes := seen["weir_route_request_duration_seconds_bucket"], seen["weir_route_request_duration_seconds_count"]; n != routes*(1+len(exportedBounds)) {
		t.Errorf("%d buckets of %d routes", n, routes)
	}
}

// TestIdleFiguresMakeNoGarbage: of ten thousand routes most have no requests, and all are read every few seconds.
func TestIdleFiguresMakeNoGarbage(t *testing.T) {
	m := NewMetrics(2)
	read := func() float64 { return testing.AllocsPerRun(10, func() { m.Figures(func(*Figure) {}) }) }
	before := read()
	for i := range 1000 {
		m.Route(fmt.Sprint(i))
	}
	if after := read(); after > before+20 {
		t.Errorf("%v allocations with a thousand idle routes, %v without", after, before)
	}
}
