package model_test

import (
	"encoding/json"
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
			Origin: rule, Timeouts: model.Timeouts{Request: 90 * time.Minute}, Origins: model.Origins{"timeouts.request": gateway, "hashOn": gateway},
			HashOn:         []model.Key{{Source: model.KeyHeader, Name: "x-user"}, {Source: model.KeyClientIP, IPv6Prefix: 64}},
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
		"hashOn":                         {Value: "header x-user, clientIP/64", Origin: gateway},
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
