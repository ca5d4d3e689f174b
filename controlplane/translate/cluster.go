package translate

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// clusterSlot is where the memo keeps a cluster that some route uses.
type clusterSlot struct {
	use
	users       int  // routes
	grpcUsers   int  // GRPCRoutes among them
	stale       bool // there is a first GRPCRoute, or no longer one
	deps        []resource.Key
	rejections  []rejection
	unmet       []unmet
	cluster     *model.Cluster
	endpoints   *model.EndpointSet // nil: resolved by name
	diagnostics []resource.Diagnostic
}

// replaceUses counts the routes that use each cluster.
func (t *translator) replaceUses(old, current *routeView) {
	if current != nil {
		for _, u := range current.uses {
			slot := t.clusters[u.cluster]
			if slot == nil {
				slot = &clusterSlot{use: u}
				if u.cluster == u.backend.cluster() {
					slot.gateway = resource.Key{} // of all gateways without backend defaults
				}
				t.clusters[u.cluster] = slot
				t.clusterSlots, t.reshaped = nil, true
			}
			slot.users++
			if u.calls {
				t.count(slot, 1)
			}
		}
	}
	for _, u := range old.uses {
		slot := t.clusters[u.cluster]
		if u.calls {
			t.count(slot, -1)
		}
		if slot.users--; slot.users == 0 {
			// buildClusters removes it, unless another route takes it up until then.
			t.clusterSlots, t.reshaped = nil, true
		}
	}
}

// count counts the GRPCRoutes that use a cluster, which speaks HTTP/2 for their sake.
func (t *translator) count(slot *clusterSlot, n int) {
	had := slot.grpcUsers > 0
	slot.grpcUsers += n
	if has := slot.grpcUsers > 0; had != has {
		slot.stale, t.clusterSlots, t.reshaped = true, nil, true
	}
}

// buildClusters builds the clusters and endpoint sets that are new, or whose objects have
// changed.
func (t *translator) buildClusters() {
	if t.clusterSlots != nil && !t.structural {
		return
	}
	if t.clusterSlots == nil {
		maps.DeleteFunc(t.clusters, func(_ string, slot *clusterSlot) bool { return slot.users == 0 })
		t.clusterSlots = make([]*clusterSlot, 0, len(t.clusters))
		for _, name := range slices.Sorted(maps.Keys(t.clusters)) {
			t.clusterSlots = append(t.clusterSlots, t.clusters[name])
		}
	}
	t.clusterList = make([]*model.Cluster, 0, len(t.clusterSlots))
	t.endpointList = make([]*model.EndpointSet, 0, len(t.clusterSlots))
	hashes := make([]byte, 0, 32*len(t.clusterSlots))
	endpointHashes := make([]byte, 0, 32*len(t.clusterSlots))
	for _, slot := range t.clusterSlots {
		if slot.cluster == nil || slot.stale || t.dirty.hasAny(slot.deps) {
			t.buildCluster(slot)
		}
		t.clusterList = append(t.clusterList, slot.cluster)
		hashes = append(hashes, slot.cluster.Hash...)
		if slot.endpoints != nil {
			t.endpointList = append(t.endpointList, slot.endpoints)
			endpointHashes = append(endpointHashes, slot.endpoints.Hash...)
		}
	}
	t.clustersHash, t.endpointsHash = hashBytes(hashes), hashBytes(endpointHashes)
}

