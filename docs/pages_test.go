package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/lint"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/telemetry"
)

var (
	yamlBlock  = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	metricName = regexp.MustCompile(`weir_[a-z_0-9]*[a-z0-9]\b`)
)

// examples returns a page and its blocks of YAML, at least one.
func examples(t *testing.T, name string) (page string, blocks []string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range yamlBlock.FindAllSubmatch(text, -1) {
		blocks = append(blocks, string(m[1]))
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no example", name)
	}
	return string(text), blocks
}

// shop stands around the examples of policies: a Gateway edge, an HTTPRoute shop and a Backend
// checkout.
const shop = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: checkout}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: checkout}
spec: {endpoints: [{address: 10.0.0.1, port: 80}, {address: 10.0.0.2, port: 80}, {address: 10.0.0.3, port: 80}, {address: 10.0.0.4, port: 80}]}
`

// translated returns what becomes of manifests, and everything that there is to say of them.
func translated(manifests ...string) (translate.Output, []resource.Diagnostic) {
	var decoder resource.Decoder
	objects, found := decoder.Decode("edge.yaml", []byte(strings.Join(manifests, "\n---\n")))
	set := resource.NewSet(objects, nil)
	out := translate.Translate(translate.Input{Set: set})
	return out, slices.Concat(found, out.Diagnostics, lint.Config{}.Run(set, out))
}

// accepted is translated of what nothing is wrong with.
func accepted(t *testing.T, manifests ...string) translate.Output {
	t.Helper()
	out, found := translated(manifests...)
	for _, d := range wrong(found) {
		t.Error(d)
	}
	return out
}

// wrong leaves out what lint recommends.
func wrong(found []resource.Diagnostic) []resource.Diagnostic {
	return slices.DeleteFunc(slices.Clone(found), func(d resource.Diagnostic) bool { return d.Severity != resource.Error })
}

// TestMetricsExist looks for every metric that a page or the dashboard names.
func TestMetricsExist(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, page := range append(pages, "../examples/grafana/weir.json") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricName.FindAllString(string(text), -1) {
			named++
			family := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
			if !slices.ContainsFunc(telemetry.Families[:], func(f telemetry.Family) bool { return f.Name == name || f.Name == family }) {
				t.Errorf("%s: there is no metric %s", page, name)
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d names of metrics found: the search is broken", named)
	}
}

// TestRulesExist looks for every page of a rule of lint that a page links to by a bare name.
func TestRulesExist(t *testing.T) {
	for name, rules := range map[string][]string{
		"health.md":        {"idle-health-check", "passthrough-check", "grpc-check-by-http1", "check-longer-than-interval"},
		"proxyprotocol.md": {"announced-http3"},
	} {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range rules {
			known := slices.ContainsFunc(lint.Rules, func(r lint.Rule) bool { return r.Name == rule })
			if !known || !strings.Contains(string(page), fmt.Sprintf("`%s`", rule)) {
				t.Errorf("%s, rule %s: known %v", name, rule, known)
			}
		}
	}
}
