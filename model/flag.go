package model

// Flag says what produced an answer that is not simply the upstream's. The names are
// Envoy's where Envoy has one. The zero Flag is no flag.
type Flag uint8

// Blame says whose doing a flagged answer was.
type Blame uint8

// Whose doing.
const (
	BlameNone Blame = iota
	BlameUpstream
	BlamePolicy
	BlameClient
	BlameProxy
)

// The response flags. FlagInfos says what each means.
const (
	FlagNone Flag = iota
	FlagUF
	FlagUC
	FlagUR
	FlagUT
	FlagUH
	FlagUPE
	FlagU5
	FlagUO
	FlagURX
	FlagRL
	FlagUAEX
	FlagFI
	FlagDI
	FlagOM
	FlagNR
	FlagNC
	FlagPT
	FlagPD
	FlagPA
	FlagPO
	FlagPE
	FlagDC
	FlagDPE
	FlagCC
	FlagWD
	FlagWI
	FlagCount // how many there are, for arrays indexed by Flag
)

// FlagInfo describes one response flag.
type FlagInfo struct {
	Name   string
	Blame  Blame
	Status int // of our own answer with this flag; 0: it varies, or no answer is sent
	// GRPC is the code of our own answer to a gRPC call: where gRPC's http-grpc-status-mapping
	// has the Status, what that says, but for codes that say it better, and for references that
	// do not resolve, which the Gateway API (GRPCRoute's backendRefs) wants to be UNAVAILABLE.
	GRPC    GRPCCode
	Meaning string
}

// FlagInfos describes every flag; its index is the Flag.
var FlagInfos = [FlagCount]FlagInfo{
	FlagNone: {},
	FlagUF:   {"UF", BlameUpstream, 503, GRPCUnavailable, "no connection to the upstream host could be made"},
	FlagUC:   {"UC", BlameUpstream, 502, GRPCUnavailable, "the upstream closed the connection before its answer was complete, or before a stream's last bytes had reached it"},
	FlagUR:   {"UR", BlameUpstream, 502, GRPCUnavailable, "the upstream reset the connection or stream"},
	FlagUT:   {"UT", BlameUpstream, 504, GRPCDeadlineExceeded, "every try timed out"},
	FlagUH:   {"UH", BlameUpstream, 503, GRPCUnavailable, "the backend has no healthy host"},
	FlagUPE:  {"UPE", BlameUpstream, 502, GRPCUnavailable, "the upstream's answer broke the protocol"},
	FlagU5:   {"U5", BlameUpstream, 0, GRPCUnavailable, "the upstream itself answered with an error: 5xx, or a code of gRPC that says the same"},
	FlagUO:   {"UO", BlamePolicy, 503, GRPCUnavailable, "a circuit breaker is open or a connection limit reached"},
	FlagURX:  {"URX", BlamePolicy, 503, GRPCUnavailable, "retries or their budget are spent"},
	FlagRL:   {"RL", BlamePolicy, 429, GRPCResourceExhausted, "rate limited"},
	FlagUAEX: {"UAEX", BlamePolicy, 403, GRPCPermissionDenied, "denied by external authorisation"},
	FlagFI:   {"FI", BlamePolicy, 0, GRPCUnavailable, "a fault was injected"},
	FlagDI:   {"DI", BlamePolicy, 0, GRPCUnavailable, "the answer was delayed or slowed down on purpose"},
	FlagOM:   {"OM", BlamePolicy, 503, GRPCUnavailable, "the overload manager refused"},
	FlagNR:   {"NR", BlamePolicy, 404, GRPCUnimplemented, "no route matches"},
	FlagNC:   {"NC", BlamePolicy, 500, GRPCUnavailable, "the route's reference does not resolve, or needs what is not supported"},
	FlagPT:   {"PT", BlamePolicy, 504, GRPCDeadlineExceeded, "the request timeout passed while a try was still healthy, or a stream was idle for too long"},
	FlagPD:   {"PD", BlamePolicy, 0, GRPCUnavailable, "a degraded answer"},
	FlagPA:   {"PA", BlamePolicy, 403, GRPCPermissionDenied, "access denied"},
	FlagPO:   {"PO", BlamePolicy, 503, GRPCUnavailable, "shed by priority or concurrency"},
	FlagPE:   {"PE", BlamePolicy, 503, GRPCUnavailable, "an edge function failed"},
	FlagDC:   {"DC", BlameClient, 0, GRPCCancelled, "the client went away"},
	FlagDPE:  {"DPE", BlameClient, 400, GRPCInternal, "the client's request broke the protocol"},
	FlagCC:   {"CC", BlameClient, 0, GRPCUnauthenticated, "the client's certificate was refused"},
	FlagWD:   {"WD", BlameProxy, 503, GRPCUnavailable, "Weir is draining"},
	FlagWI:   {"WI", BlameProxy, 500, GRPCInternal, "an internal error"},
}

// String returns the flag's name, empty for FlagNone.
func (f Flag) String() string { return FlagInfos[f].Name }

// Blame returns whose doing the flag is.
func (f Flag) Blame() Blame { return FlagInfos[f].Blame }

// ParseFlag returns the flag with the given name, FlagNone if there is none.
func ParseFlag(name string) Flag {
	for i := range FlagInfos {
		if FlagInfos[i].Name == name {
			return Flag(i)
		}
	}
	return FlagNone
}

// String returns the blame as it stands in logs, metrics and headers.
func (b Blame) String() string {
	return [...]string{"", "upstream", "policy", "client", "proxy"}[b]
}
