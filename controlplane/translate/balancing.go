package translate

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// readBalancing reads how a policy has hosts chosen.
func (r *policyReader) readBalancing(l *v1alpha1.LoadBalancing) {
	const path = "loadBalancing."
	v := &r.into.backend
	if l.Algorithm != nil {
		v.algorithm = set(r, path+"algorithm", sideBackend, model.Algorithm(*l.Algorithm))
	}
	v.slowStart = r.duration(path+"slowStart", sideBackend, l.SlowStart)
	if l.ZoneAware != nil {
		v.zoneAware = set(r, path+"zoneAware", sideBackend, *l.ZoneAware)
	}
	if l.PanicThreshold != nil {
		v.panicThreshold = set(r, path+"panicThreshold", sideBackend, r.percentage(path+"panicThreshold", *l.PanicThreshold))
	}
	if l.BoundedLoad != nil {
		v.boundedLoad = set(r, path+"boundedLoad", sideBackend, r.loadFactor(path+"boundedLoad", *l.BoundedLoad))
	}
}

// percentage returns a percentage as a share, 0 to 1.
func (r *policyReader) percentage(path string, text v1alpha1.Percentage) float64 {
	number, percent := strings.CutSuffix(string(text), "%")
	value, err := strconv.ParseFloat(number, 64)
	if !percent || err != nil || !(value >= 0 && value <= 100) {
		r.error(RuleInvalidValue, path, "%q is not a percentage such as 50%%, up to 100%%", text)
		return 0
	}
	return math.Round(100*value) / 10_000 // two decimals, without the error of a division
}

func (r *policyReader) loadFactor(path string, text v1alpha1.LoadFactor) float64 {
	value, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(value == 0 || value >= 1 && value < 1000) {
		r.error(RuleInvalidValue, path, "%q is not a decimal from 1 up, such as 1.25, or 0 for no bound", text)
		return 0
	}
	return value
}

// readKeys reads the keys by which a policy has requests told apart. Names of headers are
// compared without case.
func (r *policyReader) readKeys(path string, list []v1alpha1.Key) []model.Key {
	var keys []model.Key
	for i, k := range list {
		switch {
		case k.Header != nil:
			keys = append(keys, model.Key{Source: model.KeyHeader, Name: strings.ToLower(string(*k.Header))})
		case k.Cookie != nil:
			keys = append(keys, model.Key{Source: model.KeyCookie, Name: *k.Cookie})
		case k.Query != nil:
			keys = append(keys, model.Key{Source: model.KeyQuery, Name: *k.Query})
		case k.ClientIP != nil:
			keys = append(keys, model.Key{Source: model.KeyClientIP, IPv6Prefix: int(deref(k.ClientIP.IPv6Prefix, 0))})
		case k.Identity != nil:
			keys = append(keys, model.Key{Source: model.KeyIdentity})
		case k.Expression != nil:
			keys = append(keys, model.Key{Source: model.KeyExpression, Name: strings.TrimSpace(*k.Expression)})
		default:
			r.error(RuleInvalidValue, fmt.Sprintf("%s[%d]", path, i), "needs header, cookie, query, clientIP, identity or expression")
		}
	}
	return keys
}

// fillBalancing gives a cluster its way to choose hosts, and the origins of that.
func fillBalancing(c *model.Cluster, s backendSide) {
	const path = "loadBalancing."
	c.Balancing = model.Balancing{
		Algorithm:      effective(s.algorithm, defaultAlgorithm, path+"algorithm", &c.Origins),
		SlowStart:      effective(s.slowStart, defaultSlowStart, path+"slowStart", &c.Origins),
		ZoneAware:      effective(s.zoneAware, defaultZoneAware, path+"zoneAware", &c.Origins),
		PanicThreshold: effective(s.panicThreshold, defaultPanicThreshold, path+"panicThreshold", &c.Origins),
		BoundedLoad:    effective(s.boundedLoad, defaultBoundedLoad, path+"boundedLoad", &c.Origins),
	}
}
