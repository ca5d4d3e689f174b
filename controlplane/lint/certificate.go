package lint

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// expiryNotice is how long before its end a certificate is told to expire soon, or a third of
// its life if that is shorter: those that are renewed every day are never old.
const expiryNotice = 30 * 24 * time.Hour

// strongRSA is the fewest bits of an RSA key that are taken for safe (NIST SP 800-131A).
const strongRSA = 2048

// served is a certificate in use, with its chain.
type served struct {
	object *resource.Object // the Secret
	field  string
	chain  []*x509.Certificate
}

// certificates returns what is in use, each Secret once, in the order of names.
func (p *pass) certificates() []served {
	if p.served == nil {
		p.served = p.findCertificates()
	}
	return p.served
}

func (p *pass) findCertificates() []served {
	names := map[string]bool{}
	for _, l := range p.out.Snapshot.Listeners {
		if l.TLS == nil {
			continue
		}
		for _, n := range l.TLS.Names {
			for _, c := range n.Certificates {
				names[c.Name] = true
			}
		}
	}
	for _, c := range p.out.Snapshot.Clusters {
		if c.TLS != nil && c.TLS.Client != nil {
			names[c.TLS.Client.Name] = true
		}
	}
	list := []served{}
	for o, secret := range resource.All[*corev1.Secret](p.set) {
		if !names["secret/"+o.Key.Namespace+"/"+o.Key.Name] {
			continue
		}
		pair, _, err := resource.ParseKeyPair(secret.Data)
		if err != nil {
			continue // the set is newer than the snapshot
		}
		field := "data." + corev1.TLSCertKey
		if text := "stringData." + corev1.TLSCertKey; o.Position(text) != o.At {
			field = text
		}
		list = append(list, served{o, field, pair.Certificates})
	}
	return list
}

// inChain says which certificate of a chain is spoken of.
func inChain(i int, c *x509.Certificate) string {
	name := c.Subject.CommonName
	if len(c.DNSNames) > 0 {
		name = c.DNSNames[0]
	} else if len(c.URIs) > 0 {
		name = c.URIs[0].String()
	}
	if i > 0 {
		return fmt.Sprintf("the certificate of %s, number %d of the chain,", name, i+1)
	}
	return "the certificate for " + name
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func certificateExpired(p *pass) {
	for _, s := range p.certificates() {
		for i, c := range s.chain {
			switch {
			case p.now.After(c.NotAfter):
				p.report(s.object, s.field, "%s expired on %s; whoever verifies it refuses it", inChain(i, c), day(c.NotAfter))
			case p.now.Before(c.NotBefore):
				p.report(s.object, s.field, "%s is not valid before %s; whoever verifies it refuses it until then", inChain(i, c), day(c.NotBefore))
			}
		}
	}
}

func certificateExpiresSoon(p *pass) {
	for _, s := range p.certificates() {
		for i, c := range s.chain {
			if p.now.After(noticeOf(c)) && !p.now.After(c.NotAfter) {
				p.report(s.object, s.field, "%s expires on %s; replace it, no restart is needed", inChain(i, c), day(c.NotAfter))
			}
		}
	}
}

// noticeOf is from when on a certificate is told to expire soon.
func noticeOf(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-min(expiryNotice, c.NotAfter.Sub(c.NotBefore)/3))
}

// turn is when the next of the certificates in use becomes valid, expires soon, or has expired;
// zero: none does.
func (p *pass) turn() (next time.Time) {
	for _, s := range p.certificates() {
		for _, c := range s.chain {
			for _, at := range []time.Time{c.NotBefore, noticeOf(c).Add(time.Nanosecond), c.NotAfter.Add(time.Nanosecond)} {
				if at.After(p.now) && (next.IsZero() || at.Before(next)) {
					next = at
				}
			}
		}
	}
	return next
}

func certificateWeak(p *pass) {
	for _, s := range p.certificates() {
		for i, c := range s.chain {
			if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < strongRSA {
				p.report(s.object, s.field, "%s has an RSA key of %d bits, which many clients refuse; use %d or more, or ECDSA", inChain(i, c), key.N.BitLen(), strongRSA)
			}
			if old := slices.Contains([]x509.SignatureAlgorithm{x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}, c.SignatureAlgorithm); old && c.Issuer.String() != c.Subject.String() {
				p.report(s.object, s.field, "%s is signed with %v, which clients no longer accept; have it signed with SHA-256", inChain(i, c), c.SignatureAlgorithm)
			}
		}
	}
}

