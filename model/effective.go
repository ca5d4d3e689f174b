package model

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// EffectivePolicy lists what holds for a request that meets these three, field by field,
// with who set each: first the client side, then the route's, then the backend's. Any of
// them may be nil. Values of headers are left out: they may be secrets.
func EffectivePolicy(client *Client, route *Route, cluster *Cluster) []PolicyField {
	var list fieldList
	if client != nil {
		list.client(client)
	}
	if route != nil {
		list.route(route)
	}
	if cluster != nil {
		list.cluster(cluster)
	}
	return list.fields
}

// Policy lists what holds for every connection or session of the route.
func (r *StreamRoute) Policy() []PolicyField {
	list := fieldList{origins: r.Origins}
	list.duration("timeouts.idle", r.Idle)
	return list.fields
}

// Policy lists what holds for every client of the listener.
func (l *Listener) Policy() []PolicyField {
	var list fieldList
	list.client(&l.Client)
	if l.TLS != nil {
		list.tls(l.TLS)
	}
	return list.fields
}

// fieldList collects the fields of one object after the other.
type fieldList struct {
	fields  []PolicyField
	origins Origins
}

// add appends a field. Without an origin of its own it has that of the longest path above it.
func (l *fieldList) add(path, value string) {
	field := PolicyField{Field: path, Value: value, Default: true}
	for at := path; at != ""; {
		if origin, ok := l.origins[at]; ok {
			field.Origin, field.Default = origin, false
			break
		}
		at = at[:max(strings.LastIndexByte(at, '.'), 0)]
	}
	l.fields = append(l.fields, field)
}

func (l *fieldList) duration(path string, d time.Duration) { l.add(path, durationText(d)) }

// rule appends a field that only the rule itself can set.
func (l *fieldList) rule(r *Route, path, value string) {
	l.add(path, value)
	if f := &l.fields[len(l.fields)-1]; f.Default {
		f.Origin, f.Default = r.Origin, false
	}
}

func (l *fieldList) client(c *Client) {
	l.origins = c.Origins
	l.duration("client.headTimeout", c.HeadTimeout)
	l.duration("client.bodyTimeout", c.BodyTimeout)
	l.duration("client.keepAlive", c.KeepAlive)
	l.add("client.maxConnections", strconv.Itoa(c.MaxConnections))
	l.add("client.maxHead", strconv.Itoa(c.MaxHead))
	l.add("client.underscoreHeaders", string(c.Underscores))
	l.add("client.pathEscapes", string(c.Escapes))
	l.add("client.flagHeaders", strconv.FormatBool(c.FlagHeaders))
	l.add("client.streams.maxConcurrent", strconv.Itoa(c.Streams.MaxConcurrent))
	l.add("client.streams.window", strconv.Itoa(c.Streams.Window))
	l.add("client.streams.resets", strconv.Itoa(c.Streams.Resets))
	if c.HTTP3 {
		l.add("client.http3", "true")
	}
	if c.ProxyProtocol {
		l.add("client.proxyProtocol", "true")
	}
	l.add("client.trust.hops", strconv.Itoa(c.TrustHops))
	if len(c.TrustAddresses) > 0 {
		l.add("client.trust.addresses", joined(c.TrustAddresses))
	}
	if len(c.TrustIdentities) > 0 {
		l.add("client.trust.identities", strings.Join(c.TrustIdentities, ", "))
	}
}

func (l *fieldList) tls(t *TLS) {
	l.origins = t.Origins
	l.add("client.tls.minVersion", string(t.MinVersion))
	if len(t.CipherSuites) > 0 {
		l.add("client.tls.cipherSuites", strings.Join(t.CipherSuites, ", "))
	}
	l.duration("client.tls.handshakeTimeout", t.Handshake)
	l.add("client.tls.maxHandshakes", strconv.Itoa(t.MaxHandshakes))
}

