package listener

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
)

// security is the TLS of one socket, made ready when a snapshot is applied. It is immutable:
// a handshake takes the present one, and a connection outlives it.
type security struct {
	base    *tls.Config // chooses by the name that the client asks for
	names   match.Hosts[*identity]
	list    []*identity
	timeout time.Duration // of a handshake; 0: none
	most    int           // handshakes under way at once; 0: any number
	tickets *ticketry
	sorting *sorting // nil: all connections are HTTP

	strangers *tls.Config // for names that nobody has: crypto/tls answers unrecognized_name
}

// identity is what clients that ask for one hostname get: certificates, and what they must
// prove. It is kept from snapshot to snapshot for as long as nothing about it changes.
type identity struct {
	hostname string
	hash     model.Hash // of all that it is made of
	config   *tls.Config
	clients  *x509.CertPool // nil: as validation
	purpose  string         // of session tickets

	validation *model.ClientValidation // nil: clients prove nothing
	era        atomic.Uint64           // of the ticket keys that config has
	plain      plain                   // for connections that are carried
}

// parameters are what all names of a socket share.
type parameters struct {
	MinVersion uint16
	Suites     []uint16
	Protocols  []string
}

// secure makes l's TLS ready. What is as it was in old, which may be nil, is taken from
// there; so is a name that cannot be made ready, which is reported.
func (s *Set) secure(l *model.TLS, old *security) (*security, error) {
	p, unread := s.parameters(l)
	sec, err := s.prepare(l, p, old)
	return sec, errors.Join(unread, err)
}

// prepare makes names ready that share p, as secure does.
func (s *Set) prepare(l *model.TLS, p parameters, old *security) (*security, error) {
	var errs []error
	sec := &security{timeout: l.Handshake, most: l.MaxHandshakes, tickets: &s.tickets}
	sec.strangers = p.config()
	sec.strangers.SessionTicketsDisabled = true
	sec.base = p.config()
	sec.base.GetConfigForClient = sec.choose
	before := map[string]*identity{}
	if old != nil {
		for _, id := range old.list {
			before[id.hostname] = id
		}
	}
	for i := range l.Names {
		name := &l.Names[i]
		hash := model.HashOf([]any{name, p})
		id := before[name.Hostname]
		if id == nil || id.hash != hash {
			made, err := newIdentity(name, p)
			if err != nil {
				errs = append(errs, fmt.Errorf("hostname %q: %w", name.Hostname, err))
			}
			if made != nil {
				made.hash, id = hash, made
			}
		}
		if id != nil {
			sec.list = append(sec.list, id)
			sec.names.Set(id.hostname, id)
		}
	}
	return sec, errors.Join(errs...)
}

var versions = map[model.TLSVersion]uint16{"": tls.VersionTLS12, model.TLS12: tls.VersionTLS12, model.TLS13: tls.VersionTLS13}

// parameters reads what all names share. What it cannot read it leaves out, or takes for the
// strictest.
func (s *Set) parameters(l *model.TLS) (parameters, error) {
	var errs []error
	p := parameters{Protocols: []string{"http/1.1"}}
	if s.cfg.HTTP2 {
		p.Protocols = []string{"h2", "http/1.1"}
	}
	var known bool
	if p.MinVersion, known = versions[l.MinVersion]; !known {
		errs = append(errs, fmt.Errorf("unknown TLS version %q", l.MinVersion))
		p.MinVersion = tls.VersionTLS13
	}
	suites := map[string]uint16{}
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, c := range list {
			suites[c.Name] = c.ID
		}
	}
	for _, name := range l.CipherSuites {
		id, known := suites[name]
		if !known {
			errs = append(errs, fmt.Errorf("unknown cipher suite %q", name))
			continue
		}
		p.Suites = append(p.Suites, id)
	}
	if len(l.CipherSuites) > 0 && len(p.Suites) == 0 {
		p.MinVersion = tls.VersionTLS13 // not all suites because none was known
	}
	return p, errors.Join(errs...)
}

