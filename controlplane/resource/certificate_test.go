package resource

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// pemPair makes a certificate and its key.
func pemPair(t *testing.T, key crypto.Signer) (certificate, private string) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", secret)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func ecdsaPair(t *testing.T) (certificate, private string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pemPair(t, key)
}

// TestTLSSecrets: a Secret that cannot be served is refused, at the entry that is wrong and
// without a word of what is in it.
func TestTLSSecrets(t *testing.T) {
	certificate, key := ecdsaPair(t)
	_, other := ecdsaPair(t)
	t.Setenv("GODEBUG", "rsa1024min=0")
	short, err := rsa.GenerateKey(rand.Reader, 512)
	if err != nil {
		t.Fatal(err)
	}
	weak, weakKey := pemPair(t, short)
	encrypted := "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\naHVzaA==\n-----END RSA PRIVATE KEY-----\n"
	for name, tt := range map[string]struct{ certificate, key, want string }{
		"good":                      {certificate, key, ""},
		"good, in one file":         {key + certificate, certificate + key, ""},
		"with what it does not use": {"# ours\n" + certificate + block("X509 CRL", []byte("hush")), key, ""},
		"no certificate":            {"hush", key, "7:27: Secret default/s: stringData.tls.crt: holds no certificate in PEM"},
		"exchanged":                 {key, certificate, "7:27: Secret default/s: stringData.tls.crt: holds a private key where a certificate belongs; have the two been exchanged?"},
		"broken certificate":        {certificate + block("CERTIFICATE", []byte("hush")), key, "7:27: Secret default/s: stringData.tls.crt: holds as number 2 a certificate that cannot be parsed"},
		"no key":                    {certificate, "hush", "stringData.tls.key: holds no private key in PEM"},
		"broken key":                {certificate, block("PRIVATE KEY", []byte("hush")), "stringData.tls.key: holds no key that TLS can use; expected RSA, ECDSA or Ed25519"},
		"encrypted key":             {certificate, encrypted, "stringData.tls.key: holds a private key that is encrypted; expected one without a passphrase"},
		"encrypted key, PKCS 8":     {certificate, block("ENCRYPTED PRIVATE KEY", []byte("hush")), "stringData.tls.key: holds a private key that is encrypted; expected one without a passphrase"},
		"key of another":            {certificate, other, "stringData.tls.key: is not the key of the first certificate in tls.crt"},
		"RSA that is too short":     {weak, weakKey, "stringData.tls.crt: has an RSA key of 512 bits, too short to be used; expected 2048 or more"},
	} {
		t.Run(name, func(t *testing.T) {
			first, _ := json.Marshal(tt.certificate)
			second, _ := json.Marshal(tt.key)
			manifest := fmt.Sprintf("# a\n# b\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/tls\nstringData: {other: text, tls.crt: %s, tls.key: %s}\n", first, second)
			var decoder Decoder
			objects, diagnostics := decoder.Decode("in.yaml", []byte(manifest))
			var got []string
			for _, d := range diagnostics {
				got = append(got, d.String())
			}
			text := strings.Join(got, "\n")
			if tt.want == "" && text != "" || !strings.HasSuffix(text, tt.want) || len(got) > 1 {
				t.Errorf("%q, want %q", text, tt.want)
			}
			if accepted := objects[0].Value != nil; accepted != (tt.want == "") {
				t.Errorf("accepted: %t", accepted)
			}
			if strings.Contains(text, "hush") {
				t.Errorf("content is quoted: %s", text)
			}
		})
	}
}

// TestParseKeyPairKeepsToItsOwn: what stands beside certificates and key stays there.
func TestParseKeyPairKeepsToItsOwn(t *testing.T) {
	certificate, key := ecdsaPair(t)
	pair, _, err := ParseKeyPair(map[string][]byte{corev1.TLSCertKey: []byte("a\n" + key + certificate), corev1.TLSPrivateKeyKey: []byte(certificate + key)})
	if err != nil {
		t.Fatal(err)
	}
	if pair.Chain != certificate || pair.Key != key || len(pair.Certificates) != 1 {
		t.Errorf("chain %q, key of %d bytes, want %d", pair.Chain, len(pair.Key), len(key))
	}
}

// TestAuthorities: a ConfigMap whose ca.crt is none does not take the place of the last.
func TestAuthorities(t *testing.T) {
	certificate, key := ecdsaPair(t)
	for name, tt := range map[string]struct{ text, want string }{
		"good":  {certificate + key, ""},
		"empty": {"", ""},
		"none":  {"hush", "in.yaml:4:8: ConfigMap default/c: data.ca.crt: holds no certificate in PEM"},
	} {
		text, _ := json.Marshal(tt.text)
		var decoder Decoder
		_, diagnostics := decoder.Decode("in.yaml", fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {ca.crt: %s}\n", text))
		got := ""
		for _, d := range diagnostics {
			got += d.String()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if pem, err := ParseAuthorities([]byte(key + certificate)); err != nil || pem != certificate {
		t.Errorf("%q, %v", pem, err)
	}
}
