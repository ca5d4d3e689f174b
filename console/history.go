package console

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// track is the history of one series: a ring of samples.
type track struct {
	past    []mark    // of the last steps, oldest first; at most sampleSteps
	samples []sample  // at most maxSamples
	next    int       // where the next one goes once the ring is full
	wanted  time.Time // when it was last asked for, or among the busiest
}

// mark is what the series had counted at one time.
type mark struct {
	at time.Time
	tally
}

// sample is what happened in the ten seconds that ended at one time, less at the start of a
// history: in a step alone, a quiet route has too few requests for quantiles.
type sample struct {
	at            int64   // Unix milliseconds
	rate          float32 // requests per second
	blame         [blames]float32
	p50, p95, p99 float32 // milliseconds; zero without requests
	inFlight      float32
}

const (
	maxSamples  = int(historySpan / sampleStep)
	sampleSteps = int(windowStep / sampleStep)
)

// newTrack begins a history now.
func newTrack(stats *telemetry.Stats, now time.Time) *track {
	return &track{past: []mark{{now, tallyOf(stats)}}, wanted: now}
}

// add ends a step of the history now, with what its series has counted.
func (t *track) add(stats *telemetry.Stats, now time.Time) {
	oldest := &t.past[0]
	seconds := now.Sub(oldest.at).Seconds()
	if seconds <= 0 {
		return
	}
	current := tallyOf(stats)
	span := current
	span.since(&oldest.tally)
	if len(t.past) == sampleSteps {
		t.past = append(t.past[:0], t.past[1:]...)
	}
	t.past = append(t.past, mark{now, current})

	p50, p95, p99 := span.quantiles()
	s := sample{
		at: now.UnixMilli(), rate: float32(float64(span.requests) / seconds),
		p50: float32(p50), p95: float32(p95), p99: float32(p99), inFlight: float32(stats.InFlight),
	}
	for i, n := range span.blame {
		s.blame[i] = float32(float64(n) / seconds)
	}
	if len(t.samples) < maxSamples {
		t.samples = append(t.samples, s)
		return
	}
	t.samples[t.next] = s
	t.next = (t.next + 1) % maxSamples
}

// historyView is a history column by column, oldest sample first: every list has the same
// length.
type historyView struct {
	Now      int64     `json:"now" doc:"the server's time, in Unix milliseconds"`
	Step     float64   `json:"stepSeconds" doc:"between two samples, as a rule"`
	Window   float64   `json:"windowSeconds" doc:"how long the time is that each sample is of; the first few are shorter"`
	Span     float64   `json:"spanSeconds" doc:"how far a full history goes back"`
	At       []int64   `json:"at" doc:"when each sample ended, in Unix milliseconds"`
	Rate     []float32 `json:"requestsPerSecond"`
	Upstream []float32 `json:"upstreamErrorsPerSecond" doc:"flagged requests that were the upstream's doing"`
	Policy   []float32 `json:"policyErrorsPerSecond" doc:"a policy's doing"`
	Client   []float32 `json:"clientErrorsPerSecond" doc:"the client's doing"`
	Proxy    []float32 `json:"proxyErrorsPerSecond" doc:"Weir's own doing"`
	P50      []float32 `json:"p50Ms" doc:"0 where there were no requests; estimated within a bucket of a histogram"`
	P95      []float32 `json:"p95Ms" doc:"like p50Ms"`
	P99      []float32 `json:"p99Ms" doc:"like p50Ms"`
	InFlight []float32 `json:"inFlight" doc:"at the end of each sample"`
}

// view shows the samples after a moment in Unix milliseconds.
func (t *track) view(after int64, now time.Time) historyView {
	v := historyView{Now: now.UnixMilli(), Step: sampleStep.Seconds(), Window: windowStep.Seconds(), Span: historySpan.Seconds(), At: []int64{}}
	columns := []*[]float32{&v.Rate, &v.Upstream, &v.Policy, &v.Client, &v.Proxy, &v.P50, &v.P95, &v.P99, &v.InFlight}
	for _, c := range columns {
		*c = []float32{}
	}
	for i := range t.samples {
		s := &t.samples[(t.next+i)%len(t.samples)]
		if s.at <= after {
			continue
		}
		v.At = append(v.At, s.at)
		for i, value := range []float32{
			s.rate, s.blame[model.BlameUpstream], s.blame[model.BlamePolicy], s.blame[model.BlameClient], s.blame[model.BlameProxy],
			s.p50, s.p95, s.p99, s.inFlight,
		} {
			*columns[i] = append(*columns[i], value)
		}
	}
	return v
}

var historyParameters = []parameter{
	{"route", "string", "the route whose history it is; without it and cluster: of everything"},
	{"cluster", "string", "the cluster whose history it is"},
	{"after", "integer", "only samples that ended after this time, in Unix milliseconds"},
}

func (c *Console) serveHistory(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	after, ok := afterOf(w, q)
	if !ok {
		return
	}
	key, known := seriesKey{}, true
	s, _ := c.cfg.Live.Snapshot()
	ix := c.index.of(s)
	switch {
	case q.Has("route") && q.Has("cluster"):
		problem{
			Status: http.StatusBadRequest, Title: "one too many", Where: "query parameters route and cluster",
			Detail: "a history is of a route, of a cluster or of everything", Remedy: "leave one of them out",
		}.write(w)
		return
	case q.Has("route"):
		key = seriesKey{ofRoute, q.Get("route"), ""}
		known = ix.routeNamed(key.name) != nil || key.name == telemetry.Unmatched
	case q.Has("cluster"):
		key = seriesKey{ofCluster, q.Get("cluster"), ""}
		known = ix.clusterNamed(key.name) != nil
	}
	if !known {
		problem{
			Status: http.StatusNotFound, Title: "no such series", Where: "query parameters",
			Detail: "no live route or cluster has this name", Remedy: "look at /api/v1/routes and /api/v1/clusters",
		}.write(w)
		return
	}
	answer(w, c.recorder.history(key, after, c.cfg.Now()))
}

// history shows the history of a series, and keeps it from now on.
func (r *recorder) history(key seriesKey, after int64, now time.Time) historyView {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.track(key, now).view(after, now)
}

// afterOf reads ?after. It answers 400 itself and returns false if it is wrong.
func afterOf(w http.ResponseWriter, q url.Values) (int64, bool) {
	text := q.Get("after")
	if text == "" {
		return 0, true
	}
	after, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		problem{
			Status: http.StatusBadRequest, Title: "wrong time", Where: "query parameter after",
			Detail: "it is not a number of milliseconds", Remedy: "give back the last value of at, or leave it out",
		}.write(w)
	}
	return after, err == nil
}
