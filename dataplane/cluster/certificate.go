package cluster

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/model"
)

// explainCertificate says what is wrong with a host's certificate; empty: err is another
// matter.
func explainCertificate(err error, name string) string {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var none *nameError
	var roots x509.SystemRootsError
	switch {
	case errors.As(err, &invalid):
		return explainInvalid(&invalid)
	case errors.As(err, &unknown):
		by := "an unknown authority"
		if c := unknown.Cert; c != nil && c.Issuer.CommonName != "" {
			by += fmt.Sprintf(" (%.60q)", c.Issuer.CommonName)
		}
		return "its certificate is from " + by
	case errors.As(err, &hostname):
		return wrongName(hostname.Certificate, cmp.Or(hostname.Host, name))
	case errors.As(err, &none):
		return none.Error()
	case errors.As(err, &roots):
		return "this machine has no certificate authorities to trust: install them, or name some"
	}
	return ""
}

func explainInvalid(err *x509.CertificateInvalidError) string {
	whose := "its certificate"
	if err.Cert != nil && err.Cert.IsCA {
		whose = fmt.Sprintf("its certificate's authority (%.60q)", err.Cert.Subject.CommonName)
	}
	switch {
	case err.Reason == x509.IncompatibleUsage:
		return whose + " is not for servers"
	case err.Reason != x509.Expired || err.Cert == nil:
		return whose + " is not valid: " + err.Error()
	case time.Now().Before(err.Cert.NotBefore):
		return whose + " is not valid before " + err.Cert.NotBefore.UTC().Format(time.RFC3339)
	}
	return whose + " has expired at " + err.Cert.NotAfter.UTC().Format(time.RFC3339)
}

// nameError: a certificate has none of the names.
type nameError struct {
	leaf  *x509.Certificate
	names []model.SubjectAltName
}

func (e *nameError) Error() string {
	wanted := make([]string, len(e.names))
	for i, n := range e.names {
		wanted[i] = n.Value
	}
	return wrongName(e.leaf, wanted...)
}

// maxNames bounds the names of a certificate that an error lists.
const maxNames = 4

// wrongName says what a certificate is for, and what it should be for.
func wrongName(leaf *x509.Certificate, wanted ...string) string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	if len(names) > maxNames {
		names = append(names[:maxNames], "…")
	}
	return fmt.Sprintf("its certificate is for %s, not for %s", cmp.Or(strings.Join(names, ", "), "no name"), strings.Join(wanted, " or "))
}
