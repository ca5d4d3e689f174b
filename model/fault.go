package model

import (
	"strconv"
	"time"
)

// Fault is something that a route breaks on purpose, for a share of its requests, until it expires.
type Fault struct {
	Policy string // namespace/name of the FaultPolicy
	Name   string // of the fault in it
	// Key is Policy, Name and the hash of what was written: what is stopped by a knob stays so until
	// somebody writes it anew.
	Key     string
	Share   float64 // of matched requests, above 0 to 1
	When    string  `json:",omitempty"` // CEL; empty: every request
	Expires time.Time
	Reason  string

	// One of these is set.
	Delay    time.Duration `json:",omitempty"`
	Abort    *FaultAbort   `json:",omitempty"`
	Reset    bool          `json:",omitempty"` // the client's connection, or stream
	Throttle int64         `json:",omitempty"` // bytes a second of the answer's body
	Origin   Origin
}

// FaultAbort is the answer that is given instead of the upstream's.
type FaultAbort struct {
	Status int       `json:",omitempty"` // 200 to 599
	GRPC   *GRPCCode `json:",omitempty"`
}

// FaultState is what has become of a fault in one proxy.
type FaultState struct {
	Fault    *Fault
	Routes   []string // names of the routes that have it
	Injected uint64   // requests that met it
	Stopped  bool     // by a knob
}

// Does says what a fault does, in a few words: "delay 300ms", "abort 503", "reset".
func (f *Fault) Does() string {
	switch {
	case f.Delay > 0:
		return "delay " + f.Delay.String()
	case f.Reset:
		return "reset"
	case f.Throttle > 0:
		return "throttle " + strconv.FormatInt(f.Throttle, 10) + " B/s"
	case f.Abort == nil:
		return "nothing"
	case f.Abort.GRPC != nil:
		return "abort " + f.Abort.GRPC.String()
	}
	return "abort " + strconv.Itoa(f.Abort.Status)
}
