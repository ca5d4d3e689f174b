package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// Input is what Translate works on.
type Input struct {
	Set *resource.Set
	// Memo remembers the last translation, so that a small change costs little. Nil: none.
	Memo *Memo
	// ControllerName is what a GatewayClass must name to be ours; empty: ControllerName.
	ControllerName string
	// SystemNamespace is where policies for a whole GatewayClass may live; empty:
	// SystemNamespace.
	SystemNamespace string
}

// The names that Input falls back to.
const (
	ControllerName  = "weir.dev/gateway-controller"
	SystemNamespace = "weir-system"
	// ClassName is the class that needs no GatewayClass object.
	ClassName = "weir"
)

// Output is what became of a Set. Its parts may be shared with later outputs of the same
// Memo and must not be changed.
type Output struct {
	Snapshot *model.Snapshot
	// Statuses are sorted by Key.
	Statuses []Status
	// Diagnostics are what translation found, in the order of positions; those of the Set
	// itself are not repeated.
	Diagnostics []resource.Diagnostic
}

// Status is what became of one object.
type Status struct {
	Key resource.Key
	// Value is upstream's status struct of the object's kind: gatewayv1.GatewayClassStatus,
	// gatewayv1.GatewayStatus, gatewayv1.HTTPRouteStatus, gatewayv1.PolicyStatus or
	// v1alpha1.BackendStatus. The lastTransitionTime of conditions is left to the caller.
	Value any
}

// Translate translates a set. It never fails: what is wrong is in the statuses and the
// diagnostics, and nothing is served in its place.
func Translate(in Input) Output {
	memo := in.Memo
	if memo == nil {
		memo = NewMemo()
	}
	if in.ControllerName == "" {
		in.ControllerName = ControllerName
	}
	if in.SystemNamespace == "" {
		in.SystemNamespace = SystemNamespace
	}
	memo.settle(in.ControllerName, in.SystemNamespace)

	t := &translator{Memo: memo, set: in.Set}
	t.diff()
	t.attachPolicies()
	t.attachClosures()
	t.acceptGateways()
	t.translateRoutes()
	t.buildClusters()
	return t.assemble()
}

// translator is one run of Translate over a memo.
type translator struct {
	*Memo
	set   *resource.Set
	dirty dirtySet
	// reshaped: what some route attaches to or refers to has changed since the last run.
	reshaped bool
	// structural: something other than an HTTPRoute has changed since the last run.
	structural bool
}

func (t *translator) assemble() Output {
	snapshot := &model.Snapshot{
		Revision:    t.set.Revision,
		RouteTables: t.assembleTables(),
		Clusters:    t.clusterList,
		Endpoints:   t.endpointList,
		Listeners:   t.gateways.sockets,
	}
	snapshot.Version = t.versionOf(snapshot)

	diagnostics := slices.Concat(t.gateways.diagnostics, t.policies.diagnostics, t.closures.diagnostics)
	for _, c := range t.clusterSlots {
		diagnostics = append(diagnostics, c.diagnostics...)
	}
	for _, slot := range t.routeSlots {
		diagnostics = append(diagnostics, slot.view.diagnostics...)
	}
	statuses := t.assembleStatuses()
	diagnostics = append(diagnostics, t.backendDiagnostics...)
	t.set.MarkDeleted(diagnostics)
	resource.SortDiagnostics(diagnostics)
	return Output{Snapshot: snapshot, Statuses: statuses, Diagnostics: slices.Compact(diagnostics)}
}

// tableBuild is a table that is being filled.
type tableBuild struct {
	entries  []model.Entry
	hashes   []byte
	attached int32 // accepted routes
}

// assembleTables fills the tables of the listeners, oldest route first, and keeps those
// whose content has not changed.
func (t *translator) assembleTables() []*model.RouteTable {
	builds := make(map[string]*tableBuild, len(t.tables))
	for _, g := range t.gateways.ordered {
		for _, l := range g.listeners {
			b := &tableBuild{entries: []model.Entry{}, hashes: []byte(l.name)}
			if old := t.tables[l.name]; old != nil {
				b.entries = make([]model.Entry, 0, len(old.Entries)+1)
				b.hashes = append(make([]byte, 0, 33*(len(old.Entries)+1)), l.name...)
			}
			builds[l.name] = b
		}
	}
	for _, slot := range t.rankedRoutes() {
		for i := range slot.view.attachments {
			a := &slot.view.attachments[i]
			b := builds[a.table]
			if slot.view.accepted {
				b.attached++
			}
			b.entries = append(b.entries, a.entries...)
			b.hashes = append(b.hashes, a.hash...)
		}
	}
	list := make([]*model.RouteTable, 0, len(builds))
	t.attached = make(map[string]int32, len(builds))
	kept := make(map[string]*model.RouteTable, len(builds))
	for _, name := range t.gateways.tables {
		hash, table := hashBytes(builds[name].hashes), t.tables[name]
		if table == nil || table.Hash != hash {
			table = &model.RouteTable{Name: name, Hash: hash, Entries: builds[name].entries}
		}
		kept[name] = table
		list = append(list, table)
	}
	for name, b := range builds {
		t.attached[name] = b.attached
	}
	t.tables = kept
	return list
}

// assembleStatuses lists every status in the order of keys.
func (t *translator) assembleStatuses() []Status {
	others := slices.Concat(t.classStatuses(), t.gatewayStatuses(), t.policyStatuses(), t.backendStatuses())
	slices.SortFunc(others, func(a, b Status) int { return a.Key.Compare(b.Key) })
	routes := resource.Key{Group: groupGateway, Kind: kindHTTPRoute}
	at, _ := slices.BinarySearchFunc(others, routes, func(s Status, k resource.Key) int { return s.Key.Compare(k) })
	statuses := append(make([]Status, 0, len(others)+len(t.routeSlots)), others[:at]...)
	for _, slot := range t.routeSlots {
		statuses = append(statuses, slot.view.status)
	}
	return append(statuses, others[at:]...)
}

// versionOf is the hash of all objects' hashes.
func (t *translator) versionOf(s *model.Snapshot) string {
	b := append([]byte(t.clustersHash), t.endpointsHash...)
	for _, l := range s.Listeners {
		b = append(append(b, 'l'), l.Hash...)
	}
	for _, r := range s.RouteTables {
		b = append(append(b, 'r'), r.Hash...)
	}
	return string(hashBytes(b))
}

// hashBytes is model.HashOf for bytes that are already in one fixed form.
func hashBytes(b []byte) model.Hash {
	sum := sha256.Sum256(b)
	return model.Hash(hex.EncodeToString(sum[:16]))
}
