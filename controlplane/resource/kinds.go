package resource

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// kind is one kind of object that Weir reads.
type kind struct {
	group, name string
	versions    []string // served ones, the preferred first
	namespaced  bool
	validName   apivalidation.ValidateNameFunc
	empty       func() metav1.Object
	schema      *schema

	// protects: what it is attached to must not be served without it, so that is read even of
	// an object that is refused.
	protects bool

	// complete fills in the defaults of a core kind and reports what a cluster would refuse
	// beyond the types, or what a policy says against itself. nil: the schema says everything.
	complete func(v metav1.Object, report reportFunc)

	// precheck reports what would stop a core kind from decoding at all. nil: nothing.
	precheck func(object map[string]any, report reportFunc)
}

// reportFunc receives one problem of the object at hand.
type reportFunc func(path, message string)

// kinds are all that are decoded. The place of a kind means nothing.
var kinds = []*kind{
	{
		group: gatewayv1.GroupName, name: "GatewayClass", versions: []string{"v1", "v1beta1"},
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(gatewayv1.GatewayClass) },
		schema:    fromCRD("gateway.networking.k8s.io_gatewayclasses.json"),
	},
	{
		group: gatewayv1.GroupName, name: "Gateway", versions: []string{"v1", "v1beta1"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(gatewayv1.Gateway) },
		schema:    fromCRD("gateway.networking.k8s.io_gateways.json"),
	},
	{
		group: gatewayv1.GroupName, name: "ListenerSet", versions: []string{"v1"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(gatewayv1.ListenerSet) },
		schema:    fromCRD("gateway.networking.k8s.io_listenersets.json"),
	},
	{
		group: gatewayv1.GroupName, name: "HTTPRoute", versions: []string{"v1", "v1beta1"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(gatewayv1.HTTPRoute) },
		schema:    fromCRD("gateway.networking.k8s.io_httproutes.json"),
	},
	{
		group: gatewayv1.GroupName, name: "GRPCRoute", versions: []string{"v1"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(gatewayv1.GRPCRoute) },
		schema:    fromCRD("gateway.networking.k8s.io_grpcroutes.json"),
	},
	{
		group: gatewayv1.GroupName, name: "TLSRoute", versions: []string{"v1", "v1alpha2", "v1alpha3"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(gatewayv1.TLSRoute) },
		schema:    fromCRD("gateway.networking.k8s.io_tlsroutes.json"),
	},
	{
		group: gatewayv1.GroupName, name: "TCPRoute", versions: []string{"v1", "v1alpha2"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(gatewayv1.TCPRoute) },
		schema:    fromCRD("gateway.networking.k8s.io_tcproutes.json"),
	},
	{
		group: gatewayv1.GroupName, name: "UDPRoute", versions: []string{"v1", "v1alpha2"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(gatewayv1.UDPRoute) },
		schema:    fromCRD("gateway.networking.k8s.io_udproutes.json"),
	},
	{
		group: gatewayv1.GroupName, name: "ReferenceGrant", versions: []string{"v1", "v1beta1"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(gatewayv1.ReferenceGrant) },
		schema:    fromCRD("gateway.networking.k8s.io_referencegrants.json"),
	},
	{
		group: gatewayv1.GroupName, name: "BackendTLSPolicy", versions: []string{"v1", "v1alpha3"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(gatewayv1.BackendTLSPolicy) },
		schema:    fromCRD("gateway.networking.k8s.io_backendtlspolicies.json"), protects: true,
	},
	{
		group: v1alpha1.Group, name: v1alpha1.KindBackend, versions: []string{v1alpha1.Version}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(v1alpha1.Backend) },
		schema:    fromCRD("weir.dev_backends.json"),
	},
	{
		group: v1alpha1.Group, name: v1alpha1.KindTrafficPolicy, versions: []string{v1alpha1.Version}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(v1alpha1.TrafficPolicy) },
		schema:    fromCRD("weir.dev_trafficpolicies.json"), complete: checkTrafficPolicy,
	},
	{
		group: v1alpha1.Group, name: v1alpha1.KindRollout, versions: []string{v1alpha1.Version}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(v1alpha1.Rollout) },
		schema:    fromCRD("weir.dev_rollouts.json"), complete: checkRollout,
	},
	{
		group: v1alpha1.Group, name: v1alpha1.KindShadow, versions: []string{v1alpha1.Version}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(v1alpha1.Shadow) },
		schema:    fromCRD("weir.dev_shadows.json"), complete: checkShadow,
	},
	{
		group: v1alpha1.Group, name: v1alpha1.KindFaultPolicy, versions: []string{v1alpha1.Version}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(v1alpha1.FaultPolicy) },
		schema:    fromCRD("weir.dev_faultpolicies.json"), complete: checkFaultPolicy,
	},
	{
		group: v1alpha1.Group, name: v1alpha1.KindServiceLevelObjective, versions: []string{v1alpha1.Version}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(v1alpha1.ServiceLevelObjective) },
		schema:    fromCRD("weir.dev_servicelevelobjectives.json"), complete: checkObjective,
	},
	restriction(v1alpha1.KindAccessPolicy),
	restriction(v1alpha1.KindRateLimitPolicy),
	restriction(v1alpha1.KindRouteCondition),
	{
		name: "Service", versions: []string{"v1"}, namespaced: true,
		validName: apivalidation.NameIsDNSLabel,
		empty:     func() metav1.Object { return new(corev1.Service) },
		schema:    fromGo[corev1.Service](), complete: completeService,
	},
	{
		group: discoveryv1.GroupName, name: "EndpointSlice", versions: []string{"v1"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(discoveryv1.EndpointSlice) },
		schema:    fromGo[discoveryv1.EndpointSlice](), complete: completeEndpointSlice,
	},
	{
		name: "Secret", versions: []string{"v1"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(corev1.Secret) },
		schema:    fromGo[corev1.Secret](), complete: completeSecret, precheck: checkSecretText,
	},
	{
		name: "ConfigMap", versions: []string{"v1"}, namespaced: true,
		validName: apivalidation.NameIsDNSSubdomain,
		empty:     func() metav1.Object { return new(corev1.ConfigMap) },
		schema:    fromGo[corev1.ConfigMap](), complete: completeConfigMap, precheck: checkConfigMapText,
	},
	{
		name: "Namespace", versions: []string{"v1"},
		validName: apivalidation.NameIsDNSLabel,
		empty:     func() metav1.Object { return new(corev1.Namespace) },
		schema:    fromGo[corev1.Namespace](), complete: completeNamespace,
	},
}

// planned are kinds of our two groups that exist but are not served yet. None of them
// restricts what is served: those that do are read, so that what they are attached to can be
// closed.
var (
	planned = map[string][]string{
		gatewayv1.GroupName: {},
		v1alpha1.Group: {
			"EdgeFunction", "GlobalService", "Ownership", "Telemetry", "Autopilot", "Scaler", "Certificate",
		},
	}
	skipped = []string{"Drill", "Scenario", "RouteTest"} // of group weir.dev; other commands read them
)

// kindOf returns the kind with the given name, nil if it is not served.
func kindOf(group, name string) *kind {
	i := slices.IndexFunc(kinds, func(k *kind) bool { return k.group == group && k.name == name })
	if i < 0 {
		return nil
	}
	return kinds[i]
}

// apiVersion returns group and version as manifests write them.
func apiVersion(group, version string) string {
	if group == "" {
		return version
	}
	return group + "/" + version
}
