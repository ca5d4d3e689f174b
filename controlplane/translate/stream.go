package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// streamStage is what stream routes and listeners add up to.
type streamStage struct {
	bound map[string]boundSocket // by name
	// beaten are the routes that lose connections, or all of them, to others.
	beaten      map[*routeSlot]*defeats
	diagnostics []resource.Diagnostic
}

// boundSocket is a socket without and with its streams.
type boundSocket struct{ without, with *model.Listener }

// bind returns the socket with streams: the same as before if nothing has changed.
func (b boundSocket) bind(socket *model.Listener, streams []model.StreamBinding) boundSocket {
	if b.without == socket && slices.Equal(b.with.Streams, streams) {
		return b
	}
	with := *socket
	with.Streams, with.Hash = streams, ""
	with.Hash = model.HashOf(&with)
	if b.with != nil && b.with.Hash == with.Hash {
		return boundSocket{socket, b.with}
	}
	return boundSocket{socket, &with}
}

// defeat is what a route loses at a listener, in words.
type defeat struct {
	listener *listenerView
	text     string
}

// defeats are all that a route loses.
type defeats struct {
	list []defeat
	seen map[defeat]struct{}
}

// maxDefeats is how many of them are told one by one.
const maxDefeats = 5

// streamClaim is a stream route at a listener.
type streamClaim struct {
	slot *routeSlot
	*attachment
}

// bindStreams gives the sockets their stream routes: to each hostname of a listener the oldest
// route that has it. It returns the sockets, those that have not changed as they were, and all
// routes that are attached, in the order of names.
func (t *translator) bindStreams() ([]*model.Listener, []*model.StreamRoute) {
	claims := t.streamClaims()
	kept := t.streams.bound
	t.streams = streamStage{bound: map[string]boundSocket{}, beaten: map[*routeSlot]*defeats{}}
	listeners := make([]*model.Listener, 0, len(t.gateways.sockets))
	for _, v := range t.gateways.sockets {
		if !slices.ContainsFunc(v.listeners, (*listenerView).streams) {
			listeners = append(listeners, v.socket)
			continue
		}
		bound := kept[v.socket.Name].bind(v.socket, t.bindingsOf(v, claims))
		t.streams.bound[v.socket.Name] = bound
		listeners = append(listeners, bound.with)
	}
	t.reportBeaten()
	attached := map[string]*model.StreamRoute{}
	for _, list := range claims {
		for _, c := range list {
			attached[c.stream.Name] = c.stream
		}
	}
	streams := make([]*model.StreamRoute, 0, len(attached))
	for _, name := range slices.Sorted(maps.Keys(attached)) {
		streams = append(streams, attached[name])
	}
	return listeners, streams
}

// streamClaims are the stream routes at each listener, in the order of rank.
func (t *translator) streamClaims() map[string][]streamClaim {
	claims := map[string][]streamClaim{}
	for _, slot := range t.rankedRoutes() {
		if !slot.kind.stream {
			continue
		}
		for i := range slot.view.attachments {
			if a := &slot.view.attachments[i]; a.stream != nil {
				claims[a.table] = append(claims[a.table], streamClaim{slot, a})
			}
		}
	}
	return claims
}

// bindingsOf are the bindings of a socket's stream listeners. A listener has all connections
// for names that its hostname covers and no more specific one of the socket does: a route of
// another listener gets none of them, and those that none of its own routes has are closed.
func (t *translator) bindingsOf(v *socketView, claims map[string][]streamClaim) []model.StreamBinding {
	byHostname := make(map[string]*listenerView, len(v.listeners))
	for _, l := range v.listeners {
		byHostname[l.hostname] = l
	}
	var bindings []model.StreamBinding
	for _, l := range v.listeners {
		if !l.streams() {
			continue
		}
		binding := model.StreamBinding{Terminate: l.spec.Protocol == gatewayv1.TLSProtocolType && !l.passthrough(), Listener: l.name}
		winners := map[string]*routeSlot{}
		for _, c := range claims[l.name] {
			for _, h := range c.hostnamesAt(l) {
				if winner := winners[h]; winner != nil {
					t.streams.beat(c.slot, l, "%s is taken by %v, which is older or comes first by name", placeText(l, h), winner.key())
					continue
				}
				if owner := ownerOf(byHostname, h); owner != l {
					t.streams.beat(c.slot, l, "%s belongs to listener %s, which is closer to it", placeText(l, h), owner.name)
					continue
				}
				winners[h] = c.slot
				binding.Hostname, binding.Route = h, c.stream.Name
				bindings = append(bindings, binding)
			}
		}
		if winners[l.hostname] == nil {
			binding.Hostname, binding.Route = l.hostname, ""
			bindings = append(bindings, binding)
		}
	}
	slices.SortFunc(bindings, func(a, b model.StreamBinding) int { return compareHostnames(a.Hostname, b.Hostname) })
	return bindings
}

