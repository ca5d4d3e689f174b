package telemetry

import (
	"sync/atomic"

	"weir.dev/weir/model"
)

// GRPCEnd is how a call of gRPC ended: with one of the codes, with a number that is none, or
// without a status. The zero GRPCEnd stands for requests that are no calls.
type GRPCEnd uint8

// The ends besides those with codes.
const (
	GRPCOther   = GRPCEnd(1 + model.GRPCCodes)
	GRPCMissing = GRPCOther + 1
	grpcEnds    = GRPCMissing + 1
)

// EndOfCall is the end with a code.
func EndOfCall(code model.GRPCCode) GRPCEnd {
	if code < 0 || code >= model.GRPCCodes {
		return GRPCOther
	}
	return GRPCEnd(1 + code)
}

// String returns the end's name in metrics and logs, empty for what is no call.
func (e GRPCEnd) String() string {
	switch {
	case e == 0:
		return ""
	case e < GRPCOther:
		return model.GRPCCode(e - 1).String()
	case e == GRPCOther:
		return "other"
	}
	return "none"
}

// grpcCells count the calls of a series by their ends.
type grpcCells [grpcEnds]atomic.Uint64

// call counts a call.
func (c *cell) call(end GRPCEnd) {
	calls := c.calls.Load()
	if calls == nil {
		c.calls.CompareAndSwap(nil, new(grpcCells))
		calls = c.calls.Load()
	}
	calls[end].Add(1)
}
