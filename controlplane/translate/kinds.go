package translate

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// Groups and kinds that references name.
const (
	groupCore      = ""
	groupDiscovery = "discovery.k8s.io"
	groupGateway   = "gateway.networking.k8s.io"
	groupWeir      = v1alpha1.Group

	kindBackend          = v1alpha1.KindBackend
	kindBackendTLSPolicy = "BackendTLSPolicy"
	kindConfigMap        = "ConfigMap"
	kindEndpointSlice    = "EndpointSlice"
	kindGateway          = "Gateway"
	kindGatewayClass     = "GatewayClass"
	kindGRPCRoute        = "GRPCRoute"
	kindHTTPRoute        = "HTTPRoute"
	kindListenerSet      = "ListenerSet"
	kindNamespace        = "Namespace"
	kindReferenceGrant   = "ReferenceGrant"
	kindSecret           = "Secret"
	kindService          = "Service"
	kindTCPRoute         = "TCPRoute"
	kindTLSRoute         = "TLSRoute"
	kindTrafficPolicy    = v1alpha1.KindTrafficPolicy
	kindUDPRoute         = "UDPRoute"
)

func isKind(k resource.Key, group, kind string) bool { return k.Kind == kind && k.Group == group }

// objectsOf returns the objects of one kind in the order of keys, those that never had an
// accepted version included.
func (m *Memo) objectsOf(group, kind string) []*resource.Object { return m.byKind[group+"/"+kind] }

// valueOf returns the accepted version of an object, nil if there is none.
func valueOf[T any](s *resource.Set, k resource.Key) (*resource.Object, *T) {
	o := s.Get(k)
	if o == nil {
		return nil, nil
	}
	v, _ := o.Value.(*T)
	return o, v
}

// createdAt is an object's age; files have none.
func createdAt(o *resource.Object) time.Time {
	if m, ok := o.Value.(metav1.Object); ok {
		return m.GetCreationTimestamp().Time
	}
	return time.Time{}
}

func generationOf(o *resource.Object) int64 {
	if m, ok := o.Value.(metav1.Object); ok {
		return m.GetGeneration()
	}
	return 0
}

// originOf says where a field of an object was written.
func originOf(o *resource.Object, path string) model.Origin {
	at := o.Position(path)
	name := o.Key.Kind
	if o.Key.Namespace != "" {
		name += "/" + o.Key.Namespace
	}
	return model.Origin{Object: name + "/" + o.Key.Name, File: at.File, Line: at.Line, Column: at.Column}
}

// deref returns what p points to, or fallback.
func deref[T any](p *T, fallback T) T {
	if p == nil {
		return fallback
	}
	return *p
}
