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
	shut := o.shutBy(closed)
	statuses := slices.Clone(o.Statuses)
	for i := range statuses {
		s := shut[statuses[i].Key]
		if s == nil || len(s.reasons) == 0 {
			continue
		}
		switch status := statuses[i].Value.(type) {
		case gatewayv1.GatewayStatus:
			statuses[i].Value = s.gateway(status)
		case gatewayv1.ListenerSetStatus:
			statuses[i].Value = s.listenerSet(status)
		}
	}
	return statuses
}

// shutting is what is not open of a Gateway or ListenerSet.
type shutting struct {
	reasons map[string]error // by listener
	open    map[string]bool  // by address: whether any socket there is open
}

func (o Output) shutBy(closed map[string]error) map[resource.Key]*shutting {
	all := map[resource.Key]*shutting{}
	for _, l := range o.Snapshot.Listeners {
		err, at := closed[l.Name], l.Address.Addr().String()
		for _, name := range ListenersOf(l) {
			owner, listener := TableOwner(name)
			s := all[owner]
			if s == nil {
				s = &shutting{reasons: map[string]error{}, open: map[string]bool{}}
				all[owner] = s
			}
			s.open[at] = s.open[at] || err == nil
			if err != nil && s.reasons[listener] == nil {
				s.reasons[listener] = err
			}
		}
	}
	return all
}

// gateway is a gateway's status when some of its listeners are not open on all of its
// addresses.
func (s *shutting) gateway(status gatewayv1.GatewayStatus) gatewayv1.GatewayStatus {
	status.Conditions, status.Listeners = slices.Clone(status.Conditions), slices.Clone(status.Listeners)
	open := false
	for i := range status.Listeners {
		l := &status.Listeners[i]
		l.Conditions = s.listener(string(l.Name), l.Conditions, string(gatewayv1.ListenerReasonInvalid))
		open = open || holds(l.Conditions, string(gatewayv1.ListenerConditionProgrammed))
	}
	if open {
		return status
	}
	reason, text := gatewayv1.GatewayReasonInvalid, s.text()
	if s.unusable() {
		reason = gatewayv1.GatewayReasonAddressNotUsable
	}
	replace(status.Conditions, string(gatewayv1.GatewayConditionProgrammed), string(reason), text)
	bound := slices.DeleteFunc(slices.Clone(status.Addresses), func(a gatewayv1.GatewayStatusAddress) bool {
		open, known := s.open[a.Value]
		return known && !open
	})
	if !s.any() { // the addresses that [::] stands for are not known here by name
		bound = nil
	}
	status.Addresses = bound
	return status
}

// listenerSet is a set's status when some of its listeners are not open.
func (s *shutting) listenerSet(status gatewayv1.ListenerSetStatus) gatewayv1.ListenerSetStatus {
	status.Conditions, status.Listeners = slices.Clone(status.Conditions), slices.Clone(status.Listeners)
	open := false
	for i := range status.Listeners {
		l := &status.Listeners[i]
		l.Conditions = s.listener(string(l.Name), l.Conditions, string(gatewayv1.ListenerEntryReasonPortUnavailable))
		open = open || holds(l.Conditions, string(gatewayv1.ListenerEntryConditionProgrammed))
	}
	if !open {
		replace(status.Conditions, string(gatewayv1.ListenerSetConditionProgrammed), string(gatewayv1.ListenerEntryReasonPortUnavailable), s.text())
	}
	return status
}

// listener returns a listener's conditions when it is not open, and the same when it is.
func (s *shutting) listener(name string, conditions []metav1.Condition, programmed string) []metav1.Condition {
	err := s.reasons[name]
	if err == nil {
		return conditions
	}
	conditions = slices.Clone(conditions)
	replace(conditions, string(gatewayv1.ListenerConditionAccepted), string(gatewayv1.ListenerReasonPortUnavailable), err.Error())
	replace(conditions, string(gatewayv1.ListenerConditionProgrammed), programmed, err.Error())
	return conditions
}

func (s *shutting) any() bool {
	for _, open := range s.open {
		if open {
			return true
		}
	}
	return false
}

// unusable reports whether the machine lacks an address that is asked for.
func (s *shutting) unusable() bool {
	for _, err := range s.reasons {
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			return true
		}
	}
	return false
}

func (s *shutting) text() string {
	texts := make([]string, 0, len(s.reasons))
	for name, err := range s.reasons {
		texts = append(texts, name+": "+err.Error())
	}
	slices.Sort(texts)
	return strings.Join(texts, "; ")
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
