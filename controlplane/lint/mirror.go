package lint

import (
	"fmt"
	"slices"

	"weir.dev/weir/model"
)

// mirrorOfWrites finds rules that copy requests which change something. Of calls of gRPC nobody
// can tell, all of them are POST.
func mirrorOfWrites(p *pass) {
	safe := []string{"GET", "HEAD", "OPTIONS", "TRACE"}
	for _, r := range p.routes() {
		if len(r.Mirrors) == 0 || r.Kind != "HTTPRoute" {
			continue
		}
		i := slices.IndexFunc(r.Matches, func(m model.Match) bool { return !slices.Contains(safe, m.Method) })
		o := p.set.Get(routeKey(r))
		if i < 0 || o == nil {
			continue
		}
		what := "every method"
		if m := r.Matches[i].Method; m != "" {
			what = m
		}
		field := ruleField(o.Value, r.Rule)
		for _, m := range rulesOf(o.Value)[ruleIndex(o.Value, r.Rule)].mirrors {
			p.report(o, fmt.Sprintf("%s.filters[%d].requestMirror", field, m.filter),
				"copies requests of %s: what writes is done twice, and the copy's host may write where the first does; give GET and HEAD a rule of their own (matches[].method), and mirror that", what)
		}
	}
}
