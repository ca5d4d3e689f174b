package model

import "strconv"

// GRPCCode is a status code of gRPC: how a call ended.
type GRPCCode int

// The codes, as gRPC's document on status codes numbers them.
const (
	GRPCOK GRPCCode = iota
	GRPCCancelled
	GRPCUnknown
	GRPCInvalidArgument
	GRPCDeadlineExceeded
	GRPCNotFound
	GRPCAlreadyExists
	GRPCPermissionDenied
	GRPCResourceExhausted
	GRPCFailedPrecondition
	GRPCAborted
	GRPCOutOfRange
	GRPCUnimplemented
	GRPCInternal
	GRPCUnavailable
	GRPCDataLoss
	GRPCUnauthenticated
	GRPCCodes // how many there are
)

var grpcNames = [GRPCCodes]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
	"UNAUTHENTICATED",
}

// String returns the code's name, or its number if it has none.
func (c GRPCCode) String() string {
	if c < 0 || c >= GRPCCodes {
		return strconv.Itoa(int(c))
	}
	return grpcNames[c]
}

// ParseGRPCCode returns the code with the given name.
func ParseGRPCCode(name string) (GRPCCode, bool) {
	for i, n := range grpcNames {
		if n == name {
			return GRPCCode(i), true
		}
	}
	return 0, false
}

// Faulty reports whether the code says that the host failed, as a 5xx would: outlier
// detection counts it, and so does the flag U5. These are the codes that gRPC's own libraries
// and its conventions for telemetry take for errors of the server, but for UNIMPLEMENTED: that
// is what a wrong path is answered with, the 404 of gRPC.
func (c GRPCCode) Faulty() bool {
	switch c {
	case GRPCUnknown, GRPCDeadlineExceeded, GRPCInternal, GRPCUnavailable, GRPCDataLoss:
		return true
	}
	return false
}

// GRPCCodeOf is what a client of gRPC takes an HTTP status for that came without a status of
// gRPC (gRPC's document http-grpc-status-mapping).
func GRPCCodeOf(status int) GRPCCode {
	switch status {
	case 400:
		return GRPCInternal
	case 401:
		return GRPCUnauthenticated
	case 403:
		return GRPCPermissionDenied
	case 404:
		return GRPCUnimplemented
	case 429, 502, 503, 504:
		return GRPCUnavailable
	}
	return GRPCUnknown
}
