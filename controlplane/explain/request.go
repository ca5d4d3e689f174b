// Package explain answers questions about a snapshot without sending anything: what happens
// to a request and why, what differs between two snapshots, and whether routes do what their
// tests expect. It decides by the same traffic/match, traffic/uri and traffic/fields as the
// data plane; it is pure and knows neither files nor processes.
package explain

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
	"weir.dev/weir/traffic/uri"
)

// Header is one field of a request; its name may be in any case.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Request is a request that nobody sends.
type Request struct {
	Method  string   `json:"method,omitempty"` // empty: GET
	URL     string   `json:"url"`              // http://HOST[:PORT]/PATH; the scheme may be left out
	Headers []Header `json:"headers,omitempty"`
	// Listener is the address of the listener that gets the request; empty: the one that
	// the URL's port and address lead to.
	Listener string `json:"listener,omitempty"`
}

// Bounds of a Request, in bytes and in number.
const (
	maxURL     = 8 << 10
	maxHeaders = 128
)

// parsed is a request taken apart.
type parsed struct {
	method  string
	scheme  string
	address netip.Addr // of the URL's host where that is one
	port    uint16
	// authority is the Host field, or else the URL's host with its port; host is the host in
	// it, in its normal form.
	authority, host string
	serverName      string // the URL's host, if that is a name
	rawPath         string
	query           string
	hasQuery        bool
	headers         []Header // names in lower case, without Host
	listener        string
}

// parse takes a request apart. The error says what is wrong with it as a question; what the
// data plane would refuse is not wrong in this sense.
func (r *Request) parse() (*parsed, error) {
	if len(r.URL) > maxURL {
		return nil, fmt.Errorf("the URL has %d bytes; expected at most %d", len(r.URL), maxURL)
	}
	if len(r.Headers) > maxHeaders {
		return nil, fmt.Errorf("%d headers; expected at most %d", len(r.Headers), maxHeaders)
	}
	p := &parsed{method: r.Method, listener: r.Listener}
	if p.method == "" {
		p.method = http.MethodGet
	}
	rest, err := p.splitURL(r.URL)
	if err != nil {
		return nil, err
	}
	rest, _, _ = strings.Cut(rest, "#")
	p.rawPath, p.query, p.hasQuery = strings.Cut(rest, "?")
	if p.rawPath == "" {
		p.rawPath = "/"
	}
	for _, h := range r.Headers {
		name, value := strings.ToLower(strings.TrimSpace(h.Name)), strings.TrimSpace(h.Value)
		if name == "" || strings.ContainsAny(name, " :\t\r\n") {
			return nil, fmt.Errorf("%q is not the name of a header", h.Name)
		}
		if strings.ContainsAny(value, "\r\n\x00") {
			return nil, fmt.Errorf("header %s: a value is one line", h.Name)
		}
		if name != "host" {
			p.headers = append(p.headers, Header{name, value})
			continue
		}
		host, _, wrong := uri.SplitAuthority([]byte(value))
		if wrong != nil {
			return nil, fmt.Errorf("header Host %q: %w", value, wrong)
		}
		p.authority, p.host = value, normalHost(host)
	}
	return p, nil
}

