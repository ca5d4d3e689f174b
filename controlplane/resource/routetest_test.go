package resource

import (
	"strings"
	"testing"
)

func TestDecodeTests(t *testing.T) {
	const good = `apiVersion: weir.dev/v1alpha1
kind: RouteTest
metadata: {name: cart}
spec:
  tests:
  - name: cart
    request: {url: "http://shop.example.com/cart"}
    expect: {route: shop, status: 301}
---
apiVersion: v1
kind: Service
metadata: {nonsense: true}
`
	objects, diagnostics := DecodeTests("t.yaml", []byte(good))
	if len(objects) != 1 || len(diagnostics) != 0 {
		t.Fatalf("%d objects, %v", len(objects), diagnostics)
	}
	test, ok := objects[0].Value.(*RouteTest)
	if !ok || test.Namespace != "default" || *test.Spec.Tests[0].Expect.Status != 301 {
		t.Errorf("%+v", objects[0].Value)
	}
	if at := objects[0].Position("spec.tests[0].expect.status").String(); at != "t.yaml:8:27" {
		t.Error(at)
	}
	var d Decoder
	served, _ := d.Decode("t.yaml", []byte(strings.SplitN(good, "---", 2)[0]))
	if len(served) != 0 {
		t.Errorf("a RouteTest is served: %v", served)
	}
}

func TestDecodeTestsRefuses(t *testing.T) {
	const head = "apiVersion: weir.dev/v1alpha1\nkind: RouteTest\nmetadata: {name: cart}\nspec:\n  tests:\n"
	for text, want := range map[string]string{
		"apiVersion: weir.dev/v2\nkind: RouteTest\nmetadata: {name: cart}\nspec: {tests: []}\n":                            "apiVersion: unknown version of RouteTest",
		"apiVersion: weir.dev/v1alpha1\nkind: RouteTest\nmetadata: {name: cart}\nspec: {test: []}\n":                       `spec.test: unknown field; did you mean "tests"?`,
		"apiVersion: weir.dev/v1alpha1\nkind: RouteTest\nmetadata: {name: cart}\nspec: {tests: []}\n":                      "spec.tests: required: at least one test",
		head + "  - {request: {url: http://a/}, expect: {}}\n":                                                             "spec.tests[0].expect: required: something that is expected",
		head + "  - {request: {method: GET}, expect: {status: 404}}\n":                                                     "spec.tests[0].request.url: required",
		head + "  - {request: {url: http://a/}, expect: {rule: x}}\n":                                                      "spec.tests[0].expect.rule: a rule is of a route",
		head + "  - {request: {url: http://a/}, expect: {backend: x}}\n":                                                   `spec.tests[0].expect.backend: unknown field; did you mean "backends"?`,
		head + "  - {request: {url: http://a/}, expect: {backends: [{name: x, share: 101%}]}}\n":                           `spec.tests[0].expect.backends[0].share: "101%": expected a percentage`,
		head + "  - {request: {url: http://a/}, expect: {status: \"301\"}}\n":                                              "spec.tests[0].expect.status: expected an integer",
		head + "  - {request: {url: http://a/}, expect: {upstream: {headers: [{name: x, value: \"1\", absent: true}]}}}\n": "a header that is absent has no value",
		head + "  - {request: {url: http://a/, headers: [{value: x}]}, expect: {status: 404}}\n":                           "a header needs a name",
	} {
		objects, diagnostics := DecodeTests("t.yaml", []byte(text))
		var all []string
		for _, d := range diagnostics {
			all = append(all, d.String())
		}
		if !strings.Contains(strings.Join(all, "\n"), want) || len(all) == 0 {
			t.Errorf("%s\n got %q\nwant %q", text, all, want)
		}
		for _, o := range objects {
			if o.Value != nil {
				t.Errorf("accepted: %s", text)
			}
		}
	}
}
