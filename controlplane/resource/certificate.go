package resource

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// AuthoritiesKey is the entry of a ConfigMap or Secret that holds the certificates of
// authorities.
const AuthoritiesKey = "ca.crt"

// minRSA is the fewest bits that crypto/rsa works with.
const minRSA = 1024

// KeyPair is a chain of certificates and its key, in PEM and without whatever else stood
// beside them.
type KeyPair struct {
	Chain, Key   string
	Certificates []*x509.Certificate // of the chain, the leaf first
}

// ParseKeyPair reads the certificate of a Secret and its key. Of one that cannot be served
// it returns the entry that is wrong; the error says why, and quotes nothing.
func ParseKeyPair(data map[string][]byte) (pair KeyPair, entry string, err error) {
	pair.Certificates, pair.Chain, err = parseCertificates(data[corev1.TLSCertKey])
	if err != nil {
		return KeyPair{}, corev1.TLSCertKey, err
	}
	if key, ok := pair.Certificates[0].PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSA {
		return KeyPair{}, corev1.TLSCertKey, fmt.Errorf("has an RSA key of %d bits, too short to be used; expected 2048 or more", key.N.BitLen())
	}
	pair.Key, err = keyBlock(data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return KeyPair{}, corev1.TLSPrivateKeyKey, err
	}
	// The error is left out: it could quote what is secret.
	if _, err := tls.X509KeyPair([]byte(pair.Chain), []byte(pair.Key)); err != nil {
		if strings.Contains(err.Error(), "does not match") {
			return KeyPair{}, corev1.TLSPrivateKeyKey, fmt.Errorf("is not the key of the first certificate in %s", corev1.TLSCertKey)
		}
		return KeyPair{}, corev1.TLSPrivateKeyKey, errors.New("holds no key that TLS can use; expected RSA, ECDSA or Ed25519")
	}
	return pair, "", nil
}

// ParseAuthorities reads certificates of authorities in PEM, and leaves out whatever else
// stands beside them. The error quotes nothing.
func ParseAuthorities(text []byte) (string, error) {
	_, chain, err := parseCertificates(text)
	return chain, err
}

// parseCertificates parses every certificate in PEM, and encodes them again alone.
func parseCertificates(text []byte) (list []*x509.Certificate, encoded string, err error) {
	var out strings.Builder
	private := false
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			private = private || strings.HasSuffix(block.Type, "PRIVATE KEY")
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, "", fmt.Errorf("holds as number %d a certificate that cannot be parsed", len(list)+1)
		}
		list = append(list, certificate)
		out.Write(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
	}
	switch {
	case len(list) == 0 && private:
		return nil, "", errors.New("holds a private key where a certificate belongs; have the two been exchanged?")
	case len(list) == 0:
		return nil, "", errors.New("holds no certificate in PEM")
	}
	return list, out.String(), nil
}

// keyBlock returns the first private key in PEM.
func keyBlock(text []byte) (string, error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return "", errors.New("holds no private key in PEM")
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return "", errors.New("holds a private key that is encrypted; expected one without a passphrase")
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})), nil
		}
	}
}

// checkKeyPair reports a certificate that cannot be served, so that the Secret's last
// accepted version stays live. written is the field that an entry stands in.
func checkKeyPair(secret *corev1.Secret, written func(entry string) string, report reportFunc) {
	if _, entry, err := ParseKeyPair(secret.Data); err != nil {
		report(written(entry), err.Error())
	}
}
