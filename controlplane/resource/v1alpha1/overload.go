package v1alpha1

import gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

// Overload is what a route does when there is more than can be carried.
//
// +kubebuilder:validation:MinProperties=1
type Overload struct {
	// Concurrency bounds the requests at once. They are counted at the target of the policy that
	// says this: on a Gateway for all of its routes together, on a route for that alone. What goes
	// beyond waits in the queue or is answered 503, flag PO.
	// +optional
	Concurrency *Concurrency `json:"concurrency,omitempty"`

	// Priority gives requests their class; the first entry whose condition holds counts. The
	// x-weir-priority of a trusted caller comes before it. A request without a class is Critical.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Priority []Priority `json:"priority,omitempty"`

	// Queue holds requests beyond the limit for a moment; absent: they are refused at once. It is
	// that of the policy that says the concurrency: no other policy's counts.
	// +optional
	Queue *Queue `json:"queue,omitempty"`

	// Throttle refuses requests to a backend before they are sent, in the measure in which the
	// backend refuses them itself; absent: none.
	// +optional
	Throttle *Throttle `json:"throttle,omitempty"`

	// Degrade are the steps of what is given up as requests in flight and in the queue come near
	// the limit of concurrency. All steps that are reached hold.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Degrade []Degrade `json:"degrade,omitempty"`

	// Mode says whether anything is refused or given up. Where there is a concurrency, it is that of
	// the same policy, as the queue is.
	// +optional
	Mode *Mode `json:"mode,omitempty"`
}

// Concurrency is a bound on requests at once. It has exactly one member.
//
// +kubebuilder:validation:ExactlyOneOf=limit;adaptive
type Concurrency struct {
	// Limit is a number; 0: none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Limit *int32 `json:"limit,omitempty"`

	// Adaptive finds the number by the latency of answers.
	// +optional
	Adaptive *AdaptiveConcurrency `json:"adaptive,omitempty"`
}

// AdaptiveConcurrency finds how many requests at once are carried without becoming slower.
type AdaptiveConcurrency struct {
	// Algorithm is Gradient: the limit follows the ratio of the latency in the long run to the
	// present one, as Netflix's Gradient2 does.
	// +optional
	Algorithm *ConcurrencyAlgorithm `json:"algorithm,omitempty"`

	// Min is the lowest that the limit becomes.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Min *int32 `json:"min,omitempty"`

	// Max is the highest that the limit becomes.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Max *int32 `json:"max,omitempty"`
}

// ConcurrencyAlgorithm is a way to find a limit.
//
// +kubebuilder:validation:Enum=Gradient
type ConcurrencyAlgorithm string

// Class is how important a request is, from what is kept longest to what is given up first:
// CriticalPlus, Critical, SheddablePlus, Sheddable.
//
// +kubebuilder:validation:Enum=CriticalPlus;Critical;SheddablePlus;Sheddable
type Class string

// Priority gives requests a class.
type Priority struct {
	// When is CEL that tells which requests, such as request.headers["x-batch"] == "1"; it sees what
	// the expression of a key sees. Absent: all that come to this entry.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	When *string `json:"when,omitempty"`

	// Class is what they are.
	// +required
	Class Class `json:"class"`
}

// Queue holds requests beyond the limit for a moment.
//
// +kubebuilder:validation:MinProperties=1
type Queue struct {
	// Size is how many requests wait at most; 0: none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Size *int32 `json:"size,omitempty"`

	// Timeout is how long each waits at most, above 0s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="must be above 0s; size: 0 is how nothing waits"
	Timeout *gatewayv1.Duration `json:"timeout,omitempty"`

	// Order is LIFO, the youngest first, because its client is still there; or FIFO.
	// +optional
	Order *QueueOrder `json:"order,omitempty"`

	// FairBy are keys whose owners take turns, so that one who sends too much waits for himself; the
	// first that a request has counts.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	FairBy []Key `json:"fairBy,omitempty"`
}

// QueueOrder says who leaves a queue first.
//
// +kubebuilder:validation:Enum=LIFO;FIFO
type QueueOrder string

// Throttle refuses requests before they are sent, with a probability that follows the backend's
// own refusals (Site Reliability Engineering, chapter 21). What is refused is answered 503, flag PO.
//
// +kubebuilder:validation:MinProperties=1
type Throttle struct {
	// AcceptRatio is how many requests for each that the backend accepts are sent before some are
	// refused, above 1, such as "2.0"; "0": none is refused.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^1([.]0+)?$')",message="must be above 1, or 0 to refuse none"
	AcceptRatio *LoadFactor `json:"acceptRatio,omitempty"`

	// Window is over how long both are counted, from 1s to 10m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('10m')",message="must be between 1s and 10m"
	Window *gatewayv1.Duration `json:"window,omitempty"`
}

// Degrade is a step of what is given up while there is too much. It may do several things.
//
// +kubebuilder:validation:XValidation:rule="has(self.shed) || has(self.noRetries) || has(self.timeouts) || has(self.serveStale) || has(self.answer)",message="needs at least one of shed, noRetries, timeouts, serveStale and answer"
type Degrade struct {
	// At is how much of the limit of concurrency must be taken, above 0%. The step ends a good deal
	// below, so that it does not come and go.
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^0([.]0+)?%$')",message="must be above 0%"
	At Percentage `json:"at"`

	// Shed refuses requests of this class and of those below.
	// +optional
	Shed *Class `json:"shed,omitempty"`

	// NoRetries makes no retries and no hedges.
	// +optional
	NoRetries *bool `json:"noRetries,omitempty"`

	// Timeouts hold in place of longer ones.
	// +optional
	Timeouts *DegradedTimeouts `json:"timeouts,omitempty"`

	// ServeStale answers with what the same request was answered with before, if that is not too
	// old. Requests with credentials are never answered so. Flag PD.
	// +optional
	ServeStale *ServeStale `json:"serveStale,omitempty"`

	// Answer is given to all that is not answered otherwise. Flag PD.
	// +optional
	Answer *DegradedAnswer `json:"answer,omitempty"`
}

// DegradedTimeouts hold while a route is degraded.
//
// +kubebuilder:validation:MinProperties=1
type DegradedTimeouts struct {
	// Request is for all tries together, above 0s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="must be above 0s"
	Request *gatewayv1.Duration `json:"request,omitempty"`

	// PerTry is for one try, above 0s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="must be above 0s"
	PerTry *gatewayv1.Duration `json:"perTry,omitempty"`
}

// ServeStale answers with older answers.
type ServeStale struct {
	// MaxAge is how old an answer may be, above 0s and up to 24h.
	// +required
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s') && duration(self) <= duration('24h')",message="must be above 0s, and 24h at most"
	MaxAge gatewayv1.Duration `json:"maxAge"`
}

// DegradedAnswer is an answer that needs no backend.
type DegradedAnswer struct {
	// Status is from 200 to 599.
	// +required
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	Status int32 `json:"status"`

	// Headers are its fields; Content-Length and those of the connection are Weir's own.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Headers []AnswerHeader `json:"headers,omitempty"`

	// Body is its body.
	// +optional
	// +kubebuilder:validation:MaxLength=16384
	Body *string `json:"body,omitempty"`
}

// AnswerHeader is a field of an answer.
type AnswerHeader struct {
	// Name is in any case.
	// +required
	Name gatewayv1.HTTPHeaderName `json:"name"`

	// Value has no line breaks.
	// +required
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`^[\t -~\x80-\x{10ffff}]*$`
	Value string `json:"value"`
}
