package translate

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// setting is a value that somebody wrote, and where; nil is nobody.
type setting[T any] struct {
	value  T
	origin model.Origin
}

// The three sides of a TrafficPolicy: per request, per backend, towards clients.
type (
	requestSide struct {
		request, perTry, idle *setting[time.Duration]
		retry                 retrySide
		hashOn                *setting[[]model.Key]
		overload              overloadSide
		compression           compressionSide
	}

	backendSide struct {
		connect, keepAlive, slowStart *setting[time.Duration]
		algorithm                     *setting[model.Algorithm]
		zoneAware                     *setting[bool]
		panicThreshold, boundedLoad   *setting[float64]
		health                        healthSide
		budget                        budgetSide
		breaker                       breakerSide
		outlier                       outlierSide
		calls                         *setting[[]string]
	}

	clientSide struct {
		headTimeout, bodyTimeout, keepAlive *setting[time.Duration]
		maxConnections, maxHead, trustHops  *setting[int]
		underscores                         *setting[model.NamePolicy]
		escapes                             *setting[model.EscapePolicy]
		flagHeaders, http3, proxyProtocol   *setting[bool]
		streams                             streamsSide
		trustAddresses                      *setting[[]netip.Prefix]
		trustIdentities                     *setting[[]string]
		minVersion                          *setting[model.TLSVersion]
		cipherSuites                        *setting[[]string]
		handshakeTimeout                    *setting[time.Duration]
		maxHandshakes                       *setting[int]
	}

	// sides are all three.
	sides struct {
		request requestSide
		backend backendSide
		client  clientSide
	}
)

// under returns r with the fields that nobody set taken from a level above.
func (r requestSide) under(above requestSide) requestSide {
	return requestSide{
		request:     cmp.Or(r.request, above.request),
		perTry:      cmp.Or(r.perTry, above.perTry),
		idle:        cmp.Or(r.idle, above.idle),
		retry:       r.retry.under(above.retry),
		hashOn:      cmp.Or(r.hashOn, above.hashOn),
		overload:    r.overload.under(above.overload),
		compression: r.compression.under(above.compression),
	}
}

func (b backendSide) under(above backendSide) backendSide {
	return backendSide{
		connect:        cmp.Or(b.connect, above.connect),
		keepAlive:      cmp.Or(b.keepAlive, above.keepAlive),
		slowStart:      cmp.Or(b.slowStart, above.slowStart),
		algorithm:      cmp.Or(b.algorithm, above.algorithm),
		zoneAware:      cmp.Or(b.zoneAware, above.zoneAware),
		panicThreshold: cmp.Or(b.panicThreshold, above.panicThreshold),
		boundedLoad:    cmp.Or(b.boundedLoad, above.boundedLoad),
		health:         b.health.under(above.health),
		budget:         b.budget.under(above.budget),
		breaker:        b.breaker.under(above.breaker),
		outlier:        b.outlier.under(above.outlier),
		calls:          cmp.Or(b.calls, above.calls),
	}
}

func (c clientSide) under(above clientSide) clientSide {
	return clientSide{
		headTimeout:      cmp.Or(c.headTimeout, above.headTimeout),
		bodyTimeout:      cmp.Or(c.bodyTimeout, above.bodyTimeout),
		keepAlive:        cmp.Or(c.keepAlive, above.keepAlive),
		maxConnections:   cmp.Or(c.maxConnections, above.maxConnections),
		maxHead:          cmp.Or(c.maxHead, above.maxHead),
		trustHops:        cmp.Or(c.trustHops, above.trustHops),
		underscores:      cmp.Or(c.underscores, above.underscores),
		escapes:          cmp.Or(c.escapes, above.escapes),
		flagHeaders:      cmp.Or(c.flagHeaders, above.flagHeaders),
		http3:            cmp.Or(c.http3, above.http3),
		streams:          c.streams.under(above.streams),
		proxyProtocol:    cmp.Or(c.proxyProtocol, above.proxyProtocol),
		trustAddresses:   cmp.Or(c.trustAddresses, above.trustAddresses),
		trustIdentities:  cmp.Or(c.trustIdentities, above.trustIdentities),
		minVersion:       cmp.Or(c.minVersion, above.minVersion),
		cipherSuites:     cmp.Or(c.cipherSuites, above.cipherSuites),
		handshakeTimeout: cmp.Or(c.handshakeTimeout, above.handshakeTimeout),
		maxHandshakes:    cmp.Or(c.maxHandshakes, above.maxHandshakes),
	}
}