func (l *fieldList) route(r *Route) {
	l.origins = r.Origins
	l.duration("timeouts.request", r.Timeouts.Request)
	l.duration("timeouts.perTry", r.Timeouts.PerTry)
	l.duration("timeouts.idle", r.Timeouts.Idle)
	if r.Retry != nil {
		l.retry(r)
	}
	if len(r.HashOn) > 0 {
		l.add("hashOn", joined(r.HashOn))
	}
	if r.Overload != nil {
		l.overload(r.Overload)
	}
	if c := r.Compression; c != nil {
		l.compression(c)
	}
	if s := r.Session; s != nil {
		l.rule(r, "sessionPersistence.type", string(s.Type))
		l.rule(r, "sessionPersistence.sessionName", s.Name)
		if s.Type == SessionCookie {
			l.rule(r, "sessionPersistence.path", cmp.Or(s.Path, "/"))
		}
		l.rule(r, "sessionPersistence.absoluteTimeout", durationText(s.AbsoluteTimeout))
		l.rule(r, "sessionPersistence.permanent", strconv.FormatBool(s.Permanent))
	}
	l.filters(r)
	l.additions(r)
}

// retry appends a rule's own retry, or a TrafficPolicy's.
func (l *fieldList) retry(r *Route) {
	t := r.Retry
	var failures []string
	for _, class := range t.On {
		failures = append(failures, string(class))
	}
	for _, code := range t.Codes {
		failures = append(failures, strconv.Itoa(code))
	}
	for _, code := range t.GRPCCodes {
		failures = append(failures, code.String())
	}
	text := strings.Join(failures, ", ")
	if t.On == nil {
		l.rule(r, "retry.attempts", strconv.Itoa(t.Attempts))
		l.rule(r, "retry.codes", text)
		l.rule(r, "retry.backoff", durationText(t.Backoff))
		l.replay(t)
		return
	}
	l.add("retries.attempts", strconv.Itoa(t.Attempts))
	l.add("retries.retryOn", text)
	l.add("retries.methods", strings.Join(t.Methods, ", "))
	l.duration("retries.backoff.base", t.BackoffBase)
	l.duration("retries.backoff.max", t.BackoffMax)
	l.replay(t)
}

func (l *fieldList) compression(c *Compression) {
	l.add("compression.algorithms", joined(c.Algorithms))
	l.add("compression.minSize", strconv.FormatInt(c.MinSize, 10))
	l.add("compression.types", strings.Join(c.Types, ", "))
	l.add("compression.credentials", strconv.FormatBool(c.Credentials))
}

// filters appends what the rule's filters do.
func (l *fieldList) filters(r *Route) {
	if c := r.CORS; c != nil {
		l.rule(r, "cors.allowOrigins", strings.Join(c.AllowOrigins, ", "))
		l.rule(r, "cors.allowMethods", strings.Join(c.AllowMethods, ", "))
		l.rule(r, "cors.allowHeaders", strings.Join(c.AllowHeaders, ", "))
		l.rule(r, "cors.exposeHeaders", strings.Join(c.ExposeHeaders, ", "))
		l.rule(r, "cors.allowCredentials", strconv.FormatBool(c.AllowCredentials))
		l.rule(r, "cors.maxAge", durationText(c.MaxAge))
	}
	if d := r.Redirect; d != nil {
		l.rule(r, "redirect", strconv.Itoa(d.Status)+d.target())
	}
	if w := r.Rewrite; w != nil {
		l.rule(r, "rewrite", strings.TrimSpace(w.Hostname+w.Path.String()))
	}
	if e := r.RequestHeaders; e != nil {
		l.rule(r, "requestHeaders", e.String())
	}
	if e := r.ResponseHeaders; e != nil {
		l.rule(r, "responseHeaders", e.String())
	}
	for i := range r.Mirrors {
		m := &r.Mirrors[i]
		l.rule(r, "mirror", m.Name+" "+strconv.FormatUint(uint64(m.Numerator), 10)+"/"+strconv.FormatUint(uint64(m.Denominator), 10))
	}
}

