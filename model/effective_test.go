package model_test

import (
	"encoding/json"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/model"
)

func TestEffectivePolicySaysWhoSetWhat(t *testing.T) {
	gateway := model.Origin{Object: "TrafficPolicy/ns/gateway", File: "a.yaml", Line: 7, Column: 3}
	backend := model.Origin{Object: "TrafficPolicy/ns/backend", File: "b.yaml", Line: 9, Column: 3}
	rule := model.Origin{Object: "HTTPRoute/ns/r", File: "r.yaml", Line: 4}
	full := "/new"
	got := model.EffectivePolicy(
		&model.Client{
			KeepAlive: 75 * time.Second, Underscores: model.NameDrop, TrustAddresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Origins: model.Origins{"client.trust": gateway},
		},
		&model.Route{
			Origin: rule, Timeouts: model.Timeouts{Request: 90 * time.Minute}, Origins: model.Origins{"timeouts.request": gateway, "hashOn": gateway, "compression.algorithms": gateway},
			HashOn:         []model.Key{{Source: model.KeyHeader, Name: "x-user"}, {Source: model.KeyClientIP, IPv6Prefix: 64}, {Source: model.KeyIdentity}, {Source: model.KeyExpression, Name: "request.path +\nidentity"}},
			Compression:    &model.Compression{Algorithms: []model.Coding{model.CodingZstd, model.CodingGzip}, MinSize: 1024, Types: []string{"text/*"}},
			Session:        &model.Session{Type: model.SessionCookie, Name: "s"},
			RequestHeaders: &model.HeaderEdit{Set: []model.Header{{Name: "authorization", Value: "Bearer hush"}}},
			Redirect:       &model.Redirect{Status: 302, Hostname: "to", Path: &model.PathChange{Full: &full}},
		},
		&model.Cluster{Balancing: model.Balancing{Algorithm: model.Maglev, PanicThreshold: 0.5}, Origins: model.Origins{"loadBalancing.algorithm": backend}},
	)
	want := map[string]model.PolicyField{
		"client.keepAlive":               {Value: "1m15s", Default: true},
		"client.trust.addresses":         {Value: "10.0.0.0/8", Origin: gateway},
		"timeouts.request":               {Value: "1h30m", Origin: gateway},
		"timeouts.idle":                  {Value: "0s", Default: true},
		"hashOn":                         {Value: "header x-user, clientIP/64, identity, expression request.path + identity", Origin: gateway},
		"compression.algorithms":         {Value: "zstd, gzip", Origin: gateway},
		"compression.minSize":            {Value: "1024", Default: true},
		"sessionPersistence.path":        {Value: "/", Origin: rule},
		"requestHeaders":                 {Value: "=authorization", Origin: rule},
		"redirect":                       {Value: "302 to path /new", Origin: rule},
		"loadBalancing.algorithm":        {Value: "Maglev", Origin: backend},
		"loadBalancing.panicThreshold":   {Value: "50%", Default: true},
		"sessionPersistence.sessionName": {Value: "s", Origin: rule},
		"client.underscoreHeaders":       {Value: "Drop", Default: true},
		"sessionPersistence.permanent":   {Value: "false", Origin: rule},
		"loadBalancing.zoneAware":        {Value: "false", Default: true},
		"sessionPersistence.type":        {Value: "Cookie", Origin: rule},
	}
	byField := map[string]model.PolicyField{}
	for _, f := range got {
		byField[f.Field] = f
	}
	for name, w := range want {
		w.Field = name
		if diff := cmp.Diff(w, byField[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if text, _ := json.Marshal(got); strings.Contains(string(text), "hush") {
		t.Errorf("a header's value is shown: %s", text)
	}
}

func TestMatchText(t *testing.T) {
	m := model.Match{
		Method: "GET", Path: model.PathMatch{Type: model.MatchPrefix, Value: "/cart"},
		Headers: []model.ValueMatch{{Name: "x-a", Type: model.MatchExact, Value: "1"}},
		Query:   []model.ValueMatch{{Name: "q", Type: model.MatchRegex, Value: "a+"}},
	}
	if got, want := m.String(), "GET prefix /cart header x-a=1 query q~a+"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	m.Headers[0].Name, m.Query[0].Name = "x-api-key", "access_token"
	if got, want := m.Shown(), "GET prefix /cart header x-api-key=(redacted) query access_token~(redacted)"; got != want {
		t.Errorf("shown %q, want %q", got, want)
	}
	if m.Headers[0].Value != "1" {
		t.Error("the match itself has changed")
	}
}

func TestPolicyOfTLS(t *testing.T) {
	policy := model.Origin{Object: "BackendTLSPolicy/ns/p", File: "p.yaml", Line: 4}
	gateway := model.Origin{Object: "TrafficPolicy/ns/g", File: "g.yaml", Line: 2}
	l := &model.Listener{TLS: &model.TLS{
		MinVersion: model.TLS13, CipherSuites: []string{"A", "B"}, Origins: model.Origins{"client.tls.minVersion": gateway},
	}}
	c := &model.Cluster{
		Protocol: model.ProtocolHTTP1, Origins: model.Origins{"tls": policy},
		TLS: &model.UpstreamTLS{
			Hostname: "a.test", SANs: []model.SubjectAltName{{Type: model.SANURI, Value: "spiffe://prod/a"}},
			CAs:    "-----BEGIN CERTIFICATE-----\nMQ==\n-----END CERTIFICATE-----\n",
			Client: &model.Certificate{Name: "secret/ns/c", Chain: "-----BEGIN CERTIFICATE-----\nMQ==\n-----END CERTIFICATE-----\n", Key: "hush"},
		},
	}
	byField := map[string]model.PolicyField{}
	fields := append(l.Policy(), model.EffectivePolicy(nil, nil, c)...)
	for _, f := range fields {
		byField[f.Field] = f
	}
	for name, want := range map[string]model.PolicyField{
		"client.tls.minVersion":   {Value: "1.3", Origin: gateway},
		"client.tls.cipherSuites": {Value: "A, B", Default: true},
		"client.headTimeout":      {Value: "0s", Default: true},
		"protocol":                {Value: "HTTP11", Default: true},
		"tls.hostname":            {Value: "a.test", Origin: policy},
		"tls.subjectAltNames":     {Value: "URI spiffe://prod/a", Origin: policy},
		"tls.authorities":         {Value: "1 certificate, sha256 cf4896c9db5be821", Origin: policy},
		"tls.clientCertificate":   {Value: "secret/ns/c, sha256 6b86b273ff34fce1", Origin: policy},
	} {
		want.Field = name
		if diff := cmp.Diff(want, byField[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if text, _ := json.Marshal([]any{fields, c}); strings.Contains(string(text), "hush") {
		t.Errorf("a private key is shown: %s", text)
	}
	if got := model.AuthoritiesText(""); got != "system" {
		t.Errorf("no authorities of one's own: %s", got)
	}
	if got := (model.Certificate{Name: "x"}).String(); got != "x" {
		t.Errorf("a certificate without one: %q", got)
	}
}

func TestHealthChecksSayWhoSetWhat(t *testing.T) {
	gateway := model.Origin{Object: "TrafficPolicy/ns/gateway"}
	for _, test := range []struct {
		check model.HealthCheck
		want  map[string]string
	}{
		{
			model.HealthCheck{Type: model.HealthCheckHTTP, Path: "/healthz?token=hush", Hostname: "a.test", Expect: []model.StatusRange{{First: 200, Last: 299}, {First: 404, Last: 404}}},
			map[string]string{"http.path": "/healthz?(redacted)", "http.expect": "200-299, 404", "http.hostname": "a.test"},
		},
		{model.HealthCheck{Type: model.HealthCheckGRPC, Service: "a.B"}, map[string]string{"grpc.service": `"a.B"`}},
		{model.HealthCheck{Type: model.HealthCheckTCP}, map[string]string{"tcp": "true"}},
	} {
		test.check.Interval, test.check.Timeout, test.check.HealthyAfter, test.check.UnhealthyAfter = 5*time.Second, time.Second, 2, 3
		cluster := &model.Cluster{HealthCheck: &test.check, Origins: model.Origins{"healthCheck.http": gateway, "healthCheck.grpc": gateway, "healthCheck.tcp": gateway}}
		got := map[string]string{}
		for _, f := range model.EffectivePolicy(nil, nil, cluster) {
			field, ours := strings.CutPrefix(f.Field, "healthCheck.")
			if !ours {
				continue
			}
			got[field] = f.Value
			if byDefault := !strings.Contains(field, ".") && field != "tcp"; f.Default != byDefault || f.Default != (f.Origin == model.Origin{}) {
				t.Errorf("%s is by default: %v, origin %v", f.Field, f.Default, f.Origin)
			}
		}
		maps.Copy(test.want, map[string]string{"interval": "5s", "timeout": "1s", "healthyAfter": "2", "unhealthyAfter": "3"})
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.check.Type, diff)
		}
	}
	for _, f := range model.EffectivePolicy(nil, nil, &model.Cluster{}) {
		if strings.HasPrefix(f.Field, "healthCheck") {
			t.Errorf("without a check: %+v", f)
		}
	}
}
