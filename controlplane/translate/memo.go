package translate

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// Memo remembers one translation for the next: the objects it saw, what each stage made of
// them, and which objects each route and cluster looked at. It belongs to one caller and is
// not safe for concurrent use.
//
// The next run compares the sets object by object, marks what differs as dirty, and runs
// each stage only for those that looked at something dirty:
//
//	diff ─► policies ─► gateways ─► routes ─► clusters ─► tables, statuses
//	           marks dirty: targets   gateways
type Memo struct {
	controller string
	system     string
	objects    []*resource.Object // of the last set, in the order of keys

	byKind     map[string][]*resource.Object // of the kinds in listedKinds
	slices     map[serviceName][]*resource.Object
	policies   policyStage
	additions  additionStage
	closures   closureStage
	securings  securingStage
	gateways   gatewayStage
	keyPairs   map[resource.Key]keyPair // of Secrets that were referred to
	routes     map[routeName]*routeSlot
	routeSlots []*routeSlot // in the order of keys
	losers     int          // routes that lost hostnames to another kind
	ranked     []*routeSlot // oldest first, then by namespace/name; nil: to be sorted

	clusters                    map[string]*clusterSlot
	clusterSlots                []*clusterSlot // in the order of names; nil: to be sorted
	clusterList                 []*model.Cluster
	endpointList                []*model.EndpointSet
	clustersHash, endpointsHash model.Hash // of the lists

	streams            streamStage
	tables             map[string]*tableSlot
	attached           map[string]int32 // accepted routes by table
	policyStatus       []Status
	rejections         map[rejectionKey]string
	backendViews       []backendView // in the order of keys
	backendStatus      []Status
	backendDiagnostics []resource.Diagnostic

	last      Output // with its diagnostics as they were found
	lastLocal []netip.Addr
}

// NewMemo returns a memo that remembers nothing.
func NewMemo() *Memo {
	return &Memo{
		slices:   map[serviceName][]*resource.Object{},
		routes:   map[routeName]*routeSlot{},
		clusters: map[string]*clusterSlot{},
		policies: newPolicyStage(),
		keyPairs: map[resource.Key]keyPair{},
	}
}

// settle forgets everything when the names that translation depends on have changed.
func (m *Memo) settle(controller, system string) {
	if m.controller != controller || m.system != system {
		*m = *NewMemo()
		m.controller, m.system = controller, system
	}
}

// dirtySet holds the keys of objects that differ from the last run, and keys made up for
// what objects have in common: see policyKey, grantKey, slicesKey and defaultGatewaysKey.
type dirtySet struct {
	keys map[resource.Key]struct{}
	few  []resource.Key // all keys, while they are few: comparing is cheaper than hashing
}

const fewKeys = 4

func (d *dirtySet) mark(k resource.Key) {
	if d.keys == nil {
		d.keys = map[resource.Key]struct{}{}
	}
	if d.has(k) {
		return
	}
	d.keys[k] = struct{}{}
	if len(d.keys) <= fewKeys {
		d.few = append(d.few, k)
	}
}

func (d *dirtySet) has(k resource.Key) bool {
	if len(d.keys) <= fewKeys {
		return slices.Contains(d.few, k)
	}
	_, ok := d.keys[k]
	return ok
}

func (d *dirtySet) hasAny(keys []resource.Key) bool {
	return slices.ContainsFunc(keys, d.has)
}

type serviceName struct{ namespace, name string }

// policyKey stands for the policies attached to an object, whatever the section.
func policyKey(target resource.Key) resource.Key {
	const prefix = "policies-of:"
	switch target.Group {
	case groupGateway: // put together once
		target.Group = prefix + groupGateway
	case groupWeir:
		target.Group = prefix + groupWeir
	default:
		target.Group = prefix + target.Group
	}
	return target
}

// grantKey stands for the ReferenceGrants of a namespace.
func grantKey(namespace string) resource.Key {
	return resource.Key{Group: "grants-of:", Kind: kindReferenceGrant, Namespace: namespace}
}