// effective returns a setting's value, noting its origin under path, or the default.
func effective[T any](s *setting[T], fallback T, path string, origins *model.Origins) T {
	if s == nil {
		return fallback
	}
	noteOrigin(path, s.origin, origins)
	return s.value
}

func noteOrigin(path string, origin model.Origin, origins *model.Origins) {
	if *origins == nil {
		*origins = model.Origins{}
	}
	(*origins)[path] = origin
}

// fieldSide names the side that a field of the policy belongs to.
type fieldSide uint8

const (
	sideRequest fieldSide = 1 << iota
	sideBackend
	sideClient
	sideStream // of what is per request, the part that streams have, too
)

var sideTargets = map[fieldSide]string{
	sideRequest: "per request: target a GatewayClass, Gateway, ListenerSet, listener, HTTPRoute, GRPCRoute or rule",
	sideBackend: "for backends: target a Backend, a Service or its port, or a Gateway for all backends behind it",
	sideClient:  "for clients: target a Gateway, a ListenerSet or one of their listeners",

	sideRequest | sideStream: "per request, connection or session: target a GatewayClass, Gateway, ListenerSet, listener, route or rule",
}

// writtenField is a field that a policy sets.
type writtenField struct {
	path string
	side fieldSide
}

// policyView is one TrafficPolicy, read.
type policyView struct {
	object  *resource.Object
	targets []targetView
	written []writtenField
	sides
	fixed    sides // overrides
	requires []*requirement
	deps     []resource.Key
	// problems are those of the policy as a whole.
	problems []resource.Diagnostic
}

// policyReader reads the fields of one policy.
type policyReader struct {
	reporter
	view *policyView
	root string // where the fields are: "spec." or "spec.overrides."
	into *sides
}

// error reports a problem of a field.
func (r *policyReader) error(rule, path, format string, args ...any) {
	r.reporter.error(rule, r.root+path, format, args...)
}

func readPolicy(o *resource.Object, policy *v1alpha1.TrafficPolicy) *policyView {
	view := &policyView{object: o}
	r := &policyReader{reporter: reporter{object: o}, view: view, root: "spec.", into: &view.sides}
	r.readSettings(&policy.Spec.TrafficSettings)
	if s := policy.Spec.Overrides; s != nil {
		r.root, r.into = "spec.overrides.", &view.fixed
		r.readSettings(s)
		r.root = "spec."
	}
	r.readRequirements(policy.Spec.Require)
	view.problems = r.diagnostics
	return view
}

// readSettings reads the fields of a policy, or those that it overrides.
func (r *policyReader) readSettings(s *v1alpha1.TrafficSettings) {
	v := r.into
	if t := s.Timeouts; t != nil {
		v.request.request = r.duration("timeouts.request", sideRequest, t.Request)
		v.request.perTry = r.duration("timeouts.perTry", sideRequest, t.PerTry)
		v.request.idle = r.duration("timeouts.idle", sideRequest|sideStream, t.Idle)
		v.backend.connect = r.duration("timeouts.connect", sideBackend, t.Connect)
		v.backend.keepAlive = r.duration("timeouts.keepAlive", sideBackend, t.KeepAlive)
	}
	if s.Retries != nil {
		r.readRetries(s.Retries)
	}
	if s.HashOn != nil {
		v.request.hashOn = set(r, "hashOn", sideRequest, r.readKeys("hashOn", s.HashOn))
	}
	if s.Overload != nil {
		r.readOverload(s.Overload)
	}
	if s.Compression != nil {
		r.readCompression(s.Compression)
	}
	if s.HealthCheck != nil {
		r.readHealthCheck(s.HealthCheck)
	}
	if s.CircuitBreaker != nil {
		r.readBreaker(s.CircuitBreaker)
	}
	if s.OutlierDetection != nil {
		r.readOutlier(s.OutlierDetection)
	}
	if s.LoadBalancing != nil {
		r.readBalancing(s.LoadBalancing)
	}
	if s.Calls != nil {
		r.readCalls(s.Calls)
	}
	if s.Client != nil {
		r.readClient(s.Client)
	}
}

