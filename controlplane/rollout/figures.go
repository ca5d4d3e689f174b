package rollout

import (
	"math"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/sample"
)

// Figures are what was seen of both arms in a stage.
type Figures struct {
	Stable  ArmFigures                `json:"stable"`
	Canary  ArmFigures                `json:"canary"`
	Cohorts []model.CohortObservation `json:"cohorts,omitempty"`
	Tests   []model.TestObservation   `json:"tests,omitempty"`
	Sample  *SampleFigures            `json:"sample,omitempty"` // absent while only one arm has users
}

// ArmFigures are what was seen of one arm. Shares are of requests that say something about the arm, 0 to 1.
type ArmFigures struct {
	Arm         string  `json:"arm"`
	Requests    uint64  `json:"requests"`
	InFlight    int64   `json:"inFlight"`
	Users       uint64  `json:"users"` // different ones, counted within a per cent or so
	FirstFailed uint64  `json:"firstFailed"`
	Failed      uint64  `json:"failed"` // final answers
	Excluded    uint64  `json:"excluded"`
	ErrorShare  float64 `json:"errorShare"`
	Low         float64 `json:"low"` // of the error share, with 95 % confidence
	High        float64 `json:"high"`
	P50         float64 `json:"p50Ms"` // of the answers of this generation
	P95         float64 `json:"p95Ms"`
	P99         float64 `json:"p99Ms"`
}

// SampleFigures say whether users were divided as they were to be.
type SampleFigures struct {
	Wanted float64 `json:"wanted"` // the canary's share of users, 0 to 1
	Share  float64 `json:"share"`
	P      float64 `json:"p"` // of a fair division that is at least as far off
	Unfair bool    `json:"unfair"`
}

// Figures are those of the present stage so far; nil: nothing was seen.
func (r *Rollout) Figures() *Figures {
	c := r.counts()
	if r.Seen == nil && c.empty() {
		return nil
	}
	f := &Figures{Stable: figuresOf(r.Stable, &c.Stable), Canary: figuresOf(r.Canary, &c.Canary), Cohorts: c.Cohorts}
	if s := r.Seen; s != nil {
		f.Tests = s.Tests
		for _, arm := range []struct {
			to   *ArmFigures
			from *model.ArmObservation
		}{{&f.Stable, &s.Stable}, {&f.Canary, &s.Canary}} {
			arm.to.InFlight = arm.from.InFlight
			arm.to.P50, arm.to.P95, arm.to.P99 = milliseconds(arm.from.P50), milliseconds(arm.from.P95), milliseconds(arm.from.P99)
		}
	}
	if r.counted() {
		stable, canary := r.buckets()
		if both := stable + canary; both > 0 {
			fair := sample.Check(c.Stable.Users, c.Canary.Users, float64(canary)/float64(both))
			f.Sample = &SampleFigures{Wanted: fair.Wanted, Share: fair.Share, P: fair.P, Unfair: fair.Unfair()}
		}
	}
	return f
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// buckets are how many each arm has.
func (r *Rollout) buckets() (stable, canary int) {
	for _, b := range r.Ranges {
		switch b.Arm {
		case r.Stable:
			stable += int(b.To) - int(b.From)
		case r.Canary:
			canary += int(b.To) - int(b.From)
		}
	}
	return stable, canary
}

func figuresOf(arm string, c *ArmCounts) ArmFigures {
	f := ArmFigures{Arm: arm, Requests: c.Requests, Users: c.Users, FirstFailed: c.FirstFailed, Failed: c.Failed, Excluded: c.Excluded}
	if n := c.said(); n > 0 {
		f.ErrorShare = float64(c.Failed) / float64(n)
		f.Low, f.High = interval(c.Failed, n)
	}
	return f
}

// interval is Wilson's score interval of a share with 95 % confidence (E. B. Wilson, Probable inference,
// the law of succession, and statistical inference, 1927). Of 5 in 100 it is 2.2 to 11.2 %.
func interval(k, n uint64) (low, high float64) {
	const z = 1.959964
	p, m := float64(min(k, n))/float64(n), float64(n)
	middle := (p + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return max(middle-half, 0), min(middle+half, 1)
}

// numbers tells of both arms in one line; empty: nothing was seen.
func (r *Rollout) numbers() string {
	c := r.counts()
	if c.empty() {
		return ""
	}
	text := "canary " + c.Canary.text() + ", stable " + c.Stable.text()
	for _, o := range c.Cohorts {
		if o.Requests > 0 {
			text += ", cohort " + o.Name + " " + failedOf(o.Failed, o.Requests)
		}
	}
	return text
}

func (c *ArmCounts) text() string {
	n := c.said()
	if n == 0 {
		return "0 requests"
	}
	return failedOf(c.Failed, n)
}

func failedOf(failed, n uint64) string {
	return sentence("%d of %d failed (%.3g %%)", failed, n, float64(failed)*100/float64(n))
}
