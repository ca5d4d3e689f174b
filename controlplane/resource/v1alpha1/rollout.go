package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Rollout says how a new version earns its traffic: of what a rule sends to stable and canary,
// the canary gets a share that grows from stage to stage while nothing speaks against it, and
// nothing at once when something does. The rule itself is never rewritten.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=weir,scope=Namespaced,singular=rollout,path=rollouts
// +kubebuilder:metadata:labels="gateway.networking.k8s.io/policy=Direct"
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.spec.revision`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Rollout struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is released where, and how.
	// +required
	Spec RolloutSpec `json:"spec"`

	// Status is what became of it, Gateway by Gateway. How far the run is, weir rollout status
	// tells.
	// +optional
	Status gatewayv1.PolicyStatus `json:"status,omitempty"`
}

// RolloutSpec is what is released where, and how.
//
// +kubebuilder:validation:XValidation:rule="has(self.strategy) && self.strategy == 'BlueGreen' ? !has(self.stages) : has(self.stages)",fieldPath=".stages",message="are for the strategy Canary, which needs them; BlueGreen has one switch and none"
// +kubebuilder:validation:XValidation:rule="self.stable.group != self.canary.group || self.stable.kind != self.canary.kind || self.stable.name != self.canary.name || has(self.stable.__namespace__) != has(self.canary.__namespace__) || has(self.stable.__namespace__) && self.stable.__namespace__ != self.canary.__namespace__ || has(self.stable.port) != has(self.canary.port) || has(self.stable.port) && self.stable.port != self.canary.port",fieldPath=".canary",message="must not be stable itself"
type RolloutSpec struct {
	// TargetRef is the rule, in the Rollout's own namespace: an HTTPRoute or GRPCRoute and, as
	// sectionName, the name of one of its rules. It cannot be changed: make another Rollout.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.group == 'gateway.networking.k8s.io' && self.kind in ['HTTPRoute', 'GRPCRoute']",message="must name an HTTPRoute or GRPCRoute of group gateway.networking.k8s.io"
	// +kubebuilder:validation:XValidation:rule="has(self.sectionName)",fieldPath=".sectionName",message="must name a rule: give the rule a name and write it here"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed; make another Rollout"
	TargetRef gatewayv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRef"`

	// Stable is the version that serves now: one of the rule's backendRefs, with a weight.
	// +required
	Stable gatewayv1.BackendObjectReference `json:"stable"`

	// Canary is the new version. If it is one of the rule's backendRefs too, its weight counts to
	// what both share; otherwise it is treated by stable's filters.
	// +required
	Canary gatewayv1.BackendObjectReference `json:"canary"`

	// Revision names what is released, such as v2.14.0. A change of it, of stable or of canary
	// starts a new run at stage one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Revision *string `json:"revision,omitempty"`

	// Strategy is Canary, the default, or BlueGreen: cohorts preview, and once the gates pass one
	// switch gives the canary everything. Gates without an approval among them are asked only when
	// the cohorts together have made minimumRequests.
	// +optional
	Strategy *RolloutStrategy `json:"strategy,omitempty"`

	// Sampling says who counts as one user; absent: each request is drawn anew.
	// +optional
	Sampling *Sampling `json:"sampling,omitempty"`

	// Cohorts get the canary whatever its share, while the run lasts. They are counted apart and
	// not tested. Of several the first that a request belongs to counts.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Cohorts []Cohort `json:"cohorts,omitempty"`

	// Stages are the shares that the canary has one after the other. Each is larger than the one
	// before, and the last is 100%.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Stages []Stage `json:"stages,omitempty"`

	// Guard is what every proxy tests of the canary against stable, on every response. What is not
	// written in it has its default, and so has a Rollout without one.
	// +optional
	Guard *Guard `json:"guard,omitempty"`

	// Gates must all pass before the next stage is entered.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Gates []Gate `json:"gates,omitempty"`

	// MinimumRequests are those that each arm must have had in a stage before the next is entered;
	// of BlueGreen those of the cohorts to the canary before gates alone make the switch.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	MinimumRequests *int32 `json:"minimumRequests,omitempty"`
}

// RolloutStrategy is how a new version takes over.
//
// +kubebuilder:validation:Enum=Canary;BlueGreen
type RolloutStrategy string

