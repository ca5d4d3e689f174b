package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// TestAccountHoldsNothingUp: a set is carried while there is still something to find out
// about the one before, and who asks then is told of the newest.
func TestAccountHoldsNothingUp(t *testing.T) {
	engine := &fakeEngine{}
	p := newPipeline([]Engine{engine}, telemetry.NewMetrics(1), slog.New(slog.DiscardHandler))
	if p.account() != nil {
		t.Error("there is an account of nothing")
	}
	asked, release := make(chan struct{}), make(chan struct{})
	var first sync.Once
	p.closed = func() map[string]error {
		first.Do(func() { asked <- struct{}{}; <-release })
		return nil
	}
	sets := []*resource.Set{
		resource.NewSet(nil, []resource.Diagnostic{{Message: "first"}}),
		resource.NewSet(nil, []resource.Diagnostic{{Message: "second"}}),
	}
	p.deliver(sets[0])
	slow := make(chan *account, 1)
	go func() { slow <- p.account() }()
	<-asked
	p.deliver(sets[1])
	if len(engine.applied) != 2 {
		t.Errorf("applied %d sets while the account was made, want 2", len(engine.applied))
	}
	close(release)
	if told := <-slow; told.of.set != sets[0] || told.diagnostics[0].Message != "first" {
		t.Errorf("the account of the first set says %v", told.diagnostics)
	}
	told := p.account()
	if told.of != p.now.Load() || told.diagnostics[0].Message != "second" {
		t.Errorf("the account of what is live says %v", told.diagnostics)
	}
	if p.account() != told {
		t.Error("an account is made twice")
	}
}

// TestProblemsAreLoggedOnce: what is wrong is logged when it comes and when it goes, whoever
// has asked for the account.
func TestProblemsAreLoggedOnce(t *testing.T) {
	var log strings.Builder
	p := newPipeline([]Engine{&fakeEngine{}}, telemetry.NewMetrics(1), slog.New(slog.NewTextHandler(&log, nil)))
	problem := []resource.Diagnostic{{Severity: resource.Error, Message: "not that way"}}
	for _, diagnostics := range [][]resource.Diagnostic{problem, problem, nil} {
		p.deliver(resource.NewSet(nil, diagnostics))
		p.account()
		p.account()
	}
	if n := strings.Count(log.String(), "problem in a resource"); n != 1 {
		t.Errorf("logged %d times: %s", n, &log)
	}
	if n := strings.Count(log.String(), "problem is gone"); n != 1 {
		t.Errorf("its end is logged %d times: %s", n, &log)
	}
}

// TestExpiryIsTold: the status of a FaultPolicy says on time that it has expired, and so does lint, while what is
// served stays the same.
func TestExpiryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d resource.Decoder
		objects, problems := d.Decode("faults.yaml", []byte(`
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners: [{name: web, port: 8080, protocol: HTTP}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]
---
apiVersion: weir.dev/v1alpha1
kind: FaultPolicy
metadata: {name: late}
spec: {expires: "2000-01-01T02:30:00Z", reason: a rehearsal, faults: [{name: late, share: 1%, delay: {fixed: 1s}}], targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]}
---
apiVersion: weir.dev/v1alpha1
kind: FaultPolicy
metadata: {name: later}
spec: {expires: "2000-01-01T04:00:00Z", reason: a rehearsal, faults: [{name: late, share: 1%, delay: {fixed: 1s}}], targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]}
`))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		engine := &fakeEngine{}
		p := newPipeline([]Engine{engine}, telemetry.NewMetrics(1), slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.tend(ctx)
		p.deliver(resource.NewSet(objects, nil))
		for _, c := range []struct {
			until string
			over  int
		}{{"2000-01-01T02:29:59Z", 0}, {"2000-01-01T02:30:00Z", 1}, {"2000-01-01T03:59:59Z", 1}, {"2000-01-01T04:00:00Z", 2}} {
			at, err := time.Parse(time.RFC3339, c.until)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(at) + time.Millisecond)
			synctest.Wait()
			told, expired, said := p.account(), 0, 0
			for _, o := range told.objects() {
				for _, condition := range o.Conditions {
					if o.Kind == "FaultPolicy" && condition.Type == "Programmed" && condition.Status == "False" && condition.Reason == "Expired" {
						expired++
					}
				}
			}
			for _, d := range told.diagnostics {
				if d.Rule == "lasting-fault" {
					said++
				}
			}
			if expired != c.over || said != c.over {
				t.Errorf("at %s: %d are said to be expired, lint says it of %d; want %d", c.until, expired, said, c.over)
			}
		}
		if len(engine.applied) != 1 {
			t.Errorf("applied %d times, want once", len(engine.applied))
		}
	})
}

