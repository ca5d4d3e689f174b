package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// retrySide is the request side's part on retries.
type retrySide struct {
	attempts  *setting[int]
	failures  *setting[failures]
	methods   *setting[[]string]
	base, max *setting[time.Duration]
}

// failures are what a try fails by.
type failures struct {
	on    []model.RetryOn
	codes []int
	calls []model.GRPCCode
}

// readRetries reads which failed tries a policy has made again.
func (r *policyReader) readRetries(s *v1alpha1.Retries) {
	const path = "spec.retries."
	v := &r.view.request.retry
	if s.Attempts != nil {
		v.attempts = set(r, path+"attempts", sideRequest, int(*s.Attempts))
	}
	if s.RetryOn != nil {
		f := failures{on: []model.RetryOn{}}
		for i := range s.RetryOn {
			r.readFailure(&f, s.RetryOn[i].String(), fmt.Sprintf(path+"retryOn[%d]", i))
		}
		slices.Sort(f.codes)
		slices.Sort(f.calls)
		f.codes, f.calls = slices.Compact(f.codes), slices.Compact(f.calls)
		v.failures = set(r, path+"retryOn", sideRequest, f)
	}
	if s.Methods != nil {
		v.methods = set(r, path+"methods", sideRequest, asStrings[string](s.Methods))
	}
	if b := s.Backoff; b != nil {
		v.base = r.duration(path+"backoff.base", sideRequest, b.Base)
		v.max = r.duration(path+"backoff.max", sideRequest, b.Max)
	}
}

func (r *policyReader) readFailure(f *failures, text, path string) {
	switch class := model.RetryOn(text); class {
	case model.RetryConnectFailure, model.RetryReset, model.RetryRefusedStream, model.RetryPerTryTimeout:
		if !slices.Contains(f.on, class) {
			f.on = append(f.on, class)
		}
		return
	}
	if code, ok := model.ParseGRPCCode(text); ok && code != model.GRPCOK {
		f.calls = append(f.calls, code)
		return
	}
	if code, err := strconv.Atoi(text); err == nil && code >= 400 && code <= 599 {
		f.codes = append(f.codes, code)
		return
	}
	r.error(RuleInvalidValue, path, "%q is not ConnectFailure, Reset, RefusedStream, PerTryTimeout, a status from 400 to 599 or a code of gRPC", text)
}

func (s retrySide) under(above retrySide) retrySide {
	return retrySide{
		attempts: cmp.Or(s.attempts, above.attempts),
		failures: cmp.Or(s.failures, above.failures),
		methods:  cmp.Or(s.methods, above.methods),
		base:     cmp.Or(s.base, above.base),
		max:      cmp.Or(s.max, above.max),
	}
}

// fillRetry says which failed tries of a route are made again, and who said so. A rule's own
// retry comes first. Without attempts there is none, whatever else is set.
func fillRetry(r *model.Route, s retrySide) {
	const path = "retries."
	if r.Retry != nil {
		return
	}
	attempts := effective(s.attempts, defaultRetriesAttempts, path+"attempts", &r.Origins)
	if attempts == 0 {
		return
	}
	base := effective(s.base, defaultRetriesBase, path+"backoff.base", &r.Origins)
	f := effective(s.failures, failures{on: defaultRetriesOn}, path+"retryOn", &r.Origins)
	r.Retry = &model.Retry{
		Attempts: attempts, On: f.on, Codes: f.codes, GRPCCodes: f.calls,
		Methods:     effective(s.methods, defaultRetriesMethods, path+"methods", &r.Origins),
		BackoffBase: base,
		BackoffMax:  effective(s.max, max(base, defaultRetriesMax), path+"backoff.max", &r.Origins),
	}
}
