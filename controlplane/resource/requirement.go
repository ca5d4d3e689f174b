package resource

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir.dev/weir/traffic/expression"
)

// PolicySide is a side of a TrafficPolicy, or several of them.
type PolicySide uint8

// The sides: what is decided per request, what belongs to a backend, what is towards clients.
const (
	RequestSide PolicySide = 1 << iota
	BackendSide
	ClientSide
)

// String says what a side is for.
func (s PolicySide) String() string {
	switch s {
	case RequestSide:
		return "per request"
	case BackendSide:
		return "for backends"
	case ClientSide:
		return "for clients"
	}
	return "of several sides"
}

// requirable are the fields that a requirement may name, and what their values are.
var requirable = map[PolicySide]map[string]expression.Kind{
	RequestSide: requirableOf(map[expression.Kind]string{
		expression.Duration | expression.Bound: "timeouts.request timeouts.perTry timeouts.idle",
		expression.Duration: "retries.backoff.base retries.backoff.max retries.hedge.after " +
			"overload.queue.timeout overload.throttle.window",
		expression.Share: "retries.budget.percent retries.hedge.afterQuantile",
		expression.Integer: "retries.attempts retries.bodyReplay retries.budget.minPerSecond retries.hedge.max overload.concurrency.limit " +
			"overload.concurrency.adaptive.min overload.concurrency.adaptive.max overload.queue.size compression.minSize",
		expression.Decimal: "overload.throttle.acceptRatio",
		expression.Text:    "retries.idempotencyHeader retries.budget.mode retries.hedge.mode overload.queue.order overload.mode",
		expression.Flag:    "retries.nested compression.credentials",
		expression.List:    "retries.retryOn retries.methods compression.algorithms",
	}),
	BackendSide: requirableOf(map[expression.Kind]string{
		expression.Duration | expression.Bound: "timeouts.connect",
		expression.Duration: "timeouts.keepAlive healthCheck.interval healthCheck.timeout circuitBreaker.trip.openFor " +
			"outlierDetection.interval outlierDetection.baseEjectionTime outlierDetection.maxEjectionTime loadBalancing.slowStart",
		expression.Share | expression.Bound: "outlierDetection.failureShare",
		expression.Share:                    "circuitBreaker.trip.failures outlierDetection.maxEjected loadBalancing.panicThreshold",
		expression.Integer | expression.Bound: "circuitBreaker.maxConnections circuitBreaker.maxPending circuitBreaker.maxRequests " +
			"circuitBreaker.maxRetries outlierDetection.consecutive5xx outlierDetection.consecutiveLocal outlierDetection.maxEjectedHosts",
		expression.Integer: "healthCheck.healthyAfter healthCheck.unhealthyAfter circuitBreaker.trip.of circuitBreaker.trip.probes " +
			"outlierDetection.minRequests",
		expression.Decimal | expression.Bound: "outlierDetection.successRateDeviation outlierDetection.slowerThanMedian loadBalancing.boundedLoad",
		expression.Text:                       "circuitBreaker.mode outlierDetection.mode loadBalancing.algorithm",
		expression.Flag:                       "loadBalancing.zoneAware",
	}),
	ClientSide: requirableOf(map[expression.Kind]string{
		expression.Duration | expression.Bound: "client.headTimeout client.bodyTimeout client.tls.handshakeTimeout",
		expression.Duration:                    "client.keepAlive",
		expression.Integer | expression.Bound:  "client.maxConnections client.tls.maxHandshakes",
		expression.Integer: "client.maxHead client.trust.hops client.streams.maxConcurrent client.streams.window " +
			"client.streams.resets",
		expression.Text: "client.underscoreHeaders client.pathEscapes client.tls.minVersion",
		expression.Flag: "client.flagHeaders client.http3 client.proxyProtocol",
	}),
}

func requirableOf(lists map[expression.Kind]string) map[string]expression.Kind {
	fields := map[string]expression.Kind{}
	for kind, list := range lists {
		for field := range strings.FieldsSeq(list) {
			fields[field] = kind
		}
	}
	return fields
}

// absentParts are the parts of an effective policy that may not be there.
var absentParts = []string{
	"retries.hedge", "retries.hedge.after", "retries.hedge.afterQuantile", "overload.concurrency", "overload.concurrency.limit",
	"overload.concurrency.adaptive", "overload.queue", "overload.throttle", "healthCheck", "circuitBreaker.trip",
}

// RequirableFields returns the fields that a requirement may name, as paths such as
// retries.attempts, and what their values are.
func RequirableFields() map[string]expression.Kind {
	all := map[string]expression.Kind{}
	for _, fields := range requirable {
		maps.Copy(all, fields)
	}
	return all
}

// CompileRequirement compiles the rule of a TrafficPolicy's requirement and tells which side it is
// about. Of a rule that is wrong it returns what is, each a sentence for people.
func CompileRequirement(rule string) (*expression.Requirement, PolicySide, []string) {
	program, err := expression.CompileRequirement(rule, RequirableFields())
	if err != nil {
		return nil, 0, wrongIn(err)
	}
	side, wrong := settle(program)
	if wrong != "" {
		return nil, 0, []string{wrong}
	}
	return program, side, nil
}

// settle finds out of which side the fields are that a rule names, and what is wrong with them.
func settle(program *expression.Requirement) (PolicySide, string) {
	var common PolicySide
	for i, path := range slices.Concat(program.Reads(), program.Asks()) {
		side, value := sideOfPath(path)
		switch {
		case side == 0:
			return 0, fmt.Sprintf("policy has no field %s to require something of%s", path, meantField(path))
		case !value && i < len(program.Reads()):
			return 0, fmt.Sprintf("%s is not a value: name one of its fields, or write has(policy.%s)", path, path)
		case common == 0:
			common = side
		case common&side == 0:
			return 0, fmt.Sprintf("%s is %v, the rule's other fields are %v: write two rules", path, side, common)
		default:
			common &= side
		}
	}
	for _, path := range program.Reads() {
		for _, part := range absentParts {
			if within(path, part) && !slices.Contains(program.Asks(), part) {
				return 0, fmt.Sprintf("there may be no %s: write !has(policy.%s) || before it, or has(policy.%s) && where there must be one", part, part, part)
			}
		}
	}
	return common, ""
}

// sideOfPath returns the sides that have a field at or below a path, 0 for none, and whether it is
// the path of one.
func sideOfPath(path string) (sides PolicySide, value bool) {
	for side, fields := range requirable {
		for f := range fields {
			if within(f, path) {
				sides |= side
				value = value || f == path
			}
		}
	}
	return sides, value
}

// meantField suggests a field.
func meantField(path string) string {
	if guess := Closest(path, slices.Sorted(maps.Keys(RequirableFields()))); guess != "" {
		return fmt.Sprintf("; did you mean %s?", guess)
	}
	return ""
}

// within tells whether a path is another one or below it.
func within(path, part string) bool {
	rest, ok := strings.CutPrefix(path, part)
	return ok && (rest == "" || rest[0] == '.')
}