// The strategies.
const (
	StrategyCanary    RolloutStrategy = "Canary"
	StrategyBlueGreen RolloutStrategy = "BlueGreen"
)

// Sampling says who counts as one user. A user is drawn by a hash of its key and the salt, the
// same in every proxy: a larger share only adds users, and a smaller one gives those back.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.unit) || self.unit != 'Request' || !has(self.key) && !has(self.fallback)",fieldPath=".unit",message="Request draws every request anew: it has no key and no fallback"
// +kubebuilder:validation:XValidation:rule="!has(self.fallback) || self.fallback != 'Stable' || has(self.key)",fieldPath=".fallback",message="Stable without a key would leave the canary without requests"
type Sampling struct {
	// Unit is what is drawn: User, or Request for every request anew. Absent: User where there is a
	// key or a fallback, otherwise Request.
	// +optional
	Unit *SampleUnit `json:"unit,omitempty"`

	// Key tells users apart; of several the first that a request has counts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Key []Key `json:"key,omitempty"`

	// Fallback says what becomes of a request that has no key: Request, the default, draws it anew;
	// Cookie gives the client a random, signed id, by which it is drawn from then on; Stable sends
	// it to stable.
	// +optional
	Fallback *SampleFallback `json:"fallback,omitempty"`

	// Salt is mixed into every key; Rollouts with the same salt draw the same users first. Absent:
	// the Rollout's own namespace and name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Salt *string `json:"salt,omitempty"`
}

// SampleUnit is what is drawn.
//
// +kubebuilder:validation:Enum=User;Request
type SampleUnit string

// SampleFallback says what becomes of a request that has no key.
//
// +kubebuilder:validation:Enum=Request;Cookie;Stable
type SampleFallback string

// Cohort is a group of requests that previews the canary.
type Cohort struct {
	// Name tells it apart in reports.
	// +required
	Name ItemName `json:"name"`

	// When is CEL that holds for its requests, such as request.headers["x-staff"] == "1". It sees
	// what the expression of a key sees.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	When string `json:"when"`
}

// ItemName is the name of an item in a list.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
type ItemName string

// Stage is a share of the canary, and how long it lasts at least.
type Stage struct {
	// Share is the canary's part of what stable and canary get together, above 0%.
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^0([.]0+)?%$')",message="must be above 0%"
	Share Percentage `json:"share"`

	// For is how long the stage lasts at least; of the last one, until the run is over. Absent: 0s.
	// +optional
	For *gatewayv1.Duration `json:"for,omitempty"`
}

// Guard is what every proxy tests of the canary against stable. When a test is sure that the
// canary is worse, the very next request goes to stable.
//
// +kubebuilder:validation:MinProperties=1
type Guard struct {
	// Errors tests the share of failed requests.
	// +optional
	Errors *ErrorGuard `json:"errors,omitempty"`

	// Latency tests a quantile of the time to the answer's head; absent: it is not tested.
	// +optional
	Latency *LatencyGuard `json:"latency,omitempty"`

	// ConsecutiveFailures is how many failures of the canary in a row are enough, while stable is
	// healthy; 0: any number is borne.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	ConsecutiveFailures *int32 `json:"consecutiveFailures,omitempty"`
}

// ErrorGuard tests the share of failed requests: 5xx, faulty codes of gRPC, no answer.
//
// +kubebuilder:validation:MinProperties=1
type ErrorGuard struct {
	// MaxDifference is how much higher than stable's the canary's share of failures may be; 0%: not
	// at all; 100%: it is not tested.
	// +optional
	MaxDifference *Percentage `json:"maxDifference,omitempty"`

	// Confidence is how sure the test must be.
	// +optional
	Confidence *Confidence `json:"confidence,omitempty"`
}

// LatencyGuard tests a quantile of the time to the answer's head.
//
// +kubebuilder:validation:MinProperties=1
type LatencyGuard struct {
	// Quantile is the one that is compared, from p50 to p99.9.
	// +optional
	Quantile *Quantile `json:"quantile,omitempty"`

	// MaxRatio is how many times stable's quantile the canary's may be, such as "1.5".
	// +optional
	MaxRatio *Ratio `json:"maxRatio,omitempty"`

	// Confidence is how sure the test must be.
	// +optional
	Confidence *Confidence `json:"confidence,omitempty"`
}

