package translate

import (
	"cmp"
	"math"
	"strconv"
	"time"

	"weir.dev/weir/model"
)

// What requirements see: the effective policy with defaults filled in, as maps by the names of
// fields. Numbers are int64, shares and factors float64. A bound that is none, which is written as
// 0, is above all others, so that nobody meets "at most 10s" by having no end.
const (
	noEnd   = time.Duration(math.MaxInt64)
	noLimit = int64(math.MaxInt64)
)

var noFactor = math.Inf(1)

// shownRequest is the request side.
func shownRequest(s, fixed requestSide) map[string]any {
	var r model.Route
	fillRequest(&r, s, fixed)
	attempts := 0
	if r.Retry != nil {
		attempts = r.Retry.Attempts
	} else { // what would hold for a retry
		s.retry.own, s.retry.attempts = nil, &setting[int]{value: 1}
		fillRetry(&r, s.retry, retrySide{})
	}
	t := r.Retry
	if t.On == nil { // a rule's own
		t.On = allFailures
	}
	if t.Methods == nil {
		t.Methods = defaultRetriesMethods
	}
	retries := map[string]any{
		"attempts": int64(attempts), "retryOn": failuresOf(t), "methods": listOf(t.Methods),
		"idempotencyHeader": t.IdempotencyHeader, "bodyReplay": t.BodyReplay, "nested": t.Nested,
		"backoff": map[string]any{"base": max(t.BackoffBase, t.Backoff), "max": max(t.BackoffMax, 2*t.Backoff)},
		"budget":  map[string]any{"percent": t.Budget.Share, "minPerSecond": int64(t.Budget.MinPerSecond), "mode": string(t.Budget.Mode)},
	}
	if h := t.Hedge; h != nil {
		hedge := map[string]any{"max": int64(h.Max), "mode": string(h.Mode)}
		if h.After > 0 {
			hedge["after"] = h.After
		} else {
			hedge["afterQuantile"] = h.Quantile
		}
		retries["hedge"] = hedge
	}
	compression := map[string]any{"algorithms": []string{}, "minSize": int64(defaultCompressionMinSize), "credentials": defaultCompressionCredentials}
	if c := r.Compression; c != nil {
		compression = map[string]any{"algorithms": listOf(c.Algorithms), "minSize": c.MinSize, "credentials": c.Credentials}
	}
	return map[string]any{
		"timeouts": map[string]any{
			"request": cmp.Or(r.Timeouts.Request, noEnd), "perTry": cmp.Or(r.Timeouts.PerTry, noEnd), "idle": cmp.Or(r.Timeouts.Idle, noEnd),
		},
		"retries": retries, "overload": shownOverload(r.Overload), "compression": compression,
	}
}

func shownOverload(l *model.Overload) map[string]any {
	shown := map[string]any{"mode": string(model.ModeEnforce)}
	if l == nil {
		return shown
	}
	shown["mode"] = string(l.Mode)
	switch {
	case l.Adaptive != nil:
		shown["concurrency"] = map[string]any{"adaptive": map[string]any{"min": int64(l.Adaptive.Min), "max": int64(l.Adaptive.Max)}}
	case l.Limit > 0:
		shown["concurrency"] = map[string]any{"limit": int64(l.Limit)}
	}
	if q := l.Queue; q != nil {
		order := "FIFO"
		if q.LIFO {
			order = "LIFO"
		}
		shown["queue"] = map[string]any{"size": int64(q.Size), "timeout": q.Timeout, "order": order}
	}
	if t := l.Throttle; t != nil {
		shown["throttle"] = map[string]any{"acceptRatio": t.AcceptRatio, "window": t.Window}
	}
	return shown
}

