package simulate

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// Bounds of a run.
const (
	maxDepth = 8  // calls behind each other
	maxSites = 64 // calls that one request leads to
)

// call is a request that is sent over and over: by callers, or by services.
type call struct {
	share   float64
	timeout time.Duration // of who calls; 0: none
	route   *route
	hosts   []*service // that the route leads to
}

// site is a place in the tree of calls that begins at a caller.
type site struct {
	bit   uint64
	below map[*call]*site
}

// planner finds what the scenario names in the snapshot, and reports what is not there.
type planner struct {
	s         *simulation
	object    *resource.Object
	spec      *resource.ScenarioSpec
	snapshot  *model.Snapshot
	explainer *explain.Explainer
	found     []resource.Diagnostic

	clusters map[string]*cluster // by name
	services map[string]*service // by the name of their clusters without a gateway's
}

func (p *planner) report(path, format string, args ...any) {
	p.found = append(p.found, resource.Diagnostic{
		Severity: resource.Error, Rule: "scenario", At: p.object.Position(path), Message: path + ": " + fmt.Sprintf(format, args...),
		Object: p.object.Key,
	})
}

// plan makes the services, the routes that lead to them and the callers.
func (p *planner) plan() {
	p.clusters, p.services = map[string]*cluster{}, map[string]*service{}
	for i := range p.spec.Services {
		p.service(i)
	}
	for i := range p.spec.Services {
		p.calls(i)
	}
	for i := range p.spec.Callers {
		p.caller(i)
	}
	p.events()
	for i := range p.spec.Limits {
		if name := p.spec.Limits[i].Backend; name != "" && p.byName(fmt.Sprintf("spec.limits[%d].backend", i), name) == nil {
			return
		}
	}
}

// backendOf is a cluster's name without the gateway that its defaults are of.
func backendOf(cluster string) string {
	name, _, _ := strings.Cut(cluster, "@")
	return name
}

// named reports whether a backend is meant by the last parts of its name.
func named(backend, name string) bool {
	name = strings.ToLower(strings.Trim(name, "/"))
	return strings.Contains("/"+strings.ToLower(backend)+"/", "/"+name+"/")
}

