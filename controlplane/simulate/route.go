package simulate

import (
	"slices"

	"weir.dev/weir/model"
)

// route is a rule as the proxy of the run knows it.
type route struct {
	model *model.Route
	retry *model.Retry // nil: no tries after the first
	codes map[int]bool
	on    map[model.Flag]bool
	// repeats says that the request may be sent again where a host may have acted upon it;
	// idempotent that its method says so.
	repeats, idempotent bool

	arms    []arm
	weights uint64

	guard    *guard // nil: nothing bounds the requests
	answered moment // last, well
}

// arm is a destination of a route; its cluster is nil if it is refused.
type arm struct {
	weight  uint64
	cluster *cluster
}

// retryFlags are the flags of each class of failures, as dataplane/proxy has them.
var retryFlags = map[model.RetryOn]model.Flag{
	model.RetryConnectFailure: model.FlagUF,
	model.RetryReset:          model.FlagUC,
	model.RetryPerTryTimeout:  model.FlagUT,
}

// idempotentMethods may be sent twice (RFC 9110 section 9.2.2).
var idempotentMethods = []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}

// compile prepares what decides about other tries, for the requests of one kind that take the
// route. header reports whether they have a header.
func (r *route) compile(method string, header func(name string) bool) {
	r.idempotent = slices.Contains(idempotentMethods, method)
	m := r.model.Retry
	if m == nil {
		return
	}
	r.retry, r.codes, r.on = m, map[int]bool{}, map[model.Flag]bool{}
	for _, code := range m.Codes {
		r.codes[code] = true
	}
	for class, flag := range retryFlags {
		r.on[flag] = m.On == nil || slices.Contains(m.On, class)
	}
	r.repeats = r.idempotent
	if m.Methods != nil {
		r.repeats = slices.Contains(m.Methods, method)
	}
	r.repeats = r.repeats || m.IdempotencyHeader != "" && header(m.IdempotencyHeader)
}

// repeatsAfter reports whether the policy has a try repeated that ended so.
func (r *route) repeatsAfter(res result) bool {
	if res.flag == 0 {
		return r.codes[res.status] && r.repeats
	}
	return r.on[res.flag] && (res.unsent || r.repeats)
}

// arm chooses the cluster of a request by weight; nil: it is refused.
func (r *route) arm(s *simulation) *cluster {
	if len(r.arms) == 1 {
		return r.arms[0].cluster
	}
	if r.weights == 0 {
		return nil
	}
	at := s.random.Uint64N(r.weights)
	for _, a := range r.arms {
		if at < a.weight {
			return a.cluster
		}
		at -= a.weight
	}
	return nil
}
