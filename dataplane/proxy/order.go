package proxy

import (
	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/model"
)

// A step applies one policy to a request and reports whether that answered it.
type step func(x *exchange) (answered bool)

// order is the one order of a route's policies, outermost first. Before them, for every
// request: connection and header limits (listener, http1), the correlation id and the
// forwarded headers (appendHead), the match. After them: the split, then attempts. What a
// route does not have is not in its chain and costs nothing.
var order = []struct {
	policy string
	reason string
	build  func(r *route) step
}{
	{
		"cors", "a preflight carries no credentials and must be answered before anything asks for them",
		func(r *route) step { return stepIf(r.cors != nil, (*exchange).preflight) },
	},
	{
		"refusal", "a rule that does not resolve serves nothing, whatever else it says",
		func(r *route) step { return stepIf(r.model.Refusal != nil, (*exchange).refuseRoute) },
	},
	{
		"fault", "breaks what would be served, before anything that protects it: what is broken takes nobody's place",
		func(r *route) step { return stepIf(len(r.faults) > 0, (*exchange).breakOnPurpose) },
	},
	{
		"overload", "a place is for who may pass, and what is refused costs nothing more: no copy, no backend",
		func(r *route) step { return stepIf(r.guard != nil, (*exchange).admit) },
	},
	{
		"redirect", "answers without an upstream, after everything that may deny",
		func(r *route) step { return stepIf(r.redirect != nil, (*exchange).sendRedirect) },
	},
	{
		"rewrite", "changes what is forwarded, never what was matched",
		func(r *route) step { return stepIf(r.rewrite != nil, (*exchange).applyRewrite) },
	},
	{
		"shadow", "copies what would be forwarded, so it comes last",
		func(r *route) step { return stepIf(len(r.shadows) > 0, (*exchange).sendShadows) },
	},
}

func stepIf(present bool, s step) step {
	if present {
		return s
	}
	return nil
}

func stepsOf(r *route) []step {
	var steps []step
	for _, place := range order {
		if s := place.build(r); s != nil {
			steps = append(steps, s)
		}
	}
	return steps
}

func (x *exchange) refuseRoute() bool {
	x.refuse(refusalOf(x.route.model.Refusal))
	return true
}

// refusalOf is the answer for what refuses; nil stands for a cluster that is not there.
func refusalOf(r *model.Refusal) refusal {
	if r == nil {
		return refusal{flag: model.FlagNC, detail: "the snapshot has no such cluster"}
	}
	return refusal{status: r.Status, flag: model.ParseFlag(r.Flag), detail: r.Reason}
}

// preflight answers a CORS preflight.
func (x *exchange) preflight() bool {
	fields, handled := x.route.cors.Preflight(x.scratch[:0], &x.req)
	x.scratch = fields
	if handled {
		x.send(answer{status: policy.PreflightStatus, fields: fields})
	}
	return handled
}

func (x *exchange) sendRedirect() bool {
	fields := append(x.scratch[:0], "Location: "...)
	fields = x.route.redirect.AppendLocation(fields, policy.RedirectInput{
		Scheme: x.view.scheme, Host: x.req.Host, Port: x.view.port,
		Path: x.req.Path, Query: x.req.Query, HasQuery: x.req.HasQuery, Prefix: x.prefix(),
	})
	fields = append(fields, "\r\n"...)
	if x.route.cors != nil {
		origin, _ := x.req.Get(http1.NameOrigin)
		fields = x.route.cors.AppendResponse(fields, origin)
	}
	x.scratch = fields
	x.send(answer{status: x.route.redirect.Status(), fields: fields})
	return true
}

func (x *exchange) applyRewrite() bool {
	x.forward.path = x.route.rewrite.AppendPath(x.forward.memory[:0], x.req.Path, x.prefix())
	x.forward.memory = x.forward.path
	x.forward.host = x.route.rewrite.Hostname()
	return false
}

// prefix returns the prefix that the request matched by, empty if it matched otherwise.
func (x *exchange) prefix() string {
	if x.match.Path.Type != model.MatchPrefix {
		return ""
	}
	return x.match.Path.Value
}
