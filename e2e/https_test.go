package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/app"
)

// authority issues certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	text        string // PEM
	issued      int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, // OpenSSL takes a nameless one's certificates for self-signed
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.certificate, a.text = sign(t, template, template, &a.key.PublicKey, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, public *ecdsa.PublicKey, by *ecdsa.PrivateKey) (*x509.Certificate, string) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// issue returns a certificate for hosts, or for a SPIFFE ID, and its key, in PEM.
func (a *authority) issue(t *testing.T, names ...string) (certificate, key string) {
	t.Helper()
	a.issued++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(100 + a.issued),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if id, err := url.Parse(name); err == nil && id.Scheme == "spiffe" {
			template.URIs = append(template.URIs, id)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	own := newKey(t)
	_, certificate = sign(t, template, a.certificate, &own.PublicKey, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

func pair(t *testing.T, certificate, key string) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tlsSecret(name, certificate, key string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\nstringData: {tls.crt: %q, tls.key: %q}\n", name, certificate, key)
}

func authoritiesMap(name, text string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {ca.crt: %q}\n", name, text)
}

const secureGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  tls:
    frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: clients}]}}}
    backend: {clientCertificateRef: {name: weir}}
  listeners:
  - {name: https, protocol: HTTPS, port: 443, hostname: shop.test, tls: {certificateRefs: [{name: shop}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: up}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: up}
spec:
  endpoints: [{address: 10.0.0.1, port: 443}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: up}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: up}]
  validation: {hostname: up.test, caCertificateRefs: [{group: "", kind: ConfigMap, name: upstreams}]}
`

// secureFront is a Weir that speaks TLS both ways, and whoever it speaks with.
type secureFront struct {
	*weir
	clients, servers, upstreams *authority
	member                      tls.Certificate // of a client
}

// startSecure runs a Weir between clients and an upstream that ask each other, and Weir, for
// certificates.
func startSecure(t *testing.T) *secureFront {
	t.Helper()
	s := &secureFront{clients: newAuthority(t), servers: newAuthority(t), upstreams: newAuthority(t)}
	certificate, key := s.clients.issue(t, "member")
	s.member = pair(t, certificate, key)
	certificate, key = s.upstreams.issue(t, "up.test")
	upstream := httptest.NewUnstartedServer(echo("up"))
	upstream.TLS = &tls.Config{
		Certificates: []tls.Certificate{pair(t, certificate, key)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: s.servers.pool(),
	}
	upstream.StartTLS()
	t.Cleanup(upstream.Close)
	certificate, key = s.servers.issue(t, "weir")
	files := map[string]string{
		"gateway.yaml": secureGateway, "clients.yaml": authoritiesMap("clients", s.clients.text),
		"upstreams.yaml": authoritiesMap("upstreams", s.upstreams.text), "weir.yaml": tlsSecret("weir", certificate, key),
	}
	certificate, key = s.servers.issue(t, "shop.test")
	files["shop.yaml"] = tlsSecret("shop", certificate, key)
	s.weir = start(t, files, func(c *app.Config) {
		c.Dial = func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", upstream.Listener.Addr().String())
		}
	})
	return s
}

// client returns a client with the certificates given. Each connection of it is kept.
func (s *secureFront) client(t *testing.T, certificates ...tls.Certificate) *http.Client {
	c := s.network.client(t)
	c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: s.servers.pool(), Certificates: certificates}
	return c
}

// get returns status, flag, and the serial number of the certificate that was shown.
func get(client *http.Client) (status int, flag string, serial int64, err error) {
	resp, err := client.Get("https://shop.test:443/")
	if err != nil {
		return 0, "", 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("x-weir-flag"), resp.TLS.PeerCertificates[0].SerialNumber.Int64(), err
}

// TestHTTPS goes through both sides of TLS by resources alone: who passes, and what a wrong
// certificate, a new one, and authorities that go and come back do to requests.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	s := startSecure(t)
	kept := s.client(t, s.member)
	status, _, first, err := get(kept)
	if err != nil || status != http.StatusOK {
		t.Fatalf("%d, %v", status, err)
	}
	if status, _, _, err := get(s.client(t)); err == nil {
		t.Errorf("a client without a certificate gets %d", status)
	}
	stranger, key := s.servers.issue(t, "member")
	if status, _, _, err := get(s.client(t, pair(t, stranger, key))); err == nil {
		t.Errorf("a client of another authority gets %d", status)
	}

	// Whatever happens to certificates, connections that are open stay so and are served.
	quit, failures := make(chan struct{}), make(chan string, 1)
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
			}
			if status, flag, _, err := get(kept); err != nil || status != http.StatusOK {
				select {
				case failures <- fmt.Sprintf("%d %s %v", status, flag, err):
				default:
				}
			}
		}
	})

	certificate, _ := s.servers.issue(t, "shop.test")
	s.write(t, "shop.yaml", tlsSecret("shop", certificate, key))
	eventually(t, func() (bool, string) {
		text := s.log.String()
		return strings.Contains(text, "stringData.tls.key: is not the key of the first certificate in tls.crt"), text
	})
	if status, _, serial, err := get(s.client(t, s.member)); status != http.StatusOK || serial != first {
		t.Errorf("with a wrong Secret: %d, certificate %d of %d, %v", status, serial, first, err)
	}
	certificate, key = s.servers.issue(t, "shop.test")
	s.write(t, "shop.yaml", tlsSecret("shop", certificate, key))
	eventually(t, func() (bool, string) {
		status, _, serial, err := get(s.client(t, s.member))
		return status == http.StatusOK && serial > first, fmt.Sprint(status, serial, err)
	})
	close(quit)
	asking.Wait()
	select {
	case first := <-failures:
		t.Errorf("a request failed: %s", first)
	default:
	}

	answers := func(want int, flag string) {
		t.Helper()
		eventually(t, func() (bool, string) {
			status, got, _, err := get(kept)
			return status == want && got == flag, fmt.Sprint(status, got, err)
		})
	}
	s.write(t, "upstreams.yaml", authoritiesMap("upstreams", s.clients.text))
	answers(http.StatusServiceUnavailable, "UF")
	s.write(t, "upstreams.yaml", authoritiesMap("others", s.upstreams.text))
	answers(http.StatusInternalServerError, "NC")
	s.write(t, "upstreams.yaml", authoritiesMap("upstreams", s.upstreams.text))
	answers(http.StatusOK, "")
	if strings.Contains(s.log.String(), "PRIVATE KEY") {
		t.Error("the log shows a private key")
	}
}
