package translate

import (
	"fmt"
	"slices"
	"strings"

	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// readCalls reads what a backend calls itself, as the names of clusters without the scope of a
// gateway, whether or not a route has made them.
func (r *policyReader) readCalls(list []v1alpha1.Call) {
	names := make([]string, 0, len(list))
	for _, c := range list {
		ref := backendRef{object: BackendKey(r.object.Key.Namespace, c.BackendRef)}
		if c.BackendRef.Port != nil && ref.object.Kind == kindService { // as in routes
			ref.port = int32(*c.BackendRef.Port)
		}
		names = append(names, ref.cluster())
	}
	slices.Sort(names)
	r.into.backend.calls = set(r, "calls", sideBackend, slices.Compact(names))
}

// readIdentities reads SPIFFE ids.
func (r *policyReader) readIdentities(list []v1alpha1.SPIFFEID) []string {
	ids := make([]string, 0, len(list))
	for i, id := range list {
		_, path, _ := strings.Cut(strings.TrimPrefix(string(id), "spiffe://"), "/")
		for _, segment := range strings.Split(path, "/") {
			if segment == "" || segment == "." || segment == ".." {
				r.error(RuleInvalidValue, fmt.Sprintf("client.trust.identities[%d]", i), "%q is not a SPIFFE id such as spiffe://prod/ns/shop/sa/cart: no part of its path is empty, . or ..", id)
				break
			}
		}
		ids = append(ids, string(id))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