func (r *policyReader) readClient(c *v1alpha1.Client) {
	v := &r.into.client
	v.headTimeout = r.duration("client.headTimeout", sideClient, c.HeadTimeout)
	v.bodyTimeout = r.duration("client.bodyTimeout", sideClient, c.BodyTimeout)
	v.keepAlive = r.duration("client.keepAlive", sideClient, c.KeepAlive)
	if c.MaxConnections != nil {
		v.maxConnections = set(r, "client.maxConnections", sideClient, int(*c.MaxConnections))
	}
	if c.MaxHead != nil {
		v.maxHead = set(r, "client.maxHead", sideClient, int(c.MaxHead.Value()))
	}
	if c.UnderscoreHeaders != nil {
		v.underscores = set(r, "client.underscoreHeaders", sideClient, model.NamePolicy(*c.UnderscoreHeaders))
	}
	if c.PathEscapes != nil {
		v.escapes = set(r, "client.pathEscapes", sideClient, model.EscapePolicy(*c.PathEscapes))
	}
	if c.FlagHeaders != nil {
		v.flagHeaders = set(r, "client.flagHeaders", sideClient, *c.FlagHeaders)
	}
	if c.Streams != nil {
		r.readStreams(c.Streams)
	}
	if c.HTTP3 != nil {
		v.http3 = set(r, "client.http3", sideClient, *c.HTTP3)
	}
	if c.ProxyProtocol != nil {
		v.proxyProtocol = set(r, "client.proxyProtocol", sideClient, *c.ProxyProtocol)
	}
	if c.TLS != nil {
		r.readClientTLS(c.TLS)
	}
	if t := c.Trust; t != nil {
		if t.Hops != nil {
			v.trustHops = set(r, "client.trust.hops", sideClient, int(*t.Hops))
		}
		if t.Addresses != nil {
			v.trustAddresses = set(r, "client.trust.addresses", sideClient, r.prefixes(t.Addresses))
		}
		if t.Identities != nil {
			v.trustIdentities = set(r, "client.trust.identities", sideClient, r.readIdentities(t.Identities))
		}
	}
}

func set[T any](r *policyReader, path string, side fieldSide, value T) *setting[T] {
	path = r.root + path
	r.view.written = append(r.view.written, writtenField{path, side})
	return &setting[T]{value: value, origin: originOf(r.object, path)}
}

// number returns a field that may not be written.
func (r *policyReader) number(path string, side fieldSide, n *int32) *setting[int] {
	if n == nil {
		return nil
	}
	return set(r, path, side, int(*n))
}

// share returns a percentage that may not be written, as a share from 0 to 1.
func (r *policyReader) share(path string, side fieldSide, p *v1alpha1.Percentage) *setting[float64] {
	if p == nil {
		return nil
	}
	return set(r, path, side, r.percentage(path, *p))
}

// mode returns the mode of a protection, which may not be written.
func (r *policyReader) mode(path string, side fieldSide, m *v1alpha1.Mode) *setting[model.Mode] {
	if m == nil {
		return nil
	}
	return set(r, path, side, model.Mode(*m))
}

func (r *policyReader) duration(path string, side fieldSide, d *gatewayv1.Duration) *setting[time.Duration] {
	if d == nil {
		return nil
	}
	value, err := parseDuration(*d)
	if err != nil {
		r.error(RuleInvalidValue, path, "%v", err)
	}
	return set(r, path, side, value)
}

func (r *policyReader) prefixes(list []v1alpha1.CIDR) []netip.Prefix {
	var prefixes []netip.Prefix
	for i, text := range list {
		p, err := netip.ParsePrefix(string(text))
		if err != nil {
			r.error(RuleInvalidValue, fmt.Sprintf("client.trust.addresses[%d]", i), "%q is not a network such as 10.0.0.0/8", text)
			continue
		}
		prefixes = append(prefixes, p.Masked())
	}
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(prefixes)
}

var durationPattern = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

// parseDuration parses a duration as GEP-2257 defines it.
func parseDuration(d gatewayv1.Duration) (time.Duration, error) {
	if !durationPattern.MatchString(string(d)) {
		return 0, fmt.Errorf("%q is not a duration such as 700ms, 10s or 1m30s", d)
	}
	return time.ParseDuration(string(d))
}
