package explain

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/retry"
)

// town is a snapshot of services, each of which a rule leads to.
func town(retries map[string]int, calls map[string][]string) *model.Snapshot {
	s := &model.Snapshot{}
	table := &model.RouteTable{Name: "default/front/http"}
	for name, n := range retries {
		c := &model.Cluster{Name: "backend/default/" + name + "@default/front"}
		for _, called := range calls[name] {
			c.Calls = append(c.Calls, "backend/default/"+called)
		}
		s.Clusters = append(s.Clusters, c)
		table.Entries = append(table.Entries, model.Entry{Hostnames: []string{name + ".test"}, Route: &model.Route{
			Name: "default/" + name + "/0", Rule: "0", Retry: &model.Retry{Attempts: n, On: []model.RetryOn{}, Codes: []int{500}},
			Split: model.Split{Name: "default/" + name + "/0", Arms: []model.Arm{{Weight: 1, Cluster: c.Name}}},
		}})
	}
	slices.SortFunc(s.Clusters, func(a, b *model.Cluster) int { return strings.Compare(a.Name, b.Name) })
	s.RouteTables = []*model.RouteTable{table}
	s.Listeners = []*model.Listener{{
		Name: "0.0.0.0:8080", Address: netip.MustParseAddrPort("0.0.0.0:8080"), Tables: []model.TableBinding{{Table: table.Name}},
	}}
	return s
}

func most(r *model.Route, _ *model.Cluster) float64 { return float64(retry.Most(r.Retry)) }

func hopsText(hops []Hop) string {
	var steps []string
	for _, h := range hops {
		steps = append(steps, fmt.Sprintf("%s ×%s", strings.TrimPrefix(h.Service, "backend/default/"), Times(h.Total)))
	}
	return strings.Join(steps, " ")
}

