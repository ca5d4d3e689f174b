package translate

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// judged is a policy with its targets and the words for what became of them.
type judged struct {
	object     *resource.Object
	targets    []targetView
	conditions func([]targetView) []metav1.Condition // of targets below one ancestor
}

// statusesOf are the statuses of policies, gateway by gateway.
func (t *translator) statusesOf(policies []judged) []Status {
	if len(policies) == 0 {
		return nil
	}
	var targets []targetView
	for _, p := range policies {
		targets = append(targets, p.targets...)
	}
	users := t.usersOf(targets)
	statuses := make([]Status, 0, len(policies))
	for _, p := range policies {
		statuses = append(statuses, t.statusOfPolicy(p.object, p.targets, users, p.conditions))
	}
	return statuses
}

// closureStatuses are those of the policies of closing kinds: none is ever accepted.
func (t *translator) closureStatuses() []Status {
	policies := make([]judged, 0, len(t.closures.views))
	for _, v := range t.closures.views {
		policies = append(policies, judged{v.object, v.targets, v.conditions})
	}
	return t.statusesOf(policies)
}

// conditions words what became of a policy's targets below one ancestor.
func (v *closingView) conditions(targets []targetView) []metav1.Condition {
	var messages []string
	for _, at := range targets {
		messages = append(messages, at.message)
	}
	generation, text := generationOf(v.object), strings.Join(messages, "; ")
	if retained := retainedText(v.object); retained != "" && v.object.Value != nil {
		text += "; " + retained
	}
	return []metav1.Condition{condition(gatewayv1.PolicyConditionAccepted, false, targets[0].reason, text, generation)}
}

// widestText says of a policy that is unreadable what it closes, empty of any other.
func (s *closureStage) widestText(o *resource.Object) string {
	i := slices.IndexFunc(s.views, func(v *closingView) bool { return v.object == o })
	if i < 0 || !s.views[i].unreadable() {
		return ""
	}
	return fmt.Sprintf("; until its targets can be read, every %s of its namespace is closed", closableText)
}

// usersOf are the gateways of the routes that refer to each backend among targets, be it
// closed or not: an arm that is closed uses nothing.
func (t *translator) usersOf(targets []targetView) map[resource.Key][]resource.Key {
	users := map[resource.Key][]resource.Key{}
	for _, at := range targets {
		if at.object.Kind == kindService || at.object.Kind == kindBackend {
			users[at.object] = nil
		}
	}
	for _, slot := range t.routeSlots {
		for object := range users {
			if slices.Contains(slot.view.deps, policyKey(object)) {
				users[object] = appendMissing(users[object], slot.view.gateways...)
			}
		}
	}
	return users
}

// closedText says that a listener is closed, for its status; empty: it is not.
func (l *listenerView) closedText() string {
	if l.closed == nil {
		return ""
	}
	if l.streams() {
		return "nothing gets through: " + l.closed.reason()
	}
	return fmt.Sprintf("every request is answered with %d: %s", l.closed.kind.status, l.closed.reason())
}
