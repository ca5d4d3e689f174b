package explain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// Side is one of two configurations that are compared.
type Side struct {
	Snapshot *model.Snapshot
	// Set is what the snapshot was translated from. It tells where things were written that
	// the snapshot does not know of, and which objects differ; nil: unknown.
	Set *resource.Set
	// Rollouts and Objectives are what else it was translated to.
	Rollouts   []translate.RolloutPlan
	Objectives []translate.ObjectivePlan
}

// Difference is what two configurations do differently, for somebody who sends requests.
// How it is written (order, files, names of policies and routes) makes none.
type Difference struct {
	Changes []Change `json:"changes"`
	// Classes counts the classes of requests on either side, Changed those that change.
	Classes int `json:"classes"`
	Changed int `json:"changed"`
	// Share is that of recent requests which belong to a route whose requests change, at
	// most, from 0 to 1; nil where nothing is known of recent requests.
	Share *float64 `json:"share,omitempty"`
}

// ChangeKind says what a change is about.
type ChangeKind string

// The kinds of changes.
const (
	ChangeRequests ChangeKind = "requests" // some classes of requests go elsewhere, or by another policy
	ChangeListener ChangeKind = "listener" // a listener comes, goes, or treats clients otherwise
	ChangeBackend  ChangeKind = "backend"  // a backend has other hosts, or is treated otherwise

	ChangeRollout   ChangeKind = "rollout"   // a release earns its traffic otherwise
	ChangeObjective ChangeKind = "objective" // something else is promised
)

// Change is one difference, and all that it concerns.
type Change struct {
	Kind ChangeKind `json:"kind"`
	Name string     `json:"name,omitempty"` // of the listener, backend, Rollout or objective
	// Classes are classes of requests that change, at most maxClasses; More counts the rest.
	Classes []Class `json:"classes,omitempty"`
	More    int     `json:"more,omitempty"`
	// Before and After say where the requests go, or what becomes of the listener; empty
	// where that stays.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	// From and To are the routes on both sides, where requests go elsewhere; empty: none.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Fields are the effective fields that change.
	Fields []FieldChange `json:"fields,omitempty"`
	// Causes are where what makes the difference was written.
	Causes []model.Origin `json:"causes,omitempty"`
	// Share is that of recent requests, like Difference.Share.
	Share *float64 `json:"share,omitempty"`

	routes map[string]bool // on the side before
}

// FieldChange is a field of an effective policy with its two values; empty is none.
type FieldChange struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// maxClasses bounds how many classes a change lists.
const maxClasses = 20

// Rates are requests per second by name of a route; nil: unknown.
type Rates map[string]float64

// Diff compares two configurations: for every class of requests that a rule of either is
// written for, it asks both where an example of it goes and by which policy.
func Diff(before, after Side, rates Rates) Difference {
	d := &differ{
		before: newAnswers(before), after: newAnswers(after),
		groups: map[string]*Change{}, backends: map[[2]string]*Change{},
	}
	d.listeners()
	d.requests()
	d.plans()
	return d.finish(rates)
}

// answers is a side that can be asked.
type answers struct {
	Side
	*Explainer
	listeners map[string]*model.Listener
	routes    map[string]bool // by name of their splits
}

func newAnswers(s Side) *answers {
	a := &answers{Side: s, Explainer: New(s.Snapshot), listeners: map[string]*model.Listener{}, routes: map[string]bool{}}
	for _, t := range s.Snapshot.RouteTables {
		for _, e := range t.Entries {
			a.routes[e.Route.Split.Name] = true
		}
	}
	for _, l := range s.Snapshot.Listeners {
		a.listeners[l.Name] = l
	}
	return a
}

// differ is one comparison.
type differ struct {
	before, after *answers
	changes       []*Change
	groups        map[string]*Change    // of requests
	backends      map[[2]string]*Change // by clusters on both sides; nil: no difference
	classes       int
	changed       int
}

// listeners compares what is there of listeners on both sides.
func (d *differ) listeners() {
	for _, l := range d.before.Snapshot.Listeners {
		if d.after.listeners[l.Name] == nil {
			d.changes = append(d.changes, &Change{Kind: ChangeListener, Name: l.Name, Before: "listens", After: "is gone", Causes: d.before.owners(l), routes: routesOf(d.before, l)})
		}
	}
	for _, l := range d.after.Snapshot.Listeners {
		old := d.before.listeners[l.Name]
		if old == nil {
			d.changes = append(d.changes, &Change{Kind: ChangeListener, Name: l.Name, Before: "is not there", After: "listens", Causes: d.after.owners(l)})
			continue
		}
		fields, causes := compareFields(d.before.listenerFields(old), d.after.listenerFields(l))
		d.streamBackends(old, l)
		if len(fields) > 0 {
			if len(causes) == 0 {
				causes = d.after.owners(l)
			}
			d.changes = append(d.changes, &Change{Kind: ChangeListener, Name: l.Name, Fields: fields, Causes: causes, routes: routesOf(d.before, l)})
		}
	}
}

