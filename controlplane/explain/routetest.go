package explain

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/fields"
)

// TestReport is what became of route tests.
type TestReport struct {
	Tests    int        `json:"tests"`
	Failed   int        `json:"failed"` // tests with at least one failure
	Failures []Failure  `json:"failures"`
	Rules    int        `json:"rules"`   // that the configuration has
	Reached  int        `json:"reached"` // by at least one test
	Coverage float64    `json:"coverage"`
	Missed   []RuleName `json:"missed,omitempty"` // not reached
}

// Failure is one expectation that does not hold.
type Failure struct {
	At    resource.Position `json:"at"`
	Test  string            `json:"test"` // namespace/name of the RouteTest, and the test's own name or index
	Field string            `json:"field"`
	Got   string            `json:"got"`
	Want  string            `json:"want,omitempty"`
}

// String returns the failure in one line: "t.yaml:9:15: default/cart cart: status: got 404, want 301".
func (f Failure) String() string {
	if f.Want == "" {
		return fmt.Sprintf("%s: %s: %s: %s", f.At, f.Test, f.Field, f.Got)
	}
	return fmt.Sprintf("%s: %s: %s: got %s, want %s", f.At, f.Test, f.Field, f.Got, f.Want)
}

// RuleName is a rule and where it was written.
type RuleName struct {
	Name   string       `json:"name"`
	Origin model.Origin `json:"origin,omitzero"`
}

// Test asks what the tests in objects (values of *resource.RouteTest) ask, and compares.
// Coverage is 1 where there is no rule at all.
func (e *Explainer) Test(objects []*resource.Object) TestReport {
	r := TestReport{Failures: []Failure{}, Coverage: 1}
	reached := map[string]bool{}
	for _, o := range objects {
		test, ok := o.Value.(*resource.RouteTest)
		if !ok {
			continue
		}
		for i := range test.Spec.Tests {
			c := &check{e: e, object: o, namespace: test.Namespace, index: i, test: &test.Spec.Tests[i]}
			c.run()
			r.Tests++
			if len(c.failures) > 0 {
				r.Failed++
				r.Failures = append(r.Failures, c.failures...)
			}
			if c.found != nil && c.found.route != nil {
				reached[c.found.route.Split.Name] = true
			}
		}
	}
	seen := map[string]bool{}
	for _, t := range e.snapshot.RouteTables {
		for _, entry := range t.Entries {
			name := entry.Route.Split.Name
			if seen[name] {
				continue
			}
			seen[name] = true
			r.Rules++
			if reached[name] {
				r.Reached++
			} else {
				r.Missed = append(r.Missed, RuleName{name, entry.Route.Origin})
			}
		}
	}
	slices.SortFunc(r.Missed, func(a, b RuleName) int { return strings.Compare(a.Name, b.Name) })
	if r.Rules > 0 {
		r.Coverage = float64(r.Reached) / float64(r.Rules)
	}
	return r
}

// check is one test under way.
type check struct {
	e         *Explainer
	object    *resource.Object
	namespace string
	index     int
	test      *resource.RouteCase
	request   *parsed
	found     *finding
	explained model.Explanation
	failures  []Failure
}

// fail notes an expectation that does not hold; path is below the test.
func (c *check) fail(path, got, want string) {
	name := c.test.Name
	if name == "" {
		name = "#" + strconv.Itoa(c.index)
	}
	c.failures = append(c.failures, Failure{
		At:   c.object.Position("spec.tests[" + strconv.Itoa(c.index) + "]." + path),
		Test: c.object.Key.Namespace + "/" + c.object.Key.Name + " " + name, Field: strings.TrimPrefix(path, "expect."), Got: got, Want: want,
	})
}