// Confidence is the probability that a version as good as stable passes a whole run: from 50% to
// below 100%, with at most three decimals.
//
// +kubebuilder:validation:Pattern=`^[5-9][0-9](\.[0-9]{1,3})?%$`
type Confidence string

// Ratio is a decimal of at least 1 with at most three digits on each side.
//
// +kubebuilder:validation:Pattern=`^[1-9][0-9]{0,2}(\.[0-9]{1,3})?$`
type Ratio string

// Gate is what must pass before the next stage is entered. It has exactly one of slo, promql,
// webhook and approval.
//
// +kubebuilder:validation:ExactlyOneOf=slo;promql;webhook;approval
type Gate struct {
	// Name tells it apart in status and history.
	// +required
	Name ItemName `json:"name"`

	// SLO passes while a ServiceLevelObjective has budget left and does not burn it.
	// +optional
	SLO *ObjectiveGate `json:"slo,omitempty"`

	// PromQL passes while the value of a query is within bounds. Without a value, or with several,
	// the gate is inconclusive, and the run holds.
	// +optional
	PromQL *QueryGate `json:"promql,omitempty"`

	// Webhook asks somebody else.
	// +optional
	Webhook *WebhookGate `json:"webhook,omitempty"`

	// Approval waits for a person.
	// +optional
	Approval *ApprovalGate `json:"approval,omitempty"`
}

// ObjectiveGate names an objective.
type ObjectiveGate struct {
	// Name is that of a ServiceLevelObjective in the Rollout's namespace.
	// +required
	Name gatewayv1.ObjectName `json:"name"`
}

// QueryGate is a query and what its value must be.
//
// +kubebuilder:validation:XValidation:rule="has(self.min) || has(self.max)",message="needs min, max or both"
// +kubebuilder:validation:XValidation:rule="has(self.address) || !has(self.caCertificateRefs)",fieldPath=".caCertificateRefs",message="is for the server at address: without one Weir's own time series are asked"
// +kubebuilder:validation:XValidation:rule="has(self.address) || !has(self.secretRef)",fieldPath=".secretRef",message="is for the server at address: without one Weir's own time series are asked"
type QueryGate struct {
	// Query is PromQL whose value is one number.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Query string `json:"query"`

	// Min is the least value that passes, such as "0.9".
	// +optional
	Min *Number `json:"min,omitempty"`

	// Max is the highest value that passes.
	// +optional
	Max *Number `json:"max,omitempty"`

	// Address is the URL of the Prometheus to ask, such as https://prometheus.example.com; absent:
	// Weir's own time series.
	// +optional
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=2048
	Address *string `json:"address,omitempty"`

	GateAccess `json:",inline"`
}

// GateAccess is what a server that a gate asks is known by, and what it knows Weir by.
type GateAccess struct {
	// CACertificateRefs are ConfigMaps or Secrets whose entry ca.crt holds the certificates of the authorities
	// whose word is taken for the server; absent: those of the system.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	CACertificateRefs []gatewayv1.LocalObjectReference `json:"caCertificateRefs,omitempty"`

	// SecretRef is a Secret with what Weir shows to the server: the entry token is sent as a bearer
	// token, or else username and password (type kubernetes.io/basic-auth) by basic authentication.
	// +optional
	SecretRef *gatewayv1.SecretObjectReference `json:"secretRef,omitempty"`
}

// Number is a decimal, such as "-0.25" or "3".
//
// +kubebuilder:validation:Pattern=`^-?[0-9]{1,15}(\.[0-9]{1,9})?$`
type Number string

// WebhookGate asks a URL for a verdict.
type WebhookGate struct {
	// URL is where to POST what the run has seen; the answer is JSON with a verdict: Pass, Fail or
	// Inconclusive.
	// +required
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=2048
	URL string `json:"url"`

	// Timeout is how long the answer may take.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(0+(h|m|s|ms))+$')",message="must be above 0s: nobody waits forever"
	Timeout *gatewayv1.Duration `json:"timeout,omitempty"`

	GateAccess `json:",inline"`
}

// ApprovalGate waits for a person.
type ApprovalGate struct {
	// From are who may approve: a team, role or user, such as team:payments.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	From []Approver `json:"from"`
}

// Approver is a team, role or user.
//
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:Pattern=`^(team|role|user):[A-Za-z0-9][A-Za-z0-9._@-]*$`
type Approver string
