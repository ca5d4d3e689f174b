package lint

import (
	"fmt"
	"slices"
	"strings"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// written gathers, by the place where a value was written, what it fails to do there: a
// Gateway's policy may fail for many backends, which is one thing to say.
type written struct {
	path  string // of the effective field
	order []model.Origin
	of    map[model.Origin][]string
	seen  map[failure]bool
}

// failure is what a value fails to do, where it was written.
type failure struct {
	at      model.Origin
	subject string
}

func (w *written) add(origins model.Origins, subject string) {
	at := origins[w.path]
	if w.of == nil {
		w.of, w.seen = map[model.Origin][]string{}, map[failure]bool{}
	}
	if w.seen[failure{at, subject}] {
		return
	}
	w.seen[failure{at, subject}] = true
	if w.of[at] == nil {
		w.order = append(w.order, at)
	}
	w.of[at] = append(w.of[at], subject)
}

// report reports each place. format has one verb, for the subjects.
func (w *written) report(p *pass, format string) {
	for _, at := range w.order {
		key := resource.Key{Group: v1alpha1.Group, Kind: v1alpha1.KindTrafficPolicy}
		if parts := strings.Split(at.Object, "/"); len(parts) == 3 {
			key.Namespace, key.Name = parts[1], parts[2]
		}
		p.reportAt(resource.Position{File: at.File, Line: at.Line, Column: at.Column}, key, "spec."+w.path, fmt.Sprintf(format, some(w.of[at])))
	}
}

// some names the first of many.
func some(names []string) string {
	const most = 3
	switch n := len(names); {
	case n == 1:
		return names[0]
	case n > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
	default:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
}

// clusterOf returns what a cluster is of: a Backend, or a Service and its port.
func clusterOf(cluster string) (key resource.Key, port string) {
	name, _, _ := strings.Cut(cluster, "@")
	name = strings.TrimSuffix(strings.TrimSuffix(name, "/passthrough"), "/udp")
	parts := strings.Split(name, "/")
	switch {
	case parts[0] == "backend" && len(parts) == 3:
		return resource.Key{Group: v1alpha1.Group, Kind: v1alpha1.KindBackend, Namespace: parts[1], Name: parts[2]}, ""
	case parts[0] == "service" && len(parts) == 4:
		return resource.Key{Kind: "Service", Namespace: parts[1], Name: parts[2]}, parts[3]
	}
	return resource.Key{}, ""
}

// clusterText names what a cluster is of.
func clusterText(cluster string) string {
	key, port := clusterOf(cluster)
	if port != "" {
		return fmt.Sprintf("port %s of %v", port, key)
	}
	return key.String()
}

func ruleText(r *model.Route) string { return fmt.Sprintf("rule %s of %v", r.Rule, routeKey(r)) }

// unheeded reports where a setting was written that no cluster heeds of those for which it
// holds: a Gateway's holds for all backends behind it, and may be meant for some.
func (p *pass) unheeded(path, format string, set, heeds func(*model.Cluster) bool) {
	w := written{path: path}
	heeded := map[model.Origin]bool{}
	for _, c := range p.out.Snapshot.Clusters {
		switch {
		case !set(c):
		case heeds(c):
			heeded[c.Origins[path]] = true
		default:
			w.add(c.Origins, clusterText(c.Name))
		}
	}
	w.order = slices.DeleteFunc(w.order, func(o model.Origin) bool { return heeded[o] })
	w.report(p, format)
}

// hashing reports whether a cluster's hosts are chosen by a request's key.
func hashing(c *model.Cluster) bool {
	return c.Balancing.Algorithm == model.RingHash || c.Balancing.Algorithm == model.Maglev
}

func notHashing(c *model.Cluster) bool { return !hashing(c) }

func boundedLoadWithoutHash(p *pass) {
	p.unheeded("loadBalancing.boundedLoad", "has no effect on %s: only RingHash and Maglev bound the load of a host; choose one of them or leave it out",
		func(c *model.Cluster) bool { return c.Balancing.BoundedLoad > 0 }, hashing)
}

func hashWithZones(p *pass) {
	p.unheeded("loadBalancing.zoneAware", "has no effect on %s: RingHash and Maglev send a key to its host whatever the zone; write zoneAware: false there, or choose another algorithm",
		func(c *model.Cluster) bool { return c.Balancing.ZoneAware }, notHashing)
}

func hashWithSlowStart(p *pass) {
	p.unheeded("loadBalancing.slowStart", "has no effect on %s: with RingHash and Maglev a new host has all of its keys at once; write slowStart: 0s there, or choose another algorithm",
		func(c *model.Cluster) bool { return c.Balancing.SlowStart > 0 }, notHashing)
}

// hashWithPriorities looks at Backends alone: endpoints of Services have no priorities.
func hashWithPriorities(p *pass) {
	for _, c := range p.out.Snapshot.Clusters {
		if notHashing(c) {
			continue
		}
		key, _ := clusterOf(c.Name)
		o := p.set.Get(key)
		if o == nil {
			continue
		}
		backend, ok := o.Value.(*v1alpha1.Backend)
		if !ok {
			continue
		}
		first := int32(-1)
		for i, e := range backend.Spec.Endpoints {
			if e.Weight != nil && *e.Weight == 0 {
				continue
			}
			priority := int32(0)
			if e.Priority != nil {
				priority = *e.Priority
			}
			if first < 0 {
				first = priority
			}
			if priority != first {
				p.report(o, fmt.Sprintf("spec.endpoints[%d]", i), "has priority %d beside %d: whenever too few hosts of one priority are healthy, %s moves part of the keys to the next and back; give all one priority, or choose another algorithm",
					priority, first, c.Balancing.Algorithm)
				break
			}
		}
	}
}

func hashWithoutKey(p *pass) {
	if !slices.ContainsFunc(p.out.Snapshot.Clusters, hashing) {
		return
	}
	w := written{path: "loadBalancing.algorithm"}
	for _, r := range p.routes() {
		if len(r.HashOn) > 0 || r.Session != nil {
			continue
		}
		for _, c := range p.clustersWithWeight(r) {
			if hashing(c) {
				w.add(c.Origins, ruleText(r))
			}
		}
	}
	w.report(p, "has no key to hash for %s: neither hashOn nor sessionPersistence is set there, so that each request goes to a random host; set hashOn on the route or its Gateway")
}

func keyWithoutHash(p *pass) {
	none, mixed := written{path: "hashOn"}, written{path: "hashOn"}
	useful := map[model.Origin]bool{}
	for _, r := range p.routes() {
		if len(r.HashOn) == 0 {
			continue
		}
		hash, others := 0, []string(nil)
		for _, arm := range r.Split.Arms {
			switch c := p.cluster(arm.Cluster); {
			case c == nil:
			case hashing(c):
				hash++
			case arm.Weight > 0:
				others = append(others, clusterText(c.Name))
			}
		}
		switch {
		case hash == 0 && len(others) > 0:
			none.add(r.Origins, ruleText(r))
		case hash > 0:
			useful[r.Origins["hashOn"]] = true
			for _, other := range others {
				mixed.add(r.Origins, fmt.Sprintf("%s in %s", other, ruleText(r)))
			}
		}
	}
	none.order = slices.DeleteFunc(none.order, func(o model.Origin) bool { return useful[o] })
	none.report(p, "has no effect on %s: no backend there hashes; set loadBalancing.algorithm to RingHash or Maglev on the backend")
	mixed.report(p, "has no effect on %s, which does not hash, while other backends of the rule do; give all the same loadBalancing.algorithm")
}

// zonesUnknown finds zone awareness that no cluster it is written for has zones for. Those
// without any endpoint have no say.
func zonesUnknown(p *pass) {
	zoned := map[string]bool{} // clusters with a zone, or without endpoints
	for _, e := range p.out.Snapshot.Endpoints {
		zoned[e.Cluster] = len(e.Endpoints) == 0 || slices.ContainsFunc(e.Endpoints, func(e model.Endpoint) bool { return e.Zone != "" })
	}
	p.unheeded("loadBalancing.zoneAware", "has no effect on %s: no endpoint there says its zone, and those that DNS finds have none; set zone on the endpoints, or leave zoneAware out",
		func(c *model.Cluster) bool { return c.Balancing.ZoneAware && notHashing(c) },
		func(c *model.Cluster) bool { return zoned[c.Name] })
}