// certificateHostname finds hosts for which clients are shown no certificate that they would
// believe: of listeners, and of the routes below listeners for many hosts. A wildcard of
// Gateway API covers any number of labels, one in a certificate covers one (RFC 9525).
func certificateHostname(p *pass) {
	tables := make(map[string]*model.RouteTable, len(p.out.Snapshot.RouteTables))
	for _, t := range p.out.Snapshot.RouteTables {
		tables[t.Name] = t
	}
	for _, l := range p.out.Snapshot.Listeners {
		if l.TLS == nil {
			continue
		}
		byHostname := make(map[string]string, len(l.Tables))
		for _, b := range l.Tables {
			byHostname[b.Hostname] = b.Table
		}
		for _, b := range l.Streams {
			if b.Terminate {
				byHostname[b.Hostname] = b.Listener
			}
		}
		for _, n := range l.TLS.Names {
			var leaves []*x509.Certificate
			for _, c := range n.Certificates {
				if leaf := leafOf(c); leaf != nil {
					leaves = append(leaves, leaf)
				}
			}
			table := byHostname[n.Hostname]
			switch {
			case n.Hostname != "" && !anyCovers(leaves, n.Hostname):
				if o, listener := p.listener(table); o != nil {
					p.report(o, listener+".hostname", "no certificate of the listener is for %s: %s; clients refuse it", n.Hostname, namesText(leaves))
				}
			case tables[table] != nil && (n.Hostname == "" || strings.HasPrefix(n.Hostname, "*")):
				p.routeHostnames(tables[table], leaves)
			}
		}
	}
}

// routeHostnames finds those of a table's routes that no certificate of its listener is for.
func (p *pass) routeHostnames(table *model.RouteTable, leaves []*x509.Certificate) {
	o, _ := p.listener(table.Name)
	if o == nil {
		return
	}
	type claim struct{ route, hostname string }
	said := map[claim]bool{}
	for _, e := range table.Entries {
		for _, h := range e.Hostnames {
			at := claim{e.Route.Kind + "/" + e.Route.Namespace + "/" + e.Route.Object, h}
			if said[at] || anyCovers(leaves, h) {
				continue
			}
			said[at] = true
			route := p.set.Get(routeKey(e.Route))
			if route == nil {
				continue
			}
			field := "spec.hostnames"
			if i := slices.IndexFunc(hostnamesOf(route.Value), func(own gatewayv1.Hostname) bool { return strings.EqualFold(string(own), h) }); i >= 0 {
				field = fmt.Sprintf("spec.hostnames[%d]", i)
			}
			_, listener := translate.TableOwner(table.Name)
			p.report(route, field, "no certificate of listener %s of %v is for %s: %s; clients refuse it", listener, o.Key, h, namesText(leaves))
		}
	}
}

// listener returns the object that a table's listener is written in, and the listener's path.
func (p *pass) listener(table string) (*resource.Object, string) {
	owner, name := translate.TableOwner(table)
	o := p.set.Get(owner)
	if o == nil {
		return nil, ""
	}
	i := -1
	switch v := o.Value.(type) {
	case *gatewayv1.Gateway:
		i = slices.IndexFunc(v.Spec.Listeners, func(l gatewayv1.Listener) bool { return string(l.Name) == name })
	case *gatewayv1.ListenerSet:
		i = slices.IndexFunc(v.Spec.Listeners, func(l gatewayv1.ListenerEntry) bool { return string(l.Name) == name })
	}
	return o, fmt.Sprintf("spec.listeners[%d]", i)
}

func anyCovers(leaves []*x509.Certificate, hostname string) bool {
	return slices.ContainsFunc(leaves, func(c *x509.Certificate) bool { return covers(c, hostname) })
}

// namesText says what hosts certificates are for.
func namesText(leaves []*x509.Certificate) string {
	var names []string
	for _, c := range leaves {
		names = append(names, c.DNSNames...)
	}
	if len(names) == 0 {
		return "none names a host in its subjectAltNames"
	}
	slices.Sort(names)
	return "they are for " + some(slices.Compact(names))
}

func leafOf(c model.Certificate) *x509.Certificate {
	block, _ := pem.Decode([]byte(c.Chain))
	if block == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return leaf
}

// covers reports whether a certificate is for a hostname, or for some host of a wildcard:
// which of them clients ask for is not known.
func covers(leaf *x509.Certificate, hostname string) bool {
	suffix, wildcard := strings.CutPrefix(hostname, "*")
	if !wildcard {
		return leaf.VerifyHostname(hostname) == nil
	}
	return slices.ContainsFunc(leaf.DNSNames, func(name string) bool { return strings.HasSuffix(strings.ToLower(name), suffix) })
}

// suitesWithoutKey finds suites of TLS 1.2 that no key of a hostname's certificates goes with.
func suitesWithoutKey(p *pass) {
	w := written{path: "client.tls.cipherSuites"}
	for _, l := range p.out.Snapshot.Listeners {
		if l.TLS == nil || len(l.TLS.CipherSuites) == 0 || l.TLS.MinVersion != model.TLS12 {
			continue
		}
		for _, n := range l.TLS.Names {
			fits := slices.ContainsFunc(n.Certificates, func(c model.Certificate) bool {
				leaf := leafOf(c)
				return leaf == nil || slices.ContainsFunc(l.TLS.CipherSuites, func(suite string) bool { return strings.Contains(suite, authentication(leaf)) })
			})
			if !fits {
				host := n.Hostname
				if host == "" {
					host = "every other host"
				}
				w.add(l.TLS.Origins, host)
			}
		}
	}
	w.report(p, "has no suite that goes with the key of the certificate for %s, so that clients without TLS 1.3 cannot connect; add suites of the key's kind, RSA or ECDSA")
}

// authentication is the part of a suite's name that a certificate's key goes with.
func authentication(leaf *x509.Certificate) string {
	switch leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		return "_RSA_"
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return "_ECDSA_"
	}
	return ""
}
