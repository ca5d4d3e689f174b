package model

import "time"

// Mode says whether a protection acts.
type Mode string

// The modes. Under Observe everything is judged and counted as if it acted, and nothing is
// refused, ejected or cut. State goes on over a change of mode.
const (
	ModeEnforce  Mode = "Enforce"
	ModeObserve  Mode = "Observe"
	ModeDisabled Mode = "Disabled" // nothing is judged either
)

// Acts reports whether what is judged is also done. The empty mode is ModeEnforce.
func (m Mode) Acts() bool { return m != ModeObserve && m != ModeDisabled }

// RetryBudget bounds what retries add to the load of a cluster, all callers in this proxy
// together: over the last ten seconds at most Share × first tries + MinPerSecond × 10.
type RetryBudget struct {
	Share        float64 // of first tries, 0 to 1
	MinPerSecond int     // on top, so that a cluster of little traffic has some
	Mode         Mode
}

// Hedge sends a second try beside a slow first one; the first good answer wins.
type Hedge struct {
	// After is how long the first try may take before; 0: Quantile of the answers of the
	// cluster over the last minute, as soon as there are enough of them.
	After    time.Duration `json:",omitempty"`
	Quantile float64       `json:",omitempty"` // 0.5 to 0.999
	Max      int           // tries beside the first, 1 to 3; each counts as a retry in the budget
	Mode     Mode
}

// Breaker bounds what a cluster is given at once by this proxy, and stops giving it anything
// while it fails. A bound of 0 is none.
type Breaker struct {
	MaxConnections int   // to all its hosts, idle ones included
	MaxPending     int   // requests that wait because MaxConnections are open and busy
	MaxRequests    int   // tries in flight
	MaxRetries     int   // retries in flight
	Trip           *Trip `json:",omitempty"` // nil: it never trips
	Mode           Mode
}

// Trip opens a breaker by the share of failures among the last tries. It counts events, not
// time, so that it works at any rate.
type Trip struct {
	Failures float64       // share of the last Of tries that opens the breaker, above 0 and at most 1
	Of       int           // tries, 5 to 1,000
	OpenFor  time.Duration // until requests are let through as probes; longer each time that those fail
	Probes   int           // successes in a row that close it again; as many probes run at once
}

// Outlier ejects hosts that do worse than the others of their cluster. What is 0 is off.
type Outlier struct {
	Consecutive5xx   int // answers in a row that are 5xx, or a faulty code of gRPC
	ConsecutiveLocal int // failures in a row without an answer: connect, reset, timeout
	// FailureShare is the share of failed tries of an interval, of both kinds, 0 to 1.
	FailureShare float64
	// SuccessRateDeviation is how many standard deviations below the mean of all hosts a
	// host's share of successes may be.
	SuccessRateDeviation float64
	// SlowerThanMedian is how many times the median of the hosts' median latencies a host's
	// own median may be.
	SlowerThanMedian float64
	Interval         time.Duration // of the comparisons; above 0
	// MinRequests is how many tries a host must have had in an interval to be compared.
	MinRequests int
	// BaseEjection is how long the first ejection lasts; each further one soon after as much
	// longer again, up to MaxEjection.
	BaseEjection, MaxEjection time.Duration
	// MaxEjected is the greatest share of hosts that is ejected at once, 0 to 1, rounded down but
	// at least one host of two or more; MaxEjectedHosts is the greatest number, 0: any.
	MaxEjected      float64
	MaxEjectedHosts int
	Mode            Mode
}

// Class is how important a request is.
type Class uint8

// The classes, in the order in which they are shed: Sheddable first. The zero Class is none.
const (
	ClassNone Class = iota
	ClassSheddable
	ClassSheddablePlus
	ClassCritical // what nobody classifies
	ClassCriticalPlus
	Classes // how many there are, for arrays indexed by Class
)

var classNames = [Classes]string{"", "Sheddable", "SheddablePlus", "Critical", "CriticalPlus"}

// String returns the class as it is written in policies and in x-weir-priority.
func (c Class) String() string { return classNames[c] }

// ParseClass returns the class with the given name.
func ParseClass(name string) (Class, bool) {
	for i := ClassSheddable; i < Classes; i++ {
		if classNames[i] == name {
			return i, true
		}
	}
	return ClassNone, false
}

// Overload is what a route does when there is more than can be carried.
type Overload struct {
	// Scope is what requests are counted at: kind/namespace/name, with /section behind it, of
	// the target of the policy that set the concurrency. It is the key of all state, and one
	// scope has one Limit, Adaptive, Queue and Mode.
	Scope    string
	Limit    int       `json:",omitempty"` // requests at once; 0: none, or Adaptive
	Adaptive *Adaptive `json:",omitempty"`
	// Priorities give a request its class: the first whose condition holds. A trusted caller's
	// x-weir-priority comes before them.
	Priorities []Priority `json:",omitempty"`
	Queue      *Queue     `json:",omitempty"` // nil: what is beyond the limit is refused at once
	Throttle   *Throttle  `json:",omitempty"` // nil: none
	Degrade    []Degrade  `json:",omitempty"` // by rising At
	Mode       Mode
}

// Adaptive finds the limit by the latency of answers (Netflix's Gradient2).
type Adaptive struct{ Min, Max int }

// Priority gives requests a class.
type Priority struct {
	When  string `json:",omitempty"` // CEL; empty: every request
	Class Class
}

// Queue holds requests beyond the limit for a moment.
type Queue struct {
	Size    int
	Timeout time.Duration // the longest wait
	LIFO    bool          // the youngest first, else the oldest
	FairBy  []Key         `json:",omitempty"` // whose requests take turns; the first key that a request has
}

// Throttle refuses requests to a cluster before they are sent, with a probability that follows
// the cluster's own refusals (Site Reliability Engineering, chapter 21: client-side throttling).
type Throttle struct {
	AcceptRatio float64       // K: requests per accepted one from which on some are refused; above 1
	Window      time.Duration // over which both are counted
}

// Degrade is a step of what is given up while a scope is that busy. It ends a good deal below
// At, so that it does not flap.
type Degrade struct {
	At         float64       // requests in flight and queued, of the limit, above 0 to 1
	Shed       Class         `json:",omitempty"` // this class and those below are refused
	NoRetries  bool          `json:",omitempty"`
	Timeouts   *Timeouts     `json:",omitempty"` // what is 0 stays as it is; never longer than without
	ServeStale time.Duration `json:",omitempty"` // an answer up to so old is given instead
	Answer     *FixedAnswer  `json:",omitempty"` // is given instead, to what is not served stale
}

// FixedAnswer is an answer that needs no backend.
type FixedAnswer struct {
	Status  int
	Headers []Header `json:",omitempty"`
	Body    string   `json:",omitempty"`
}
