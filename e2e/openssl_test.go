package e2e_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// opensslResources has one port for each thing that a TLS client can meet.
const opensslResources = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
  - {name: shop, protocol: HTTPS, port: 443, hostname: shop.test, tls: {certificateRefs: [{name: shop}]}}
  - {name: wild, protocol: HTTPS, port: 443, hostname: "*.wild.test", tls: {certificateRefs: [{name: wild}]}}
  - {name: any, protocol: HTTPS, port: 1443, tls: {certificateRefs: [{name: shop}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: new}
spec:
  gatewayClassName: weir
  listeners:
  - {name: shop, protocol: HTTPS, port: 2443, tls: {certificateRefs: [{name: shop}]}}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: new}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: new}]
  client: {tls: {minVersion: "1.3"}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: suites}
spec:
  gatewayClassName: weir
  listeners:
  - {name: shop, protocol: HTTPS, port: 3443, tls: {certificateRefs: [{name: shop}]}}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: suites}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: suites}]
  client: {tls: {cipherSuites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: members}
spec:
  gatewayClassName: weir
  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: clients}]}}}}
  listeners:
  - {name: shop, protocol: HTTPS, port: 4443, tls: {certificateRefs: [{name: shop}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec:
  parentRefs: [{name: edge}, {name: new}, {name: suites}, {name: members}]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: up}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
`

// opensslFront is a Weir for OpenSSL's client, and the files that this has.
type opensslFront struct {
	*weir
	program, roots            string
	member, stranger, expired string
}

// pemFile is a file of what a program wants in PEM.
func pemFile(t *testing.T, parts ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	put(t, path, strings.Join(parts, ""))
	return path
}

func startOpenSSL(t *testing.T) *opensslFront {
	t.Helper()
	servers, clients := newAuthority(t), newAuthority(t)
	f := &opensslFront{program: need(t, "openssl"), roots: pemFile(t, servers.text)}
	files := map[string]string{"gateways.yaml": opensslResources, "clients.yaml": authoritiesMap("clients", clients.text)}
	for secret, host := range map[string]string{"shop": "shop.test", "wild": "*.wild.test"} {
		certificate, key := servers.issue(t, host)
		files[secret+".yaml"] = tlsSecret(secret, certificate, key)
	}
	certificate, key := clients.issue(t, "member")
	f.member = pemFile(t, certificate, key)
	certificate, key = servers.issue(t, "member")
	f.stranger = pemFile(t, certificate, key)
	own := newKey(t)
	_, certificate = sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(99), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, clients.certificate, &own.PublicKey, clients.key)
	der, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	f.expired = pemFile(t, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	f.weir = start(t, files)
	return f
}

// client has OpenSSL's client connect to a port, send text, and read to the end. It returns
// all that it prints.
func (f *opensslFront) client(t *testing.T, port uint16, input, flags string) string {
	t.Helper()
	at, ok := f.real(port)
	if !ok {
		t.Fatalf("no listener on port %d", port)
	}
	args := append([]string{"s_client", "-connect", at, "-CAfile", f.roots, "-verify_return_error"}, strings.Fields(flags)...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, f.program, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput() // what it prints says how it went
	if ctx.Err() != nil {
		t.Fatalf("%v: no end: %v\n%s", args, err, out)
	}
	return string(out)
}

// ask is a request after which the server closes.
func ask(host string) string {
	return "GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
}

// answered is what s_client prints when ask got its answer.
const answered = "HTTP/1.1 200 OK"

// What s_client prints of alerts (RFC 8446 section 6; RFC 7507 for the fallback).
const (
	handshakeFailure      = "SSL alert number 40"
	certificateExpired    = "SSL alert number 45"
	unknownAuthority      = "SSL alert number 48"
	protocolVersion       = "SSL alert number 70"
	inappropriateFallback = "SSL alert number 86"
	unrecognizedName      = "SSL alert number 112"
	certificateRequired   = "SSL alert number 116"
	noApplicationProtocol = "SSL alert number 120"
)

// TestSuiteOpenSSL is what OpenSSL's client must be given, and refused, by Weir's TLS.
func TestSuiteOpenSSL(t *testing.T) {
	t.Parallel()
	f := startOpenSSL(t)
	const (
		shop  = "-servername shop.test -ign_eof "
		weak  = " -cipher ALL:@SECLEVEL=0"
		old   = "-tls1_2 " + shop
		fresh = "-tls1_3 " + shop
	)
	expect := func(port uint16, flags, want string) func(t *testing.T) {
		return func(t *testing.T) {
			host := "shop.test"
			if strings.Contains(flags, "wild.test") {
				host = "a.wild.test"
			}
			out := f.client(t, port, ask(host), flags)
			refused := strings.Contains(want, "SSL alert")
			if !strings.Contains(out, want) || strings.Contains(out, answered) == refused {
				t.Errorf("want %q in:\n%s", want, out)
			}
		}
	}
	with := func(path string) string { return " -cert " + path + " -key " + path }
	judged(t, "openssl s_client", "tls", map[string]func(t *testing.T){
		"TLS 1.0":                  expect(443, "-tls1 "+shop+weak, protocolVersion),
		"TLS 1.1":                  expect(443, "-tls1_1 "+shop+weak, protocolVersion),
		"TLS 1.2":                  expect(443, old, "New, TLSv1.2, Cipher is ECDHE-ECDSA-AES128-GCM-SHA256"),
		"TLS 1.3":                  expect(443, fresh, "New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256"),
		"TLS 1.3 is preferred":     expect(443, shop, "New, TLSv1.3, "),
		"fallback":                 expect(443, old+"-fallback_scsv", inappropriateFallback),
		"verified":                 expect(443, shop+"-verify_hostname shop.test", "Verification: OK"),
		"1.3 by policy":            expect(2443, old, protocolVersion),
		"1.3 by policy, met":       expect(2443, fresh, "New, TLSv1.3, "),
		"suites by policy":         expect(3443, old+"-cipher ECDHE-ECDSA-AES128-GCM-SHA256", handshakeFailure),
		"suites by policy, met":    expect(3443, old, "New, TLSv1.2, Cipher is ECDHE-ECDSA-CHACHA20-POLY1305"),
		"suites without PFS":       expect(443, old+"-cipher AES128-GCM-SHA256:AES128-SHA", handshakeFailure),
		"3DES, RC4 and anonymous":  expect(443, old+"-cipher 3DES:RC4:aNULL:@SECLEVEL=0", handshakeFailure),
		"TLS_AES_256":              expect(443, fresh+"-ciphersuites TLS_AES_256_GCM_SHA384", "Cipher is TLS_AES_256_GCM_SHA384"),
		"TLS_CHACHA20":             expect(443, fresh+"-ciphersuites TLS_CHACHA20_POLY1305_SHA256", "Cipher is TLS_CHACHA20_POLY1305_SHA256"),
		"group X25519":             expect(443, fresh+"-groups X25519", "Server Temp Key: X25519"),
		"group P-384":              expect(443, fresh+"-groups P-384", "Server Temp Key: ECDH, secp384r1"),
		"asked to try again":       expect(443, fresh+"-groups X448:P-256", "Server Temp Key: ECDH, prime256v1"),
		"no group in common":       expect(443, fresh+"-groups X448", handshakeFailure),
		"signed with SHA-1":        expect(443, old+weak+" -sigalgs ECDSA+SHA1", handshakeFailure),
		"wildcard":                 expect(443, "-servername a.wild.test -ign_eof -verify_hostname a.wild.test", "Verification: OK"),
		"name of nobody":           expect(443, "-servername other.test -ign_eof", unrecognizedName),
		"no name":                  expect(443, "-noservername -ign_eof", unrecognizedName),
		"no name, any will do":     expect(1443, "-noservername -ign_eof -verify_hostname shop.test", "Verification: OK"),
		"ALPN of both":             expect(443, shop+"-alpn http/1.1", "ALPN protocol: http/1.1"),
		"ALPN of nobody":           expect(443, shop+"-alpn imap", noApplicationProtocol),
		"no ALPN":                  expect(443, shop, "No ALPN negotiated"),
		"no certificate, 1.2":      expect(4443, old, handshakeFailure),
		"no certificate, 1.3":      expect(4443, fresh, certificateRequired),
		"a member's, 1.2":          expect(4443, old+with(f.member), "New, TLSv1.2, "),
		"a member's, 1.3":          expect(4443, fresh+with(f.member), "New, TLSv1.3, "),
		"a stranger's":             expect(4443, fresh+with(f.stranger), unknownAuthority),
		"an expired one":           expect(4443, fresh+with(f.expired), certificateExpired),
		"compression":              expect(443, old+"-comp", "Compression: NONE"),
		"no early data":            expect(443, fresh, "Max Early Data: 0"),
		"renegotiation is secured": expect(443, old, "Secure Renegotiation IS supported"),
		"extended master secret":   expect(443, old, "Extended master secret: yes"),
		"HTTP/2": func(t *testing.T) {
			if out := f.client(t, 443, "", "-servername shop.test -alpn h2,http/1.1"); !strings.Contains(out, "ALPN protocol: h2") {
				t.Error(out)
			}
		},
		"renegotiation": func(t *testing.T) {
			out := f.client(t, 443, "R\n"+ask("shop.test"), "-tls1_2 -servername shop.test")
			if !strings.Contains(out, "RENEGOTIATING") || strings.Contains(out, answered) || !strings.Contains(out, "alert") {
				t.Error(out)
			}
		},
		"resumption, 1.2": func(t *testing.T) { f.resumes(t, old, "Reused, TLSv1.2, ") },
		"resumption, 1.3": func(t *testing.T) { f.resumes(t, fresh, "Reused, TLSv1.3, ") },
	})
}

// resumes keeps a session, and takes it up on a second connection, and on another name and for
// those who must show a certificate: there it counts for nothing.
func (f *opensslFront) resumes(t *testing.T, flags, want string) {
	t.Helper()
	session := filepath.Join(t.TempDir(), "session.pem")
	if out := f.client(t, 443, ask("shop.test"), flags+" -sess_out "+session); !strings.Contains(out, answered) || strings.Contains(out, "Reused, ") {
		t.Fatal(out)
	}
	if out := f.client(t, 443, ask("shop.test"), flags+" -sess_in "+session); !strings.Contains(out, want) || !strings.Contains(out, answered) {
		t.Errorf("want %q in:\n%s", want, out)
	}
	elsewhere := strings.ReplaceAll(flags, "shop.test", "a.wild.test")
	if out := f.client(t, 443, ask("a.wild.test"), elsewhere+" -sess_in "+session); strings.Contains(out, "Reused, ") || !strings.Contains(out, "New, ") {
		t.Errorf("resumed under another name:\n%s", out)
	}
	if out := f.client(t, 4443, ask("shop.test"), flags+" -sess_in "+session); strings.Contains(out, answered) || strings.Contains(out, "Reused, ") {
		t.Errorf("resumed where a certificate is asked for:\n%s", out)
	}
}
