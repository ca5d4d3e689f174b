// Package v1alpha1 holds the kinds of group weir.dev: what the Gateway API does not say.
// Their doc comments are the descriptions of the CRDs and of the reference pages, and
// their markers are the whole of the schema. Only what this version does is here: a field
// that the design names but that nothing executes yet is an unknown field.
//
// +groupName=weir.dev
// +versionName=v1alpha1
package v1alpha1

// Group and Version name the API in manifests: weir.dev/v1alpha1.
const (
	Group   = "weir.dev"
	Version = "v1alpha1"
)

// Kinds of this group.
const (
	KindBackend               = "Backend"
	KindTrafficPolicy         = "TrafficPolicy"
	KindRollout               = "Rollout"
	KindShadow                = "Shadow"
	KindFaultPolicy           = "FaultPolicy"
	KindServiceLevelObjective = "ServiceLevelObjective"
)

// Kinds of this group of which this version knows only that they restrict what they are
// attached to.
const (
	KindAccessPolicy    = "AccessPolicy"
	KindRateLimitPolicy = "RateLimitPolicy"
	KindRouteCondition  = "RouteCondition"
)
