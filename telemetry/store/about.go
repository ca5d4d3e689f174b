package store

import (
	"context"
	"errors"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// metadata is what is known of a metric.
type metadata struct {
	Type string `json:"type"`
	Help string `json:"help"`
	Unit string `json:"unit"`
}

// metadata answers with what metrics are.
func (s *Store) metadata(_ context.Context, form url.Values, out *reply) error {
	limit := -1
	if text := form.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil {
			return badData(errors.New("limit must be a number"))
		}
	}
	found := map[string][]metadata{}
	add := func(name string, m metadata) {
		_, known := found[name]
		wanted := form.Get("metric") == "" || form.Get("metric") == name
		if wanted && (known || limit < 0 || len(found) < limit) && !slices.Contains(found[name], m) {
			found[name] = append(found[name], m)
		}
	}
	for _, f := range telemetry.Families {
		add(f.Name, metadata{Type: string(f.Type), Help: f.Help, Unit: f.Unit})
	}
	if targets := s.targets.Load(); targets != nil {
		for _, f := range *targets {
			f.metadataMu.Lock()
			for name, m := range f.metadata {
				add(name, m)
			}
			f.metadataMu.Unlock()
		}
	}
	return out.set(found)
}

func (s *Store) buildInfo(_ context.Context, _ url.Values, out *reply) error {
	return out.set(map[string]string{
		// What clients choose features by: the version of the libraries, and that nothing is called a feature. Grafana
		// also takes what answers status/flags for Thanos.
		"version": "3.15.0", "revision": s.cfg.Version, "branch": "weir", "buildUser": "weir", "buildDate": "", "goVersion": runtime.Version(),
	})
}

// alertView is an alert as Prometheus shows it.
type alertView struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`
	ActiveAt    time.Time         `json:"activeAt"`
	KeepFiring  *time.Time        `json:"keepFiringSince,omitempty"`
	Value       string            `json:"value"`
}

func viewOf(a *model.Alert) alertView {
	state := "pending"
	if a.Firing {
		state = "firing"
	}
	view := alertView{notNil(a.Labels), notNil(a.Annotations), state, a.Since, nil, strconv.FormatFloat(a.Value, 'e', -1, 64)}
	if !a.Gone.IsZero() {
		view.KeepFiring = &a.Gone
	}
	return view
}

func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func (s *Store) listAlerts(_ context.Context, _ url.Values, out *reply) error {
	views := []alertView{}
	for _, a := range s.Alerts() {
		views = append(views, viewOf(&a))
	}
	return out.set(map[string]any{"alerts": views})
}

type groupView struct {
	Name           string     `json:"name"`
	File           string     `json:"file"`
	Rules          []ruleView `json:"rules"`
	Interval       float64    `json:"interval"`
	Limit          int        `json:"limit"`
	EvaluationTime float64    `json:"evaluationTime"`
	LastEvaluation time.Time  `json:"lastEvaluation"`
}

type ruleView struct {
	State          string            `json:"state"`
	Name           string            `json:"name"`
	Query          string            `json:"query"`
	Duration       float64           `json:"duration"`
	KeepFiringFor  float64           `json:"keepFiringFor"`
	Labels         map[string]string `json:"labels"`
	Annotations    map[string]string `json:"annotations"`
	Alerts         []alertView       `json:"alerts"`
	Health         string            `json:"health"`
	LastError      string            `json:"lastError,omitempty"`
	EvaluationTime float64           `json:"evaluationTime"`
	LastEvaluation time.Time         `json:"lastEvaluation"`
	Type           string            `json:"type"`
}

// rulesFile is where rules are said to be written: Grafana makes a folder of it.
const rulesFile = "weir"

// asked reports whether a form asks for what is so named, as one of some or because it asks for all.
func asked(form url.Values, parameter, name string) bool {
	return len(form[parameter]) == 0 || slices.Contains(form[parameter], name)
}

func (s *Store) listRules(_ context.Context, form url.Values, out *reply) error {
	kind := form.Get("type")
	if kind != "" && kind != "alert" && kind != "record" {
		return badParameter("type", errors.New("want alert or record"))
	}
	groups := []groupView{}
	a := &s.alerts
	a.mu.Lock()
	for _, g := range a.groups {
		wanted := asked(form, "rule_group[]", g.Name) && asked(form, "file[]", rulesFile)
		if !wanted || kind == "record" { // there are none
			continue
		}
		view := groupView{
			Name: g.Name, File: rulesFile, Interval: g.Interval.Seconds(), EvaluationTime: g.took.Seconds(), LastEvaluation: g.last,
		}
		for _, r := range g.rules {
			if asked(form, "rule_name[]", r.Name) {
				rule := r.view()
				if form.Get("exclude_alerts") == "true" {
					rule.Alerts = []alertView{}
				}
				view.Rules = append(view.Rules, rule)
			}
		}
		if len(view.Rules) > 0 {
			groups = append(groups, view)
		}
	}
	a.mu.Unlock()
	return out.set(map[string]any{"groups": groups})
}

func (r *ruleState) view() ruleView {
	v := ruleView{
		State: "inactive", Name: r.Name, Query: r.Expr, Duration: r.For.Seconds(), KeepFiringFor: r.Keep.Seconds(), Labels: notNil(r.Labels), Annotations: notNil(r.Annotations),
		Alerts: []alertView{}, Health: r.health, LastError: r.err, EvaluationTime: r.took.Seconds(), LastEvaluation: r.last, Type: "alerting",
	}
	for _, a := range r.alerts() {
		one := viewOf(&a)
		v.Alerts = append(v.Alerts, one)
		if v.State != "firing" {
			v.State = one.State
		}
	}
	return v
}
