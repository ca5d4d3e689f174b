package explain

import (
	"fmt"
	"strings"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/fields"
)

// outcome is what a side does with a request, as far as two sides are compared.
type outcome struct {
	route       *model.Route
	table       string // that the requests come to; empty: none
	destination string
	fields      []field
	arms        map[string]armOutcome
}

type armOutcome struct{ name, cluster string }

// field is a field of an effective policy, with what is compared but not shown.
type field struct {
	model.PolicyField
	secret string
}

func fieldsOf(list []model.PolicyField) []field {
	out := make([]field, len(list))
	for i, f := range list {
		out[i] = field{PolicyField: f}
	}
	return out
}

// serves reports whether requests are answered as a route says.
func (o outcome) serves() bool { return o.route != nil && o.route.Refusal == nil }

func (o outcome) name() string {
	if o.route == nil {
		return ""
	}
	return o.route.Split.Name
}

// series is the name under which the route's requests are counted; empty: none.
func (o outcome) series() string {
	if o.route == nil {
		return ""
	}
	return o.route.Name
}

// outcome asks a side for an example of a class; without one, for the rule as written.
func (a *answers) outcome(c Class, example *parsed) outcome {
	if example == nil {
		return a.describe(a.asWritten(c))
	}
	p := *example
	f := a.find(&p)
	o := outcome{destination: refusalText(f.status, f.reason)}
	if f.route != nil {
		o = a.describe(f.route)
	}
	if f.table != nil {
		o.table = f.table.model.Name
	}
	return o
}

// asWritten returns the first route of the class's listener that has its match under its
// hostname.
func (a *answers) asWritten(c Class) *model.Route {
	var found *model.Route
	wanted := classKey{c.Listener, c.Hostname, c.match.String()}
	for _, b := range a.listeners[c.Listener].Tables {
		t := a.tables[b.Table]
		if t == nil || found != nil {
			continue
		}
		single := model.Snapshot{
			Listeners:   []*model.Listener{{Name: c.Listener, Tables: []model.TableBinding{b}}},
			RouteTables: []*model.RouteTable{nil},
		}
		for _, e := range t.model.Entries {
			single.RouteTables[0] = &model.RouteTable{Name: b.Table, Entries: []model.Entry{e}}
			classes(&single, func(k classKey, _ Class) {
				if k == wanted && found == nil {
					found = e.Route
				}
			})
		}
	}
	return found
}

// describe says what a route does; nil is none.
func (a *answers) describe(r *model.Route) outcome {
	if r == nil {
		return outcome{destination: refusalText(model.FlagInfos[model.FlagNR].Status, "no route")}
	}
	o := outcome{route: r}
	redirect := ""
	for _, f := range fieldsOf(model.EffectivePolicy(nil, r, nil)) {
		switch f.Field {
		case "redirect": // the destination says it
			redirect = f.Value
		case "requestHeaders", "responseHeaders": // headerFields does
		default:
			o.fields = append(o.fields, f)
		}
	}
	o.fields = append(o.fields, headerFields(r)...)
	switch {
	case r.Refusal != nil:
		o.destination = refusalText(r.Refusal.Status, r.Refusal.Reason)
	case r.Redirect != nil:
		o.destination = "redirect " + redirect
	case total(&r.Split) == 0:
		o.destination = refusalText(model.FlagInfos[model.FlagNC].Status, "no backend has any weight")
	default:
		o.split(&r.Split)
	}
	return o
}

// split describes the arms that get requests, and a canary that may.
func (o *outcome) split(s *model.Split) {
	whole := float64(total(s))
	var texts []string
	o.arms = map[string]armOutcome{}
	for i, weight := range s.Resting() {
		arm := &s.Arms[i]
		release := s.RoleOf(arm.Name)
		if weight == 0 && release == "" {
			continue
		}
		text := arm.Name + " " + Percent(float64(weight)/whole)
		if release != "" {
			text += " (" + release + ")"
		}
		if arm.Refusal != nil {
			text += " (" + refusalText(arm.Refusal.Status, arm.Refusal.Reason) + ")"
		} else {
			o.arms[arm.Name] = armOutcome{arm.Name, arm.Cluster}
		}
		texts = append(texts, text)
	}
	o.destination = strings.Join(texts, ", ")
}

// headerFields are what the rule and its arms do to headers, one field for each name.
func headerFields(r *model.Route) []field {
	var list []field
	add := func(what, of string, edit *model.HeaderEdit) {
		for _, e := range fields.Effects(edit) {
			values := make([]string, len(e.Values))
			for i, v := range e.Values {
				values[i] = model.Hidden(e.Name, v)
			}
			text := "removed"
			switch {
			case e.Drop && len(values) > 0:
				text = "set to " + strings.Join(values, ", ")
			case len(values) > 0:
				text = "added " + strings.Join(values, ", ")
			}
			list = append(list, field{
				PolicyField: model.PolicyField{Field: what + " header " + e.Name + of, Value: text, Origin: r.Origin},
				secret:      strings.Join(e.Values, "\x00"),
			})
		}
	}
	add("request", "", r.RequestHeaders)
	add("response", "", r.ResponseHeaders)
	for i := range r.Split.Arms {
		arm := &r.Split.Arms[i]
		add("request", " to "+arm.Name, arm.RequestHeaders)
		add("response", " of "+arm.Name, arm.ResponseHeaders)
	}
	return list
}

func refusalText(status int, reason string) string {
	return fmt.Sprintf("%d: %s", status, reason)
}

// Percent writes a share, 0 to 1, with at most two decimals: "33.33%".
func Percent(share float64) string {
	text := fmt.Sprintf("%.2f", share*100)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".") + "%"
}