// hostnamesAt are the hostnames that a route has at a listener.
func (c streamClaim) hostnamesAt(l *listenerView) []string {
	if len(c.hostnames) == 0 {
		return []string{l.hostname}
	}
	return c.hostnames
}

// ownerOf is the listener whose hostname is the most specific that covers another.
func ownerOf(byHostname map[string]*listenerView, hostname string) *listenerView {
	if l := byHostname[hostname]; l != nil {
		return l
	}
	for wider := range widerHostnames(hostname) {
		if l := byHostname[wider]; l != nil {
			return l
		}
	}
	return nil
}

func placeText(l *listenerView, hostname string) string {
	if hostname == "" {
		return "listener " + l.name
	}
	return fmt.Sprintf("hostname %s at listener %s", hostname, l.name)
}

// beat notes that a route does not get what it attaches to. A listener on several sockets is
// worth one word.
func (s *streamStage) beat(slot *routeSlot, l *listenerView, format string, args ...any) {
	all := s.beaten[slot]
	if all == nil {
		all = &defeats{seen: map[defeat]struct{}{}}
		s.beaten[slot] = all
	}
	d := defeat{l, fmt.Sprintf(format, args...)}
	if _, known := all.seen[d]; !known {
		all.seen[d] = struct{}{}
		all.list = append(all.list, d)
	}
}

func (t *translator) reportBeaten() {
	for slot, all := range t.streams.beaten {
		r := reporter{object: slot.object}
		for _, text := range someTexts(all.list, func(defeat) bool { return true }) {
			r.warn(RuleShadowedStream, "spec.parentRefs", "%s", text)
		}
		t.streams.diagnostics = append(t.streams.diagnostics, r.diagnostics...)
	}
}

// someTexts are the first of those defeats that count, and how many more there are.
func someTexts(list []defeat, counts func(defeat) bool) []string {
	var texts []string
	more := 0
	for _, d := range list {
		switch {
		case !counts(d):
		case len(texts) < maxDefeats:
			texts = append(texts, d.text)
		default:
			more++
		}
	}
	if more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more hostnames or listeners", more))
	}
	return texts
}

// reword returns a route's status. One that other routes beat is accepted all the same, as
// upstream has it: only the message can tell.
func (s *streamStage) reword(slot *routeSlot) any {
	all := s.beaten[slot]
	if all == nil {
		return slot.view.status
	}
	status, _ := RouteStatus(slot.view.status)
	status.Parents = slices.Clone(status.Parents)
	for i := range status.Parents {
		p := &status.Parents[i]
		p.Conditions = slices.Clone(p.Conditions)
		for j, c := range p.Conditions {
			if c.Type == string(gatewayv1.RouteConditionAccepted) && c.Status == metav1.ConditionTrue {
				p.Conditions[j] = condition(gatewayv1.RouteConditionAccepted, true, gatewayv1.RouteReasonAccepted, withDefeats(c.Message, all.list, p.ParentRef, slot.key()), c.ObservedGeneration)
			}
		}
	}
	return slot.kind.status(status)
}

// withDefeats adds to a message what a route has lost at the listeners that its parentRef names.
func withDefeats(message string, list []defeat, ref gatewayv1.ParentReference, route resource.Key) string {
	var texts []string
	if message != "" {
		texts = append(texts, message)
	}
	own := func(d defeat) bool {
		owner := d.listener.owner()
		return owner.Kind == string(deref(ref.Kind, kindGateway)) && owner.Name == string(ref.Name) &&
			owner.Namespace == string(deref(ref.Namespace, gatewayv1.Namespace(route.Namespace))) && d.listener.selectedBy(ref)
	}
	return strings.Join(append(texts, someTexts(list, own)...), "; ")
}
