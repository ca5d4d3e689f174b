package slo

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

const (
	// Every is how often objectives are judged.
	Every = 15 * time.Second
	// A window's events are asked for anew after a part of its length, because those of days cost much.
	refreshPart = 120
	refreshMost = 10 * time.Minute
	// oldest is how much older than that they may become while the store does not answer.
	oldest = time.Minute
	again  = time.Second // after the store has not answered
)

// Querier answers PromQL at a time.
type Querier interface {
	Query(ctx context.Context, query string, at time.Time) ([]model.Sample, error)
}

// Config is what a Tracker needs of others. Queries, Read and Log are needed.
type Config struct {
	Queries Querier
	// Read returns what a route, or else a cluster, has counted since it began: requests that say
	// something about it, and how many of them were bad. below is as ObjectivePlan.Latency.
	Read func(object string, cluster bool, below time.Duration) (total, bad float64)
	// Exact reports whether a bound of latency is one of the buckets; nil: all are.
	Exact func(below time.Duration) bool
	Kept  time.Duration // how long the store keeps what it has; 0: as long as any window
	Log   *slog.Logger
	Now   func() time.Time // time.Now if nil
}

// Tracker judges objectives.
type Tracker struct {
	cfg  Config
	wake chan struct{}

	mu         sync.Mutex
	objectives []*objective
	windows    map[time.Duration]*window
	answered   bool   // a query was answered, ever
	problem    string // why the last was not; empty: it was
}

// objective is what is known of one.
type objective struct {
	plan     translate.ObjectivePlan
	counter  counter
	rollouts []string
	status   Status
	alerts   alerts
	judged   bool
}

// window is the events of all objectives in the time before a moment.
type window struct {
	at     time.Time
	events map[string]events
	since  map[string]events // what the counters of this process were at their newest samples in it
}

// New returns a tracker without objectives.
func New(cfg Config) *Tracker {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Tracker{cfg: cfg, wake: make(chan struct{}, 1), windows: map[time.Duration]*window{}}
}

// Plan has these objectives judged from now on, and tells which of them the Rollouts wait for.
// Those of the same name go on counting.
func (t *Tracker) Plan(plans []translate.ObjectivePlan, rollouts []translate.RolloutPlan) {
	t.mu.Lock()
	before := map[string]*objective{}
	for _, o := range t.objectives {
		before[o.plan.Name] = o
	}
	t.objectives = nil
	for _, p := range plans {
		o := before[p.Name]
		if o == nil || o.plan.Latency != p.Latency { // what counts as bad is something else
			o = &objective{}
		} else if o.plan.Objective != p.Objective || o.plan.Window != p.Window { // other alerts
			o.alerts = alerts{}
		}
		o.plan, o.rollouts = p, nil
		for object, cluster := range o.objects() {
			total, bad := t.cfg.Read(object, cluster, p.Latency)
			o.counter.begin(object, reading{total, bad})
		}
		o.counter.forget(func(object string) bool {
			return slices.Contains(p.Routes, object) || slices.Contains(p.Clusters, object)
		})
		for i := range rollouts {
			if shares(p.Routes, rollouts[i].Routes) || shares(p.Clusters, rollouts[i].Clusters) {
				o.rollouts = append(o.rollouts, rollouts[i].Name)
			}
		}
		t.objectives = append(t.objectives, o)
		t.judge(o, t.cfg.Now())
	}
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func shares(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// objects gives the names of what an objective is about, and whether each is a cluster.
func (o *objective) objects() func(yield func(string, bool) bool) {
	return func(yield func(string, bool) bool) {
		for _, name := range o.plan.Routes {
			if !yield(name, false) {
				return
			}
		}
		for _, name := range o.plan.Clusters {
			if !yield(name, true) {
				return
			}
		}
	}
}

// Run judges until ctx ends.
func (t *Tracker) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-timer.C:
		}
		if t.Evaluate(ctx) {
			timer.Reset(Every)
		} else {
			timer.Reset(again)
		}
	}
}

