package lint

import (
	"fmt"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// sayings gathers what is said of rules and of clusters at the place that makes it so, each
// once for all of which it is said: a Gateway's policy holds for many.
type sayings struct {
	p     *pass
	order []saying
	of    map[saying][]string
	seen  map[said]bool
}

type said struct {
	what    saying
	subject string
}

type saying struct {
	severity resource.Severity
	at       resource.Position
	object   resource.Key
	field    string
	message  string
}

func (p *pass) sayings() *sayings {
	return &sayings{p: p, of: map[saying][]string{}, seen: map[said]bool{}}
}

// add notes a saying about a subject at a place.
func (s *sayings) add(what saying, subject string) {
	if s.seen[said{what, subject}] {
		return
	}
	s.seen[said{what, subject}] = true
	if s.of[what] == nil {
		s.order = append(s.order, what)
	}
	s.of[what] = append(s.of[what], subject)
}

// rule says something of a rule at the first of the paths that somebody has set, or else at the
// rule itself.
func (s *sayings) rule(r *model.Route, paths []string, severity resource.Severity, format string, args ...any) {
	what, ok := s.p.placeOf(r.Origins, paths)
	if !ok {
		o := s.p.set.Get(routeKey(r))
		if o == nil {
			return
		}
		what.object, what.field = o.Key, ruleField(o.Value, r.Rule)
		if r.Retry != nil && r.Retry.On == nil && strings.HasPrefix(paths[0], "retries") {
			what.field += ".retry"
		}
		what.at = o.Position(what.field)
	}
	what.severity, what.message = severity, fmt.Sprintf(format, args...)
	s.add(what, ruleText(r))
}

// cluster says something of a cluster at the first of the paths that somebody has set; nothing
// where nobody has.
func (s *sayings) cluster(c *model.Cluster, paths []string, severity resource.Severity, format string, args ...any) {
	if what, ok := s.p.placeOf(c.Origins, paths); ok {
		what.severity, what.message = severity, fmt.Sprintf(format, args...)
		s.add(what, clusterText(c.Name))
	}
}

// report reports everything, with those of whom it is said behind it.
func (s *sayings) report() {
	for _, what := range s.order {
		s.p.found = append(s.p.found, resource.Diagnostic{
			Severity: what.severity, Rule: s.p.rule, At: what.at, Object: what.object, Field: what.field,
			Message: fmt.Sprintf("%s (%s)", what.message, some(s.of[what])),
		})
	}
}

// placeOf is where the first of the paths was set that somebody has set.
func (p *pass) placeOf(origins model.Origins, paths []string) (saying, bool) {
	for _, path := range paths {
		origin, ok := origins[path]
		if !ok {
			continue
		}
		what := saying{at: resource.Position{File: origin.File, Line: origin.Line, Column: origin.Column}, field: path}
		if parts := strings.Split(origin.Object, "/"); len(parts) == 3 {
			what.object = resource.Key{Group: gatewayv1.GroupName, Kind: parts[0], Namespace: parts[1], Name: parts[2]}
			if parts[0] == v1alpha1.KindTrafficPolicy {
				what.object.Group, what.field = v1alpha1.Group, "spec."+path
				if p.overrider(origins, path) != "" {
					what.field = "spec.overrides." + path
				}
			}
		}
		return what, true
	}
	return saying{}, false
}

// wrote reports whether somebody has set a field, or one below it.
func wrote(origins model.Origins, path string) bool {
	if _, ok := origins[path]; ok {
		return true
	}
	for at := range origins {
		if strings.HasPrefix(at, path+".") {
			return true
		}
	}
	return false
}

// clustersWithWeight are the clusters that a rule sends requests to, or may during a release.
func (p *pass) clustersWithWeight(r *model.Route) []*model.Cluster {
	var list []*model.Cluster
	for i := range r.Split.Arms {
		if c := p.cluster(r.Split.Arms[i].Cluster); c != nil && r.Split.Sends(&r.Split.Arms[i]) {
			list = append(list, c)
		}
	}
	return list
}

// hosts is how many endpoints with weight each cluster has; a cluster that is resolved by name
// is absent.
func (p *pass) hosts() map[string]int {
	count := make(map[string]int, len(p.out.Snapshot.Endpoints))
	for _, set := range p.out.Snapshot.Endpoints {
		count[set.Cluster] = 0
		for _, e := range set.Endpoints {
			if e.Weight > 0 {
				count[set.Cluster]++
			}
		}
	}
	return count
}
