package translate

import (
	"errors"
	"slices"
	"strings"
	"syscall"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// WithClosed returns the statuses as they are when some of the snapshot's sockets could not
// be opened: closed says why, by model.Listener.Name. Translation cannot know this, because
// it is pure; whoever applies the snapshot does. Without closed sockets the statuses are
// those of o; they are never changed in place.
func (o Output) WithClosed(closed map[string]error) []Status {
	if len(closed) == 0 {
		return o.Statuses
	}
	reasons := map[resource.Key]map[string]error{} // by gateway and listener
	for _, l := range o.Snapshot.Listeners {
		if closed[l.Name] == nil {
			continue
		}
		for _, b := range l.Tables {
			path := strings.SplitN(b.Table, "/", 3) // namespace/gateway/listener
			key := resource.Key{Group: groupGateway, Kind: kindGateway, Namespace: path[0], Name: path[1]}
			if reasons[key] == nil {
				reasons[key] = map[string]error{}
			}
			reasons[key][path[2]] = closed[l.Name]
		}
	}
	statuses := slices.Clone(o.Statuses)
	for i := range statuses {
		if status, ok := statuses[i].Value.(gatewayv1.GatewayStatus); ok && reasons[statuses[i].Key] != nil {
			statuses[i].Value = closedStatus(status, reasons[statuses[i].Key])
		}
	}
	return statuses
}

// closedStatus is a gateway's status when some of its listeners are not open.
func closedStatus(status gatewayv1.GatewayStatus, closed map[string]error) gatewayv1.GatewayStatus {
	status.Conditions = slices.Clone(status.Conditions)
	status.Listeners = slices.Clone(status.Listeners)
	open, unusable := 0, false
	var texts []string
	for i := range status.Listeners {
		l := &status.Listeners[i]
		err := closed[string(l.Name)]
		if err == nil {
			if holds(l.Conditions, string(gatewayv1.ListenerConditionProgrammed)) {
				open++
			}
			continue
		}
		texts = append(texts, string(l.Name)+": "+err.Error())
		unusable = unusable || errors.Is(err, syscall.EADDRNOTAVAIL)
		l.Conditions = slices.Clone(l.Conditions)
		replace(l.Conditions, string(gatewayv1.ListenerConditionAccepted), string(gatewayv1.ListenerReasonPortUnavailable), err.Error())
		replace(l.Conditions, string(gatewayv1.ListenerConditionProgrammed), string(gatewayv1.ListenerReasonInvalid), err.Error())
	}
	if open > 0 {
		return status
	}
	reason := gatewayv1.GatewayReasonInvalid
	if unusable {
		reason = gatewayv1.GatewayReasonAddressNotUsable
	}
	replace(status.Conditions, string(gatewayv1.GatewayConditionProgrammed), string(reason), strings.Join(texts, "; "))
	status.Addresses = nil
	return status
}

func holds(conditions []metav1.Condition, kind string) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool { return c.Type == kind && c.Status == metav1.ConditionTrue })
}

// replace makes the condition of a type false, for a reason.
func replace(conditions []metav1.Condition, kind, reason, message string) {
	for i := range conditions {
		if c := &conditions[i]; c.Type == kind {
			c.Status, c.Reason, c.Message = metav1.ConditionFalse, reason, message
		}
	}
}
