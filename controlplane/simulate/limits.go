package simulate

import (
	"fmt"
	"strconv"
	"time"

	"weir.dev/weir/controlplane/resource"
)

// Verdict is what became of one limit.
type Verdict struct {
	At   resource.Position `json:"at"`
	Name string            `json:"name"` // minSuccess
	Over string            `json:"over"` // the time that was judged
	Want string            `json:"want"`
	Got  string            `json:"got"`
	By   string            `json:"by,omitempty"` // how far it is exceeded
	Held bool              `json:"held"`
}

// String returns the verdict in one line.
func (v Verdict) String() string {
	if v.Held {
		return fmt.Sprintf("%s: %s %s: %s", v.At, v.Name, v.Want, v.Got)
	}
	return fmt.Sprintf("%s: %s %s: %s, exceeded by %s", v.At, v.Name, v.Want, v.Got, v.By)
}

// tolerance is how much less than before success may be after a recovery.
const tolerance = 0.01

// judge compares the run with the limits of its scenario.
func (r *Report) judge(s *simulation, object *resource.Object) {
	limits := object.Value.(*resource.Scenario).Spec.Limits
	for i := range limits {
		j := &judging{report: r, s: s, object: object, path: "spec.limits[" + strconv.Itoa(i) + "]", limit: &limits[i]}
		j.from, j.until = j.limit.From.Duration().Seconds(), r.Duration
		j.over = "the whole run"
		if j.limit.Until != "" {
			j.until = min(j.until, j.limit.Until.Duration().Seconds())
		}
		if j.limit.From != "" || j.limit.Until != "" {
			j.over = fmt.Sprintf("%gs to %gs", j.from, j.until)
		}
		j.judge()
	}
	for _, v := range r.Limits {
		if !v.Held {
			r.Failed++
		}
	}
}

// judging is one limit under judgement.
type judging struct {
	report      *Report
	s           *simulation
	object      *resource.Object
	path        string
	limit       *resource.ScenarioLimit
	from, until float64
	over        string
}

func (j *judging) add(name, want, got string, excess float64, by string) {
	v := Verdict{At: j.object.Position(j.path + "." + name), Name: name, Over: j.over, Want: want, Got: got, Held: excess <= 0}
	if !v.Held {
		v.By = by
	}
	j.report.Limits = append(j.report.Limits, v)
}

// within calls do for the steps of the limit's time.
func (j *judging) within(do func(i int, step *Step)) {
	for i := range j.report.Steps {
		step := &j.report.Steps[i]
		if step.At >= j.from-1e-9 && step.At < j.until-1e-9 {
			do(i, step)
		}
	}
}

func (j *judging) judge() {
	all, possible := &callerCounts{}, 0.0
	j.within(func(i int, step *Step) {
		all.add(j.s.latency[i])
		possible += step.Possible
	})
	least := func(name string, want resource.Share, got float64, of string) {
		if want != "" {
			short := want.Of(0) - got
			j.add(name, string(want)+" at least", percent(got)+" "+of, short-1e-12, fmt.Sprintf("%.3g points", short*100))
		}
	}
	least("minSuccess", j.limit.MinSuccess, share(float64(all.succeeded), float64(all.ended), 1), "of what ended")
	least("minGoodput", j.limit.MinGoodput, share(float64(all.succeeded), possible, 1), "of what was possible")
	if want := j.limit.MaxP99.Duration(); want > 0 {
		got := all.latency.Quantile(0.99)
		j.add("maxP99", want.String()+" at most", rounded(got).String(), float64(got-want), rounded(got-want).String())
	}
	if want := j.limit.MaxAmplification.Of(0); want > 0 {
		got, name := j.amplification()
		j.add("maxAmplification", fmt.Sprintf("%g at most", want), fmt.Sprintf("%.2f at %s", got, name), got-want, fmt.Sprintf("%.2f", got-want))
	}
	if want := j.limit.RecoveryWithin; want != "" {
		j.recovery(want.Duration())
	}
}

// amplification returns the worst of the services that the limit is of.
func (j *judging) amplification() (worst float64, name string) {
	tries, needed := map[string]float64{}, map[string]float64{}
	j.within(func(_ int, step *Step) {
		for _, v := range step.Services {
			tries[v.Name] += float64(v.Tries)
			needed[v.Name] += float64(v.Needed)
		}
	})
	for _, v := range j.s.services {
		if j.limit.Backend != "" && !named(v.name, j.limit.Backend) {
			continue
		}
		if got := tries[v.name] / max(1, needed[v.name]); name == "" || got > worst {
			worst, name = got, v.name
		}
	}
	return worst, name
}

// recovery judges from when on after the last event success was as good as before the first.
func (j *judging) recovery(want time.Duration) {
	steps := j.report.Steps
	first, last := j.report.Duration, 0.0
	for _, e := range j.report.Events {
		first, last = min(first, e.At), max(last, e.At, e.Until)
	}
	last = min(last, j.report.Duration)
	succeeded, ended := 0.0, 0.0
	for _, step := range steps {
		if step.At+step.For <= first {
			succeeded, ended = succeeded+float64(step.Succeeded), ended+float64(step.Ended)
		}
	}
	before := share(succeeded, ended, 1)
	at := len(steps)
	for at > 0 && steps[at-1].At >= last-1e-9 && steps[at-1].serves(before-tolerance) {
		at--
	}
	least := fmt.Sprintf("%s at most", want)
	if at == len(steps) {
		rest := time.Duration((j.report.Duration - last) * float64(time.Second))
		j.add("recoveryWithin", least, "none until the end, "+rest.String()+" later", 1, rounded(rest-want).String()+" or more")
		return
	}
	got := time.Duration(max(0, steps[at].At-last) * float64(time.Second))
	j.add("recoveryWithin", least, rounded(got).String(), float64(got-want), rounded(got-want).String())
}

// serves reports whether so much of what ended in the step succeeded. Where nothing ends although there
// is something under way, nothing succeeds.
func (s *Step) serves(least float64) bool {
	if s.Ended == 0 {
		return s.UnderWay == 0
	}
	return float64(s.Succeeded)/float64(s.Ended) >= least
}

func percent(share float64) string { return strconv.FormatFloat(share*100, 'f', 1, 64) + "%" }

// rounded keeps three digits or so.
func rounded(d time.Duration) time.Duration {
	switch {
	case d >= time.Second || d <= -time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond || d <= -time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

func countText(n, of int) string { return fmt.Sprintf("%d of %d", n, of) }
