package console

import (
	"sync"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

const (
	// windowStep is the shortest window that rates and quantiles are of, once a series is
	// asked about again and again; the longest is twice that.
	windowStep = 10 * time.Second
	// maxWindows is how many series are remembered; the figures of others are since the start.
	maxWindows = 2048
	windowIdle = time.Minute
)

// windows remembers what the series that somebody looks at had counted a short while ago,
// so that rates and quantiles are of that while.
type windows struct {
	mu    sync.Mutex
	byKey map[string]*window
	swept time.Time
}

// window holds two moments, old before recent.
type window struct {
	old, recent         telemetry.Stats
	oldTime, recentTime time.Time
	asked               time.Time
}

// since returns what a series counted in its window up to now, and how long that is. start
// is when its counters began.
func (w *windows) since(key string, s telemetry.Stats, now, start time.Time) (telemetry.Stats, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.byKey[key]
	if known == nil || now.Sub(known.asked) > windowIdle {
		w.remember(key, s, now, start)
		return s, now.Sub(start)
	}
	known.asked = now
	if now.Sub(known.recentTime) >= windowStep {
		known.old, known.oldTime = known.recent, known.recentTime
		known.recent, known.recentTime = s, now
	}
	return s.Since(&known.old), now.Sub(known.oldTime)
}

// remember makes a window whose first figures are since the start. w.mu is held.
func (w *windows) remember(key string, s telemetry.Stats, now, start time.Time) {
	if w.byKey == nil {
		w.byKey = make(map[string]*window)
	}
	if len(w.byKey) >= maxWindows && now.Sub(w.swept) >= windowStep {
		w.swept = now
		for k, old := range w.byKey {
			if now.Sub(old.asked) > windowIdle {
				delete(w.byKey, k)
			}
		}
	}
	if len(w.byKey) < maxWindows {
		w.byKey[key] = &window{oldTime: start, recent: s, recentTime: now, asked: now}
	}
}

// trafficOf describes a series; key names it among the windows.
func (c *Console) trafficOf(key string, s telemetry.Stats) traffic {
	t := traffic{
		Requests: s.Requests, InFlight: s.InFlight, Retries: s.Retries, BytesIn: s.BytesIn, BytesOut: s.BytesOut,
		Classes: map[string]uint64{}, Flags: map[string]uint64{}, Blame: map[string]uint64{},
	}
	for class, n := range s.Classes {
		if n > 0 {
			t.Classes[telemetry.ClassName(class)] = n
		}
	}
	for f, n := range s.Flags {
		if n > 0 {
			t.Flags[model.Flag(f).String()] += n
			t.Blame[model.Flag(f).Blame().String()] += n
		}
	}
	recent, span := c.windows.since(key, s, c.cfg.Now(), c.cfg.Metrics.Started())
	t.Lately = lately{
		Seconds: span.Seconds(),
		P50:     milliseconds(recent.Quantile(0.50)),
		P95:     milliseconds(recent.Quantile(0.95)),
		P99:     milliseconds(recent.Quantile(0.99)),
		Blame:   map[string]float64{},
	}
	if span > 0 {
		t.Lately.Rate = float64(recent.Requests) / span.Seconds()
		for f, n := range recent.Flags {
			if n > 0 {
				t.Lately.Blame[model.Flag(f).Blame().String()] += float64(n) / span.Seconds()
			}
		}
	}
	return t
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
