package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/retry"
)

// BudgetQuestion asks for the budgets of a route.
type BudgetQuestion struct {
	// Route is namespace/name[/rule], with GRPCRoute/ before it for one of those; without a
	// namespace it is default. Without a rule: every rule of the route.
	Route string
	// Rate is how many requests come per second, which says what the floor of a retry budget
	// adds; 0: so many that it adds nothing.
	Rate float64
	// Failing is the share of tries that fails in what is expected, 0 to 1.
	Failing float64
	// Observed are calls between services that telemetry has seen, beside those that are declared.
	Observed []Call
}

// Budget is what the policies of a rule add up to when things go wrong: how long its requests
// may take, and how many one may become.
type Budget struct {
	Route  string       `json:"route"` // Route.Name
	Origin model.Origin `json:"origin"`
	// Latency is what one request may take.
	Latency LatencyBudget `json:"latency"`
	// Amplification is what one request may become.
	Amplification Amplification `json:"amplification"`
	// Contributions are the fields that make it so, with who set each.
	Contributions []Contribution `json:"contributions"`
	// Notes are what is not meant to be, or worth knowing.
	Notes []string `json:"notes,omitempty"`
}

// LatencyBudget is how long a request may take, in milliseconds from the end of its head.
type LatencyBudget struct {
	// WorstMs is when the client has its answer at the latest; absent: nothing bounds it.
	WorstMs *float64 `json:"worstMs,omitempty"`
	// RequestMs is timeouts.request; absent: none.
	RequestMs *float64 `json:"requestMs,omitempty"`
	// Steps are what happens when everything goes wrong, in the order of their beginning.
	Steps []BudgetStep `json:"steps"`
	// Downstream are what the services called on the way may take by policies of Weir.
	Downstream []DownstreamTime `json:"downstream,omitempty"`
}

// StepKind is what time is spent for.
type StepKind string

// The kinds of steps.
const (
	StepQueue   StepKind = "queue"
	StepBackoff StepKind = "backoff"
	StepTry     StepKind = "try"
)

// BudgetStep is one thing after the other that takes time.
type BudgetStep struct {
	Kind StepKind `json:"kind"`
	Try  int      `json:"try,omitempty"` // which one, from 1: of a try, or of a backoff the one after it
	// FromMs and ToMs are when it begins and ends at the latest; no ToMs: nothing ends it.
	FromMs float64  `json:"fromMs"`
	ToMs   *float64 `json:"toMs,omitempty"`
	// ConnectMs is how much of a try making a connection may take.
	ConnectMs float64 `json:"connectMs,omitempty"`
	// Never says that a try cannot start, Cut that the request ends it before its own time.
	Never bool `json:"never,omitempty"`
	Cut   bool `json:"cut,omitempty"`
}

// DownstreamTime is the time of a service that is called on the way.
type DownstreamTime struct {
	Service string   `json:"service"`
	Rule    string   `json:"rule"` // whose policy bounds it
	WorstMs *float64 `json:"worstMs,omitempty"`
	// Outlives says that it may go on when the caller's try is over.
	Outlives bool `json:"outlives,omitempty"`
}

// Amplification is how many tries one request becomes.
type Amplification struct {
	// Expected is for when the asked share of tries fails, Worst for when all fail, and Unbounded
	// for when no retry budget were there.
	Expected  float64 `json:"expected"`
	Worst     float64 `json:"worst"`
	Unbounded float64 `json:"unbounded"`
	// Marked is the worst where every service on the way hands on x-weir-attempt and is trusted:
	// then only the first retries.
	Marked  float64 `json:"marked"`
	Failing float64 `json:"failing"` // the question's
	Rate    float64 `json:"rate,omitempty"`
	// Path is the worst path through the call graph, the rule's own backend first.
	Path []BudgetHop `json:"path"`
}

// BudgetHop is one step of the path with what its policy makes of a request.
type BudgetHop struct {
	Service  string     `json:"service"`
	Rule     string     `json:"rule,omitempty"` // as Hop.Rule
	Reason   CallReason `json:"reason"`
	Worst    float64    `json:"worst"`             // tries of a request
	Total    float64    `json:"total"`             // that times those before
	Tries    int        `json:"tries"`             // at most, by attempts and hedging
	Ceiling  float64    `json:"ceiling,omitempty"` // of the retry budget: 1 + share + floor / rate; absent: none
	Expected float64    `json:"expected"`
	Nested   bool       `json:"nested,omitempty"` // it retries also what its caller will retry

	budget *model.RetryBudget // nil: none
}

