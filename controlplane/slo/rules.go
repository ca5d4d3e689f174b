package slo

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// Metric is what objectives are judged by: the requests that an objective counts, by its name (label slo)
// and whether they were good or bad (label result).
const Metric = "weir_slo_events_total"

// AlertName is the name of every alert of ours.
const AlertName = "WeirErrorBudgetBurn"

// How often alerts are evaluated. Those that look at days need no haste, and cost more.
const (
	pageEvery   = 15 * time.Second
	ticketEvery = 2 * time.Minute
)

// Rules are the alerts of objectives, as a Prometheus would have them that scrapes Weir: two groups,
// without those that nothing is in.
func Rules(plans []translate.ObjectivePlan) []model.RuleGroup {
	groups := []model.RuleGroup{
		{Name: "weir-slo-page", Interval: pageEvery},
		{Name: "weir-slo-ticket", Interval: ticketEvery},
	}
	for _, p := range plans {
		for _, w := range BurnWindows(p.Window) {
			group := &groups[0]
			if w.Severity == Ticket {
				group = &groups[1]
			}
			group.Rules = append(group.Rules, rule(&p, w))
		}
	}
	var list []model.RuleGroup
	for _, g := range groups {
		if len(g.Rules) > 0 {
			list = append(list, g)
		}
	}
	return list
}

func rule(p *translate.ObjectivePlan, w BurnWindow) model.AlertRule {
	bound := strconv.FormatFloat(rounded(w.Factor*allowed(p)), 'g', -1, 64)
	above := func(window time.Duration) string {
		selector := fmt.Sprintf("slo=%q", p.Name)
		at := promDuration(window)
		return fmt.Sprintf("sum by (slo) (rate(%s{%s, result=\"bad\"}[%s])) / sum by (slo) (rate(%s{%s}[%s])) > %s",
			Metric, selector, at, Metric, selector, at, bound)
	}
	namespace, name, _ := strings.Cut(p.Name, "/")
	factor := strconv.FormatFloat(rounded(w.Factor), 'g', -1, 64)
	return model.AlertRule{
		Name: AlertName,
		Expr: "(" + above(w.Long) + ") and (" + above(w.Short) + ")",
		Keep: w.Keep(),
		Labels: map[string]string{
			"severity": string(w.Severity), "slo": p.Name, "namespace": namespace, "objective": name, "long": promDuration(w.Long), "short": promDuration(w.Short),
		},
		Annotations: map[string]string{
			"summary": fmt.Sprintf("%s burns its error budget more than %s times too fast", p.Name, factor),
			"description": fmt.Sprintf("Of the requests of the last %s, and of the last %s, a share of more than %s was bad. The objective of %s%% over %s allows %s.",
				promDuration(w.Long), promDuration(w.Short), bound, strconv.FormatFloat(rounded(100*p.Objective), 'g', -1, 64),
				promDuration(p.Window), strconv.FormatFloat(allowed(p), 'g', -1, 64)),
		},
	}
}

// allowed is the share of requests that may be bad.
func allowed(p *translate.ObjectivePlan) float64 { return rounded(1 - p.Objective) }

// rounded drops what binary fractions add at the end: 1 - 0.999 is 0.001.
func rounded(v float64) float64 {
	v, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 12, 64), 64)
	if err != nil {
		return v
	}
	return v
}