func (p *parameters) config() *tls.Config {
	return &tls.Config{
		MinVersion: p.MinVersion, CipherSuites: p.Suites, NextProtos: p.Protocols,
		// Whole records from the start: small ones cost a system call each, and spare a far
		// client a round trip only where its window is small.
		DynamicRecordSizingDisabled: true,
	}
}

// newIdentity makes one name ready. An error beside an identity says what of it is left out.
func newIdentity(name *model.TLSName, p parameters) (*identity, error) {
	id := &identity{hostname: name.Hostname, config: p.config()}
	var errs []error
	for i := range name.Certificates {
		c := &name.Certificates[i]
		pair, err := tls.X509KeyPair([]byte(c.Chain), []byte(c.Key))
		if err != nil {
			errs = append(errs, fmt.Errorf("certificate %s: %w", c.Name, err))
			continue
		}
		id.config.Certificates = append(id.config.Certificates, pair)
	}
	if len(id.config.Certificates) == 0 {
		errs = append(errs, errors.New("no certificate that can be used"))
		return nil, errors.Join(errs...)
	}
	id.purpose = string(model.HashOf([]any{strings.ToLower(name.Hostname), name.Client}))
	if v := name.Client; v != nil {
		id.clients, id.validation = x509.NewCertPool(), v
		if !id.clients.AppendCertsFromPEM([]byte(v.CAs)) {
			return nil, errors.Join(append(errs, errors.New("no certificate authority for clients can be read"))...)
		}
		id.config.ClientCAs = id.clients
		id.config.ClientAuth = tls.RequireAndVerifyClientCert
		if v.Insecure {
			id.config.ClientAuth = tls.RequestClientCert // see who
		}
	}
	return id, errors.Join(errs...)
}

// choose is the GetConfigForClient of a socket's handshakes.
func (sec *security) choose(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	id := sec.find(hello.ServerName)
	if id == nil {
		return sec.strangers, nil
	}
	if sec.sorting.carrier(strings.ToLower(hello.ServerName)) != nil {
		return sec.forStreams(id), nil
	}
	sec.renew(id, id.config, &id.era)
	return id.config, nil
}

// find returns what a client that asks for a name gets; nil for nothing. Without a name it
// gets what is for every host.
func (sec *security) find(name string) *identity {
	name = strings.ToLower(name)
	if !sec.sorting.ours(name) {
		return nil
	}
	id, _ := sec.names.Find([]byte(name))
	return id
}

// server starts TLS on a connection.
func (sec *security) server(nc net.Conn) *tls.Conn { return tls.Server(nc, sec.base) }

// verified returns the certificate that a client has proved to have, nil if it has none or it
// is not valid. A resumed session has the certificates of its first handshake; whether they
// are still good enough to resume it was crypto/tls's to decide.
func (id *identity) verified(state *tls.ConnectionState, now time.Time) *x509.Certificate {
	if id.clients == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	leaf := state.PeerCertificates[0]
	if !id.validation.Insecure {
		if len(state.VerifiedChains) == 0 {
			return nil
		}
		return leaf
	}
	options := x509.VerifyOptions{
		Roots: id.clients, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(options); err != nil {
		return nil
	}
	return leaf
}

// maxSPIFFE is the longest SPIFFE ID in bytes.
const maxSPIFFE = 2048

// spiffeID returns the SPIFFE ID of a certificate, which has exactly one URI then (X.509-SVID
// section 2), of the form spiffe://trust-domain/path and nothing more (SPIFFE-ID section 2).
func spiffeID(c *x509.Certificate) string {
	if len(c.URIs) != 1 {
		return ""
	}
	u := c.URIs[0]
	text := u.String()
	if u.Scheme != "spiffe" || u.Host == "" || u.Host != u.Hostname() || u.User != nil || u.Opaque != "" ||
		u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#") || len(text) > maxSPIFFE {
		return ""
	}
	return text
}
