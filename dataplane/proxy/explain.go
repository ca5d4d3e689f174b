package proxy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/match"
)

// maxExplanation bounds the value of x-weir-explain in an answer, in bytes: half of what
// common clients take for a whole head.
const maxExplanation = 8 << 10

// asksToExplain reports whether the request has x-weir-explain: 1 from a caller that is
// trusted, and not only came through one. To anybody else the field brings nothing. It is
// forwarded like all x-weir- fields of a trusted peer, so that a Weir behind us explains as well.
func (x *exchange) asksToExplain() bool {
	if !x.id.Marked || !x.caller.Inside {
		return false
	}
	value, _ := x.req.Lookup("x-weir-explain")
	return string(value) == "1"
}

// appendExplanation appends what happened to the request as a field, if it asked for that.
// It is the last one of its name: those of proxies behind us come before it.
func (x *exchange) appendExplanation(dst []byte) []byte {
	if !x.explaining {
		return dst
	}
	dst = append(dst, "X-Weir-Explain: "...)
	dst = append(dst, boundedJSON(x.explanation())...)
	return append(dst, "\r\n"...)
}

// explanation says what happened to the request up to its answer.
func (x *exchange) explanation() *model.Explanation {
	e := &model.Explanation{
		Listener: x.view.listener.Name, Identity: x.c.Identity(), Version: x.view.snapshot.Version, Revision: x.view.snapshot.Revision,
		Status: x.result.status, Flag: x.result.flag.String(), Reason: x.result.detail,
	}
	x.explainTable(e)
	var spec *model.Cluster
	if x.route != nil {
		m := x.route.model
		e.Route, e.Rule, e.Origin, e.Match = m.Name, m.Rule, m.Origin, x.match.Shown()
		for i := range m.Split.Arms {
			a := &m.Split.Arms[i]
			share := model.ArmShare{Name: a.Name, Cluster: a.Cluster, Weight: a.Weight, Release: m.Split.RoleOf(a.Name)}
			if x.route.total > 0 {
				share.Share = float64(a.Weight) / float64(x.route.total)
			}
			e.Arms = append(e.Arms, share)
		}
		if x.route.release != nil {
			x.drawn.Explain(x.route.release, e)
		}
	}
	if x.arm != nil {
		e.Arm, e.Cluster = x.arm.model.Name, x.arm.model.Cluster
		if x.arm.cluster != nil {
			spec = x.view.cluster(e.Cluster)
			for _, h := range x.arm.cluster.Eligible(maxHosts) {
				e.Hosts = append(e.Hosts, h.Address().String())
			}
		}
	}
	var route *model.Route
	if x.route != nil {
		route = x.route.model
	}
	e.Policy = model.EffectivePolicy(x.view.client, route, spec)
	for i := range x.attempts {
		e.Attempts = append(e.Attempts, explainAttempt(&x.attempts[i]))
	}
	return e
}

// explainTable says which table the request's host leads to, and why it leads nowhere.
func (x *exchange) explainTable(e *model.Explanation) {
	var bindings match.Hosts[*model.TableBinding]
	tables := x.view.listener.Tables
	for i := range tables {
		bindings.Set(tables[i].Hostname, &tables[i])
	}
	if b, ok := bindings.Find(x.req.Host); ok {
		e.Hostname, e.Table = b.Hostname, b.Table
	}
	if x.result.flag != model.FlagNR {
		return
	}
	if e.Table == "" {
		e.Reason = fmt.Sprintf("none of the listener's %d hostnames covers %q", len(tables), clip(string(x.req.Host), maxText))
		return
	}
	e.Reason = fmt.Sprintf("no route of the table matches %s %q with path %q and its headers and query",
		x.req.Method, clip(string(x.req.Host), maxText), clip(string(x.req.Path), maxText))
}

// cluster returns the named cluster as the view's snapshot has it, or nil.
func (v *view) cluster(name string) *model.Cluster {
	for _, c := range v.snapshot.Clusters {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// maxHosts bounds the hosts in an explanation.
const maxHosts = 20

func explainAttempt(a *telemetry.Attempt) model.ExplainedAttempt {
	e := model.ExplainedAttempt{Host: a.Host.String(), Outcome: a.Flag.String(), Error: a.Err}
	if a.Status != 0 {
		e.Outcome = strconv.Itoa(a.Status)
	}
	if a.GRPC != 0 {
		e.Outcome = a.GRPC.String()
	}
	return e
}

const (
	maxText = 200 // bytes of one text in an explanation that had to be cut
	cutMark = "…"
)

// cuts are what makes an explanation shorter, the least missed first. The last leaves a few
// texts of maxText bytes at most.
var cuts = []func(e *model.Explanation){
	func(e *model.Explanation) { e.Hosts = first(e.Hosts, 3) },
	func(e *model.Explanation) {
		for _, text := range []*string{
			&e.Listener, &e.Hostname, &e.Table, &e.Route, &e.Rule, &e.Match, &e.Reason, &e.Arm, &e.Cluster, &e.Version,
		} {
			*text = clip(*text, maxText)
		}
		clipOrigin(&e.Origin)
		if e.Release != nil {
			e.Release.Name, e.Release.Why = clip(e.Release.Name, maxText), clip(e.Release.Why, maxText)
		}
		for i := range e.Attempts {
			e.Attempts[i].Error = clip(e.Attempts[i].Error, maxText)
		}
		for i := range e.Policy {
			e.Policy[i].Value = clip(e.Policy[i].Value, maxText)
			clipOrigin(&e.Policy[i].Origin)
		}
	},
	func(e *model.Explanation) { // what is the default is written elsewhere
		var set []model.PolicyField
		for _, f := range e.Policy {
			if !f.Default {
				set = append(set, f)
			}
		}
		e.Policy, e.Arms = set, first(e.Arms, 3)
	},
	func(e *model.Explanation) { e.Policy, e.Arms, e.Attempts = nil, nil, first(e.Attempts, 3) },
	func(e *model.Explanation) {
		*e = model.Explanation{
			Listener: e.Listener, Route: e.Route, Arm: e.Arm, Cluster: e.Cluster, Status: e.Status, Flag: e.Flag,
			Origin: model.Origin{File: e.Origin.File, Line: e.Origin.Line}, Version: e.Version, Revision: e.Revision, Cut: true,
		}
	},
}

// boundedJSON returns e as one line of visible ASCII, in at most maxExplanation bytes. It
// cuts e where it is longer.
func boundedJSON(e *model.Explanation) []byte {
	line := asciiJSON(e)
	for _, cut := range cuts {
		if len(line) <= maxExplanation {
			break
		}
		e.Cut = true
		cut(e)
		line = asciiJSON(e)
	}
	return line
}

// asciiJSON returns e as JSON in which everything is escaped that a field's value cannot
// hold safely (RFC 9110 section 5.5): JSON's own escapes leave DEL and what is not ASCII.
func asciiJSON(e *model.Explanation) []byte {
	text, err := json.Marshal(e)
	if err != nil {
		return []byte("{}") // impossible: it is plain data
	}
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r >= 0x10000:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		case r >= 0x7f:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, byte(r))
		}
		text = text[n:]
	}
	return out
}

func clipOrigin(o *model.Origin) {
	o.Object, o.File = clip(o.Object, maxText), clip(o.File, maxText)
}

// clip returns s, or its first limit bytes with a mark where it is longer.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + cutMark
}

func first[T any](list []T, n int) []T { return list[:min(n, len(list))] }
