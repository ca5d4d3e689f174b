package model

import "time"

// Retry says which failed tries are made again.
type Retry struct {
	Attempts int // after the first try
	// On are the failures that are tried again besides the codes; nil: every one, as a rule's own
	// retry has it. That they are not nil also says that the policy is a TrafficPolicy's.
	On []RetryOn `json:",omitzero"`
	// Codes are statuses of HTTP, 400 to 599.
	Codes []int
	// GRPCCodes are codes of gRPC: of answers that have nothing but a status, and of failures
	// that would be answered so. Whoever lists one allows that calls are sent again, although
	// they are POSTs.
	GRPCCodes []GRPCCode `json:",omitempty"`
	// Methods may be sent again where the host may have acted upon them; nil: the idempotent
	// ones (RFC 9110 section 9.2.2).
	Methods []string      `json:",omitzero"`
	Backoff time.Duration // minimum wait before a retry; jitter goes on top
	// BackoffBase is the longest wait before the first retry; the wait is random, and its bound
	// doubles with each retry up to BackoffMax. What a host asks for (Retry-After,
	// grpc-retry-pushback-ms) comes first; where that is longer than BackoffMax there is no retry.
	BackoffBase time.Duration `json:",omitzero"`
	BackoffMax  time.Duration `json:",omitzero"`
	// IdempotencyHeader, lower case: a request that has it may be sent again, whatever its
	// method. Empty: none does.
	IdempotencyHeader string `json:",omitempty"`
	// BodyReplay is how many bytes of a request's body are kept to be sent again; a longer one
	// is sent once.
	BodyReplay int64        `json:",omitempty"`
	Budget     *RetryBudget `json:",omitempty"` // with the cluster's own the stricter holds; nil: no bound
	Hedge      *Hedge       `json:",omitempty"`
	// Nested also tries again what a trusted caller says it will try again itself
	// (x-weir-attempt). Without it such a request is tried again only where no host has acted
	// upon it.
	Nested bool `json:",omitempty"`
}

// RetryOn is a class of failures without an answer.
type RetryOn string

// The classes. Methods bound only Reset and PerTryTimeout: the host has not acted upon the others.
const (
	RetryConnectFailure RetryOn = "ConnectFailure" // no connection could be made
	RetryReset          RetryOn = "Reset"          // the connection or stream broke before an answer
	RetryRefusedStream  RetryOn = "RefusedStream"  // the host said that it did nothing
	RetryPerTryTimeout  RetryOn = "PerTryTimeout"  // the try took too long
)
