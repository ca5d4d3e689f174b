package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
)

// TestExpressions has every example of expressions.md judged: the policy and each line of CEL
// are accepted, and the diagnostic is what its mistake gives.
func TestExpressions(t *testing.T) {
	page, err := os.ReadFile("expressions.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}
	for _, m := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllSubmatch(page, -1) {
		blocks[string(m[1])] = string(m[2])
	}
	policy := blocks["yaml"]
	const route = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {rules: [{name: main}]}
`
	const written = `'request.path.startsWith("/tenants/") ? request.path.split("/")[2] : ""'`
	judge := func(expression string) (said []string) {
		t.Helper()
		if !strings.Contains(policy, written) {
			t.Fatal("the page's policy has another expression")
		}
		text := strings.Replace(policy, written, "'"+expression+"'", 1)
		var decoder resource.Decoder
		objects, found := decoder.Decode("shop.yaml", []byte(text+route))
		found = append(found, translate.Translate(translate.Input{Set: resource.NewSet(objects, nil)}).Diagnostics...)
		for _, d := range found {
			if d.Object.Kind == "TrafficPolicy" {
				said = append(said, d.String())
			}
		}
		return said
	}
	for _, source := range append(strings.Split(strings.TrimSpace(blocks["cel"]), "\n"), strings.Trim(written, "'")) {
		if said := judge(source); len(said) > 0 {
			t.Errorf("%s: %q", source, said)
		}
	}
	if said := strings.Join(judge("request.paht"), "\n"); !strings.Contains(said, strings.TrimSpace(blocks[""])) {
		t.Errorf("a mistake gives\n%s\nand the page says\n%s", said, blocks[""])
	}
	if len(strings.Split(blocks["cel"], "\n")) < 5 {
		t.Errorf("the page has few examples: %q", blocks["cel"])
	}
}
