package console

import (
	"net/http"
	"strings"
	"time"

	"weir.dev/weir/telemetry"
)

// actKey names the counter of one protection of one target.
type actKey struct {
	target string
	kind   telemetry.ProtectionKind
}

func actsByKey(list []telemetry.ProtectionStats) map[actKey]telemetry.ProtectionStats {
	out := make(map[actKey]telemetry.ProtectionStats, len(list))
	for _, s := range list {
		out[actKey{s.Target, s.Kind}] = s
	}
	return out
}

// actGroup is what a protection keeps from happening, for the chart.
type actGroup uint8

const (
	actNone     actGroup = iota // nothing is kept from anybody: a wait, a host that goes
	actRetries                  // a retry
	actBreakers                 // a try
	actShed                     // a request
	actDegraded                 // a part of its answer
	actGroups
)

func groupOf(kind telemetry.ProtectionKind) actGroup {
	switch kind {
	case telemetry.ProtectRetryBudget, telemetry.ProtectNestedRetry, telemetry.ProtectMaxRetries:
		return actRetries
	case telemetry.ProtectMaxPending, telemetry.ProtectMaxRequests, telemetry.ProtectTrip:
		return actBreakers
	case telemetry.ProtectConcurrency, telemetry.ProtectQueue, telemetry.ProtectPriority, telemetry.ProtectThrottle,
		telemetry.ProtectDeadline, telemetry.ProtectProcessOverload, telemetry.ProtectDegrade + "shed":
		return actShed
	}
	if strings.HasPrefix(string(kind), string(telemetry.ProtectDegrade)) {
		return actDegraded
	}
	return actNone
}

// actTrack is the history of what protections did, all targets together: a ring of samples
// like that of a series.
type actTrack struct {
	past    []actMark
	samples []actSample
	next    int
}

// actMark is how often each group had acted, or would have, at one time.
type actMark struct {
	at           time.Time
	acted, would [actGroups]uint64
}

// actSample is what happened in the ten seconds that ended at one time, per second.
type actSample struct {
	at    int64 // Unix milliseconds
	acted [actGroups]float32
	would float32
}

// add ends a step of the history now.
func (t *actTrack) add(list []telemetry.ProtectionStats, now time.Time) {
	m := actMark{at: now}
	for _, s := range list {
		g := groupOf(s.Kind)
		m.acted[g] += s.Acted
		m.would[g] += s.WouldHave
	}
	oldest := t.past[0]
	seconds := now.Sub(oldest.at).Seconds()
	if seconds <= 0 {
		return
	}
	if len(t.past) == sampleSteps {
		t.past = append(t.past[:0], t.past[1:]...)
	}
	t.past = append(t.past, m)
	s := actSample{at: now.UnixMilli()}
	for g := actRetries; g < actGroups; g++ {
		s.acted[g] = float32(float64(rise(oldest.acted[g], m.acted[g])) / seconds)
		s.would += float32(float64(rise(oldest.would[g], m.would[g])) / seconds)
	}
	if len(t.samples) < maxSamples {
		t.samples = append(t.samples, s)
		return
	}
	t.samples[t.next] = s
	t.next = (t.next + 1) % maxSamples
}

// rise is by how much a sum has grown. It falls when a target is forgotten, which is no event.
func rise(from, to uint64) uint64 { return max(from, to) - from }

// actsView is the history of protections column by column, as historyView is.
type actsView struct {
	Now      int64     `json:"now" doc:"the server's time, in Unix milliseconds"`
	Step     float64   `json:"stepSeconds" doc:"between two samples, as a rule"`
	Window   float64   `json:"windowSeconds" doc:"how long the time is that each sample is of; the first few are shorter"`
	Span     float64   `json:"spanSeconds" doc:"how far a full history goes back"`
	At       []int64   `json:"at" doc:"when each sample ended, in Unix milliseconds"`
	Retries  []float32 `json:"retriesDeniedPerSecond" doc:"by retry budgets and bounds, or because the caller retries"`
	Breakers []float32 `json:"brokenPerSecond" doc:"tries that breakers refused"`
	Shed     []float32 `json:"shedPerSecond" doc:"requests refused for want of room or time"`
	Degraded []float32 `json:"degradedPerSecond" doc:"requests that were given less"`
	Would    []float32 `json:"wouldHavePerSecond" doc:"all of these, where it was only observed"`
}

func (r *recorder) actHistory(after int64, now time.Time) actsView {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := actsView{
		Now: now.UnixMilli(), Step: sampleStep.Seconds(), Window: windowStep.Seconds(), Span: historySpan.Seconds(),
		At: []int64{}, Retries: []float32{}, Breakers: []float32{}, Shed: []float32{}, Degraded: []float32{}, Would: []float32{},
	}
	for i := range r.acts.samples {
		s := &r.acts.samples[(r.acts.next+i)%len(r.acts.samples)]
		if s.at <= after {
			continue
		}
		v.At = append(v.At, s.at)
		v.Retries = append(v.Retries, s.acted[actRetries])
		v.Breakers = append(v.Breakers, s.acted[actBreakers])
		v.Shed = append(v.Shed, s.acted[actShed])
		v.Degraded = append(v.Degraded, s.acted[actDegraded])
		v.Would = append(v.Would, s.would)
	}
	return v
}

// actsLately returns what protections had counted when the current window began, and how long
// ago that was.
func (r *recorder) actsLately(now time.Time) (map[actKey]telemetry.ProtectionStats, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.older.acts, now.Sub(r.older.at)
}

func (c *Console) serveActHistory(w http.ResponseWriter, r *http.Request) {
	after, ok := afterOf(w, r.URL.Query())
	if ok {
		answer(w, c.recorder.actHistory(after, c.cfg.Now()))
	}
}