// backends are the names of all backends.
func (p *planner) backends() []string {
	var names []string
	for _, c := range p.snapshot.Clusters {
		if name := backendOf(c.Name); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// service makes the service of an entry.
func (p *planner) service(i int) {
	path, spec := fmt.Sprintf("spec.services[%d]", i), &p.spec.Services[i]
	fits := slices.DeleteFunc(p.backends(), func(b string) bool { return !named(b, spec.Backend) })
	switch {
	case len(fits) == 0:
		p.report(path+".backend", "no route leads to a backend %s; %s", spec.Backend, listed(p.backends()))
		return
	case len(fits) > 1:
		p.report(path+".backend", "%s is several backends; write more of the name: %s", spec.Backend, some(fits))
		return
	case p.services[fits[0]] != nil:
		p.report(path+".backend", "%s has two entries", spec.Backend)
		return
	}
	v := &service{
		s: p.s, name: fits[0], index: len(p.s.services), concurrency: int(spec.Concurrency), queue: 1000,
		time: newServiceTime(spec.ServiceTime), noticesLeaving: spec.NoticesLeaving, propagates: spec.Propagates,
	}
	if spec.Queue != nil {
		v.queue = int(*spec.Queue)
	}
	p.services[fits[0]] = v
	endpoints := p.endpoints(fits[0], int(spec.Hosts))
	if len(endpoints) == 0 {
		p.report(path+".hosts", "required: the resources do not say where the hosts of %s are", spec.Backend)
		return
	}
	for n := range endpoints {
		v.servers = append(v.servers, &server{service: v, index: n, slow: 1})
	}
	p.s.services = append(p.s.services, v)
	for _, c := range p.snapshot.Clusters {
		if backendOf(c.Name) == fits[0] {
			made := p.s.newCluster(c, v, endpoints)
			p.clusters[c.Name] = made
			p.s.clusters = append(p.s.clusters, made)
		}
	}
}

// endpoints are the hosts of a backend: those of the resources, or so many that are alike.
func (p *planner) endpoints(backend string, number int) []model.Endpoint {
	if number == 0 {
		for _, set := range p.snapshot.Endpoints {
			if backendOf(set.Cluster) == backend {
				return set.Endpoints
			}
		}
		return nil
	}
	list := make([]model.Endpoint, number)
	for i := range list {
		list[i] = model.Endpoint{Address: hostAddress(i), Weight: 1}
	}
	return list
}

// byName returns the service of a backend, and reports that there is none.
func (p *planner) byName(path, name string) *service {
	for _, v := range p.s.services {
		if named(v.name, name) {
			return v
		}
	}
	if len(p.found) == 0 { // else it may be missing for that reason
		p.report(path, "no entry of spec.services is %s", name)
	}
	return nil
}

// calls finds what a service calls: what the scenario says, or else what the policy declares.
func (p *planner) calls(i int) {
	spec := &p.spec.Services[i]
	v := p.byName(fmt.Sprintf("spec.services[%d].backend", i), spec.Backend)
	if v == nil {
		return
	}
	for n := range spec.Calls {
		path := fmt.Sprintf("spec.services[%d].calls[%d].request", i, n)
		if c := p.reach(path, &spec.Calls[n].Request); c != nil {
			c.share, c.timeout = spec.Calls[n].Share.Of(1), spec.Calls[n].Timeout.Duration()
			v.calls = append(v.calls, c)
		}
	}
	if len(spec.Calls) > 0 {
		return
	}
	for _, c := range p.snapshot.Clusters {
		if backendOf(c.Name) != v.name {
			continue
		}
		for _, name := range c.Calls {
			if made := p.declared(name); made != nil {
				v.calls = append(v.calls, made)
			}
		}
		return
	}
}

// declared is a call to a backend that a policy declares: by the first route that leads there.
func (p *planner) declared(name string) *call {
	for _, t := range p.snapshot.RouteTables {
		for _, e := range t.Entries {
			for _, a := range e.Route.Split.Arms {
				if a.Cluster != "" && (a.Cluster == name || strings.EqualFold(a.Name, name)) {
					return p.through(e.Route, &resource.TestRequest{}, "spec.services")
				}
			}
		}
	}
	return nil
}

// caller makes who calls, and the tree of what follows.
func (p *planner) caller(i int) {
	path, spec := fmt.Sprintf("spec.callers[%d]", i), &p.spec.Callers[i]
	reached := p.reach(path+".request", &spec.Request)
	if reached == nil {
		return
	}
	c := &caller{
		s: p.s, spec: spec, call: reached, rate: spec.Rate.Of(0), think: spec.Think.Duration(),
		timeout: spec.Timeout.Duration(), backoff: spec.Backoff.Duration(),
	}
	sites := 0
	c.site = p.grow(path, reached, &sites, nil)
	p.s.callers = append(p.s.callers, c)
}

// grow makes the tree of calls from one on. Above are the services that wait for it.
func (p *planner) grow(path string, c *call, sites *int, above []*service) *site {
	if *sites >= maxSites {
		if *sites == maxSites {
			p.report(path+".request", "one request leads to more than %d calls", maxSites)
		}
		*sites++
		return &site{}
	}
	t := &site{bit: 1 << *sites, below: map[*call]*site{}}
	*sites++
	for _, v := range c.hosts {
		switch {
		case slices.Contains(above, v):
			p.report(path+".request", "calls go in a circle: %s calls itself through others", v.name)
			return t
		case len(above) == maxDepth:
			p.report(path+".request", "more than %d calls wait for each other", maxDepth)
			return t
		}
		for _, next := range v.calls {
			t.below[next] = p.grow(path, next, sites, append(above[:len(above):len(above)], v))
		}
	}
	return t
}

// reach finds the route of a request.
func (p *planner) reach(path string, r *resource.TestRequest) *call {
	q := explain.Request{Method: r.Method, URL: r.URL, Listener: r.Listener}
	for _, h := range r.Headers {
		q.Headers = append(q.Headers, explain.Header(h))
	}
	found, reason, err := p.explainer.Reach(q)
	switch {
	case err != nil:
		p.report(path, "%v", err)
	case found == nil:
		p.report(path, "it reaches no backend: %s", reason)
	case found.Redirect != nil:
		p.report(path, "it reaches no backend: route %s redirects it", found.Name)
	case found.Refusal != nil:
		p.report(path, "it reaches no backend: route %s refuses it: %s", found.Name, found.Refusal.Reason)
	default:
		return p.through(found, r, path)
	}
	return nil
}

// through makes the call of a route.
func (p *planner) through(m *model.Route, r *resource.TestRequest, path string) *call {
	made := &route{model: m}
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	made.compile(method, func(name string) bool {
		return slices.ContainsFunc(r.Headers, func(h resource.TestHeader) bool { return strings.EqualFold(h.Name, name) })
	})
	c := &call{share: 1, route: made}
	for i, weight := range m.Split.Resting() {
		a := &m.Split.Arms[i]
		if weight == 0 {
			continue
		}
		made.weights += uint64(weight)
		if a.Refusal != nil {
			made.arms = append(made.arms, arm{weight: uint64(weight)})
			continue
		}
		to := p.clusters[a.Cluster]
		if to == nil {
			if len(p.found) == 0 {
				p.report(path, "route %s leads to %s, of which spec.services says nothing", m.Name, a.Name)
			}
			return nil
		}
		made.arms = append(made.arms, arm{uint64(weight), to})
		if !slices.Contains(c.hosts, to.service) {
			c.hosts = append(c.hosts, to.service)
		}
		to.prepare(m)
	}
	made.guard = p.guard(m, &facts{request: r, route: m, method: method})
	return c
}

// events plans what happens.
func (p *planner) events() {
	for i := range p.spec.Events {
		e, path := &p.spec.Events[i], fmt.Sprintf("spec.events[%d]", i)
		what := &event{spec: e, at: epoch.add(e.At.Duration()), until: never}
		if e.For != "" {
			what.until = what.at.add(e.For.Duration())
		}
		if e.Surge == "" {
			if what.service = p.byName(path+".backend", e.Backend); what.service == nil {
				continue
			}
			what.hosts = len(what.service.servers)
			if e.Hosts != "" {
				what.hosts = hostsOf(e.Hosts, what.hosts)
			}
		}
		p.s.events = append(p.s.events, what)
	}
}

// hostsOf returns how many hosts "2" or "50%" are, at least one and at most all.
func hostsOf(text string, all int) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		n = int(resource.Share(text).Of(1)*float64(all) + 0.5)
	}
	return min(max(n, 1), all)
}

// maxNamed is how many things of a kind one sentence names.
const maxNamed = 5

func some(names []string) string {
	if more := len(names) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), more)
	}
	return strings.Join(names, ", ")
}

func listed(names []string) string {
	if len(names) == 0 {
		return "there is no backend at all"
	}
	return "backends: " + some(names)
}
