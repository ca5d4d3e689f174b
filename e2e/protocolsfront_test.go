package e2e_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/template"
)

// kinds are the protocols that hosts of requests speak, streams what TCP, TLS and UDP are
// routed for.
var (
	kinds   = []string{"http", "tls", "h2", "h2c", "grpc"}
	streams = []string{"a", "b", "weights", "load", "hash", "idle", "down", "some", "missing"}
)

// routePolicy is a rule that is there for a policy.
type routePolicy struct{ Name, Backend, Spec string }

var routePolicies = []routePolicy{
	{"request", "a", "timeouts: {request: 300ms}"},
	{"try", "a", "timeouts: {perTry: 300ms}"},
	{"idle", "a", "timeouts: {idle: 1s}"},
	{"compress", "a", "compression: {algorithms: [gzip]}"},
	{"retry", "both", "retries: {attempts: 1, retryOn: [503, UNAVAILABLE], methods: [POST], backoff: {base: 1ms}}"},
	{"some", "some", "retries: {attempts: 1, retryOn: [ConnectFailure], backoff: {base: 1ms}}"},
	{"hash", "hash", "hashOn: [{header: x-user}]"},
	{"identity", "hash", "hashOn: [{identity: {}}]"},
	{"load", "rested", ""},
	{"checked", "some", ""},
	{"down", "down", ""},
	{"missing", "missing", ""},
}

// scenery is where the protocol table plays: hosts of every kind, and the certificates.
type scenery struct {
	*stage
	authority *authority
	member    tls.Certificate // of a client with an identity
	backends  []sceneBackend
	secrets   string // resources
}

// sceneBackend is a Backend of the configuration.
type sceneBackend struct {
	Name, Spec, Algorithm string
	Endpoints             []netip.AddrPort
}

// streamKind is how a kind of stream is configured.
type streamKind struct{ Kind, Domain, Backend string }

func newScenery(t *testing.T) *scenery {
	t.Helper()
	s := &scenery{stage: newStage(), authority: newAuthority(t)}
	issue := func(names ...string) (tls.Certificate, string, string) {
		certificate, key := s.authority.issue(t, names...)
		return pair(t, certificate, key), certificate, key
	}
	names := []string{"*.test", "*.through.test", "*.ending.test", "other.example"}
	for _, kind := range kinds {
		names = append(names, "*."+kind+".test")
	}
	all, certificate, key := issue(names...)
	s.secrets = tlsSecret("test", certificate, key)
	_, certificate, key = issue("weir")
	s.secrets += "---\n" + tlsSecret("weir", certificate, key) + "---\n" + authoritiesMap("clients", s.authority.text)
	s.member, _, _ = issue(memberID)
	config := &tls.Config{Certificates: []tls.Certificate{all}, ClientAuth: tls.RequestClientCert}
	validated := "tls: {validation: {hostname: up.test, caCertificateRefs: [{group: '', kind: ConfigMap, name: clients}]}}\n  protocol: "
	for _, name := range []string{"a", "b"} {
		s.host("http", name, "", s.hostHTTP(t, name, nil, (*http.Protocols).SetHTTP1))
		s.host("tls", name, validated+"HTTP11", s.hostHTTP(t, name, config, (*http.Protocols).SetHTTP1))
		s.host("h2", name, validated+"HTTP2", s.hostHTTP(t, name, config, (*http.Protocols).SetHTTP2))
		s.host("h2c", name, "protocol: H2C", s.hostHTTP(t, name, nil, (*http.Protocols).SetUnencryptedHTTP2))
		s.host("grpc", name, "protocol: GRPC", s.hostGRPC(t, name))
		s.host("tcp", name, "protocol: TCP", hostBytes(t, name, nil))
		s.host("tcps", name, "protocol: TCP", hostBytes(t, name, &tls.Config{Certificates: config.Certificates}))
		s.host("udp", name, "protocol: UDP", hostDatagrams(t, name))
	}
	s.combine()
	return s
}

// memberID is the identity of a client.
const memberID = "spiffe://weir.test/member"

func (s *scenery) host(kind, name, spec, address string) {
	s.backends = append(s.backends, sceneBackend{kind + "-" + name, spec, "RoundRobin", []netip.AddrPort{netip.MustParseAddrPort(address)}})
}

