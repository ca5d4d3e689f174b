package health

import (
	"time"

	"weir.dev/weir/model"
)

// Ceiling returns how many of so many hosts with a weight may be ejected at once: the share,
// rounded down, but one of two or more, and no more than MaxEjectedHosts. A single host is never
// ejected, and with a MaxEjected of 0 nobody is.
//
// Worked example, a share of 0.3: nobody of one, one of two to six, two of seven to nine, three
// of ten.
func Ceiling(o *model.Outlier, hosts int) int {
	if hosts < 2 || o.MaxEjected <= 0 {
		return 0
	}
	const rounding = 1e-9 // 0.29 × 100 is a little less than 29
	n := max(int(o.MaxEjected*float64(hosts)+rounding), 1)
	if o.MaxEjectedHosts > 0 {
		n = min(n, o.MaxEjectedHosts)
	}
	return min(n, hosts)
}

// Ejection is what a host's ejections have been. The zero Ejection is of a host that never was
// ejected. Times are nanoseconds since any fixed moment.
//
//	       Begin                     End
//	in ───────────► out, until ─────────────► in, served well
//	▲                                             │
//	└─── each decay time without an ejection ─────┘
//	     takes one off the number of times
//
// An ejection lasts BaseEjection times the number of ejections that count, but no longer than
// MaxEjection, and up to a tenth more or, at the maximum, less, so that hosts which were ejected
// at once do not return at once; never less than BaseEjection. Worked example, 30 s and 300 s: a
// host is out for 30 s, breaks down again at once, and is out for 60 s, 90 s, ... 300 s; after five
// minutes of good service it is down by ten ejections, and the next one lasts 30 s again.
type Ejection struct {
	rule  Rule
	since int64
	until int64
	times int // that count
	ended int64
}

// Rule returns what the host is ejected by; NoRule if it is not.
func (e *Ejection) Rule() Rule { return e.rule }

// Out reports whether the host is ejected.
func (e *Ejection) Out() bool { return e.rule != NoRule }

// Until returns when the ejection ends; 0 if there is none.
func (e *Ejection) Until() int64 { return e.until }

// decay is the time of good service that makes up for one ejection: no less than two intervals,
// or a host that only comparisons find would never be out for longer.
func decay(o *model.Outlier) int64 {
	return int64(max(o.BaseEjection, 2*o.Interval, 1))
}

// Begin ejects the host at now. random is uniformly random bits.
func (e *Ejection) Begin(now int64, rule Rule, o *model.Outlier, random uint64) {
	base := max(o.BaseEjection, 1)
	longest := max(o.MaxEjection, base)
	most := int(min((longest+base-1)/base, 1<<20)) // more would make no difference but to the way back
	e.times = min(e.Times(now, o)+1, most)
	lasts := longest
	if e.times <= int(longest/base) {
		lasts = base * time.Duration(e.times)
	}
	jitter := time.Duration(random % uint64(lasts/10+1))
	if lasts+jitter > longest {
		jitter = -min(jitter, lasts-base)
	}
	e.rule, e.since, e.until = rule, now, now+int64(lasts+jitter)
}

// Times returns how many ejections count at now, the present one included.
func (e *Ejection) Times(now int64, o *model.Outlier) int {
	if e.Out() || e.times == 0 {
		return e.times
	}
	return max(e.times-int(max(now-e.ended, 0)/decay(o)), 0)
}

// Over reports whether an ejection is to end at now: its time has passed, or would have under
// the present rules, or nothing is to be found by its rule any more.
func (e *Ejection) Over(now int64, o *model.Outlier) bool {
	if !e.Out() {
		return false
	}
	e.until = min(e.until, e.since+int64(max(o.MaxEjection, o.BaseEjection, 1)))
	return now >= e.until || !e.rule.On(o)
}

// End lets the host return at now.
func (e *Ejection) End(now int64) {
	e.rule, e.until, e.ended = NoRule, 0, now
}