// slicesKey stands for the EndpointSlices of a service.
func slicesKey(s serviceName) resource.Key {
	return resource.Key{Group: "slices-of:", Kind: kindService, Namespace: s.namespace, Name: s.name}
}

// defaultGatewaysKey stands for the gateways that take routes which name none.
var defaultGatewaysKey = resource.Key{Group: "defaults:", Kind: kindGateway}

// diff compares the set with the last one and brings the indexes up to date.
func (t *translator) diff() {
	old := t.objects
	objects := make([]*resource.Object, 0, t.set.Len())
	kinds := map[string][]*resource.Object{}
	for o := range t.set.Objects() {
		if len(old) > 0 && old[0] == o {
			objects, old = append(objects, o), old[1:]
			continue
		}
		for len(old) > 0 && old[0].Key.Compare(o.Key) < 0 {
			t.changed(old[0], nil)
			old = old[1:]
		}
		switch {
		case len(old) == 0 || old[0].Key != o.Key:
			t.changed(nil, o)
		default:
			if !sameObject(old[0], o) {
				t.changed(old[0], o)
			}
			old = old[1:]
		}
		objects = append(objects, o)
	}
	for _, o := range old {
		t.changed(o, nil)
	}
	for start := 0; start < len(objects); {
		k := objects[start].Key
		end := start + sort.Search(len(objects)-start, func(i int) bool {
			return objects[start+i].Key.Kind != k.Kind || objects[start+i].Key.Group != k.Group
		})
		kinds[k.Group+"/"+k.Kind] = objects[start:end:end]
		start = end
	}
	t.objects, t.byKind = objects, kinds
}

// sameObject reports whether two versions of an object lead to the same result.
func sameObject(a, b *resource.Object) bool {
	return a == b || a.Hash != "" && a.Hash == b.Hash && len(a.Problems) == 0 && len(b.Problems) == 0
}

// changed notes that an object was added, removed or replaced.
func (t *translator) changed(old, current *resource.Object) {
	o := cmp.Or(current, old)
	t.dirty.mark(o.Key)
	switch {
	case routeKindOf(o.Key) != nil:
		t.changedRoute(old, current)
		return
	case isKind(o.Key, groupDiscovery, kindEndpointSlice):
		t.changedSlice(old, current)
	case isKind(o.Key, groupGateway, kindReferenceGrant):
		t.dirty.mark(grantKey(o.Key.Namespace))
	case isKind(o.Key, groupCore, kindSecret):
		delete(t.keyPairs, o.Key)
	}
	t.structural = true
}

func (t *translator) changedRoute(old, current *resource.Object) {
	key := cmp.Or(current, old).Key
	if current == nil {
		t.replaceUses(t.route(key).view, nil)
		delete(t.routes, routeNameOf(key))
		t.routeSlots, t.ranked, t.reshaped, t.relisted = nil, nil, true, true
		return
	}
	slot := t.route(key)
	if slot == nil {
		slot = &routeSlot{kind: routeKindOf(key), name: key.Namespace + "/" + key.Name, view: noView}
		t.routes[routeNameOf(key)] = slot
		t.routeSlots, t.ranked, t.relisted = nil, nil, true
	}
	slot.object = current
	t.replaced = append(t.replaced, replacement{slot, slot.view})
	if created := createdAt(current); !created.Equal(slot.created) {
		slot.created, t.ranked, t.relisted = created, nil, true
	}
}

// rankedRoutes returns the routes as Gateway API ranks them: the oldest first, then by
// namespace/name, and by kind where that is the same.
func (t *translator) rankedRoutes() []*routeSlot {
	if t.ranked == nil {
		t.ranked = slices.SortedFunc(slices.Values(t.routeSlots), func(a, b *routeSlot) int {
			return cmp.Or(a.created.Compare(b.created), strings.Compare(a.name, b.name), strings.Compare(a.kind.name, b.kind.name))
		})
	}
	return t.ranked
}
