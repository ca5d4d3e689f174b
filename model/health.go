package model

import (
	"strconv"
	"strings"
	"time"
)

// HealthCheck is how a cluster's hosts are asked whether they can serve: TrafficPolicy's
// healthCheck, merged and with defaults filled in.
type HealthCheck struct {
	Type HealthCheckType
	// Path, with a query if it has one, Hostname and Expect are HTTP's. Hostname is sent as
	// Host, and with gRPC as :authority; empty: the name of the cluster's TLS or DNS, else the
	// host's address.
	Path     string        `json:",omitempty"`
	Hostname string        `json:",omitempty"`
	Expect   []StatusRange `json:",omitempty"` // sorted; one must have the answer's status
	Service  string        `json:",omitempty"` // gRPC's; empty: the host as a whole

	Interval time.Duration // from the beginning of one check to that of the next, give or take a tenth; above 0
	Timeout  time.Duration // of one check, connecting included; above 0
	// HealthyAfter and UnhealthyAfter are how many results in a row change what is held of a
	// host; at least 1. The first result of all decides at once.
	HealthyAfter, UnhealthyAfter int
}

// HealthCheckType is what a host is asked.
type HealthCheckType string

// The types of health checks.
const (
	HealthCheckHTTP HealthCheckType = "HTTP" // GET a path
	HealthCheckGRPC HealthCheckType = "GRPC" // call grpc.health.v1.Health/Check
	HealthCheckTCP  HealthCheckType = "TCP"  // connect, with TLS where the cluster has it
)

// StatusRange is the statuses of HTTP from First to Last.
type StatusRange struct{ First, Last int }

// Has reports whether the status is in the range.
func (r StatusRange) Has(status int) bool { return r.First <= status && status <= r.Last }

// String returns the range as it is written: 200-299, or 204.
func (r StatusRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return strconv.Itoa(r.First) + "-" + strconv.Itoa(r.Last)
}

// ShownPath returns the path as it may be shown: its query may hold a secret.
func (c *HealthCheck) ShownPath() string {
	path, _, asks := strings.Cut(c.Path, "?")
	if asks {
		path += "?" + Redacted
	}
	return path
}

// healthCheck appends how hosts are checked.
func (l *fieldList) healthCheck(c *HealthCheck) {
	switch c.Type {
	case HealthCheckHTTP:
		l.add("healthCheck.http.path", c.ShownPath())
		l.add("healthCheck.http.expect", joined(c.Expect))
	case HealthCheckGRPC:
		l.add("healthCheck.grpc.service", strconv.Quote(c.Service))
	case HealthCheckTCP:
		l.add("healthCheck.tcp", "true")
	}
	if c.Hostname != "" {
		l.add("healthCheck.http.hostname", c.Hostname)
	}
	l.duration("healthCheck.interval", c.Interval)
	l.duration("healthCheck.timeout", c.Timeout)
	l.add("healthCheck.healthyAfter", strconv.Itoa(c.HealthyAfter))
	l.add("healthCheck.unhealthyAfter", strconv.Itoa(c.UnhealthyAfter))
}