func (l *fieldList) cluster(c *Cluster) {
	l.origins = c.Origins
	l.duration("timeouts.connect", c.ConnectTimeout)
	l.duration("timeouts.keepAlive", c.KeepAlive)
	b := &c.Balancing
	l.add("loadBalancing.algorithm", string(b.Algorithm))
	l.duration("loadBalancing.slowStart", b.SlowStart)
	l.add("loadBalancing.zoneAware", strconv.FormatBool(b.ZoneAware))
	l.add("loadBalancing.panicThreshold", percent(b.PanicThreshold))
	l.add("loadBalancing.boundedLoad", factor(b.BoundedLoad))
	if c.Protocol != ProtocolAuto {
		l.add("protocol", string(c.Protocol))
	}
	if c.ProxyProtocol != "" {
		l.add("proxyProtocol", string(c.ProxyProtocol))
	}
	if c.TLS != nil {
		l.upstreamTLS(c.TLS)
	}
	if c.HealthCheck != nil {
		l.healthCheck(c.HealthCheck)
	}
	l.breaker(&c.Breaker)
	if c.Outlier.Mode != "" {
		l.outlier(&c.Outlier)
	}
	if c.RetryBudget != nil {
		l.budget(c.RetryBudget)
	}
	if len(c.Calls) > 0 {
		l.add("calls", strings.Join(c.Calls, ", "))
	}
}

func (l *fieldList) upstreamTLS(t *UpstreamTLS) {
	l.add("tls.hostname", t.Hostname)
	if len(t.SANs) > 0 {
		l.add("tls.subjectAltNames", joined(t.SANs))
	}
	l.add("tls.authorities", AuthoritiesText(t.CAs))
	if t.Client != nil {
		l.add("tls.clientCertificate", t.Client.String())
	}
}

// String returns the name as people read it: "URI spiffe://prod/ns/shop/sa/cart".
func (s SubjectAltName) String() string { return string(s.Type) + " " + s.Value }

// target is the part of a redirect that is not its status.
func (d *Redirect) target() string {
	var s strings.Builder
	if d.Scheme != "" {
		s.WriteString(" " + d.Scheme + "://")
	}
	if d.Hostname != "" {
		s.WriteString(" " + d.Hostname)
	}
	if d.Port != 0 {
		s.WriteString(" :" + strconv.Itoa(int(d.Port)))
	}
	s.WriteString(d.Path.String())
	return s.String()
}

// String says what becomes of the path, with a space before it; empty for nil.
func (p *PathChange) String() string {
	switch {
	case p == nil:
		return ""
	case p.Full != nil:
		return " path " + *p.Full
	case p.Prefix != nil:
		return " prefix " + *p.Prefix
	}
	return ""
}

// String names the headers that are changed, never their values.
func (e *HeaderEdit) String() string {
	var words []string
	for _, name := range e.Remove {
		words = append(words, "-"+name)
	}
	for _, h := range e.Set {
		words = append(words, "="+h.Name)
	}
	for _, h := range e.Add {
		words = append(words, "+"+h.Name)
	}
	return strings.Join(words, " ")
}

// String returns the key as people read it: "header x-user", "clientIP/64", "expression request.path".
func (k Key) String() string {
	switch k.Source {
	case KeyHeader:
		return "header " + k.Name
	case KeyCookie:
		return "cookie " + k.Name
	case KeyQuery:
		return "query " + k.Name
	case KeyClientIP:
		if k.IPv6Prefix > 0 {
			return "clientIP/" + strconv.Itoa(k.IPv6Prefix)
		}
		return "clientIP"
	case KeyIdentity:
		return "identity"
	case KeyExpression:
		return "expression " + strings.ReplaceAll(k.Name, "\n", " ")
	}
	return string(k.Source)
}

func joined[T interface{ String() string }](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = v.String()
	}
	return strings.Join(words, ", ")
}

// durationText writes a duration as people do: 1m, not 1m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
