package translate

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"
)

// pemBlank stands in a manifest, in double quotes, for a certificate or key that is made from
// a name, always the same: {{crt shop.test}}, {{key shop.test}}, {{ca shop.test}}.
var pemBlank = regexp.MustCompile(`\{\{(crt|key|ca) ([^}]+)\}\}`)

// fillPEM fills the blanks in.
func fillPEM(manifest []byte) []byte {
	return pemBlank.ReplaceAllFunc(manifest, func(blank []byte) []byte {
		parts := pemBlank.FindSubmatch(blank)
		return bytes.ReplaceAll(testPEM(string(parts[1]), string(parts[2])), []byte("\n"), []byte(`\n`))
	})
}

// testPEM makes a certificate or key from a name, always the same.
func testPEM(kind, name string) []byte {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	if kind == "key" {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			panic(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: kind == "ca", BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// pemSubjects names the certificates of a text in PEM.
func pemSubjects(text string) string {
	var names []string
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return strings.Join(names, ", ")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err.Error()
		}
		names = append(names, c.Subject.CommonName)
	}
}

func TestPEMIsAlwaysTheSame(t *testing.T) {
	if !bytes.Equal(testPEM("crt", "a.test"), testPEM("crt", "a.test")) {
		t.Error("two certificates of one name differ: goldens would, too")
	}
}
