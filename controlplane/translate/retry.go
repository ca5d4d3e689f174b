package translate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// retrySide is the request side's part on retries.
type retrySide struct {
	own         *setting[model.Retry] // a rule's own retry
	attempts    *setting[int]
	failures    *setting[failures]
	methods     *setting[[]string]
	idempotency *setting[string]
	replay      *setting[int64]
	base, max   *setting[time.Duration]
	budget      budgetSide
	hedge       *setting[hedging]
	hedgeMax    *setting[int]
	hedgeMode   *setting[model.Mode]
	nested      *setting[bool]
}

// budgetSide is a budget of retries, which routes and backends have.
type budgetSide struct {
	percent      *setting[float64]
	minPerSecond *setting[int]
	mode         *setting[model.Mode]
}

// hedging is when a further try is sent beside a slow one.
type hedging struct {
	field    string // after or afterQuantile
	after    time.Duration
	quantile float64
}

// failures are what a try fails by.
type failures struct {
	on    []model.RetryOn
	codes []int
	calls []model.GRPCCode
}

// readRetries reads which failed tries a policy has made again.
func (r *policyReader) readRetries(s *v1alpha1.Retries) {
	const path = "retries."
	v := &r.into.request.retry
	v.attempts = r.number(path+"attempts", sideRequest, s.Attempts)
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
	if s.IdempotencyHeader != nil {
		v.idempotency = set(r, path+"idempotencyHeader", sideRequest, strings.ToLower(*s.IdempotencyHeader))
	}
	if s.BodyReplay != nil {
		v.replay = set(r, path+"bodyReplay", sideRequest, s.BodyReplay.Value())
	}
	if b := s.Budget; b != nil {
		v.budget.percent = r.share(path+"budget.percent", sideRequest|sideBackend, b.Percent)
		v.budget.minPerSecond = r.number(path+"budget.minPerSecond", sideRequest|sideBackend, b.MinPerSecond)
		v.budget.mode = r.mode(path+"budget.mode", sideRequest|sideBackend, b.Mode)
		r.into.backend.budget = v.budget
	}
	if s.Hedge != nil {
		r.readHedge(s.Hedge)
	}
	if s.Nested != nil {
		v.nested = set(r, path+"nested", sideRequest, *s.Nested)
	}
}

func (r *policyReader) readHedge(h *v1alpha1.Hedge) {
	const path = "retries.hedge."
	v := &r.into.request.retry
	switch {
	case h.After != nil:
		if d := r.duration(path+"after", sideRequest, h.After); d != nil {
			v.hedge = &setting[hedging]{hedging{field: path + "after", after: d.value}, d.origin}
		}
	case h.AfterQuantile != nil:
		percent, err := strconv.ParseFloat(strings.TrimPrefix(string(*h.AfterQuantile), "p"), 64)
		if err != nil || percent < 50 || percent > 99.9 {
			r.error(RuleInvalidValue, path+"afterQuantile", "%q is not a quantile from p50 to p99.9", *h.AfterQuantile)
		}
		v.hedge = set(r, path+"afterQuantile", sideRequest, hedging{field: path + "afterQuantile", quantile: math.Round(10*percent) / 1000})
	}
	v.hedgeMax = r.number(path+"max", sideRequest, h.Max)
	v.hedgeMode = r.mode(path+"mode", sideRequest, h.Mode)
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
		own:         cmp.Or(s.own, above.own),
		attempts:    cmp.Or(s.attempts, above.attempts),
		failures:    cmp.Or(s.failures, above.failures),
		methods:     cmp.Or(s.methods, above.methods),
		idempotency: cmp.Or(s.idempotency, above.idempotency),
		replay:      cmp.Or(s.replay, above.replay),
		base:        cmp.Or(s.base, above.base),
		max:         cmp.Or(s.max, above.max),
		budget:      s.budget.under(above.budget),
		hedge:       cmp.Or(s.hedge, above.hedge),
		hedgeMax:    cmp.Or(s.hedgeMax, above.hedgeMax),
		hedgeMode:   cmp.Or(s.hedgeMode, above.hedgeMode),
		nested:      cmp.Or(s.nested, above.nested),
	}
}

func (s budgetSide) under(above budgetSide) budgetSide {
	return budgetSide{
		percent: cmp.Or(s.percent, above.percent), minPerSecond: cmp.Or(s.minPerSecond, above.minPerSecond), mode: cmp.Or(s.mode, above.mode),
	}
}