// TestCertificateExpiryIsTold: of a certificate that nobody touches is said that it will expire, and
// that it has, when that is so.
func TestCertificateExpiryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = 30 * time.Hour
		begin := time.Now()
		chain, key := selfSigned(t, "shop.example.com", begin, begin.Add(life))
		var d resource.Decoder
		objects, problems := d.Decode("tls.yaml", fmt.Appendf(nil, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners: [{name: web, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: shop}]}}]
---
apiVersion: v1
kind: Secret
metadata: {name: shop}
type: kubernetes.io/tls
stringData: {tls.crt: %q, tls.key: %q}
`, chain, key))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		p := newPipeline([]Engine{&fakeEngine{}}, telemetry.NewMetrics(1), slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.tend(ctx)
		p.deliver(resource.NewSet(objects, nil))
		for _, c := range []struct {
			after time.Duration
			want  string
		}{
			{life*2/3 - time.Second, ""},
			{life*2/3 + time.Second, "certificate-expires-soon"},
			{life - time.Second, "certificate-expires-soon"},
			{life + time.Second, "certificate-expired"},
		} {
			time.Sleep(time.Until(begin.Add(c.after)))
			synctest.Wait()
			said := ""
			for _, d := range p.account().diagnostics {
				if strings.HasPrefix(d.Rule, "certificate-expire") {
					said = d.Rule
				}
			}
			if said != c.want {
				t.Errorf("after %v lint says %q, want %q", c.after, said, c.want)
			}
		}
	})
}

// selfSigned returns a certificate and its key, in PEM.
func selfSigned(t *testing.T, name string, from, until time.Time) (chain, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spec := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, spec, spec, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
}

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		live   uint64
		loaded bool
		want   int64
	}{
		{0, false, maxPercent},
		{0, true, maxPercent},
		{startRoom / 4, false, maxPercent},
		{startRoom, false, 100},
		{4 * startRoom, false, 25},
		{100 * startRoom, false, minPercent},
		{garbageRoom / 4, true, maxPercent},
		{garbageRoom, true, 100},
		{2 * garbageRoom, true, 50},
		{100 * garbageRoom, true, minPercent},
	} {
		if got := percentFor(c.live, c.loaded); got != c.want {
			t.Errorf("%d bytes live, loaded %t: %d %%, want %d", c.live, c.loaded, got, c.want)
		}
	}
}

// The log says where clients are served: the first addresses of many.
func TestAddressesText(t *testing.T) {
	for n, want := range map[int]string{
		0: "none",
		2: "[::]:8000, [::]:8001",
		9: "[::]:8000, [::]:8001, [::]:8002, [::]:8003, [::]:8004, [::]:8005, [::]:8006, [::]:8007, and 1 more",
	} {
		s := &model.Snapshot{}
		for i := range n {
			s.Listeners = append(s.Listeners, &model.Listener{Name: fmt.Sprintf("[::]:%d", 8000+i)})
		}
		if got := addressesText(s); got != want {
			t.Errorf("of %d: %q, want %q", n, got, want)
		}
	}
}
