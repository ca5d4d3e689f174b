package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"weir.dev/weir/model"
)

// What ALPN calls the protocols (RFC 7301 section 6, RFC 9113 section 3.2).
const (
	alpnHTTP1 = "http/1.1"
	alpnHTTP2 = "h2"
)

// offers are what hosts are offered to agree on, where it is not HTTP/1.1 alone.
var offers = map[model.Protocol][]string{
	model.ProtocolAuto:  {alpnHTTP2, alpnHTTP1},
	model.ProtocolHTTP2: {alpnHTTP2},
}

// clientConfig makes what connections to a cluster's hosts are secured with.
func clientConfig(spec *model.UpstreamTLS, protocol model.Protocol) (*tls.Config, error) {
	if spec.Hostname == "" && len(spec.SANs) == 0 {
		return nil, errors.New("no name that the hosts' certificates must be for")
	}
	config := &tls.Config{
		ServerName: spec.Hostname,
		MinVersion: tls.VersionTLS12,
		NextProtos: offers[protocol],
		// Small records first would spare a far browser a wait; hosts are near.
		DynamicRecordSizingDisabled: true,
	}
	if config.NextProtos == nil {
		config.NextProtos = []string{alpnHTTP1}
	}
	if spec.CAs != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(spec.CAs)) {
			return nil, errors.New("no certificate authority can be read")
		}
	}
	if spec.Client != nil {
		own, err := tls.X509KeyPair([]byte(spec.Client.Chain), []byte(spec.Client.Key))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", spec.Client.Name, err)
		}
		// Given to every host that asks: one that names other authorities says best itself
		// what it misses.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
	}
	if len(spec.SANs) > 0 {
		names := slices.Clone(spec.SANs)
		// crypto/tls knows one name only, the one that is sent. VerifyConnection checks all
		// that it would have checked, at resumptions as well.
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(state tls.ConnectionState) error { return verify(config.RootCAs, names, &state) }
	}
	return config, nil
}

// verify checks a host's certificate against the authorities and the names, of which one
// is enough (GEP-1897).
func verify(roots *x509.CertPool, names []model.SubjectAltName, state *tls.ConnectionState) error {
	leaf := state.PeerCertificates[0] // crypto/tls takes no handshake without
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(options)
	if err == nil && !slices.ContainsFunc(names, func(n model.SubjectAltName) bool { return has(leaf, n) }) {
		err = &nameError{leaf, names}
	}
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

// has reports whether the certificate is for a name. A hostname of a certificate may have a
// wildcard for its first label (RFC 9525 section 6.3), and so may the name that is wanted: it
// stands for the same certificate's wildcard and for every name below it.
func has(leaf *x509.Certificate, name model.SubjectAltName) bool {
	switch name.Type {
	case model.SANURI:
		for _, u := range leaf.URIs {
			if u.String() == name.Value {
				return true
			}
		}
	case model.SANHostname:
		if suffix, wild := strings.CutPrefix(strings.ToLower(name.Value), "*."); wild {
			return slices.ContainsFunc(leaf.DNSNames, func(own string) bool {
				return strings.HasSuffix(strings.ToLower(own), "."+suffix)
			})
		}
		return leaf.VerifyHostname(name.Value) == nil
	}
	return false
}

// hostConfig is a wiring's configuration with a memory for the sessions of one host: hosts
// of one name need not know each other's.
type hostConfig struct {
	era    uint32
	config *tls.Config
}

// secured returns the host's configuration for connections of a wiring.
func (h *Host) secured(w *wiring) *tls.Config {
	if own := h.tls.Load(); own != nil && own.era == w.era {
		return own.config
	}
	config := w.config.Clone()
	config.ClientSessionCache = new(session)
	h.tls.Store(&hostConfig{w.era, config}) // of two at once one is forgotten, and a session with it
	return config
}

// session remembers the last session with one host, to be resumed by the next connection.
type session struct {
	mu   sync.Mutex
	last *tls.ClientSessionState
}

// Get implements tls.ClientSessionCache.
func (s *session) Get(string) (*tls.ClientSessionState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.last != nil
}

// Put implements tls.ClientSessionCache.
func (s *session) Put(_ string, state *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = state
}
