package explain

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/retry"
)

// effects say what a field does to a budget, by its path or the beginning of it, the longest
// first. Fields without an entry do nothing to it, and those of ejection do where somebody has
// set them.
var effects = []struct{ path, effect string }{
	{"timeouts.request", "ends everything, the queue and all tries included"},
	{"timeouts.perTry", "ends one try"},
	{"timeouts.idle", "ends what sends nothing for so long"},
	{"timeouts.connect", "ends making a connection, within a try"},
	{"retries.attempts", "tries after the first"},
	{"retries.retryOn", "only these failures are tried again"},
	{"retries.methods", "only these, where the host may have acted"},
	{"retries.idempotencyHeader", "other methods too, with this header"},
	{"retries.bodyReplay", "longer bodies are sent once"},
	{"retries.backoff.base", "the longest wait before the first retry, doubled with each"},
	{"retries.backoff.max", "the longest wait before any"},
	{"retries.budget.mode", "so it bounds nothing"},
	{"retries.budget", "bounds retries to a share of first tries, and a floor"},
	{"retries.hedge.mode", "so nothing is sent beside it"},
	{"retries.hedge", "tries beside the first one when it is slow"},
	{"retries.nested", "whether it retries also what its caller will retry"},
	{"retry.attempts", "tries after the first"},
	{"retry.codes", "answers that are tried again, beside failures to connect"},
	{"retry.backoff", "the shortest wait before a retry; up to as much comes on top"},
	{"overload.concurrency", "what goes beyond waits or is refused"},
	{"overload.queue.size", "what goes beyond is refused at once"},
	{"overload.queue.timeout", "the longest wait before the first try"},
	{"overload.throttle", "refuses before sending while the backend refuses"},
	{"overload.degrade", "gives up more as it fills"},
	{"overload.mode", "so nobody waits and nothing is refused"},
	{"circuitBreaker.trip", "refuses everything while most of it fails"},
	{"circuitBreaker.maxRetries", "bounds retries at once"},
	{"circuitBreaker.max", "refuses what goes beyond"},
	{"circuitBreaker.mode", "so it refuses nothing"},
	{"outlierDetection", "takes hosts out that do worse than the others"},
}

func effectOf(path string) string {
	for _, e := range effects {
		if strings.HasPrefix(path, e.path) {
			return e.effect
		}
	}
	return ""
}

// contributions are the fields of a rule and of its clusters that have a part in its budget.
func (e *Explainer) contributions(r *model.Route) []Contribution {
	list := []Contribution{}
	add := func(fields []model.PolicyField, of string) {
		for _, f := range fields {
			idle := f.Default && strings.HasPrefix(f.Field, "outlierDetection")
			acts := strings.HasSuffix(f.Field, ".mode") && model.Mode(f.Value).Acts()
			if effect := effectOf(f.Field); effect != "" && !idle && !acts {
				list = append(list, Contribution{f.Field, f.Value, f.Origin, f.Default, of, effect})
			}
		}
	}
	add(model.EffectivePolicy(nil, r, nil), "")
	said := map[string]bool{}
	for i := range r.Split.Arms {
		arm := &r.Split.Arms[i]
		if c := e.clusters[arm.Cluster]; c != nil && r.Split.Sends(arm) && !said[c.Name] {
			said[c.Name] = true
			add(model.EffectivePolicy(nil, nil, c), c.Name)
		}
	}
	return list
}

// notes say what of a budget is worth a second look.
func (e *Explainer) notes(r *model.Route, b *Budget) []string {
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	for _, sum := range []string{retry.Contradiction(r.Timeouts, r.Retry), retry.Lateness(r.Timeouts, r.Retry), retry.Shortage(r.Timeouts, r.Retry)} {
		if sum != "" {
			note("%s", sum)
		}
	}
	switch t := r.Timeouts; {
	case b.Latency.WorstMs == nil:
		note("nothing ends a request: timeouts.request is 0s; only a host that sends nothing for timeouts.idle, %v, is given up", t.Idle)
	case t.PerTry == 0 && retry.Most(r.Retry) > 1:
		note("a try that hangs takes all of timeouts.request, %v: without timeouts.perTry there is no second", t.Request)
	}
	if queue := QueueTime(r); queue > 0 && r.Timeouts.Request > 0 && queue >= r.Timeouts.Request {
		note("the queue may hold a request for %v, which has %v in all: then nothing is left for a try", queue, r.Timeouts.Request)
	}
	a := &b.Amplification
	for i, h := range a.Path {
		if h.Ceiling > 0 && h.Ceiling < float64(h.Tries) {
			note("%s: %d tries at most, ×%s for all requests together by the retry budget%s", h.Service, h.Tries, Times(h.Ceiling), floorText(h, a.Rate))
		}
		if i > 0 && h.Worst > 1 && !h.Nested {
			note("%s: %s does not retry what its caller will, where the caller hands on x-weir-attempt and is trusted", h.Service, h.Rule)
		}
	}
	for _, d := range b.Latency.Downstream {
		if d.Outlives {
			note("%s: rule %s may go on when its caller has given up, but for a trusted x-weir-timeout-ms", d.Service, d.Rule)
		}
	}
	return slices.Compact(notes)
}

// floorText says what the floor of a retry budget adds.
func floorText(h BudgetHop, rate float64) string {
	if h.budget == nil || h.budget.MinPerSecond == 0 || rate > 0 {
		return ""
	}
	return fmt.Sprintf(" and %d retries a second", h.budget.MinPerSecond)
}

// Times writes a factor with at most two decimals.
func Times(f float64) string { return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64) }