// shownBackend is the backend side.
func shownBackend(s backendSide) map[string]any {
	var c model.Cluster
	fillBackend(&c, s)
	fillHealthCheck(&c, s.health, false)
	b, o := &c.Breaker, &c.Outlier
	breaker := map[string]any{
		"maxConnections": cmp.Or(int64(b.MaxConnections), noLimit), "maxPending": cmp.Or(int64(b.MaxPending), noLimit),
		"maxRequests": cmp.Or(int64(b.MaxRequests), noLimit), "maxRetries": cmp.Or(int64(b.MaxRetries), noLimit), "mode": string(b.Mode),
	}
	if t := b.Trip; t != nil {
		breaker["trip"] = map[string]any{"failures": t.Failures, "of": int64(t.Of), "openFor": t.OpenFor, "probes": int64(t.Probes)}
	}
	shown := map[string]any{
		"timeouts":       map[string]any{"connect": cmp.Or(c.ConnectTimeout, noEnd), "keepAlive": c.KeepAlive},
		"circuitBreaker": breaker,
		"outlierDetection": map[string]any{
			"consecutive5xx": cmp.Or(int64(o.Consecutive5xx), noLimit), "consecutiveLocal": cmp.Or(int64(o.ConsecutiveLocal), noLimit),
			"failureShare": cmp.Or(o.FailureShare, noFactor), "successRateDeviation": cmp.Or(o.SuccessRateDeviation, noFactor),
			"slowerThanMedian": cmp.Or(o.SlowerThanMedian, noFactor), "interval": o.Interval,
			"minRequests": int64(o.MinRequests), "baseEjectionTime": o.BaseEjection, "maxEjectionTime": o.MaxEjection,
			"maxEjected": o.MaxEjected, "maxEjectedHosts": cmp.Or(int64(o.MaxEjectedHosts), noLimit), "mode": string(o.Mode),
		},
		"loadBalancing": map[string]any{
			"algorithm": string(c.Balancing.Algorithm), "slowStart": c.Balancing.SlowStart, "zoneAware": c.Balancing.ZoneAware,
			"panicThreshold": c.Balancing.PanicThreshold, "boundedLoad": cmp.Or(c.Balancing.BoundedLoad, noFactor),
		},
	}
	if h := c.HealthCheck; h != nil {
		shown["healthCheck"] = map[string]any{
			"interval": h.Interval, "timeout": h.Timeout, "healthyAfter": int64(h.HealthyAfter), "unhealthyAfter": int64(h.UnhealthyAfter),
		}
	}
	return shown
}

// shownClient is the side towards clients.
func shownClient(s clientSide) map[string]any {
	var c model.Client
	fillClient(&c, s)
	var t model.TLS
	fillTLS(&t, s)
	return map[string]any{"client": map[string]any{
		"headTimeout": cmp.Or(c.HeadTimeout, noEnd), "bodyTimeout": cmp.Or(c.BodyTimeout, noEnd), "keepAlive": c.KeepAlive,
		"maxConnections": cmp.Or(int64(c.MaxConnections), noLimit), "maxHead": int64(c.MaxHead),
		"underscoreHeaders": string(c.Underscores), "pathEscapes": string(c.Escapes), "flagHeaders": c.FlagHeaders,
		"http3": c.HTTP3, "proxyProtocol": c.ProxyProtocol, "trust": map[string]any{"hops": int64(c.TrustHops)},
		"streams": map[string]any{
			"maxConcurrent": int64(c.Streams.MaxConcurrent), "window": int64(c.Streams.Window), "resets": int64(c.Streams.Resets),
		},
		"tls": map[string]any{
			"minVersion": string(t.MinVersion), "handshakeTimeout": cmp.Or(t.Handshake, noEnd),
			"maxHandshakes": cmp.Or(int64(t.MaxHandshakes), noLimit),
		},
	}}
}

// failuresOf are what a retry is for, as policies write it.
func failuresOf(t *model.Retry) []string {
	list := listOf(t.On)
	for _, code := range t.Codes {
		list = append(list, strconv.Itoa(code))
	}
	for _, code := range t.GRPCCodes {
		list = append(list, code.String())
	}
	return list
}

// listOf returns a list as one of strings, never nil.
func listOf[T ~string](list []T) []string { return asStrings[string](list) }