// listenerFields are what holds for a listener's clients: its policy, where their connections
// go as they are, and what is shown and asked of those that come by TLS.
func (a *answers) listenerFields(l *model.Listener) []field {
	fields := append(fieldsOf(l.Policy()), a.streamFields(l)...)
	if l.TLS == nil {
		return fields
	}
	add := func(name, value string) {
		fields = append(fields, field{PolicyField: model.PolicyField{Field: name, Value: value}})
	}
	for _, n := range l.TLS.Names {
		host := "[" + cmp.Or(n.Hostname, "*") + "]"
		for _, c := range n.Certificates {
			add("certificate"+host, c.String())
		}
		if n.Client != nil {
			mode := "required"
			if n.Client.Insecure {
				mode = "optional"
			}
			add("clientCertificate"+host, mode+", by "+model.AuthoritiesText(n.Client.CAs))
		}
	}
	return fields
}

// routesOf names the routes that a listener serves.
func routesOf(a *answers, l *model.Listener) map[string]bool {
	routes := map[string]bool{}
	for _, b := range l.Tables {
		if t := a.tables[b.Table]; t != nil {
			for _, e := range t.model.Entries {
				routes[e.Route.Name] = true
			}
		}
	}
	for _, b := range l.Streams {
		if b.Route != "" {
			routes[b.Route] = true
		}
	}
	return routes
}

// requests compares class by class: those of the new side first, in their order.
func (d *differ) requests() {
	seen := map[classKey]bool{}
	ask := func(k classKey, c Class) {
		if seen[k] {
			return
		}
		seen[k] = true
		d.classes++
		if d.before.listeners[c.Listener] == nil || d.after.listeners[c.Listener] == nil {
			d.changed++
			return // said of the listener as a whole
		}
		d.class(c)
	}
	classes(d.after.Snapshot, ask)
	classes(d.before.Snapshot, ask)
}

// class compares one class by an example. Where none can be made up, the rule as written
// stands for it.
func (d *differ) class(c Class) {
	example, ok := c.example()
	if !ok {
		example = nil
	}
	was, is := d.before.outcome(c, example), d.after.outcome(c, example)
	change := Change{Kind: ChangeRequests}
	if was.serves() && is.serves() {
		change.Fields, change.Causes = compareFields(was.fields, is.fields)
		change.Causes = d.mirrorCauses(was.route, is.route, change.Causes)
	}
	if was.destination != is.destination {
		change.Before, change.After = was.destination, is.destination
		change.From, change.To = was.name(), is.name()
		change.Causes = addCauses(change.Causes, d.causes(was, is)...)
	}
	for _, arm := range is.arms {
		if cluster, both := was.arms[arm.name]; both {
			d.backend(arm.name, cluster.cluster, arm.cluster, was.series())
		}
	}
	if len(change.Fields) == 0 && change.Before == change.After {
		return
	}
	d.changed++
	d.group(change, c, was.series())
}

// group adds a class to the change that is the same but for its classes.
func (d *differ) group(change Change, c Class, route string) {
	key, err := json.Marshal(change)
	if err != nil {
		panic(err) // it is plain data
	}
	g := d.groups[string(key)]
	if g == nil {
		g = &change
		g.routes = map[string]bool{}
		d.groups[string(key)] = g
		d.changes = append(d.changes, g)
	}
	g.routes[route] = true
	if len(g.Classes) < maxClasses {
		g.Classes = append(g.Classes, c)
	} else {
		g.More++
	}
}

// backend compares the clusters behind an arm that both sides have, each pair once.
func (d *differ) backend(arm, was, is, route string) {
	pair := [2]string{was, is}
	c, known := d.backends[pair]
	if !known {
		c = d.compareClusters(arm, was, is)
		d.backends[pair] = c
		if c != nil {
			d.changes = append(d.changes, c)
		}
	}
	if c != nil {
		c.routes[route] = true
	}
}

func (d *differ) compareClusters(arm, was, is string) *Change {
	old, current := d.before.clusters[was], d.after.clusters[is]
	if old == nil || current == nil {
		return nil
	}
	c := &Change{Kind: ChangeBackend, Name: arm, routes: map[string]bool{}}
	c.Fields, c.Causes = compareFields(fieldsOf(model.EffectivePolicy(nil, nil, old)), fieldsOf(model.EffectivePolicy(nil, nil, current)))
	if hosts := compareHosts(d.before.endpointTexts(old), d.after.endpointTexts(current)); hosts != nil {
		c.Fields = append(c.Fields, *hosts)
		c.Causes = addCauses(c.Causes, d.after.origin(armKey(arm)), d.before.origin(armKey(arm)))
	}
	if len(c.Fields) == 0 {
		return nil
	}
	return c
}