// equal compares what is expected with what is; empty expects nothing.
func (c *check) equal(path, got, want string) {
	if want != "" && got != want {
		c.fail(path, orNothing(got), want)
	}
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

func (c *check) run() {
	q := Request{Method: c.test.Request.Method, URL: c.test.Request.URL, Listener: c.test.Request.Listener}
	for _, h := range c.test.Request.Headers {
		q.Headers = append(q.Headers, Header(h))
	}
	var err error
	if c.request, err = q.parse(); err != nil {
		c.fail("request", err.Error(), "")
		return
	}
	c.found = c.e.find(c.request)
	c.explained = c.e.explain(c.request, c.found)
	c.expectRoute()
	c.expectAnswer()
	c.expectBackends()
	c.expectMessages()
	c.expectPolicy()
}

func (c *check) expectRoute() {
	x := &c.test.Expect
	route, rule := "", ""
	wanted := x.Route
	if wanted != "" && !strings.Contains(wanted, "/") {
		wanted = c.namespace + "/" + wanted
	}
	if r := c.found.route; r != nil {
		route, rule = r.Namespace+"/"+r.Object, r.Rule
		if strings.Count(wanted, "/") == 2 {
			route = r.Kind + "/" + route
		}
	}
	if route == "" {
		route = "no route: " + c.explained.Reason
	}
	c.equal("expect.route", route, wanted)
	if x.Route == "" || route == wanted {
		c.equal("expect.rule", rule, x.Rule)
	}
}

func (c *check) expectAnswer() {
	x := &c.test.Expect
	if x.Status != nil && c.explained.Status != int(*x.Status) {
		got := strconv.Itoa(c.explained.Status)
		if c.explained.Status == 0 {
			got = "no answer of Weir's own: " + c.whereTo()
		}
		c.fail("expect.status", got, strconv.Itoa(int(*x.Status)))
	}
	c.equal("expect.location", c.explained.Location, x.Location)
}

// whereTo says what happens to the request instead.
func (c *check) whereTo() string {
	if c.explained.Status == 0 && c.found.route != nil {
		return "it is forwarded"
	}
	text := c.explained.Reason
	if c.explained.Location != "" {
		text = "a redirect to " + c.explained.Location
	}
	if c.explained.Status != 0 {
		return fmt.Sprintf("%d: %s", c.explained.Status, text)
	}
	return text
}

// forwards reports whether some backend gets the request.
func (c *check) forwards() bool { return c.found.route != nil && c.explained.ForwardedPath != "" }

func (c *check) expectBackends() {
	wanted := c.test.Expect.Backends
	if len(wanted) == 0 {
		return
	}
	if !c.forwards() {
		c.fail("expect.backends", c.whereTo(), "")
		return
	}
	left := slices.DeleteFunc(slices.Clone(c.explained.Arms), func(a model.ArmShare) bool { return a.Weight == 0 })
	for i, w := range wanted {
		path := fmt.Sprintf("expect.backends[%d]", i)
		at := slices.IndexFunc(left, func(a model.ArmShare) bool { return strings.Contains("/"+a.Name+"/", "/"+w.Name+"/") })
		if at < 0 {
			c.fail(path+".name", armsText(c.explained.Arms), w.Name)
			continue
		}
		arm := left[at]
		left = slices.Delete(left, at, at+1)
		if arm.Refusal != "" {
			c.fail(path+".name", arm.Name+", which is refused: "+arm.Refusal, w.Name)
		}
		if percent, err := strconv.ParseFloat(strings.TrimSuffix(w.Share, "%"), 64); err == nil && math.Abs(arm.Share*100-percent) > 0.005 {
			c.fail(path+".share", Percent(arm.Share), w.Share)
		}
	}
	if len(left) > 0 {
		c.fail("expect.backends", armsText(left)+" is not expected", "")
	}
}

func armsText(arms []model.ArmShare) string {
	var texts []string
	for _, a := range arms {
		if a.Weight > 0 {
			texts = append(texts, a.Name+" "+Percent(a.Share))
		}
	}
	return strings.Join(texts, ", ")
}

// expectMessages compares what filters make of the request and of the answer.
func (c *check) expectMessages() {
	up, down := c.test.Expect.Upstream, c.test.Expect.Response
	if up == nil && down == nil {
		return
	}
	if !c.forwards() {
		path := "expect.upstream"
		if up == nil {
			path = "expect.response"
		}
		c.fail(path, c.whereTo(), "a request that is forwarded")
		return
	}
	if up != nil {
		c.equal("expect.upstream.host", c.explained.ForwardedHost, up.Host)
		c.equal("expect.upstream.path", c.explained.ForwardedPath, up.Path)
	}
	split := &c.found.route.Split
	for i := range split.Arms {
		arm := &split.Arms[i]
		if arm.Weight == 0 || arm.Refusal != nil {
			continue
		}
		if up != nil {
			c.upstreamHeaders(up.Headers, arm)
		}
		if down != nil {
			c.responseHeaders(down.Headers, arm)
		}
	}
}

func (c *check) upstreamHeaders(wanted []resource.ExpectedHeader, arm *model.Arm) {
	effects := fields.Effects(c.found.route.RequestHeaders, arm.RequestHeaders)
	for i, w := range wanted {
		name := strings.ToLower(w.Name)
		values := fields.On(effects, name, c.request.values(name))
		if name == "host" {
			values = []string{c.explained.ForwardedHost}
		}
		c.header(fmt.Sprintf("expect.upstream.headers[%d]", i), arm, w, values)
	}
}

// responseHeaders can speak only of what filters do: the answer itself is the backend's.
func (c *check) responseHeaders(wanted []resource.ExpectedHeader, arm *model.Arm) {
	effects := fields.Effects(c.found.route.ResponseHeaders, arm.ResponseHeaders)
	for i, w := range wanted {
		path, name := fmt.Sprintf("expect.response.headers[%d]", i), strings.ToLower(w.Name)
		if w.Absent && !slices.ContainsFunc(effects, func(e fields.Effect) bool { return e.Name == name && e.Drop }) {
			c.fail(path, "what "+arm.Name+" sends", name+" removed")
			continue
		}
		c.header(path, arm, w, fields.On(effects, name, nil))
	}
}

// header compares one header of the message to or from an arm.
func (c *check) header(path string, arm *model.Arm, w resource.ExpectedHeader, values []string) {
	got, want := "nothing", "nothing"
	if len(values) > 0 {
		got = shown(w.Name, strings.Join(values, ","))
	}
	if !w.Absent {
		want = shown(w.Name, w.Value)
	}
	if w.Absent != (len(values) == 0) || !w.Absent && strings.Join(values, ",") != w.Value {
		c.fail(path, fmt.Sprintf("%s %s (%s)", w.Name, got, arm.Name), want)
	}
}

func (c *check) expectPolicy() {
	for _, name := range slices.Sorted(maps.Keys(c.test.Expect.Policy)) {
		want := c.test.Expect.Policy[name]
		var values []string
		for _, f := range c.policies() {
			if f.Field == name && !slices.Contains(values, f.Value) {
				values = append(values, f.Value)
			}
		}
		got := strings.Join(values, " or ")
		switch {
		case len(values) == 0:
			c.fail("expect.policy."+name, "no such field is in force; `weir explain` lists those that are", "")
		case len(values) > 1 || !sameValue(got, want):
			c.fail("expect.policy."+name, got, want)
		}
	}
}

// policies are all fields that are in force, the arms' own included.
func (c *check) policies() []model.PolicyField {
	list := c.explained.Policy
	for _, a := range c.explained.Arms {
		if a.Weight > 0 {
			list = slices.Concat(list, a.Policy)
		}
	}
	return list
}

// sameValue compares values as they are meant: 90s is 1m30s.
func sameValue(a, b string) bool {
	x, wrong := time.ParseDuration(a)
	y, other := time.ParseDuration(b)
	return a == b || wrong == nil && other == nil && x == y
}