func (t *translator) buildCluster(slot *clusterSlot) {
	key := slot.backend.object
	slot.deps = []resource.Key{key, policyKey(key)}
	cluster := &model.Cluster{Name: slot.name()}
	endpoints := &model.EndpointSet{Cluster: cluster.Name}
	gateway := t.gateways.views[slot.gateway]
	if gateway != nil {
		slot.deps = append(slot.deps, slot.gateway)
	}
	o := t.set.Get(key)
	r := reporter{object: o}
	portName := t.portName(slot.backend)
	if !slot.backend.untouched {
		cluster.TLS = t.upstreamTLS(key, portName, gateway, &cluster.Origins)
	}
	levels := []level[backendSide]{{side: t.policy(key, "").backend, policy: t.policy(key, ""), at: target{key, ""}}}
	switch v := o.Value.(type) {
	case *v1alpha1.Backend:
		cluster.Protocol, _, _ = backendProtocol(v, cluster.TLS != nil)
		if v.Spec.Protocol != nil {
			noteOrigin("protocol", originOf(o, "spec.protocol"), &cluster.Origins)
		}
		if v.Spec.ProxyProtocol != nil {
			cluster.ProxyProtocol = model.ProxyProtocol(*v.Spec.ProxyProtocol)
			noteOrigin("proxyProtocol", originOf(o, "spec.proxyProtocol"), &cluster.Origins)
		}
		if d := v.Spec.DNS; d != nil {
			cluster.DNS = &model.DNSName{Hostname: string(d.Hostname), Port: uint16(d.Port)}
			endpoints = nil
		} else {
			endpoints.Endpoints = backendEndpoints(v, &r)
		}
	case *corev1.Service:
		service := serviceName{key.Namespace, key.Name}
		slot.deps = append(slot.deps, slicesKey(service))
		port := servicePort(v, slot.backend)
		cluster.Protocol, _ = servicePortProtocol(port, cluster.TLS != nil)
		if slot.backend.udp {
			cluster.Protocol = model.ProtocolUDP
		}
		if port.Name != "" {
			named := t.policy(key, port.Name)
			levels = slices.Insert(levels, 0, level[backendSide]{side: named.backend, policy: named, at: target{key, port.Name}})
		}
		endpoints.Endpoints = sliceEndpoints(t.slices[service], port)
	}
	if slot.grpcUsers > 0 && cluster.TLS == nil {
		cluster.Protocol = cmp.Or(cluster.Protocol, model.ProtocolH2C)
	}
	side := t.backendAt(slot, gateway, levels, &r)
	fillBackend(cluster, side)
	fillHealthCheck(cluster, side.health, slot.backend.untouched)
	cluster.Hash = model.HashOf(cluster)
	if slot.cluster == nil || slot.cluster.Hash != cluster.Hash {
		slot.cluster = cluster
	}
	if endpoints != nil {
		endpoints.Hash = model.HashOf(endpoints)
		if slot.endpoints != nil && slot.endpoints.Hash == endpoints.Hash {
			endpoints = slot.endpoints
		}
	}
	slot.endpoints = endpoints
	slot.diagnostics, slot.stale = r.diagnostics, false
}

// name is the name of the slot's cluster, the gateway's scope included.
func (s *clusterSlot) name() string { return s.use.cluster }

// fillBackend gives a cluster its settings and their origins.
func fillBackend(c *model.Cluster, s backendSide) {
	c.ConnectTimeout = effective(s.connect, defaultConnect, "timeouts.connect", &c.Origins)
	c.KeepAlive = effective(s.keepAlive, defaultUpstreamKeepAlive, "timeouts.keepAlive", &c.Origins)
	fillBalancing(c, s)
	fillBreaker(c, s.breaker)
	fillOutlier(c, s.outlier)
	if s.budget != (budgetSide{}) {
		c.RetryBudget = s.budget.fill(&c.Origins)
	}
	c.Calls = effective(s.calls, nil, "calls", &c.Origins)
}

// backendEndpoints are the addresses of a Backend. Of one that is written twice the first
// counts.
func backendEndpoints(b *v1alpha1.Backend, r *reporter) []model.Endpoint {
	byAddress := map[netip.AddrPort]model.Endpoint{}
	for i, e := range b.Spec.Endpoints {
		field := fmt.Sprintf("spec.endpoints[%d]", i)
		addr, err := netip.ParseAddr(e.Address)
		if err != nil {
			r.error(RuleInvalidValue, field+".address", "%q is not an IP address", e.Address)
			continue
		}
		out := model.Endpoint{
			Address:  netip.AddrPortFrom(addr.Unmap(), uint16(e.Port)),
			Weight:   uint32(deref(e.Weight, 1)),
			Zone:     deref(e.Zone, ""),
			Priority: uint32(deref(e.Priority, 0)),
		}
		for name, value := range e.Labels {
			if out.Labels == nil {
				out.Labels = map[string]string{}
			}
			out.Labels[name] = string(value)
		}
		if _, twice := byAddress[out.Address]; twice {
			r.warn(RuleDuplicateAddress, field, "%v is there already; the first entry counts", out.Address)
			continue
		}
		byAddress[out.Address] = out
	}
	return sortedEndpoints(byAddress)
}