// fillRetry says which failed tries of a route are made again, and who said so. A rule's own
// retry says how many, after what and when, but for what is fixed above it; the rest is the
// policies'. Without attempts and hedges there is none, whatever else is set.
func fillRetry(r *model.Route, s, fixed retrySide) {
	const path = "retries."
	o := &r.Origins
	hedge := s.hedged(o)
	if s.own != nil {
		r.Retry = fixRetry(s.own, fixed, o)
	} else if attempts := effective(s.attempts, defaultRetriesAttempts, path+"attempts", o); attempts > 0 || hedge != nil {
		base := effective(s.base, defaultRetriesBase, path+"backoff.base", o)
		f := effective(s.failures, failures{on: defaultRetriesOn}, path+"retryOn", o)
		r.Retry = &model.Retry{
			Attempts: attempts, On: f.on, Codes: f.codes, GRPCCodes: f.calls,
			Methods:     effective(s.methods, defaultRetriesMethods, path+"methods", o),
			BackoffBase: base,
			BackoffMax:  effective(s.max, max(base, defaultRetriesMax), path+"backoff.max", o),
		}
	}
	t := r.Retry
	if t == nil || t.Attempts == 0 && hedge == nil {
		r.Retry = nil
		return
	}
	t.Hedge = hedge
	t.IdempotencyHeader = effective(s.idempotency, "", path+"idempotencyHeader", o)
	t.BodyReplay = effective(s.replay, defaultRetriesReplay, path+"bodyReplay", o)
	t.Nested = effective(s.nested, defaultRetriesNested, path+"nested", o)
	t.Budget = s.budget.fill(o)
}

// fixRetry returns a rule's own retry with what is fixed above it. One of which more than the
// number of tries is fixed becomes a policy's.
func fixRetry(rule *setting[model.Retry], fixed retrySide, o *model.Origins) *model.Retry {
	const path = "retries."
	own := rule.value
	if fixed.failures == nil && fixed.methods == nil && fixed.base == nil && fixed.max == nil {
		own.Attempts = effective(fixed.attempts, own.Attempts, "retry.attempts", o)
		return &own
	}
	for _, field := range []string{"attempts", "retryOn", "backoff.base"} {
		noteOrigin(path+field, rule.origin, o)
	}
	f := effective(fixed.failures, failures{on: allFailures, codes: own.Codes}, path+"retryOn", o)
	base := effective(fixed.base, own.Backoff, path+"backoff.base", o)
	return &model.Retry{
		Attempts: effective(fixed.attempts, own.Attempts, path+"attempts", o),
		On:       f.on, Codes: f.codes, GRPCCodes: f.calls,
		Methods:     effective(fixed.methods, own.Methods, path+"methods", o),
		BackoffBase: base,
		BackoffMax:  effective(fixed.max, max(base, defaultRetriesMax), path+"backoff.max", o),
	}
}

// allFailures are what a rule's own retry is for, besides its codes.
var allFailures = []model.RetryOn{model.RetryConnectFailure, model.RetryReset, model.RetryRefusedStream, model.RetryPerTryTimeout}

// hedged returns how slow tries are hedged, nil for not at all.
func (s retrySide) hedged(o *model.Origins) *model.Hedge {
	if s.hedge == nil {
		return nil
	}
	h := effective(s.hedge, hedging{}, s.hedge.value.field, o)
	most := effective(s.hedgeMax, defaultHedgeMax, "retries.hedge.max", o)
	if most == 0 || h.after == 0 && h.quantile == 0 {
		return nil
	}
	return &model.Hedge{
		After: h.after, Quantile: h.quantile, Max: most, Mode: effective(s.hedgeMode, model.ModeEnforce, "retries.hedge.mode", o),
	}
}

// fill returns the budget, with what nobody set by default.
func (s budgetSide) fill(o *model.Origins) *model.RetryBudget {
	const path = "retries.budget."
	return &model.RetryBudget{
		Share:        effective(s.percent, defaultBudgetShare, path+"percent", o),
		MinPerSecond: effective(s.minPerSecond, defaultBudgetMinPerSecond, path+"minPerSecond", o),
		Mode:         effective(s.mode, model.ModeEnforce, path+"mode", o),
	}
}