// splitURL reads scheme, host and port, and returns what follows them.
func (p *parsed) splitURL(url string) (rest string, err error) {
	scheme, rest, found := strings.Cut(url, "://")
	if !found {
		scheme, rest = "http", url
	}
	p.scheme = strings.ToLower(scheme)
	ports := map[string]uint16{"http": 80, "https": 443, "tcp": 0, "tls": 0, "udp": 0}
	port, known := ports[p.scheme]
	if !known {
		return "", fmt.Errorf("URL %q: the scheme is http, https, tcp, tls or udp, not %q", url, scheme)
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 {
		return "", fmt.Errorf("URL %q has no host; want http://HOST[:PORT]/PATH", url)
	}
	host, text, wrong := uri.SplitAuthority([]byte(rest[:end]))
	if wrong != nil {
		return "", fmt.Errorf("URL %q: %w", url, wrong)
	}
	if len(text) > 0 {
		n, _ := strconv.ParseUint(string(text), 10, 16) // SplitAuthority has checked it
		port = uint16(n)
	}
	if p.streams() && (port == 0 || strings.Trim(rest[end:], "/") != "") {
		return "", fmt.Errorf("URL %q: want %s://HOST:PORT", url, p.scheme)
	}
	p.port, p.authority, p.host = port, rest[:end], normalHost(host)
	if a, err := netip.ParseAddr(strings.Trim(string(host), "[]")); err == nil {
		p.address = a
	} else {
		p.serverName = p.host
	}
	return rest[end:], nil
}

// streams reports whether the question is not of a request, but of a connection or datagram.
func (p *parsed) streams() bool { return p.scheme == "tcp" || p.scheme == "tls" || p.scheme == "udp" }

func normalHost(host []byte) string {
	var scratch []byte
	return string(uri.NormalHost(host, &scratch))
}

// Joined implements match.Headers.
func (p *parsed) Joined(lowerName string) ([]byte, bool) {
	values := p.values(lowerName)
	if lowerName == "host" {
		values = []string{p.authority}
	}
	return []byte(strings.Join(values, ",")), len(values) > 0
}

// values returns the values of a header, by its name in lower case.
func (p *parsed) values(name string) []string {
	var values []string
	for _, h := range p.headers {
		if h.Name == name {
			values = append(values, h.Value)
		}
	}
	return values
}

// listenerOf returns the listener that gets the request, or why there is none.
func (e *Explainer) listenerOf(p *parsed) (*model.Listener, string) {
	s := e.snapshot
	if p.listener != "" {
		i := slices.IndexFunc(s.Listeners, func(l *model.Listener) bool { return l.Name == p.listener })
		if i < 0 {
			return nil, fmt.Sprintf("no listener has the address %s; %s", p.listener, listenersText(s.Listeners))
		}
		if p.streams() {
			if !serves(s.Listeners[i], p.scheme) {
				return nil, fmt.Sprintf("listener %s serves no %s", p.listener, p.scheme)
			}
			return s.Listeners[i], ""
		}
		if l := s.Listeners[i]; schemeOf(l) == "" {
			return nil, e.bytesText(l, p)
		}
		p.scheme = schemeOf(s.Listeners[i])
		return s.Listeners[i], ""
	}
	var onPort []*model.Listener
	another := "" // scheme
	var carrying *model.Listener
	for _, l := range s.Listeners {
		switch scheme := schemeOf(l); {
		case l.Address.Port() != p.port:
		case serves(l, p.scheme):
			onPort = append(onPort, l)
		case l.Transport == model.TransportUDP:
		case scheme == "":
			carrying = l
		default:
			another = scheme
		}
	}
	if len(onPort) == 0 && carrying != nil {
		return nil, e.bytesText(carrying, p)
	}
	if len(onPort) == 0 && another != "" {
		return nil, fmt.Sprintf("port %d serves no %s; write %s://", p.port, p.scheme, another) + e.unservedText(p.port, p)
	}
	if len(onPort) == 0 {
		return nil, fmt.Sprintf("nothing listens on port %d; %s", p.port, listenersText(s.Listeners)) + e.unservedText(p.port, p)
	}
	if p.address.IsValid() {
		if l := byAddress(onPort, p.address); l != nil {
			return l, ""
		}
		return nil, fmt.Sprintf("nothing listens on %s; %s", netip.AddrPortFrom(p.address, p.port), listenersText(s.Listeners))
	}
	if len(onPort) == 1 {
		return onPort[0], ""
	}
	wide := slices.DeleteFunc(slices.Clone(onPort), func(l *model.Listener) bool { return !l.Address.Addr().IsUnspecified() })
	if len(wide) > 0 {
		return wide[0], ""
	}
	return nil, fmt.Sprintf("several listeners have port %d and the URL's host does not say which; name one of them: %s", p.port, listenersText(onPort))
}

// unservedText names the listener that is written for the port and the host, has no socket, and says
// why; empty: there is none.
func (e *Explainer) unservedText(port uint16, p *parsed) string {
	var hosts match.Hosts[*model.Unserved]
	for i := range e.snapshot.Unserved {
		if u := &e.snapshot.Unserved[i]; u.Port == port && (u.Transport == model.TransportUDP) == (p.scheme == "udp") {
			hosts.Set(u.Hostname, u)
		}
	}
	u, ok := hosts.Find([]byte(p.host))
	if !ok {
		return ""
	}
	return fmt.Sprintf("; listener %s of the port is not served: %s", u.Name, u.Why)
}

// schemeOf is how URLs begin that a listener serves; empty: it serves none.
func schemeOf(l *model.Listener) string {
	if len(l.Tables) == 0 && len(l.Streams) > 0 {
		return ""
	}
	if l.TLS != nil {
		return "https"
	}
	return "http"
}

// serves reports whether a listener has connections, or datagrams, that URLs of a scheme mean.
func serves(l *model.Listener, scheme string) bool {
	raw := l.TLS == nil && len(l.Tables) == 0 && len(l.Streams) == 1 && l.Streams[0].Hostname == ""
	switch scheme {
	case "udp":
		return l.Transport == model.TransportUDP
	case "tcp":
		return l.Transport == model.TransportTCP && raw
	case "tls":
		return l.TLS != nil || schemeOf(l) == "" && !raw
	}
	return schemeOf(l) == scheme
}

// byAddress returns the listener that a connection to an address reaches: its own, or else
// the one for every address of its family; [::] takes both.
func byAddress(listeners []*model.Listener, a netip.Addr) *model.Listener {
	for _, fits := range []func(netip.Addr) bool{
		func(own netip.Addr) bool { return own == a },
		func(own netip.Addr) bool { return own.IsUnspecified() && own.Is4() == a.Is4() },
		func(own netip.Addr) bool { return own.IsUnspecified() && own.Is6() },
	} {
		if i := slices.IndexFunc(listeners, func(l *model.Listener) bool { return fits(l.Address.Addr()) }); i >= 0 {
			return listeners[i]
		}
	}
	return nil
}

// maxNamed is how many things of a kind one sentence names.
const maxNamed = 5

func listenersText(listeners []*model.Listener) string {
	names := make([]string, len(listeners))
	for i, l := range listeners {
		names[i] = l.Name
	}
	if len(names) == 0 {
		return "there is no listener at all"
	}
	return "listeners: " + some(names)
}

// some lists the first few names.
func some(names []string) string {
	if more := len(names) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), more)
	}
	return strings.Join(names, ", ")
}
