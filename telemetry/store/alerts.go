package store

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"weir.dev/weir/model"
)

// alerting evaluates rules. Each series of a rule's answer is an alert:
//
//	                 answered            for as long as For says
//	(none) ─────────────────────► pending ─────────────────────► firing
//	   ▲                             │                              │
//	   └──────── not answered ───────┴─ (firing: for as long as Keep says)
//
// A question that fails changes nothing: the rule's health is bad, and its alerts stay as they are.
type alerting struct {
	log    *slog.Logger
	mu     sync.Mutex
	groups []*ruleGroup
}

type ruleGroup struct {
	model.RuleGroup
	next  time.Time
	last  time.Time
	took  time.Duration
	rules []*ruleState
}

type ruleState struct {
	model.AlertRule
	health string // unknown, ok or err
	err    string
	last   time.Time
	took   time.Duration
	active map[string]*model.Alert // by their labels
}

// set replaces the rules. Alerts of a rule that stays as it is stay, too.
func (a *alerting) set(groups []model.RuleGroup, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := map[string]*ruleState{}
	for _, g := range a.groups {
		for _, r := range g.rules {
			before[g.Name+"\xff"+r.Name+"\xff"+r.Expr+"\xff"+textOf(r.Labels)] = r
		}
	}
	a.groups = nil
	for _, g := range groups {
		state := &ruleGroup{RuleGroup: g, next: now}
		for _, r := range g.Rules {
			kept := before[g.Name+"\xff"+r.Name+"\xff"+r.Expr+"\xff"+textOf(r.Labels)]
			if kept == nil {
				kept = &ruleState{health: "unknown", active: map[string]*model.Alert{}}
			}
			kept.AlertRule = r
			state.rules = append(state.rules, kept)
		}
		a.groups = append(a.groups, state)
	}
}

// textOf writes labels down, each set in one way.
func textOf(labels map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		b.WriteString(name + "\xff" + labels[name] + "\xff")
	}
	return b.String()
}

// evaluate evaluates each group when it is due, until ctx ends.
func (s *Store) evaluate(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		s.evaluateDue(ctx, s.cfg.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// evaluateDue evaluates the groups whose time has come.
func (s *Store) evaluateDue(ctx context.Context, now time.Time) {
	a := &s.alerts
	a.mu.Lock()
	groups := slices.Clone(a.groups)
	a.mu.Unlock()
	for _, g := range groups {
		if ctx.Err() != nil {
			return
		}
		// A clock that went back must not stop the evaluation.
		if now.Before(g.next) && g.next.Sub(now) <= g.Interval {
			continue
		}
		began := time.Now()
		for _, r := range g.rules {
			asked := time.Now()
			answer, err := s.Query(ctx, r.Expr, now)
			a.mu.Lock()
			r.take(answer, err, now)
			r.took = time.Since(asked)
			a.mu.Unlock()
		}
		a.mu.Lock()
		g.last, g.next, g.took = now, now.Add(g.Interval), time.Since(began)
		a.mu.Unlock()
	}
}

// take is what an answer makes of a rule's alerts.
func (r *ruleState) take(answer []model.Sample, err error, now time.Time) {
	r.last = now
	if err != nil {
		r.health, r.err = "err", err.Error()
		return
	}
	r.health, r.err = "ok", ""
	found := map[string]bool{}
	for _, one := range answer {
		labels := maps.Clone(one.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		delete(labels, "__name__")
		maps.Copy(labels, r.Labels)
		labels["alertname"] = r.Name
		key := textOf(labels)
		found[key] = true
		alert := r.active[key]
		if alert == nil {
			alert = &model.Alert{Name: r.Name, Labels: labels, Since: now}
			r.active[key] = alert
		}
		if now.Before(alert.Since) {
			alert.Since = now
		}
		alert.Value, alert.Annotations, alert.Gone = one.Value, r.Annotations, time.Time{}
		alert.Firing = alert.Firing || now.Sub(alert.Since) >= r.For
	}
	maps.DeleteFunc(r.active, func(key string, alert *model.Alert) bool { return !found[key] && !r.keeps(alert, now) })
}

// keeps reports whether an alert goes on firing that was not in the answer.
func (r *ruleState) keeps(alert *model.Alert, now time.Time) bool {
	if alert.Gone.IsZero() || now.Before(alert.Gone) { // a clock that went back keeps none for longer
		alert.Gone = now
	}
	return alert.Firing && now.Sub(alert.Gone) < r.Keep
}

// list returns all alerts.
func (a *alerting) list() []model.Alert {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []model.Alert
	for _, g := range a.groups {
		for _, r := range g.rules {
			list = append(list, r.alerts()...)
		}
	}
	return list
}

func (r *ruleState) alerts() []model.Alert {
	list := make([]model.Alert, 0, len(r.active))
	for _, key := range slices.Sorted(maps.Keys(r.active)) {
		list = append(list, *r.active[key])
	}
	return list
}
