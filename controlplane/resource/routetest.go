package resource

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// KindRouteTest is the kind of RouteTest.
const KindRouteTest = "RouteTest"

// RouteTest says what routes are expected to do. It has the envelope of the kinds of group
// weir.dev and no CRD: `weir test` reads it, `weir run` skips it.
type RouteTest struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              RouteTestSpec `json:"spec"`
}

// RouteTestSpec is a list of tests, at least one.
type RouteTestSpec struct {
	Tests []RouteCase `json:"tests"`
}

// RouteCase is one request and what is expected of it.
type RouteCase struct {
	Name    string      `json:"name,omitempty"`
	Request TestRequest `json:"request"`
	Expect  Expectation `json:"expect"`
}

// TestRequest is a request that nobody sends.
type TestRequest struct {
	Method   string       `json:"method,omitempty"` // absent: GET
	URL      string       `json:"url"`              // http://HOST[:PORT]/PATH
	Headers  []TestHeader `json:"headers,omitempty"`
	Listener string       `json:"listener,omitempty"` // its address, where the URL does not say which
}

// TestHeader is a field of a request.
type TestHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Expectation is what must hold. What is absent may be anything.
type Expectation struct {
	Route    string            `json:"route,omitempty"` // namespace/name, or name in the test's own namespace; or kind/namespace/name
	Rule     string            `json:"rule,omitempty"`
	Backends []ExpectedBackend `json:"backends,omitempty"` // all that get requests
	Status   *int32            `json:"status,omitempty"`   // of an answer of Weir's own: 301, 404, 500
	Location string            `json:"location,omitempty"` // of a redirect
	Upstream *ExpectedUpstream `json:"upstream,omitempty"`
	Response *ExpectedResponse `json:"response,omitempty"`
	Policy   map[string]string `json:"policy,omitempty"` // effective fields, as in timeouts.request: 2s
}

// ExpectedBackend is a backend by the last parts of its name: v1, shop/v1, Backend/shop/v1,
// Service/shop/cart/80.
type ExpectedBackend struct {
	Name  string `json:"name"`
	Share string `json:"share,omitempty"` // 90%; absent: any but none
}

// ExpectedUpstream is the request as every backend sees it.
type ExpectedUpstream struct {
	Host    string           `json:"host,omitempty"`
	Path    string           `json:"path,omitempty"` // with its query
	Headers []ExpectedHeader `json:"headers,omitempty"`
}

// ExpectedResponse is what filters make of the answer of every backend.
type ExpectedResponse struct {
	Headers []ExpectedHeader `json:"headers,omitempty"`
}

// ExpectedHeader is a header with a value, several joined by a comma, or one that is absent.
type ExpectedHeader struct {
	Name   string `json:"name"`
	Value  string `json:"value,omitempty"`
	Absent bool   `json:"absent,omitempty"`
}

// routeTest is RouteTest as a kind. It is not among those that are served.
var routeTest = &kind{
	group: v1alpha1.Group, name: KindRouteTest, versions: []string{v1alpha1.Version}, namespaced: true,
	validName: apivalidation.NameIsDNSSubdomain,
	empty:     func() metav1.Object { return new(RouteTest) },
	schema:    fromGo[RouteTest](), complete: completeRouteTest,
}

// DecodeTests returns the RouteTests of one file, whose Values are *RouteTest, and what is
// wrong with them. Objects of other kinds are left to Decode.
func DecodeTests(file string, data []byte) ([]*Object, []Diagnostic) {
	d := Decoder{only: routeTest}
	return d.Decode(file, data)
}

// classifyAs is classify where only one kind counts, that is not among those that are served.
func classifyAs(k *kind, object map[string]any, doc *document) (*kind, *problem) {
	if object["kind"] != k.name {
		return nil, nil
	}
	if version := apiVersion(k.group, k.versions[0]); object["apiVersion"] != version {
		doc.problems = append(doc.problems, problem{
			rule: RuleSchema, at: doc.fields.find(doc.root, "apiVersion"), field: "apiVersion",
			message: fmt.Sprintf("unknown version of %s; expected %q", k.name, version),
		})
	}
	return k, nil
}

// Bounds of a RouteTest.
const maxTests = 10_000

var sharePattern = regexp.MustCompile(`^(100|[0-9]{1,2})(\.[0-9]{1,2})?%$`)

// completeRouteTest checks what the Go types do not say.
func completeRouteTest(v metav1.Object, report reportFunc) {
	tests := v.(*RouteTest).Spec.Tests
	if len(tests) == 0 {
		report("spec.tests", "required: at least one test")
	}
	if len(tests) > maxTests {
		report("spec.tests", fmt.Sprintf("expected at most %d tests", maxTests))
	}
	for i := range tests {
		c, path := &tests[i], "spec.tests["+strconv.Itoa(i)+"]"
		if c.Request.URL == "" {
			report(path+".request.url", "required: http://HOST[:PORT]/PATH")
		}
		if slices.ContainsFunc(c.Request.Headers, func(h TestHeader) bool { return h.Name == "" }) {
			report(path+".request.headers", "a header needs a name")
		}
		c.Expect.check(path+".expect", report)
	}
}

func (e *Expectation) check(path string, report reportFunc) {
	if e.Route == "" && e.Rule == "" && e.Status == nil && e.Location == "" && e.Upstream == nil &&
		e.Response == nil && len(e.Backends) == 0 && len(e.Policy) == 0 {
		report(path, "required: something that is expected; a test of nothing cannot fail")
	}
	if e.Rule != "" && e.Route == "" {
		report(path+".rule", "a rule is of a route; say which with route")
	}
	for i, b := range e.Backends {
		at := path + ".backends[" + strconv.Itoa(i) + "]"
		if b.Name == "" {
			report(at+".name", "required: a name such as v1 or shop/v1")
		}
		if b.Share != "" && !sharePattern.MatchString(b.Share) {
			report(at+".share", strconv.Quote(b.Share)+": expected a percentage such as 90% or 0.5%")
		}
	}
	checkHeaders := func(path string, list []ExpectedHeader) {
		for i, h := range list {
			at := path + "[" + strconv.Itoa(i) + "]"
			if h.Name == "" {
				report(at+".name", "required: the name of a header")
			}
			if h.Absent && h.Value != "" {
				report(at, "a header that is absent has no value")
			}
		}
	}
	if e.Upstream != nil {
		checkHeaders(path+".upstream.headers", e.Upstream.Headers)
	}
	if e.Response != nil {
		checkHeaders(path+".response.headers", e.Response.Headers)
	}
}