// Count is what an objective's requests came to since this process counts them.
type Count struct {
	Name                 string
	Objective, Good, Bad float64
}

// Counts returns what each objective has counted so far. The sums only grow.
func (t *Tracker) Counts() []Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Count, 0, len(t.objectives))
	for _, o := range t.objectives {
		e := t.count(o)
		list = append(list, Count{o.plan.Name, o.plan.Objective, e.good, e.bad})
	}
	return list
}

// count brings a counter up to now.
func (t *Tracker) count(o *objective) events {
	for object, cluster := range o.objects() {
		total, bad := t.cfg.Read(object, cluster, o.plan.Latency)
		o.counter.add(object, reading{total, bad})
	}
	return events{o.counter.good, o.counter.bad}
}

// Evaluate judges every objective once, and reports whether the store has answered. It is asked without
// the lock.
func (t *Tracker) Evaluate(ctx context.Context) bool {
	now := t.cfg.Now()
	t.mu.Lock()
	due := t.due(now)
	t.mu.Unlock()
	if len(due) > 0 {
		since, err := t.sampled(ctx, now)
		for _, length := range due {
			if err == nil {
				err = t.renew(ctx, length, since, now)
			}
		}
		t.mu.Lock()
		if t.problem = ""; err != nil {
			t.problem = err.Error()
		}
		t.mu.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.objectives {
		t.judge(o, now)
	}
	return t.problem == ""
}

// due are the windows whose events are to be asked for, the shortest first. Those that nobody needs any more are forgotten.
func (t *Tracker) due(now time.Time) []time.Duration {
	needed := map[time.Duration]bool{}
	for _, o := range t.objectives {
		needed[o.plan.Window] = true
		for _, w := range BurnWindows(o.plan.Window) {
			needed[w.Long], needed[w.Short] = true, true
		}
	}
	var due []time.Duration
	for length := range needed {
		w := t.windows[length]
		if w == nil || now.Sub(w.at) >= refresh(length) || now.Before(w.at) {
			due = append(due, length)
		}
	}
	for length := range t.windows {
		if !needed[length] {
			delete(t.windows, length)
		}
	}
	slices.Sort(due)
	return due
}

func refresh(length time.Duration) time.Duration {
	return min(max(length/refreshPart, Every), refreshMost)
}

// ours selects what this process says of itself: others may be scraped that have the same objectives.
const ours = `{job="weir", instance="self"}`

// ask asks for the events of all objectives.
func (t *Tracker) ask(ctx context.Context, query string, now time.Time) (map[string]events, error) {
	samples, err := t.cfg.Queries.Query(ctx, query, now)
	if err != nil {
		return nil, err
	}
	all := map[string]events{}
	for _, s := range samples {
		e := all[s.Labels["slo"]]
		switch s.Labels["result"] {
		case "good":
			e.good = s.Value
		case "bad":
			e.bad = s.Value
		}
		all[s.Labels["slo"]] = e
	}
	return all, nil
}

// sampled asks for the newest sample of each counter. One that is above what this process has counted is
// of the process before, so that all that was counted here came later.
func (t *Tracker) sampled(ctx context.Context, now time.Time) (map[string]events, error) {
	stored, err := t.ask(ctx, Metric+ours, now)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.objectives {
		if name := o.plan.Name; t.count(o).total() < stored[name].total() {
			delete(stored, name)
		}
	}
	return stored, nil
}

// renew asks for the events of a window. since is what the newest samples of the counters say.
func (t *Tracker) renew(ctx context.Context, length time.Duration, since map[string]events, now time.Time) error {
	all, err := t.ask(ctx, fmt.Sprintf("sum by (slo, result) (increase(%s%s[%s] anchored))", Metric, ours, promDuration(length)), now)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered = true
	t.windows[length] = &window{at: now, events: all, since: since}
	return nil
}

// judge says how an objective stands. The lock is held.
func (t *Tracker) judge(o *objective, now time.Time) {
	p := &o.plan
	before := o.status
	s := Status{
		Name: p.Name, Indicator: "availability", Objective: p.Objective, Window: promDuration(p.Window), Routes: p.Routes, Clusters: p.Clusters,
		Freezes: p.FreezeRollouts, Rollouts: o.rollouts, Problem: p.Problem, At: p.Origin, Targets: []string{}, Burns: []Burn{},
	}
	for _, target := range p.Targets {
		s.Targets = append(s.Targets, target.String())
	}
	if t.cfg.Kept > 0 && t.cfg.Kept < p.Window && s.Problem == "" {
		s.Problem = "time series are kept for " + promDuration(t.cfg.Kept) + ": of the window of " + s.Window + " no more is known"
	}
	if p.Latency > 0 {
		s.Indicator, s.Below = "latency", promDuration(p.Latency)
		s.Estimated = t.cfg.Exact != nil && !t.cfg.Exact(p.Latency)
	}
	current := t.count(o)
	of := func(length time.Duration) (events, bool) { return t.within(p.Name, length, now, current) }
	whole, known := of(p.Window)
	s.judge(BurnWindows(p.Window), &o.alerts, of, whole, known, allowed(p), now)
	switch unread := "the time series cannot be read: " + t.problem; {
	case t.problem == "":
	case s.State == NoData:
		s.Reason = unread
	case s.Problem == "":
		s.Problem = unread
	}
	o.judged = t.answered
	// What it waited for is not over because nobody can tell any more.
	blind := s.State == NoData && before.Frozen && (t.problem != "" || t.windows[p.Window] == nil)
	s.Frozen = s.Freezes && (s.State == Burning || s.State == Exhausted || !o.judged || blind)
	s.Since = before.Since
	if s.State != before.State {
		s.Since = now
		if before.State != "" {
			t.say(&s, before.State)
		}
	}
	o.status = s
}

// within are the events of an objective in the time before now, so that all windows are of one moment:
// to what the store said of each are added those that were counted since. One that was asked for
// a while ago begins that much earlier, which is not more than Every or a hundredth of its length. False if the store
// has not answered for long.
func (t *Tracker) within(name string, length time.Duration, now time.Time, current events) (events, bool) {
	w := t.windows[length]
	if w == nil || now.Sub(w.at) > refresh(length)+oldest {
		return events{}, false
	}
	e, then := w.events[name], w.since[name]
	if current.total() < then.total() { // the objective has begun anew
		then = events{}
	}
	e.good += max(current.good-then.good, 0)
	e.bad += max(current.bad-then.bad, 0)
	return e, true
}

func (t *Tracker) say(s *Status, before State) {
	level := slog.LevelInfo
	if s.State == Burning || s.State == Exhausted {
		level = slog.LevelWarn
	}
	t.cfg.Log.LogAttrs(context.Background(), level, "an objective's state changed", slog.String("objective", s.Name), slog.String("from", string(before)),
		slog.String("to", string(s.State)), slog.String("severity", string(s.Severity)), slog.String("reason", s.Reason))
}

// Statuses returns how all objectives stand, by name.
func (t *Tracker) Statuses() []Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Status, 0, len(t.objectives))
	for _, o := range t.objectives {
		list = append(list, o.status)
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Status returns how one objective stands; false if there is none of that name.
func (t *Tracker) Status(name string) (Status, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.objectives {
		if o.plan.Name == name {
			return o.status, true
		}
	}
	return Status{}, false
}

// Frozen returns the objective that a Rollout waits for, namespace/name, and why. It waits while the
// budget burns or is exhausted, and as long as nobody could tell since this process began.
func (t *Tracker) Frozen(rollout string) (owner, reason string, frozen bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.objectives {
		if !o.status.Frozen || !slices.Contains(o.rollouts, rollout) {
			continue
		}
		reason = string(o.status.State) + ": " + o.status.Reason
		if !o.judged {
			reason = "it has not been judged yet"
			if t.problem != "" {
				reason += ": " + t.problem
			}
		}
		return o.plan.Name, reason, true
	}
	return "", "", false
}
