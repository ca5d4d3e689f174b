package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// healthSide is the backend side's part on health checks.
type healthSide struct {
	kind                         *setting[model.HealthCheckType]
	path, hostname, service      *setting[string]
	expect                       *setting[[]model.StatusRange]
	interval, timeout            *setting[time.Duration]
	healthyAfter, unhealthyAfter *setting[int]
}

// healthCheckFields are what the types of checks are called in policies.
var healthCheckFields = map[model.HealthCheckType]string{
	model.HealthCheckHTTP: "http", model.HealthCheckGRPC: "grpc", model.HealthCheckTCP: "tcp",
}

// readHealthCheck reads how a policy has hosts checked.
func (r *policyReader) readHealthCheck(h *v1alpha1.HealthCheck) {
	const path = "healthCheck."
	v := &r.into.backend.health
	kind := func(t model.HealthCheckType) {
		v.kind = set(r, path+healthCheckFields[t], sideBackend, t)
	}
	switch {
	case h.HTTP != nil:
		kind(model.HealthCheckHTTP)
		v.path = set(r, path+"http.path", sideBackend, h.HTTP.Path)
		if h.HTTP.Hostname != nil {
			v.hostname = set(r, path+"http.hostname", sideBackend, string(*h.HTTP.Hostname))
		}
		if h.HTTP.Expect != nil {
			v.expect = set(r, path+"http.expect", sideBackend, r.readStatuses(path+"http.expect", h.HTTP))
		}
	case h.GRPC != nil:
		kind(model.HealthCheckGRPC)
		if h.GRPC.Service != nil {
			v.service = set(r, path+"grpc.service", sideBackend, *h.GRPC.Service)
		}
	case h.TCP != nil:
		kind(model.HealthCheckTCP)
	}
	v.interval = r.duration(path+"interval", sideBackend, h.Interval)
	v.timeout = r.duration(path+"timeout", sideBackend, h.Timeout)
	if h.HealthyAfter != nil {
		v.healthyAfter = set(r, path+"healthyAfter", sideBackend, int(*h.HealthyAfter))
	}
	if h.UnhealthyAfter != nil {
		v.unhealthyAfter = set(r, path+"unhealthyAfter", sideBackend, int(*h.UnhealthyAfter))
	}
}

func (r *policyReader) readStatuses(path string, h *v1alpha1.HTTPHealthCheck) []model.StatusRange {
	var ranges []model.StatusRange
	for i := range h.Expect {
		text := h.Expect[i].String()
		low, high, isRange := strings.Cut(text, "-")
		if !isRange {
			high = low
		}
		first, err := strconv.Atoi(low)
		last, err2 := strconv.Atoi(high)
		if err != nil || err2 != nil || first < 200 || last > 599 || first > last {
			r.error(RuleInvalidValue, fmt.Sprintf("%s[%d]", path, i), "%q is not a status from 200 to 599, or a range of them such as 200-299", text)
			continue
		}
		ranges = append(ranges, model.StatusRange{First: first, Last: last})
	}
	slices.SortFunc(ranges, func(a, b model.StatusRange) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	return slices.Compact(ranges)
}

func (s healthSide) under(above healthSide) healthSide {
	return healthSide{
		kind:           cmp.Or(s.kind, above.kind),
		path:           cmp.Or(s.path, above.path),
		hostname:       cmp.Or(s.hostname, above.hostname),
		service:        cmp.Or(s.service, above.service),
		expect:         cmp.Or(s.expect, above.expect),
		interval:       cmp.Or(s.interval, above.interval),
		timeout:        cmp.Or(s.timeout, above.timeout),
		healthyAfter:   cmp.Or(s.healthyAfter, above.healthyAfter),
		unhealthyAfter: cmp.Or(s.unhealthyAfter, above.unhealthyAfter),
	}
}

// fillHealthCheck says how a cluster's hosts are checked, and who said so. Hosts of UDP are
// not: nothing tells that they listen. Hosts whose TLS is the clients' own affair are only
// connected to, for Weir could not read what they answer. lint tells both by the origin of
// what was asked for.
func fillHealthCheck(c *model.Cluster, s healthSide, untouched bool) {
	const path = "healthCheck."
	if s.kind == nil {
		return
	}
	asked := path + healthCheckFields[s.kind.value]
	if c.Protocol == model.ProtocolUDP {
		noteOrigin(asked, s.kind.origin, &c.Origins)
		return
	}
	if s.interval != nil && s.interval.value <= 0 {
		return
	}
	check := &model.HealthCheck{
		Type:           effective(s.kind, "", asked, &c.Origins),
		Interval:       effective(s.interval, defaultCheckInterval, path+"interval", &c.Origins),
		Timeout:        effective(s.timeout, defaultCheckTimeout, path+"timeout", &c.Origins),
		HealthyAfter:   effective(s.healthyAfter, defaultHealthyAfter, path+"healthyAfter", &c.Origins),
		UnhealthyAfter: effective(s.unhealthyAfter, defaultUnhealthyAfter, path+"unhealthyAfter", &c.Origins),
	}
	if untouched && check.Type != model.HealthCheckTCP {
		check.Type = effective(&setting[model.HealthCheckType]{model.HealthCheckTCP, s.kind.origin}, "", path+"tcp", &c.Origins)
	}
	switch check.Type {
	case model.HealthCheckHTTP:
		check.Path = effective(s.path, "", path+"http.path", &c.Origins)
		check.Hostname = effective(s.hostname, "", path+"http.hostname", &c.Origins)
		check.Expect = effective(s.expect, defaultExpect, path+"http.expect", &c.Origins)
	case model.HealthCheckGRPC:
		check.Service = effective(s.service, "", path+"grpc.service", &c.Origins)
	}
	c.HealthCheck = check
}
