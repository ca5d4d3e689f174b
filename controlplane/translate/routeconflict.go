package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// RouteReasonConflict is our reason, with the condition Accepted, for a route whose hostnames
// a route of another kind has.
const RouteReasonConflict gatewayv1.RouteConditionReason = "HostnameConflict"

// settleRoutes decides between HTTPRoutes and GRPCRoutes that want one hostname on a listener:
// Gateway API gives it to the oldest route, then to the first by namespace/name, and nothing
// on that listener to the other one. A route that is wrong keeps what it has, or an error in
// it would hand its hostnames over.
func (t *translator) settleRoutes() {
	if !t.claimsChanged() {
		return
	}
	lost := t.lostRoutes()
	t.losers = len(lost)
	for _, slot := range t.routeSlots {
		if now := lost[slot]; !maps.Equal(slot.lost, now) {
			slot.lost = now
			t.replaceRoute(slot)
			t.reshaped = true
		}
	}
}

// claimsChanged tells whether any route may have won or lost a hostname.
func (t *translator) claimsChanged() bool {
	if len(t.objectsOf(groupGateway, kindGRPCRoute)) == 0 && t.losers == 0 {
		return false
	}
	return t.structural || t.relisted || slices.ContainsFunc(t.replaced, func(r replacement) bool {
		return !slices.EqualFunc(r.before.attachments, r.slot.view.attachments, func(a, b attachment) bool {
			return a.table == b.table && slices.Equal(a.hostnames, b.hostnames)
		})
	})
}

// lostRoutes returns the tables that routes do not get, with the reason. HTTPRoutes that no
// GRPCRoute has a hostname in common with are not looked at any further: they are nearly all.
func (t *translator) lostRoutes() map[*routeSlot]map[string]string {
	calls := map[string]*hostnameClaims{} // what GRPCRoutes want, by table
	for _, slot := range t.routeSlots {
		if slot.kind.name == kindGRPCRoute {
			for _, a := range slot.view.attachments {
				claimsAt(calls, a.table).add(a.hostnames, slot)
			}
		}
	}
	taken := map[string]map[string]*hostnameClaims{kindGRPCRoute: {}, kindHTTPRoute: {}} // by kind and table
	other := map[string]string{kindGRPCRoute: kindHTTPRoute, kindHTTPRoute: kindGRPCRoute}
	lost := map[*routeSlot]map[string]string{}
	for _, slot := range t.rankedRoutes() {
		own, rivals := taken[slot.kind.name], taken[other[slot.kind.name]]
		for _, a := range slot.view.attachments {
			if own == nil || calls[a.table] == nil || calls[a.table].find(a.hostnames) == nil {
				continue
			}
			winner := claimsAt(rivals, a.table).find(a.hostnames)
			if winner == nil {
				claimsAt(own, a.table).add(a.hostnames, slot)
				continue
			}
			if lost[slot] == nil {
				lost[slot] = map[string]string{}
			}
			lost[slot][a.table] = fmt.Sprintf("%v has a hostname of this route there, and %s; HTTPRoutes and GRPCRoutes need different hostnames", winner.key(), precedenceText(winner, slot))
		}
	}
	return lost
}

func claimsAt(claims map[string]*hostnameClaims, table string) *hostnameClaims {
	if claims[table] == nil {
		claims[table] = &hostnameClaims{}
	}
	return claims[table]
}

// precedenceText says why a route goes before another.
func precedenceText(winner, loser *routeSlot) string {
	switch {
	case !winner.created.Equal(loser.created):
		return "is older"
	case winner.name != loser.name:
		return "comes first by namespace and name"
	}
	return "comes first by kind"
}

// hostnameClaims are the hostnames that routes of one kind have on a listener, each with the
// first route that has it.
type hostnameClaims struct {
	first *routeSlot            // of any hostname
	names map[string]*routeSlot // as routes have them; "" is every host
	below map[string]*routeSlot // by the wildcards that cover them
}

// everyHostname stands for no hostname in particular.
var everyHostname = []string{""}

func (c *hostnameClaims) add(hostnames []string, slot *routeSlot) {
	if c.first == nil {
		c.first, c.names, c.below = slot, map[string]*routeSlot{}, map[string]*routeSlot{}
	}
	if len(hostnames) == 0 {
		hostnames = everyHostname
	}
	claim := func(m map[string]*routeSlot, name string) {
		if m[name] == nil {
			m[name] = slot
		}
	}
	for _, h := range hostnames {
		claim(c.names, h)
		for w := wider(h); w != ""; w = wider(w) {
			claim(c.below, w)
		}
	}
}

// find returns a route that has a hostname in common with these; nil if there is none.
func (c *hostnameClaims) find(hostnames []string) *routeSlot {
	if c.first == nil || len(hostnames) == 0 {
		return c.first
	}
	for _, h := range hostnames {
		for _, at := range []*routeSlot{c.names[h], c.below[h], c.names[""]} {
			if at != nil {
				return at
			}
		}
		for w := wider(h); w != ""; w = wider(w) {
			if at := c.names[w]; at != nil {
				return at
			}
		}
	}
	return nil
}

// wider returns the next wildcard that covers a hostname: *.b.c for a.b.c and for *.a.b.c;
// empty if there is none.
func wider(hostname string) string {
	_, parent, more := strings.Cut(strings.TrimPrefix(hostname, "*."), ".")
	if !more {
		return ""
	}
	return "*." + parent
}