func TestWorstPath(t *testing.T) {
	s := town(map[string]int{"shop": 1, "cart": 2, "pay": 3, "log": 0}, map[string][]string{"shop": {"cart", "log"}, "cart": {"log", "pay"}})
	paths := NewGraph(s, nil).Paths(most)
	for rule, want := range map[string]string{
		"default/shop/0": "shop ×2 cart ×6 pay ×24",
		"default/cart/0": "cart ×3 pay ×12",
		"default/log/0":  "log ×1",
		"default/none/0": "",
	} {
		if got := hopsText(paths.From(rule)); got != want {
			t.Errorf("%s: %s, want %s", rule, got, want)
		}
	}
	// What telemetry has seen counts as well, and is not said twice.
	seen := func(from, to string) Call {
		return Call{From: Node{NodeService, "backend/default/" + from + "@default/front"}, To: Node{NodeService, "backend/default/" + to}}
	}
	graph := NewGraph(s, []Call{seen("log", "pay"), seen("shop", "cart")})
	if got := hopsText(graph.Paths(most).From("default/log/0")); got != "log ×1 pay ×4" {
		t.Errorf("with what was seen: %s", got)
	}
	reasons := map[CallReason]int{}
	for _, calls := range graph.calls {
		for _, c := range calls {
			reasons[c.Reason]++
		}
	}
	if diff := cmp.Diff(map[CallReason]int{CallRoute: 4, CallDeclared: 4, CallObserved: 1}, reasons); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// What only repeats failures to connect does not multiply what happens further on.
func TestPassesOn(t *testing.T) {
	names := map[string]int{"shop": 5, "pay": 2}
	for name, c := range map[string]struct {
		change func(*model.Route)
		want   string
	}{
		"answers":             {func(*model.Route) {}, "shop ×6 pay ×18"},
		"failures to connect": {func(r *model.Route) { r.Retry.Codes = nil; r.Retry.On = []model.RetryOn{model.RetryConnectFailure} }, "shop ×6"},
		"no time for one try": {func(r *model.Route) { r.Retry.Codes = nil; r.Retry.On = []model.RetryOn{model.RetryPerTryTimeout} }, "shop ×6"},
		"tries that time out": {func(r *model.Route) {
			r.Retry.Codes, r.Timeouts.PerTry = nil, 1
			r.Retry.On = []model.RetryOn{model.RetryPerTryTimeout}
		}, "shop ×6 pay ×18"},
		"calls of gRPC":      {func(r *model.Route) { r.Retry.Codes, r.Retry.GRPCCodes = nil, []model.GRPCCode{14} }, "shop ×6 pay ×18"},
		"a rule's own":       {func(r *model.Route) { r.Retry.Codes, r.Retry.On, r.Timeouts.PerTry = nil, nil, 1 }, "shop ×6 pay ×18"},
		"few tries in front": {func(r *model.Route) { r.Retry.Attempts, r.Retry.Codes = 1, nil }, "shop ×1 pay ×3"},
		"as many in front":   {func(r *model.Route) { r.Retry.Attempts, r.Retry.Codes = 2, nil }, "shop ×1 pay ×3"},
	} {
		s := change(town(names, map[string][]string{"shop": {"pay"}}), "shop", c.change)
		if got := hopsText(NewGraph(s, nil).Paths(most).From("default/shop/0")); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestCycles(t *testing.T) {
	s := town(map[string]int{"a": 1, "b": 1, "c": 1, "d": 1, "self": 0}, map[string][]string{"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "self": {"self"}})
	graph := NewGraph(s, nil)
	var got []string
	for _, cycle := range graph.Cycles() {
		var names []string
		for _, n := range cycle {
			names = append(names, strings.TrimPrefix(n.Name, "backend/default/"))
		}
		got = append(got, strings.Join(names, " "))
	}
	if diff := cmp.Diff([]string{"a b c", "self"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := hopsText(graph.Paths(most).From("default/c/0")); got != "c ×2 d ×4" {
		t.Errorf("out of a circle: %s", got)
	}
}

// A backend whose address is Weir's own listener calls the rules that its requests meet there.
func TestOwnAddress(t *testing.T) {
	s := town(map[string]int{"shop": 1, "pay": 2}, nil)
	s.Endpoints = []*model.EndpointSet{{Cluster: "backend/default/shop@default/front", Endpoints: []model.Endpoint{{Address: netip.MustParseAddrPort("127.0.0.1:8080"), Weight: 1}}}}
	graph := NewGraph(s, nil)
	cycles := graph.Cycles()
	if len(cycles) != 1 || !slices.Contains(cycles[0], Node{NodeRule, "default/shop/0"}) {
		t.Errorf("a rule that leads to itself: circles %v", cycles)
	}
	for _, e := range s.RouteTables[0].Entries {
		if e.Route.Name == "default/shop/0" {
			e.Route.Rewrite = &model.Rewrite{Hostname: "pay.test"}
		}
	}
	graph = NewGraph(s, nil)
	if cycles := graph.Cycles(); len(cycles) != 0 {
		t.Errorf("it leads to another: circles %v", cycles)
	}
	if got := hopsText(graph.Paths(most).From("default/shop/0")); got != "shop ×2 pay ×6" {
		t.Errorf("by way of Weir again: %s", got)
	}
	for address, want := range map[string]bool{"127.0.0.1:8080": true, "[::1]:8080": true, "127.0.0.1:8081": false, "10.0.0.1:8080": false, "0.0.0.0:8080": true} {
		if got := Listens(s.Listeners[0], netip.MustParseAddrPort(address)); got != want {
			t.Errorf("listens at %s: %v", address, got)
		}
	}
}

// TestPathsAreTheWorst compares paths with all paths, in graphs without circles.
func TestPathsAreTheWorst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 7
		retries, calls := map[string]int{}, map[string][]string{}
		name := func(i int) string { return string(rune('a' + i)) }
		for i := range n {
			retries[name(i)] = rapid.IntRange(0, 3).Draw(t, "retries")
			for j := i + 1; j < n; j++ {
				if rapid.Bool().Draw(t, "calls") {
					calls[name(i)] = append(calls[name(i)], name(j))
				}
			}
		}
		var naive func(service string) float64
		naive = func(service string) float64 {
			worst := 1.0
			for _, called := range calls[service] {
				worst = max(worst, naive(called))
			}
			return worst * float64(1+retries[service])
		}
		graph := NewGraph(town(retries, calls), nil)
		if cycles := graph.Cycles(); len(cycles) > 0 {
			t.Fatalf("circles %v", cycles)
		}
		paths := graph.Paths(most)
		for i := range n {
			hops := paths.From("default/" + name(i) + "/0")
			product := 1.0
			for k, h := range hops {
				product *= h.Factor
				if k > 0 && !slices.Contains(calls[strings.TrimPrefix(hops[k-1].Service, "backend/default/")], strings.TrimPrefix(h.Service, "backend/default/")) {
					t.Fatalf("%s does not call %s", hops[k-1].Service, h.Service)
				}
			}
			if want := naive(name(i)); math.Abs(product-want) > 1e-9 || math.Abs(hops[len(hops)-1].Total-want) > 1e-9 {
				t.Fatalf("from %s ×%v, want ×%v", name(i), product, want)
			}
		}
	})
}

// TestEveryCircleIsFound: a graph has circles exactly where some service reaches itself, and
// each that is named is one.
func TestEveryCircleIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 6
		retries, calls := map[string]int{}, map[string][]string{}
		for i := range n {
			retries[string(rune('a'+i))] = 0
		}
		for range rapid.IntRange(0, 10).Draw(t, "calls") {
			from, to := rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to")
			calls[string(rune('a'+from))] = append(calls[string(rune('a'+from))], string(rune('a'+to)))
		}
		reaches := func(from, to string) bool {
			seen, todo := map[string]bool{}, slices.Clone(calls[from])
			for len(todo) > 0 {
				s := todo[0]
				todo = todo[1:]
				if s == to {
					return true
				}
				if !seen[s] {
					seen[s] = true
					todo = append(todo, calls[s]...)
				}
			}
			return false
		}
		in := map[string]int{}
		graph := NewGraph(town(retries, calls), nil)
		for _, cycle := range graph.Cycles() {
			for i, node := range cycle {
				next := cycle[(i+1)%len(cycle)].Name
				s := strings.TrimPrefix(node.Name, "backend/default/")
				in[s]++
				if !slices.Contains(calls[s], strings.TrimPrefix(next, "backend/default/")) {
					t.Fatalf("%s does not call %s of the circle %v", s, next, cycle)
				}
			}
		}
		groups := map[int]bool{}
		for i := range n {
			s := string(rune('a' + i))
			if reaches(s, s) {
				groups[graph.groups[Node{NodeService, "backend/default/" + s}]] = true
			} else if in[s] > 0 {
				t.Fatalf("%s is in a circle, and does not reach itself", s)
			}
		}
		if got := len(graph.Cycles()); got != len(groups) {
			t.Fatalf("%d circles, want %d", got, len(groups))
		}
	})
}

// TestPathsOfManyRules: a rule costs its own ways, however many others lead to the same service.
func TestPathsOfManyRules(t *testing.T) {
	const rules = 500
	s := town(map[string]int{"shop": 1}, nil)
	table := s.RouteTables[0]
	for i := range rules {
		r := *table.Entries[0].Route
		r.Name = fmt.Sprintf("default/r%d/0", i)
		table.Entries = append(table.Entries, model.Entry{Hostnames: []string{fmt.Sprintf("r%d.test", i)}, Route: &r})
	}
	asked := 0
	paths := NewGraph(s, nil).Paths(func(r *model.Route, c *model.Cluster) float64 {
		asked++
		return most(r, c)
	})
	if got := hopsText(paths.From("default/r7/0")); got != "shop ×2" {
		t.Errorf("path %q", got)
	}
	if asked > 4*rules {
		t.Errorf("asked %d times for the factors of %d rules", asked, rules)
	}
}
