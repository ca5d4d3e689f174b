package model

import (
	"math"
	"strconv"
	"strings"
)

// percent writes a share as policies do: "12.5%". Shares have two decimals.
func percent(share float64) string { return factor(math.Round(share*1e4)/100) + "%" }

// factor writes a decimal as policies do: "1.25".
func factor(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func (l *fieldList) number(path string, n int) { l.add(path, strconv.Itoa(n)) }

// replay appends what a rule's own retry has beside a TrafficPolicy's.
func (l *fieldList) replay(t *Retry) {
	if t.IdempotencyHeader != "" {
		l.add("retries.idempotencyHeader", t.IdempotencyHeader)
	}
	l.add("retries.bodyReplay", strconv.FormatInt(t.BodyReplay, 10))
	if b := t.Budget; b != nil {
		l.budget(b)
	}
	if h := t.Hedge; h != nil {
		if h.After > 0 {
			l.duration("retries.hedge.after", h.After)
		} else {
			l.add("retries.hedge.afterQuantile", "p"+factor(math.Round(h.Quantile*1e3)/10))
		}
		l.number("retries.hedge.max", h.Max)
		l.add("retries.hedge.mode", string(h.Mode))
	}
	l.add("retries.nested", strconv.FormatBool(t.Nested))
}

func (l *fieldList) budget(b *RetryBudget) {
	l.add("retries.budget.percent", percent(b.Share))
	l.number("retries.budget.minPerSecond", b.MinPerSecond)
	l.add("retries.budget.mode", string(b.Mode))
}

func (l *fieldList) overload(o *Overload) {
	switch {
	case o.Adaptive != nil:
		l.number("overload.concurrency.adaptive.min", o.Adaptive.Min)
		l.number("overload.concurrency.adaptive.max", o.Adaptive.Max)
	case o.Limit > 0:
		l.number("overload.concurrency.limit", o.Limit)
	}
	if len(o.Priorities) > 0 {
		l.add("overload.priority", joined(o.Priorities))
	}
	if q := o.Queue; q != nil {
		l.number("overload.queue.size", q.Size)
		l.duration("overload.queue.timeout", q.Timeout)
		order := "FIFO"
		if q.LIFO {
			order = "LIFO"
		}
		l.add("overload.queue.order", order)
		if len(q.FairBy) > 0 {
			l.add("overload.queue.fairBy", joined(q.FairBy))
		}
	}
	if t := o.Throttle; t != nil {
		l.add("overload.throttle.acceptRatio", factor(t.AcceptRatio))
		l.duration("overload.throttle.window", t.Window)
	}
	if len(o.Degrade) > 0 {
		l.add("overload.degrade", joined(o.Degrade))
	}
	l.add("overload.mode", string(o.Mode))
}

// String returns the class and who has it: `Sheddable when request.path == "/"`, "Critical".
func (p Priority) String() string {
	if p.When == "" {
		return p.Class.String()
	}
	return p.Class.String() + " when " + strings.ReplaceAll(p.When, "\n", " ")
}

// String returns the step as people read it: "80%: shed Sheddable and no retries".
func (d Degrade) String() string {
	var does []string
	if d.Shed != ClassNone {
		does = append(does, "shed "+d.Shed.String())
	}
	if d.NoRetries {
		does = append(does, "no retries")
	}
	if t := d.Timeouts; t != nil {
		if t.Request > 0 {
			does = append(does, "request "+durationText(t.Request))
		}
		if t.PerTry > 0 {
			does = append(does, "perTry "+durationText(t.PerTry))
		}
	}
	if d.ServeStale > 0 {
		does = append(does, "serve stale up to "+durationText(d.ServeStale))
	}
	if d.Answer != nil {
		does = append(does, "answer "+strconv.Itoa(d.Answer.Status))
	}
	return percent(d.At) + ": " + strings.Join(does, " and ")
}

// breaker appends a circuit breaker, if there is anything to it.
func (l *fieldList) breaker(b *Breaker) {
	const path = "circuitBreaker."
	bounds := []struct {
		field string
		n     int
	}{{"maxConnections", b.MaxConnections}, {"maxPending", b.MaxPending}, {"maxRequests", b.MaxRequests}, {"maxRetries", b.MaxRetries}}
	some := false
	for _, bound := range bounds {
		if bound.n > 0 {
			l.number(path+bound.field, bound.n)
			some = true
		}
	}
	if t := b.Trip; t != nil {
		l.add(path+"trip.failures", percent(t.Failures))
		l.number(path+"trip.of", t.Of)
		l.duration(path+"trip.openFor", t.OpenFor)
		l.number(path+"trip.probes", t.Probes)
		some = true
	}
	if some {
		l.add(path+"mode", string(b.Mode))
	}
}

// outlier appends by what hosts are ejected, if they are. What is off is left out.
func (l *fieldList) outlier(o *Outlier) {
	const path = "outlierDetection."
	before := len(l.fields)
	if o.Consecutive5xx > 0 {
		l.number(path+"consecutive5xx", o.Consecutive5xx)
	}
	if o.ConsecutiveLocal > 0 {
		l.number(path+"consecutiveLocal", o.ConsecutiveLocal)
	}
	consecutive := len(l.fields)
	if o.FailureShare > 0 {
		l.add(path+"failureShare", percent(o.FailureShare))
	}
	if o.SuccessRateDeviation > 0 {
		l.add(path+"successRateDeviation", factor(o.SuccessRateDeviation))
	}
	if o.SlowerThanMedian > 0 {
		l.add(path+"slowerThanMedian", factor(o.SlowerThanMedian))
	}
	if len(l.fields) > consecutive {
		l.duration(path+"interval", o.Interval)
		l.number(path+"minRequests", o.MinRequests)
	}
	if len(l.fields) == before {
		return
	}
	l.duration(path+"baseEjectionTime", o.BaseEjection)
	l.duration(path+"maxEjectionTime", o.MaxEjection)
	l.add(path+"maxEjected", percent(o.MaxEjected))
	if o.MaxEjectedHosts > 0 {
		l.number(path+"maxEjectedHosts", o.MaxEjectedHosts)
	}
	l.add(path+"mode", string(o.Mode))
}
