package console

import (
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// traffic is what a series counted: since the process started, and lately.
type traffic struct {
	Requests uint64            `json:"requests" doc:"that ended; of a TCPRoute, TLSRoute or UDPRoute its connections or sessions, also in what follows"`
	InFlight int64             `json:"inFlight"`
	Retries  uint64            `json:"retries"`
	BytesIn  uint64            `json:"bytesIn"`
	BytesOut uint64            `json:"bytesOut"`
	Classes  map[string]uint64 `json:"classes,omitempty" doc:"requests by class of status (2xx); none: no answer was sent"`
	Flags    map[string]uint64 `json:"flags,omitempty" doc:"requests by response flag"`
	Blame    map[string]uint64 `json:"blame,omitempty" doc:"flagged requests by whose doing it was"`
	Lately   lately            `json:"lately"`
}

type lately struct {
	Seconds float64            `json:"seconds" doc:"the length of the window that these figures are of"`
	Rate    float64            `json:"requestsPerSecond"`
	Blame   map[string]float64 `json:"blamePerSecond,omitempty" doc:"flagged requests per second by whose doing it was"`
	P50     float64            `json:"p50Ms" doc:"estimated within a bucket of a histogram; up to half above the truth"`
	P95     float64            `json:"p95Ms" doc:"estimated like p50Ms"`
	P99     float64            `json:"p99Ms" doc:"estimated like p50Ms"`
}

// errors is the rate of flagged requests.
func (l *lately) errors() float64 {
	var sum float64
	for _, rate := range l.Blame {
		sum += rate
	}
	return sum
}

// trafficOf describes a series.
func (c *Console) trafficOf(key seriesKey, s telemetry.Stats) traffic {
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
	recent, span := c.recorder.lately(key, &s, c.cfg.Now())
	t.Lately = lately{Seconds: span.Seconds(), Blame: map[string]float64{}}
	t.Lately.P50, t.Lately.P95, t.Lately.P99 = recent.quantiles()
	if span > 0 {
		t.Lately.Rate = float64(recent.requests) / span.Seconds()
		for blame, n := range recent.blame {
			if n > 0 {
				t.Lately.Blame[model.Blame(blame).String()] = float64(n) / span.Seconds()
			}
		}
	}
	return t
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
