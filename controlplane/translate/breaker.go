package translate

import (
	"cmp"
	"time"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// breakerSide is the backend side's part on the circuit breaker.
type breakerSide struct {
	maxConnections, maxPending, maxRequests, maxRetries *setting[int]

	failures   *setting[float64]
	of, probes *setting[int]
	openFor    *setting[time.Duration]
	mode       *setting[model.Mode]
}

// readBreaker reads how a policy bounds what a backend is given.
func (r *policyReader) readBreaker(b *v1alpha1.CircuitBreaker) {
	const path = "circuitBreaker."
	v := &r.into.backend.breaker
	v.maxConnections = r.number(path+"maxConnections", sideBackend, b.MaxConnections)
	v.maxPending = r.number(path+"maxPending", sideBackend, b.MaxPending)
	v.maxRequests = r.number(path+"maxRequests", sideBackend, b.MaxRequests)
	v.maxRetries = r.number(path+"maxRetries", sideBackend, b.MaxRetries)
	if t := b.Trip; t != nil {
		v.failures = r.share(path+"trip.failures", sideBackend, t.Failures)
		v.of = r.number(path+"trip.of", sideBackend, t.Of)
		v.openFor = r.duration(path+"trip.openFor", sideBackend, t.OpenFor)
		v.probes = r.number(path+"trip.probes", sideBackend, t.Probes)
	}
	v.mode = r.mode(path+"mode", sideBackend, b.Mode)
}

func (s breakerSide) under(above breakerSide) breakerSide {
	return breakerSide{
		maxConnections: cmp.Or(s.maxConnections, above.maxConnections),
		maxPending:     cmp.Or(s.maxPending, above.maxPending),
		maxRequests:    cmp.Or(s.maxRequests, above.maxRequests),
		maxRetries:     cmp.Or(s.maxRetries, above.maxRetries),
		failures:       cmp.Or(s.failures, above.failures),
		of:             cmp.Or(s.of, above.of),
		probes:         cmp.Or(s.probes, above.probes),
		openFor:        cmp.Or(s.openFor, above.openFor),
		mode:           cmp.Or(s.mode, above.mode),
	}
}

// trips tells whether anybody wants the breaker to open.
func (s breakerSide) trips() bool {
	return s.failures != nil || s.of != nil || s.probes != nil || s.openFor != nil
}

// fillBreaker gives a cluster its circuit breaker, and the origins of that.
func fillBreaker(c *model.Cluster, s breakerSide) {
	const path = "circuitBreaker."
	o := &c.Origins
	c.Breaker = model.Breaker{
		MaxConnections: effective(s.maxConnections, 0, path+"maxConnections", o),
		MaxPending:     effective(s.maxPending, 0, path+"maxPending", o),
		MaxRequests:    effective(s.maxRequests, 0, path+"maxRequests", o),
		MaxRetries:     effective(s.maxRetries, 0, path+"maxRetries", o),
		Mode:           effective(s.mode, model.ModeEnforce, path+"mode", o),
	}
	if !s.trips() {
		return
	}
	trip := model.Trip{
		Failures: effective(s.failures, defaultTripFailures, path+"trip.failures", o),
		Of:       effective(s.of, defaultTripOf, path+"trip.of", o),
		OpenFor:  effective(s.openFor, defaultTripOpenFor, path+"trip.openFor", o),
		Probes:   effective(s.probes, defaultTripProbes, path+"trip.probes", o),
	}
	if trip.OpenFor > 0 {
		c.Breaker.Trip = &trip
	}
}