// Contribution is a field of the effective policy with what it does to the budget.
type Contribution struct {
	Field   string       `json:"field"` // as of model.PolicyField
	Value   string       `json:"value"`
	Origin  model.Origin `json:"origin,omitzero"`
	Default bool         `json:"default,omitempty"` // nobody set it
	Of      string       `json:"of,omitempty"`      // the cluster, of fields of the backend's side
	Effect  string       `json:"effect"`
}

// Budgets returns the budget of each rule that the question names, in the order of tables. The
// error says that there is none, and what may have been meant.
func (e *Explainer) Budgets(q BudgetQuestion) ([]Budget, error) {
	var found []*model.Route
	names := map[string]bool{}
	for _, t := range e.snapshot.RouteTables {
		for _, entry := range t.Entries {
			r := entry.Route
			if names[r.Name] {
				continue
			}
			names[r.Name] = true
			if asked(q.Route, r) {
				found = append(found, r)
			}
		}
	}
	if len(found) == 0 {
		return nil, e.unknownRoute(q.Route)
	}
	graph := NewGraph(e.snapshot, q.Observed)
	paths := graph.Paths(func(r *model.Route, c *model.Cluster) float64 { return EffectiveFactor(r, c, q.Rate) })
	budgets := make([]Budget, len(found))
	for i, r := range found {
		budgets[i] = e.budget(r, q, paths)
	}
	return budgets, nil
}

// asked reports whether a rule is what a name means.
func asked(name string, r *model.Route) bool {
	name = strings.Trim(name, "/")
	if !strings.Contains(name, "/") {
		name = "default/" + name
	}
	own, _, _ := strings.Cut(r.Name, "@")
	return name == r.Name || name == own || strings.HasPrefix(own, name+"/")
}

func (e *Explainer) unknownRoute(name string) error {
	var routes, rules []string
	for _, t := range e.snapshot.RouteTables {
		for _, entry := range t.Entries {
			own, _, _ := strings.Cut(entry.Route.Name, "@")
			rules = append(rules, own)
			routes = append(routes, own[:max(strings.LastIndexByte(own, '/'), 0)])
		}
	}
	if len(routes) == 0 {
		return fmt.Errorf("no route %s: there is none at all that a listener serves", name)
	}
	full := name
	if !strings.Contains(full, "/") {
		full = "default/" + full
	}
	lists := [][]string{routes, rules}
	if strings.Count(full, "/") > 1 {
		slices.Reverse(lists)
	}
	for _, names := range lists {
		near := resource.Closest(full, names)
		if i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, "/"+name) }); near == "" && i >= 0 {
			near = names[i] // the namespace was left out
		}
		if near != "" {
			return fmt.Errorf("no route %s that a listener serves; did you mean %s?", name, near)
		}
	}
	slices.Sort(routes)
	return fmt.Errorf("no route %s that a listener serves, but %s", name, some(slices.Compact(routes)))
}

// EffectiveFactor is how many tries a request of a rule may become, the budgets of rule and
// cluster taken into account, at a rate of requests per second; 0: a high one.
func EffectiveFactor(r *model.Route, c *model.Cluster, rate float64) float64 {
	return min(float64(retry.Most(r.Retry)), retry.Ceiling(budgetOf(r, c, rate), rate))
}

// budgetOf is the retry budget that holds for requests of a rule to a cluster; nil: none.
func budgetOf(r *model.Route, c *model.Cluster, rate float64) *model.RetryBudget {
	var own, shared *model.RetryBudget
	if r.Retry != nil {
		own = r.Retry.Budget
	}
	if c != nil {
		shared = c.RetryBudget
	}
	return retry.Stricter(own, shared, rate)
}

func (e *Explainer) budget(r *model.Route, q BudgetQuestion, paths Paths) Budget {
	b := Budget{Route: r.Name, Origin: r.Origin}
	hops := paths.From(r.Name)
	b.Amplification = amplification(hops, q)
	b.Latency = e.latency(r, hops)
	b.Contributions = e.contributions(r)
	b.Notes = e.notes(r, &b)
	return b
}

