package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

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
	// Local are this machine's addresses, in the order in which statuses are to tell them
	// for a Gateway that is bound to all. Empty: such a status says "::".
	Local []netip.Addr
	// Now is the time by which FaultPolicies have expired or not; zero: none has.
	Now time.Time
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
	// Rollouts and Objectives are sorted by Name.
	Rollouts   []RolloutPlan
	Objectives []ObjectivePlan
}

// Status is what became of one object.
type Status struct {
	Key resource.Key
	// Value is upstream's status struct of the object's kind: gatewayv1.GatewayClassStatus,
	// gatewayv1.GatewayStatus, gatewayv1.ListenerSetStatus, gatewayv1.HTTPRouteStatus,
	// gatewayv1.GRPCRouteStatus, gatewayv1.TCPRouteStatus, gatewayv1.TLSRouteStatus,
	// gatewayv1.UDPRouteStatus, gatewayv1.PolicyStatus or v1alpha1.BackendStatus. The
	// lastTransitionTime of conditions is left to the caller.
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

	t := &translator{Memo: memo, set: in.Set, local: in.Local, now: in.Now}
	t.diff()
	t.attachPolicies()
	t.attachAdditions()
	t.attachClosures()
	t.readSecurings()
	t.acceptGateways()
	t.translateRoutes()
	t.settleRoutes()
	t.buildClusters()
	return t.assemble()
}

// translator is one run of Translate over a memo.
type translator struct {
	*Memo
	set   *resource.Set
	local []netip.Addr
	now   time.Time // zero: unknown
	dirty dirtySet
	// reshaped: what some route attaches to or refers to has changed since the last run.
	reshaped bool
	// structural: something other than a route has changed since the last run.
	structural bool
	// relisted: a route has come, gone or changed its rank since the last run.
	relisted bool
	replaced []replacement             // the routes whose objects have changed
	former   map[*routeSlot]*routeView // of routes that were translated in this run, what they were before
	shared   sharing
}

func (t *translator) assemble() Output {
	if out, ok := t.patch(); ok {
		return out
	}
	listeners, streams := t.bindStreams()
	snapshot := &model.Snapshot{
		Listeners:   listeners,
		Streams:     streams,
		RouteTables: t.assembleTables(),
		Clusters:    t.clusterList,
		Endpoints:   t.endpointList,
		Unserved:    t.gateways.unserved,
	}
	diagnostics := slices.Concat(t.rejectionsOfGateways(), t.unmetRequirements(), t.gateways.diagnostics, t.policies.diagnostics, t.additions.diagnostics, t.fateDiagnostics(), t.closures.diagnostics, t.securings.diagnostics)
	for _, c := range t.clusterSlots {
		diagnostics = append(diagnostics, c.diagnostics...)
	}
	for _, slot := range t.routeSlots {
		diagnostics = append(diagnostics, slot.view.diagnostics...)
	}
	diagnostics = append(diagnostics, t.streams.diagnostics...)
	statuses := t.assembleStatuses()
	diagnostics = append(diagnostics, t.backendDiagnostics...)
	return t.finish(Output{
		Snapshot: snapshot, Statuses: statuses, Diagnostics: diagnostics,
		Rollouts: t.rolloutPlans(), Objectives: t.objectivePlans(),
	})
}

// finish remembers an output, but for what is of this set alone, and adds that.
func (t *translator) finish(out Output) Output {
	t.last, t.lastLocal = out, t.local
	out.Snapshot.Revision = t.set.Revision
	out.Snapshot.Version = t.versionOf(out.Snapshot)
	diagnostics := t.set.MarkDeleted(slices.Clone(out.Diagnostics))
	resource.SortDiagnostics(diagnostics)
	out.Diagnostics = slices.Compact(diagnostics)
	return out
}

// assembleStatuses lists every status in the order of keys.
func (t *translator) assembleStatuses() []Status {
	others := slices.Concat(t.classStatuses(), t.gatewayStatuses(), t.listenerSetStatuses(), t.policyStatuses(), t.backendStatuses())
	slices.SortFunc(others, func(a, b Status) int { return a.Key.Compare(b.Key) })
	statuses := make([]Status, 0, len(others)+len(t.routeSlots))
	for _, slot := range t.routeSlots {
		for len(others) > 0 && others[0].Key.Compare(slot.key()) < 0 {
			statuses, others = append(statuses, others[0]), others[1:]
		}
		statuses = append(statuses, Status{Key: slot.key(), Value: t.streams.reword(slot)})
	}
	return append(statuses, others...)
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
	for _, r := range s.Streams {
		b = append(append(b, 's'), r.Hash...)
	}
	return string(hashBytes(b))
}

// hashBytes is model.HashOf for bytes that are already in one fixed form.
func hashBytes(b []byte) model.Hash {
	sum := sha256.Sum256(b)
	return model.Hash(hex.EncodeToString(sum[:16]))
}
