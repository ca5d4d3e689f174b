package simulate

import (
	"time"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/traffic/stats"
)

// Report is what became of a run. Times are in seconds, latencies in milliseconds.
type Report struct {
	Scenario string  `json:"scenario"` // namespace/name
	Seed     int64   `json:"seed"`
	Duration float64 `json:"duration"`

	Asked         uint64            `json:"asked"` // what callers wanted
	Ended         uint64            `json:"ended"`
	Succeeded     uint64            `json:"succeeded"`
	Success       float64           `json:"success"` // of those that ended
	P50           float64           `json:"p50"`
	P99           float64           `json:"p99"`
	Goodput       float64           `json:"goodput"`       // successes, of those that were possible
	Amplification float64           `json:"amplification"` // the worst of the services'
	Flags         map[string]uint64 `json:"flags"`         // answers that were not simply the upstream's
	Happenings    uint64            `json:"happenings"`

	Callers  []CallerTotal  `json:"callers"`
	Services []ServiceTotal `json:"services"`
	Limits   []Verdict      `json:"limits"`
	Failed   int            `json:"failed"` // limits that were exceeded
	Events   []EventRow     `json:"events,omitempty"`
	Steps    []Step         `json:"steps"`
}

// EventRow is an event of the scenario in words.
type EventRow struct {
	At    float64 `json:"at"`
	Until float64 `json:"until,omitempty"` // 0: the end
	What  string  `json:"what"`
}

// CallerTotal is one entry of callers over the whole run.
type CallerTotal struct {
	Name    string  `json:"name"`
	Asked   uint64  `json:"asked"`
	Success float64 `json:"success"` // of those that ended
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
}

// ServiceTotal is a service over the whole run.
type ServiceTotal struct {
	Name          string  `json:"name"`
	Hosts         int     `json:"hosts"`
	Capacity      float64 `json:"capacity"` // answers per second when all is well
	Tries         uint64  `json:"tries"`
	Needed        uint64  `json:"needed"` // tries, were each call tried once
	Retries       uint64  `json:"retries"`
	Amplification float64 `json:"amplification"` // tries ÷ needed
	Wasted        float64 `json:"wasted"`        // share of its answers for which nobody waited any more
	Ejections     uint64  `json:"ejections"`
}

// Step is a row of the table.
type Step struct {
	At  float64 `json:"at"`
	For float64 `json:"for"`

	Asked     uint64            `json:"asked"`
	Ended     uint64            `json:"ended"`
	Succeeded uint64            `json:"succeeded"`
	TimedOut  uint64            `json:"timedOut"` // tries that callers gave up
	P50       float64           `json:"p50"`
	P99       float64           `json:"p99"`
	Possible  float64           `json:"possible"` // successes, at best
	UnderWay  int               `json:"underWay"` // requests at the proxy, at the end of the step
	Flags     map[string]uint64 `json:"flags,omitempty"`
	Services  []ServiceStep     `json:"services"`
}

// ServiceStep is a service in a step.
type ServiceStep struct {
	Name      string  `json:"name"`
	Tries     uint64  `json:"tries"`
	Needed    uint64  `json:"needed"`
	Retries   uint64  `json:"retries"`
	Answers   uint64  `json:"answers"`
	Wasted    uint64  `json:"wasted"`
	Refused   uint64  `json:"refused"`   // connections
	Overflown uint64  `json:"overflown"` // by a full queue
	Waiting   int     `json:"waiting"`   // at the end of the step
	Busy      float64 `json:"busy"`      // share of what it could work on at once
	Ejected   int     `json:"ejected"`
	Breaker   string  `json:"breaker,omitempty"`
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func newRecent() *stats.Recent { return stats.NewRecent(1, 6, 10*time.Second) }

// share is part ÷ whole, or otherwise where there is no whole.
func share(part, whole, otherwise float64) float64 {
	if whole == 0 {
		return otherwise
	}
	return part / whole
}

// report sums the run up.
func (s *simulation) report(object *resource.Object) *Report {
	spec := &object.Value.(*resource.Scenario).Spec
	r := &Report{
		Scenario: object.Key.Namespace + "/" + object.Key.Name, Seed: spec.Seed, Duration: s.duration.Seconds(),
		Steps: s.steps, Flags: map[string]uint64{}, Happenings: s.done, Amplification: 1, Limits: []Verdict{},
	}
	all := &callerCounts{}
	for _, c := range s.latency {
		all.add(c)
	}
	r.Asked, r.Ended, r.Succeeded = all.asked, all.ended, all.succeeded
	r.Success = share(float64(r.Succeeded), float64(r.Ended), 1)
	r.P50, r.P99 = milliseconds(all.latency.Quantile(0.5)), milliseconds(all.latency.Quantile(0.99))
	possible := 0.0
	for _, step := range s.steps {
		possible += step.Possible
		for flag, n := range step.Flags {
			r.Flags[flag] += n
		}
	}
	r.Goodput = share(float64(r.Succeeded), possible, 1)
	for _, c := range s.callers {
		k := &c.total
		r.Callers = append(r.Callers, CallerTotal{
			Name: c.spec.Name, Asked: k.asked, Success: share(float64(k.succeeded), float64(k.ended), 1),
			P50: milliseconds(k.latency.Quantile(0.5)), P99: milliseconds(k.latency.Quantile(0.99)),
		})
	}
	for _, v := range s.services {
		k := &v.total
		total := ServiceTotal{
			Name: v.name, Hosts: len(v.servers), Tries: k.tries, Needed: k.needed, Retries: k.retries,
			Capacity:      float64(len(v.servers)*v.concurrency) / v.time.mean.Seconds(),
			Amplification: share(float64(k.tries), float64(k.needed), 1),
			Wasted:        share(float64(k.wasted), float64(k.done), 0), Ejections: k.ejections,
		}
		r.Amplification = max(r.Amplification, total.Amplification)
		r.Services = append(r.Services, total)
	}
	for _, e := range s.events {
		row := EventRow{At: e.at.sub(epoch).Seconds(), What: e.text()}
		if e.until != never {
			row.Until = e.until.sub(epoch).Seconds()
		}
		r.Events = append(r.Events, row)
	}
	return r
}

// text says what an event is.
func (e *event) text() string {
	x := e.spec
	what := ""
	switch {
	case x.Outage:
		what = "outage"
	case x.Hang:
		what = "hang"
	case x.SlowDown != "":
		what = "slow-down × " + string(x.SlowDown)
	case x.Errors != "":
		what = string(x.Errors) + " errors"
	case x.Surge != "":
		what = "surge × " + string(x.Surge)
	}
	if e.service == nil {
		if x.Caller != "" {
			what += " of " + x.Caller
		}
		return what
	}
	what += " of " + e.service.name
	if e.hosts < len(e.service.servers) {
		what += ", " + countText(e.hosts, len(e.service.servers)) + " hosts"
	}
	return what
}
