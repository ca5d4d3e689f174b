package model

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"time"
)

// additions appends what Rollouts, Shadows and FaultPolicies add to a route.
func (l *fieldList) additions(r *Route) {
	if r.Split.Release != nil {
		l.release(r.Split.Release)
	}
	for i := range r.Shadows {
		l.shadow(&r.Shadows[i])
	}
	for i := range r.Faults {
		f := &r.Faults[i]
		l.from(f.Origin, "fault["+f.Policy+"/"+f.Name+"]", f.String())
	}
}

// from appends a field that one object set.
func (l *fieldList) from(origin Origin, path, value string) {
	l.fields = append(l.fields, PolicyField{Field: path, Value: value, Origin: origin})
}

func (l *fieldList) release(r *Release) {
	add := func(path, value string) { l.from(r.Origin, "release."+path, value) }
	add("rollout", r.Name)
	add("stable", r.Stable)
	add("canary", r.Canary)
	add("subject", cmp.Or(string(r.Subject), "none: everything is stable's"))
	s := &r.Sampling
	add("sampling.unit", string(s.Unit))
	if s.Unit == SampleUsers {
		add("sampling.key", joined(s.Key))
		add("sampling.fallback", string(s.Fallback))
		add("sampling.salt", s.Salt)
	}
	for _, c := range r.Cohorts {
		add("cohorts["+c.Name+"]", strings.ReplaceAll(c.When, "\n", " "))
	}
	g := &r.Guard
	if e := g.Errors; e != nil {
		add("guard.errors.maxDifference", percent(e.MaxDifference))
		add("guard.errors.confidence", confidence(e.Alpha))
	}
	if t := g.Latency; t != nil {
		add("guard.latency.quantile", "p"+factor(math.Round(t.Quantile*1e3)/10))
		add("guard.latency.maxRatio", factor(t.MaxRatio))
		add("guard.latency.confidence", confidence(t.Alpha))
	}
	add("guard.consecutiveFailures", strconv.Itoa(g.ConsecutiveFailures))
}

// confidence writes what a probability of a false alarm leaves.
func confidence(alpha float64) string { return factor(math.Round((1-alpha)*1e5)/1e3) + "%" }

func (l *fieldList) shadow(s *Shadow) {
	to := s.Cluster
	if s.Refusal != nil {
		to = "nowhere: " + s.Refusal.Reason
	}
	add := func(path, value string) { l.from(s.Origin, "shadow["+s.Name+"]"+path, value) }
	add("", percent(s.Share)+" of "+strings.Join(s.Methods, ", ")+" to "+to)
	add(".limits", strconv.Itoa(s.Limits.InFlight)+" in flight, bodies up to "+strconv.FormatInt(s.Limits.Body, 10))
	c := s.Compare
	if c == nil {
		return
	}
	var parts []string
	if c.Status {
		parts = append(parts, "status")
	}
	if len(c.Headers) > 0 {
		parts = append(parts, "headers "+strings.Join(c.Headers, " "))
	}
	if c.Body != CompareNone {
		parts = append(parts, "body as "+string(c.Body))
	}
	if len(c.Ignore) > 0 {
		parts = append(parts, "but for "+strings.Join(c.Ignore, " "))
	}
	if c.Latency {
		parts = append(parts, "latency")
	}
	if c.Baseline {
		parts = append(parts, "against a baseline")
	}
	add(".compare", strings.Join(parts, ", "))
}

// String says in one line what a fault does to which requests, until when and why.
func (f *Fault) String() string {
	text := f.Does() + " for " + percent(f.Share)
	if f.When != "" {
		text += " when " + strings.ReplaceAll(f.When, "\n", " ")
	}
	return text + " until " + f.Expires.UTC().Format(time.RFC3339) + ": " + strings.ReplaceAll(f.Reason, "\n", " ")
}
