package console

import (
	"net/http"
	"sync"
	"time"

	"weir.dev/weir/controlplane/rollout"
	"weir.dev/weir/model"
)

// evidence keeps the last ten minutes of every release: what both arms did, and how near each was
// to a trip.
type evidence struct {
	mu     sync.Mutex
	tracks map[string]*releaseTrack
}

// maxReleases bounds the releases that have a history.
const maxReleases = 100

// releaseTrack is the history of one release: a ring of samples.
type releaseTrack struct {
	last    model.ReleaseObservation
	at      time.Time
	samples []releaseSample // oldest first; at most maxSamples
	seen    time.Time
	trip    *model.ReleaseTrip // of the present run; nil: it has not tripped
}

// releaseSample is what happened in one step.
type releaseSample struct {
	at             int64 // Unix milliseconds
	share          float32
	stable, canary armSample
	evidence       float32 // of the test that is nearest to its boundary: 1 is a trip
}

type armSample struct {
	rate   float32 // requests begun a second
	failed float32 // share of those that ended
	p99    float32 // milliseconds, since the generation began
}

// step takes a sample of every release.
func (e *evidence) step(from Releases, now time.Time) {
	list := from.Observations()
	if len(list) == 0 {
		return
	}
	statuses := map[string]*rollout.Status{}
	for _, s := range from.Rollouts() {
		statuses[s.Name] = &s
	}
	e.add(list, statuses, now)
}

// add ends a step now.
func (e *evidence) add(list []model.ReleaseObservation, statuses map[string]*rollout.Status, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range list {
		o := &list[i]
		t := e.tracks[o.Release]
		if t == nil {
			if len(e.tracks) >= maxReleases {
				continue
			}
			if e.tracks == nil {
				e.tracks = map[string]*releaseTrack{}
			}
			t = &releaseTrack{last: *o, at: now}
			e.tracks[o.Release] = t
		}
		s := statuses[o.Release]
		if s == nil {
			s = &rollout.Status{}
		}
		t.add(o, s, now)
	}
	for name, t := range e.tracks {
		if now.Sub(t.seen) > historySpan {
			delete(e.tracks, name)
		}
	}
}

func (t *releaseTrack) add(o *model.ReleaseObservation, status *rollout.Status, now time.Time) {
	t.seen = now
	trip := o.Trip
	if trip == nil { // the control plane has answered it with a new generation, which knows nothing of it
		trip = status.Trip
	}
	t.trip = trip
	seconds := now.Sub(t.at).Seconds()
	if seconds <= 0 {
		return
	}
	s := releaseSample{at: now.UnixMilli(), share: float32(status.Share) / model.Buckets}
	before := t.last
	if before.Run != o.Run || before.Generation != o.Generation || before.Since != o.Since {
		before = model.ReleaseObservation{}
		if began := now.Sub(o.Since).Seconds(); began > 0 {
			seconds = min(seconds, began) // what is counted is no older
		}
	}
	s.stable = armSampleOf(&before.Stable, &o.Stable, seconds)
	s.canary = armSampleOf(&before.Canary, &o.Canary, seconds)
	for _, test := range o.Tests {
		if test.Boundary > 0 {
			s.evidence = max(s.evidence, float32(test.Evidence/test.Boundary))
		}
	}
	if trip != nil && trip.At.After(t.at) {
		if trip.Test.Boundary > 0 {
			s.evidence = max(s.evidence, float32(trip.Test.Evidence/trip.Test.Boundary))
		}
		if f := status.Figures; o.Generation != t.last.Generation && f != nil { // what proved it was counted by the generation before
			s.stable.failed = failedSince(&t.last.Stable, &f.Stable)
			s.canary.failed = failedSince(&t.last.Canary, &f.Canary)
		}
	}
	t.last, t.at = *o, now
	if len(t.samples) == maxSamples {
		t.samples = append(t.samples[:0], t.samples[1:]...)
	}
	t.samples = append(t.samples, s)
}

// failedSince is the share of failures among what ended since an arm was last seen, by what a stage had
// come to in the end.
func failedSince(before *model.ArmObservation, end *rollout.ArmFigures) float32 {
	return armSampleOf(before, &model.ArmObservation{Requests: end.Requests, InFlight: end.InFlight, Failed: end.Failed}, 1).failed
}

func armSampleOf(before, now *model.ArmObservation, seconds float64) armSample {
	if now.Requests < before.Requests {
		*before = model.ArmObservation{}
	}
	s := armSample{rate: float32(float64(now.Requests-before.Requests) / seconds), p99: float32(milliseconds(now.P99))}
	if ended := float64(now.Requests-before.Requests) - float64(now.InFlight-before.InFlight); ended > 0 {
		s.failed = float32(min(float64(now.Failed-before.Failed)/ended, 1))
	}
	return s
}

// evidenceView is the history of a release column by column, oldest sample first: every list has the
// same length.
type evidenceView struct {
	Revision     uint64    `json:"revision"`
	Now          int64     `json:"now" doc:"the server's time, in Unix milliseconds"`
	Step         float64   `json:"stepSeconds" doc:"between two samples, as a rule"`
	Span         float64   `json:"spanSeconds" doc:"how far a full history goes back"`
	At           []int64   `json:"at" doc:"when each sample ended, in Unix milliseconds"`
	Share        []float32 `json:"share" doc:"of the canary, 0 to 1"`
	StableRate   []float32 `json:"stablePerSecond" doc:"requests"`
	CanaryRate   []float32 `json:"canaryPerSecond"`
	StableFailed []float32 `json:"stableFailed" doc:"share of requests, 0 to 1"`
	CanaryFailed []float32 `json:"canaryFailed"`
	StableP99    []float32 `json:"stableP99Ms" doc:"since the share last changed"`
	CanaryP99    []float32 `json:"canaryP99Ms"`
	Evidence     []float32 `json:"evidence" doc:"of the test that is nearest to its boundary, of that boundary: at 1 it trips"`
	Trip         int64     `json:"trip,omitempty" doc:"when the guard tripped, in Unix milliseconds"`
}

func (c *Console) serveEvidence(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	after, ok := afterOf(w, q)
	if !ok || q.Get("name") != "" && c.rolloutNamed(w, q.Get("name")) == nil {
		return
	}
	s, _ := c.cfg.Live.Snapshot()
	v := evidenceView{Revision: revisionOf(s), Now: c.cfg.Now().UnixMilli(), Step: sampleStep.Seconds(), Span: historySpan.Seconds(), At: []int64{}}
	columns := []*[]float32{&v.Share, &v.StableRate, &v.CanaryRate, &v.StableFailed, &v.CanaryFailed, &v.StableP99, &v.CanaryP99, &v.Evidence}
	for _, column := range columns {
		*column = []float32{}
	}
	c.evidence.mu.Lock()
	defer c.evidence.mu.Unlock()
	if t := c.evidence.tracks[q.Get("name")]; t != nil {
		if t.trip != nil {
			v.Trip = t.trip.At.UnixMilli()
		}
		for _, it := range t.samples {
			if it.at <= after {
				continue
			}
			v.At = append(v.At, it.at)
			for i, value := range [...]float32{it.share, it.stable.rate, it.canary.rate, it.stable.failed, it.canary.failed, it.stable.p99, it.canary.p99, it.evidence} {
				*columns[i] = append(*columns[i], value)
			}
		}
	}
	answer(w, v)
}
