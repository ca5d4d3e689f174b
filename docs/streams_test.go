package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// TestStreams serves the example of streams.md, beside what it refers to.
func TestStreams(t *testing.T) {
	_, example := examples(t, "streams.md")
	text := example[0] + certificateOf(t, "cert")
	for i, name := range []string{"one", "other"} {
		text += fmt.Sprintf("---\napiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: %s}\nspec: {endpoints: [{address: 10.0.0.%d, port: 5432}]}\n", name, i)
	}
	out := accepted(t, text)
	var lines []string
	for _, l := range out.Snapshot.Listeners {
		for _, b := range l.Streams {
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %t %s", l.Name, b.Hostname, b.Terminate, b.Route)))
		}
	}
	const want = `[::]:5353/udp  false UDPRoute/default/dns/0
[::]:5432  false TCPRoute/default/sql/0
[::]:8443 eu.db.example.com false TLSRoute/default/names/0
[::]:8443 mqtt.example.com true TLSRoute/default/names/0
[::]:8443 *.db.example.com false`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// certificateOf is the manifest of a Secret with a certificate.
func certificateOf(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"*.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, content []byte) string {
		return fmt.Sprintf("%q", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}))
	}
	return fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\nstringData: {tls.crt: %s, tls.key: %s}\n",
		name, block("CERTIFICATE", der), block("PRIVATE KEY", secret))
}