// combine makes backends of both hosts of each kind, of one that is down, and of one that is
// and one that is not.
func (s *scenery) combine() {
	down := netip.MustParseAddrPort("127.0.0.1:1") // tcpmux: nobody is there
	single := slices.Clone(s.backends)
	slices.SortStableFunc(single, func(a, b sceneBackend) int { return strings.Compare(a.kind(), b.kind()) })
	for i := 0; i < len(single); i += 2 {
		kind, spec, a, b := single[i].kind(), single[i].Spec, single[i].Endpoints[0], single[i+1].Endpoints[0]
		s.backends = append(
			s.backends,
			sceneBackend{kind + "-both", spec, "LeastRequest", []netip.AddrPort{a, b}},
			sceneBackend{kind + "-rested", spec, "LeastRequest", []netip.AddrPort{a, b}}, // of which nobody wants failures
			sceneBackend{kind + "-hash", spec, "Maglev", []netip.AddrPort{a, b}},
			sceneBackend{kind + "-down", spec, "RoundRobin", []netip.AddrPort{down}},
			sceneBackend{kind + "-some", spec, "RoundRobin", []netip.AddrPort{down, a}},
		)
	}
}

func (b *sceneBackend) kind() string { kind, _, _ := strings.Cut(b.Name, "-"); return kind }

// front is a Weir in the scenery, configured by testdata/protocols.yaml.tmpl.
type front struct {
	*scenery
	*upgradable
	access string // the path of the access log
	ports  map[string]string
	herald string // what clients say before anything else, over TCP
	t      *testing.T

	mu   sync.Mutex
	ends []func()

	// Of the template:
	Client   string // more of the policy for clients
	Strict   bool   // clients that come by TLS must have a certificate
	Check    string // more of the policies for backends
	Kinds    []string
	Streams  []string
	Policies []routePolicy
	Backends []sceneBackend

	StreamRoutes map[string]streamKind
}

// atEnd has something done before the front door goes.
func (f *front) atEnd(end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends = append(f.ends, end)
}

// close ends whatever clients have open.
func (f *front) close() {
	f.mu.Lock()
	ends := f.ends
	f.ends = nil
	f.mu.Unlock()
	for _, end := range ends {
		end()
	}
}

// Port is an address's port, which is free when it is asked for first.
func (f *front) Port(name string) string { return f.ports[name] }

// BackendOf is the backend of a stream route.
func (f *front) BackendOf(stream string) string {
	switch stream {
	case "load":
		return "both"
	case "idle":
		return "a"
	}
	return stream
}

// raise starts a Weir, changed as edit says.
func (s *scenery) raise(t *testing.T, edit func(*front)) *front {
	t.Helper()
	dir := t.TempDir()
	f := &front{
		scenery: s, access: filepath.Join(dir, "access.log"), ports: map[string]string{}, t: t,
		Kinds: kinds, Streams: streams, Policies: routePolicies, Backends: s.backends,
		StreamRoutes: map[string]streamKind{
			"tcp": {"TCPRoute", "", "tcp"}, "udp": {"UDPRoute", "", "udp"},
			"through": {"TLSRoute", "through.test", "tcps"}, "ending": {"TLSRoute", "ending.test", "tcp"},
		},
	}
	f.choosePorts(t)
	if edit != nil {
		edit(f)
	}
	tmpl, err := template.ParseFiles("testdata/protocols.yaml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := tmpl.Execute(&text, f); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "weir.yaml")
	put(t, file, text.String()+"\n---\n"+s.secrets)
	f.upgradable = launchService(t, "-f", file, "--access-log", "json:"+f.access)
	t.Cleanup(f.close)
	return f
}

// choosePorts finds free ports, all at once so that they differ.
func (f *front) choosePorts(t *testing.T) {
	t.Helper()
	names := []string{"clear", "secure"}
	for _, stream := range streams {
		names = append(names, "tcp-"+stream, "udp-"+stream)
	}
	for _, name := range names {
		var (
			l   net.Listener
			err error
		)
		for range 100 { // both protocols of the port must be free
			if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var c net.PacketConn
			if c, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
				defer c.Close()
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		f.ports[name] = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
}

// at is an address of the front door.
func (f *front) at(name string) string { return net.JoinHostPort("127.0.0.1", f.Port(name)) }

// dial connects to the front door.
func (f *front) dial(ctx context.Context, network, name string) (net.Conn, error) {
	return f.dialFrom(ctx, network, name, options{})
}

// dialFrom connects to the front door from the address that is given.
func (f *front) dialFrom(ctx context.Context, network, name string, o options) (net.Conn, error) {
	var d net.Dialer
	switch ip := net.ParseIP(o.from); {
	case ip == nil:
	case network == "udp":
		d.LocalAddr = &net.UDPAddr{IP: ip}
	default:
		d.LocalAddr = &net.TCPAddr{IP: ip}
	}
	c, err := d.DialContext(ctx, network, f.at(name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if network == "tcp" {
		if _, err := io.WriteString(c, f.herald); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	return c, nil
}

// config is how a client speaks TLS with the name given.
func (f *front) config(name string, o options, protocols ...string) *tls.Config {
	c := &tls.Config{RootCAs: f.authority.pool(), ServerName: name, NextProtos: protocols}
	if o.member {
		c.Certificates = []tls.Certificate{f.member}
	}
	return c
}
