package explain

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// plan is what an object asks of the control plane and no single request shows, by field.
type plan struct {
	fields map[string]string
	origin model.Origin
}

// plans compares how releases earn their traffic, and what is promised.
func (d *differ) plans() {
	d.planned(ChangeRollout, rolloutPlans(d.before.Rollouts), rolloutPlans(d.after.Rollouts))
	d.planned(ChangeObjective, objectivePlans(d.before.Objectives), objectivePlans(d.after.Objectives))
}

func (d *differ) planned(kind ChangeKind, before, after map[string]plan) {
	names := maps.Clone(before)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, is := before[name], after[name]
		c := Change{Kind: kind, Name: name}
		fields := maps.Clone(was.fields)
		if fields == nil {
			fields = map[string]string{}
		}
		maps.Copy(fields, is.fields)
		for _, f := range slices.Sorted(maps.Keys(fields)) {
			if was.fields[f] != is.fields[f] {
				c.Fields = append(c.Fields, FieldChange{Field: f, Before: was.fields[f], After: is.fields[f]})
			}
		}
		if len(c.Fields) == 0 {
			continue
		}
		c.Causes = []model.Origin{is.origin}
		if is.fields == nil {
			c.Causes[0] = was.origin
		}
		d.changes = append(d.changes, &c)
	}
}

func rolloutPlans(list []translate.RolloutPlan) map[string]plan {
	plans := make(map[string]plan, len(list))
	for _, r := range list {
		fields := map[string]string{"strategy": string(r.Strategy), "minimumRequests": strconv.Itoa(r.MinimumRequests)}
		if r.Strategy == translate.StrategyCanary {
			fields["stages"] = stagesText(r.Stages)
		}
		for _, g := range r.Gates {
			fields["gates["+g.Name+"]"] = gateText(&g)
		}
		plans[r.Name] = plan{fields, r.Origin}
	}
	return plans
}

func stagesText(stages []translate.PlannedStage) string {
	texts := make([]string, 0, len(stages))
	for _, s := range stages {
		text := Percent(float64(s.Share) / model.Buckets)
		if s.For > 0 {
			text += " for " + s.For.String()
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

func gateText(g *translate.PlannedGate) string {
	switch {
	case g.Query != nil:
		text := "promql " + g.Query.Query
		if g.Query.Min != nil {
			text += fmt.Sprintf(", min %g", *g.Query.Min)
		}
		if g.Query.Max != nil {
			text += fmt.Sprintf(", max %g", *g.Query.Max)
		}
		if g.Query.Address != "" {
			text += ", at " + g.Query.Address
		}
		return text
	case g.Webhook != nil:
		return "webhook " + g.Webhook.URL + " within " + g.Webhook.Timeout.String()
	case len(g.Approval) > 0:
		return "approval from " + strings.Join(g.Approval, ", ")
	}
	return "slo " + g.SLO
}

func objectivePlans(list []translate.ObjectivePlan) map[string]plan {
	plans := make(map[string]plan, len(list))
	for _, o := range list {
		fields := map[string]string{
			"objective": strconv.FormatFloat(o.Objective*100, 'g', 8, 64) + "%", "window": o.Window.String(),
			"indicator": "availability", "onBurn.freezeRollouts": strconv.FormatBool(o.FreezeRollouts),
		}
		if o.Latency > 0 {
			fields["indicator"] = "latency below " + o.Latency.String()
		}
		plans[o.Name] = plan{fields, o.Origin}
	}
	return plans
}
