package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
)

// carried says where a request's connection goes as it is, if that is no matter of requests;
// empty: it is. Of a table and a stream route the one with the more specific hostname decides,
// by the name that the handshake asks for.
func (e *Explainer) carried(l *model.Listener, p *parsed) string {
	if len(l.Streams) == 0 {
		return ""
	}
	b, _ := bindingFor(l, p.serverName)
	if b == nil {
		return ""
	}
	how := "TLS passes through"
	if b.Terminate {
		how = "TLS ends here, and what is in it is carried as it is"
	}
	return fmt.Sprintf("no request is read from connections for %s: %s, to %s", cmp.Or(p.serverName, "an address"), how, e.streamText(b))
}

// bindingFor returns the binding that gets connections for a name, nil if those are of
// requests; false: no listener of the socket has the name.
func bindingFor(l *model.Listener, serverName string) (*model.StreamBinding, bool) {
	var hosts match.Hosts[*model.StreamBinding]
	for _, b := range l.Tables {
		hosts.Set(b.Hostname, nil)
	}
	for i := range l.Streams {
		hosts.Set(l.Streams[i].Hostname, &l.Streams[i])
	}
	return hosts.Find([]byte(serverName))
}

// explainStream says what happens to a connection, or to a datagram.
func (e *Explainer) explainStream(p *parsed) model.Explanation {
	x := model.Explanation{Version: e.snapshot.Version, Revision: e.snapshot.Revision}
	l, reason := e.listenerOf(p)
	if l == nil {
		x.Reason = reason
		return x
	}
	x.Listener = l.Name
	name := ""
	if p.scheme == "tls" {
		name = p.serverName
	}
	b, known := bindingFor(l, name)
	switch {
	case !known:
		x.Reason = fmt.Sprintf("the handshake fails: no listener of the socket has the name %s", cmp.Or(name, "of an address")) + e.unservedText(l.Address.Port(), p)
		return x
	case b == nil:
		x.Reason = "requests are read from these connections; write https:// and a path"
		return x
	}
	x.Hostname = b.Hostname
	r := e.streams[b.Route]
	if r == nil {
		x.Flag, x.Reason = model.FlagNR.String(), "no route has what comes for this name at listener "+b.Listener
		return x
	}
	x.Route, x.Rule, x.Origin = r.Name, r.Rule, r.Origin
	x.Policy = append(l.Policy(), r.Policy()...)
	if r.Refusal != nil {
		x.Flag, x.Reason = r.Refusal.Flag, r.Refusal.Reason
		return x
	}
	x.Policy = append(x.Policy, model.EffectivePolicy(nil, nil, e.shares(&x, &r.Split))...)
	if refusal := refusedBy(&r.Split); refusal != nil {
		x.Flag, x.Reason = refusal.Flag, refusal.Reason
	} else if total(&r.Split) == 0 {
		x.Flag, x.Reason = model.FlagNC.String(), "no backend has any weight"
	} else if x.Arm != "" && !e.hasHosts(x.Cluster) {
		x.Flag, x.Reason = model.FlagUH.String(), "the backend has no endpoint with weight"
	}
	return x
}

// bytesText says of a listener without requests what it has, or what becomes of the
// connection of one.
func (e *Explainer) bytesText(l *model.Listener, p *parsed) string {
	if p.scheme == "https" && (len(l.Streams) > 1 || l.Streams[0].Hostname != "") {
		if text := e.carried(l, p); text != "" {
			return text
		}
	}
	what := "connections"
	if l.Transport == model.TransportUDP {
		what = "datagrams"
	}
	var texts []string
	for i := range l.Streams {
		texts = append(texts, e.streamText(&l.Streams[i]))
	}
	return fmt.Sprintf("%s carries %s as they are, to %s", l.Name, what, some(slices.Compact(slices.Sorted(slices.Values(texts)))))
}

// streamText is where a binding's connections go.
func (e *Explainer) streamText(b *model.StreamBinding) string {
	r := e.streams[b.Route]
	if r == nil {
		return fmt.Sprintf("nowhere: no route has them at listener %s", b.Listener)
	}
	return fmt.Sprintf("%s by %s", streamDestination(r), r.Split.Name)
}

// streamDestination is where a stream route's connections go.
func streamDestination(r *model.StreamRoute) string {
	switch {
	case r.Refusal != nil:
		return "nowhere (" + r.Refusal.Reason + ")"
	case total(&r.Split) == 0:
		return "nowhere (no backend has any weight)"
	}
	var texts []string
	whole := float64(total(&r.Split))
	for i := range r.Split.Arms {
		arm := &r.Split.Arms[i]
		if arm.Weight == 0 {
			continue
		}
		text := arm.Name + " " + Percent(float64(arm.Weight)/whole)
		if arm.Refusal != nil {
			text += " (closed: " + arm.Refusal.Reason + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// streamFields are what becomes of a listener's connections that are carried as they are, or of
// its datagrams, by hostname.
func (a *answers) streamFields(l *model.Listener) []field {
	var fields []field
	add := func(name, value string, origin model.Origin) {
		fields = append(fields, field{PolicyField: model.PolicyField{Field: name, Value: value, Origin: origin}})
	}
	for i := range l.Streams {
		b := &l.Streams[i]
		at := "[" + cmp.Or(b.Hostname, "*") + "]"
		r := a.streams[b.Route]
		if r == nil {
			add("stream"+at, "closed", model.Origin{})
			continue
		}
		add("stream"+at, streamDestination(r), r.Origin)
		if b.Terminate {
			add("stream"+at+".tls", "ends here", model.Origin{})
		}
		if r.Refusal == nil {
			for _, f := range r.Policy() {
				f.Field = "stream" + at + "." + f.Field
				fields = append(fields, field{PolicyField: f})
			}
		}
	}
	return fields
}

// streamBackends compares the backends of a socket's stream routes.
func (d *differ) streamBackends(old, l *model.Listener) {
	was := map[string]*model.StreamRoute{}
	for _, b := range old.Streams {
		was[b.Hostname] = d.before.streams[b.Route]
	}
	for _, b := range l.Streams {
		before, after := was[b.Hostname], d.after.streams[b.Route]
		if before == nil || after == nil {
			continue
		}
		clusters := map[string]string{}
		for _, arm := range before.Split.Arms {
			clusters[arm.Name] = arm.Cluster
		}
		for _, arm := range after.Split.Arms {
			if cluster := clusters[arm.Name]; cluster != "" && arm.Cluster != "" && arm.Weight > 0 {
				d.backend(arm.Name, cluster, arm.Cluster, before.Name)
			}
		}
	}
}