func amplification(hops []Hop, q BudgetQuestion) Amplification {
	a := Amplification{Expected: 1, Worst: 1, Unbounded: 1, Marked: 1, Failing: q.Failing, Rate: q.Rate}
	for i, h := range hops {
		hop := BudgetHop{Service: h.Service, Rule: h.Rule, Reason: h.Reason, Worst: h.Factor, Total: h.Total, Tries: 1, Expected: 1}
		if h.rule != nil {
			hop.Tries = retry.Most(h.rule.Retry)
			hop.Nested = h.rule.Retry != nil && h.rule.Retry.Nested
			if hop.budget = budgetOf(h.rule, h.cluster, q.Rate); hop.budget != nil && hop.Tries > 1 {
				hop.Ceiling = min(retry.Ceiling(hop.budget, q.Rate), maxFactor)
			}
			hop.Expected = min(retry.Expected(h.rule.Retry, q.Failing), h.Factor)
		}
		if i+1 == len(hops) || h.rule != nil && PassesOn(h.rule) {
			a.Expected = min(a.Expected*hop.Expected, maxFactor)
			a.Unbounded = min(a.Unbounded*float64(hop.Tries), maxFactor)
		}
		a.Worst = min(a.Worst*h.Factor, maxFactor)
		if a.Marked == 1 || hop.Nested {
			a.Marked = min(a.Marked*h.Factor, maxFactor)
		}
		a.Path = append(a.Path, hop)
	}
	return a
}

// millis is a duration as the API writes it.
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func millisOf(d time.Duration, known bool) *float64 {
	if !known {
		return nil
	}
	ms := millis(d)
	return &ms
}

// latency lists what may take time before the answer of a rule's requests.
func (e *Explainer) latency(r *model.Route, hops []Hop) LatencyBudget {
	l := LatencyBudget{RequestMs: millisOf(r.Timeouts.Request, r.Timeouts.Request > 0), Steps: []BudgetStep{}}
	waited := QueueTime(r)
	if waited > 0 {
		l.Steps = append(l.Steps, BudgetStep{Kind: StepQueue, ToMs: millisOf(waited, true)})
	}
	t := r.Timeouts
	if t.Request > 0 {
		t.Request = max(t.Request-waited, 1)
	}
	connect := e.connectTime(r)
	for i, try := range retry.Tries(t, r.Retry) {
		start := waited + try.Latest
		if try.Late {
			start = waited + try.Earliest
		}
		if i > 0 && t.PerTry > 0 {
			_, longest := retry.Pause(r.Retry, i)
			if over := t.Request > 0 && start-longest >= waited+t.Request; longest > 0 && !over {
				l.Steps = append(l.Steps, BudgetStep{Kind: StepBackoff, Try: i + 1, FromMs: millis(start - longest), ToMs: millisOf(start, true)})
			}
		}
		step := BudgetStep{Kind: StepTry, Try: i + 1, FromMs: millis(start), Never: try.Never, Cut: try.Cut}
		if t.PerTry == 0 && i > 0 {
			step.FromMs = millis(waited) // or later, at any time
		}
		if !try.Never {
			ends := waited + try.Ends
			step.ToMs = millisOf(ends, try.Ends > 0)
			step.ConnectMs = millis(connect)
			if try.Ends > 0 {
				step.ConnectMs = millis(max(0, min(connect, ends-start)))
			}
		}
		l.Steps = append(l.Steps, step)
	}
	worst, bounded := retry.WorstCase(t, r.Retry)
	l.WorstMs = millisOf(waited+worst, bounded)
	l.Downstream = downstream(r, hops)
	return l
}

// QueueTime is how long requests of a rule may wait before their first try.
func QueueTime(r *model.Route) time.Duration {
	o := r.Overload
	if o == nil || o.Queue == nil || o.Queue.Size == 0 || o.Mode != model.ModeEnforce || o.Limit == 0 && o.Adaptive == nil {
		return 0
	}
	return o.Queue.Timeout
}

// connectTime is the longest that any backend of a rule is given to connect.
func (e *Explainer) connectTime(r *model.Route) (longest time.Duration) {
	for _, arm := range r.Split.Arms {
		if c := e.clusters[arm.Cluster]; c != nil {
			longest = max(longest, c.ConnectTimeout)
		}
	}
	return longest
}

// downstream is what the services behind the rule's own backend may take, by the policies of
// the rules that lead to them. What the services do besides, nobody knows.
func downstream(r *model.Route, hops []Hop) []DownstreamTime {
	var list []DownstreamTime
	caller := r
	for i, h := range hops {
		if i == 0 || h.rule == nil {
			continue
		}
		worst, bounded := retry.WorstCase(h.rule.Timeouts, h.rule.Retry)
		worst += QueueTime(h.rule)
		patience := caller.Timeouts.PerTry
		if patience == 0 {
			patience = caller.Timeouts.Request
		}
		list = append(list, DownstreamTime{
			Service: h.Service, Rule: h.Rule, WorstMs: millisOf(worst, bounded), Outlives: patience > 0 && (!bounded || worst > patience),
		})
		caller = h.rule
	}
	return list
}