func sortedEndpoints(byAddress map[netip.AddrPort]model.Endpoint) []model.Endpoint {
	return slices.SortedFunc(maps.Values(byAddress), func(a, b model.Endpoint) int { return a.Address.Compare(b.Address) })
}

// sliceEndpoints are a service port's addresses in its EndpointSlices: those that are
// ready, or, if none is, those that still serve while they terminate, as kube-proxy does.
// Only if there is none of those either, it is the ones that are not ready, for a cluster
// that panics: pods that start are not ready, and beside ready ones they would look like the
// many dead hosts that make a cluster panic whenever a deployment grows.
func sliceEndpoints(list []*resource.Object, port *corev1.ServicePort) []model.Endpoint {
	var tiers [3]map[netip.AddrPort]model.Endpoint // ready, draining, unready
	for i := range tiers {
		tiers[i] = map[netip.AddrPort]model.Endpoint{}
	}
	for _, o := range list {
		slice, _ := o.Value.(*discoveryv1.EndpointSlice)
		if slice == nil || slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		number, ok := slicePort(slice, port)
		if !ok {
			continue
		}
		for _, e := range slice.Endpoints {
			tier, ok := tierOf(e.Conditions)
			if !ok {
				continue
			}
			for _, text := range e.Addresses {
				if addr, err := netip.ParseAddr(text); err == nil {
					out := model.Endpoint{Address: netip.AddrPortFrom(addr.Unmap(), number), Weight: 1, Zone: deref(e.Zone, ""), Unready: tier == unready}
					tiers[tier][out.Address] = out
				}
			}
		}
	}
	for _, t := range tiers {
		if len(t) > 0 {
			return sortedEndpoints(t)
		}
	}
	return nil
}

// The tiers of a slice's endpoints: one is for want of all before it.
const (
	ready = iota
	draining
	unready
)

// tierOf returns the tier of an endpoint; false: it is going and serves no more.
func tierOf(c discoveryv1.EndpointConditions) (int, bool) {
	switch terminating := deref(c.Terminating, false); {
	case deref(c.Ready, true):
		return ready, true
	case !terminating:
		return unready, true
	default:
		return draining, deref(c.Serving, false)
	}
}

// slicePort is the number at which a slice's endpoints serve a service's port: slices name
// ports as the service does and have resolved named target ports already.
func slicePort(slice *discoveryv1.EndpointSlice, port *corev1.ServicePort) (uint16, bool) {
	for _, p := range slice.Ports {
		if deref(p.Name, "") != port.Name || deref(p.Protocol, corev1.ProtocolTCP) != cmp.Or(port.Protocol, corev1.ProtocolTCP) {
			continue
		}
		if p.Port != nil {
			return uint16(*p.Port), true
		}
		// A slice without a number is for every port: the target's, if the service has one.
		if n := port.TargetPort.IntValue(); n > 0 {
			return uint16(n), true
		}
		return uint16(port.Port), true
	}
	return 0, false
}

// changedSlice moves an EndpointSlice to the service that its label names now.
func (t *translator) changedSlice(old, current *resource.Object) {
	if service, ok := serviceOf(old); ok {
		t.slices[service] = slices.DeleteFunc(t.slices[service], func(o *resource.Object) bool { return o.Key == old.Key })
		if len(t.slices[service]) == 0 {
			delete(t.slices, service)
		}
		t.dirty.mark(slicesKey(service))
	}
	if service, ok := serviceOf(current); ok {
		list := append(t.slices[service], current)
		slices.SortFunc(list, func(a, b *resource.Object) int { return a.Key.Compare(b.Key) })
		t.slices[service] = list
		t.dirty.mark(slicesKey(service))
	}
}

func serviceOf(o *resource.Object) (serviceName, bool) {
	if o == nil {
		return serviceName{}, false
	}
	slice, _ := o.Value.(*discoveryv1.EndpointSlice)
	if slice == nil || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return serviceName{}, false
	}
	return serviceName{o.Key.Namespace, slice.Labels[discoveryv1.LabelServiceName]}, true
}