// endpointTexts are a cluster's endpoints with all that matters of them.
func (a *answers) endpointTexts(c *model.Cluster) []string {
	if c.DNS != nil {
		return []string{fmt.Sprintf("%s:%d by DNS", c.DNS.Hostname, c.DNS.Port)}
	}
	set := a.endpoints[c.Name]
	if set == nil {
		return nil
	}
	texts := make([]string, len(set.Endpoints))
	for i, e := range set.Endpoints {
		texts[i] = e.Address.String()
		if e.Weight != 1 {
			texts[i] += fmt.Sprintf(" weight %d", e.Weight)
		}
		if e.Zone != "" {
			texts[i] += " zone " + e.Zone
		}
		if e.Priority != 0 {
			texts[i] += fmt.Sprintf(" priority %d", e.Priority)
		}
		if e.Unready {
			texts[i] += " unready"
		}
	}
	return texts
}

// compareHosts says which endpoints go and which come, and of how many; nil: none.
func compareHosts(was, is []string) *FieldChange {
	without := func(list, others []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(others, s) })
	}
	gone, come := without(was, is), without(is, was)
	if len(gone) == 0 && len(come) == 0 {
		return nil
	}
	return &FieldChange{Field: "endpoints", Before: amount(was, gone), After: amount(is, come)}
}

// amount counts endpoints and names those that the other side has not; if these are all, the
// names do.
func amount(all, own []string) string {
	switch len(own) {
	case 0:
		return strconv.Itoa(len(all))
	case len(all):
		return some(own)
	}
	return fmt.Sprintf("%d, with %s", len(all), some(own))
}

// compareFields compares two lists of fields by their values, and says where what differs
// was written.
func compareFields(was, is []field) (changes []FieldChange, causes []model.Origin) {
	if slices.EqualFunc(was, is, func(a, b field) bool { return a.Field == b.Field && a.Value == b.Value && a.secret == b.secret }) {
		return nil, nil
	}
	seen := map[string]bool{}
	for _, f := range slices.Concat(was, is) {
		if seen[f.Field] {
			continue
		}
		seen[f.Field] = true
		before, after := joinFields(was, f.Field), joinFields(is, f.Field)
		if before.Value == after.Value && before.secret == after.secret {
			continue
		}
		changes = append(changes, FieldChange{f.Field, before.Value, after.Value})
		cause := after.Origin
		if cause.File == "" {
			cause = before.Origin
		}
		causes = addCauses(causes, cause)
	}
	return changes, causes
}

// joinFields makes one of all fields with a name, such as several mirrors.
func joinFields(list []field, name string) (all field) {
	var values, secrets []string
	for _, f := range list {
		if f.Field == name {
			values, secrets = append(values, f.Value), append(secrets, f.secret)
			all.Origin = f.Origin
		}
	}
	all.Value, all.secret = strings.Join(values, ", "), strings.Join(secrets, "\x00")
	return all
}

// addCauses adds the origins that are known and not there yet.
func addCauses(causes []model.Origin, more ...model.Origin) []model.Origin {
	for _, o := range more {
		if o.File != "" && !slices.Contains(causes, o) {
			causes = append(causes, o)
		}
	}
	return causes
}

// finish counts and orders: by share where it is known, listeners before requests before
// backends otherwise.
func (d *differ) finish(rates Rates) Difference {
	out := Difference{Changes: []Change{}, Classes: d.classes, Changed: d.changed}
	whole := 0.0
	for _, r := range rates {
		whole += r
	}
	share := func(routes map[string]bool) *float64 {
		if whole == 0 {
			return nil
		}
		sum := 0.0
		for r := range routes {
			sum += rates[r]
		}
		sum /= whole
		return &sum
	}
	touched := map[string]bool{}
	for _, c := range d.changes {
		c.Share = share(c.routes)
		for r := range c.routes {
			touched[r] = true
		}
		out.Changes = append(out.Changes, *c)
	}
	out.Share = share(touched)
	kinds := []ChangeKind{ChangeListener, ChangeRequests, ChangeBackend, ChangeRollout, ChangeObjective}
	slices.SortStableFunc(out.Changes, func(a, b Change) int {
		if a.Share != nil && b.Share != nil && *a.Share != *b.Share {
			return cmp.Compare(*b.Share, *a.Share)
		}
		return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), strings.Compare(a.Name, b.Name))
	})
	return out
}
