package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/model"
)

// policiesCommand is `weir get policies`.
func policiesCommand(std Streams, admin *string) *cobra.Command {
	var files []string
	var effective bool
	var output format
	cmd := &cobra.Command{
		Use:   "policies [ROUTE]",
		Short: "Show traffic policies, or what they come to for each route and backend",
		Long: "Policies shows the TrafficPolicies of a running Weir with their conditions. With --effective it is the inventory\n" +
			"of what they come to, merged and with defaults filled in: a line for each rule and each backend that it sends\n" +
			"requests to. What nobody set is in brackets. ROUTE, NAMESPACE/NAME or NAMESPACE/NAME/RULE, narrows that.\n\n" +
			"-o json tells every field with the file and line that set it. With -f it asks files and folders instead.",
		Example: "  weir get policies\n  weir get policies --effective -f ./routes\n  weir get policies shop/cart --effective -o json",
		Args:    atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(files) > 0 && cmd.Flags().Changed("admin"):
				return usagef("-f and --admin do not go together: ask files, or a running Weir")
			case !effective && len(files) > 0:
				return usagef("-f needs --effective: conditions are a running Weir's to tell")
			case !effective && len(args) > 0:
				return usagef("ROUTE needs --effective")
			case !effective:
				return list(cmd.Context(), std, *admin, policyListing, nil, &output)
			}
			route := ""
			if len(args) > 0 {
				route = args[0]
			}
			return inventory(cmd.Context(), std, files, *admin, route, &output)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&effective, "effective", false, "show what holds for each route and backend, and who set it")
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file or folder with resources, - for standard input; repeatable")
	output.flag(cmd)
	return cmd
}

// policyListing is what `weir get policies` shows without --effective.
var policyListing = listing{
	name: "policies", path: "/api/v1/resources", query: url.Values{"kind": {"TrafficPolicy"}},
	columns: []string{"name", "where", "newest version", "conditions"},
	row: func(o map[string]any) []string {
		version := "live"
		if o["accepted"] == false {
			version = "quarantined"
		}
		return []string{word(o["namespace"]) + "/" + word(o["name"]), position(o["at"]), version, conditions(o["conditions"])}
	},
}

// inventory shows the effective policies, of one route or of all.
func inventory(ctx context.Context, std Streams, files []string, admin, route string, output *format) error {
	var all []explain.Inventory
	if len(files) > 0 {
		_, out, err := load(ctx, std, files)
		if err != nil {
			return err
		}
		all = explain.Inventories(out.Snapshot)
	} else {
		var err error
		if all, err = liveInventory(ctx, admin); err != nil {
			return err
		}
	}
	if route != "" {
		all = slices.DeleteFunc(all, func(v explain.Inventory) bool { return v.Route != route && !strings.HasPrefix(v.Route, route+"/") })
		if len(all) == 0 {
			return fmt.Errorf("no route %q is served; `weir get policies --effective` lists all", route)
		}
	}
	return output.write(std.Out, all, func() {
		if len(all) == 0 {
			fmt.Fprintln(std.Out, "no routes")
			return
		}
		rows := make([][]string, len(all))
		for i := range all {
			rows[i] = inventoryRow(&all[i])
		}
		table(std.Out, []string{"route", "backend", "timeout", "tries", "retry budget", "breaker", "outliers", "overload"}, rows)
	})
}

// liveInventory asks a running Weir.
func liveInventory(ctx context.Context, admin string) ([]explain.Inventory, error) {
	c, err := newClient(admin)
	if err != nil {
		return nil, err
	}
	type cluster struct {
		Name   string
		Policy []model.PolicyField
	}
	clusters, err := pages[cluster](ctx, c, "/api/v1/clusters", url.Values{})
	if err != nil {
		return nil, err
	}
	policies := map[string][]model.PolicyField{}
	for _, b := range clusters {
		policies[b.Name] = b.Policy
	}
	type route struct {
		Name, Object string
		At           struct {
			File         string
			Line, Column int
		}
		Backends []struct{ Cluster string }
		Policy   []model.PolicyField
	}
	routes, err := pages[route](ctx, c, "/api/v1/routes", url.Values{"policy": {"true"}})
	if err != nil {
		return nil, err
	}
	all := []explain.Inventory{}
	for _, r := range routes {
		kind, name, _ := strings.Cut(r.Object, " ")
		if kind != "HTTPRoute" && kind != "GRPCRoute" {
			continue // what is carried as it is has no requests
		}
		var backends []string
		for _, b := range r.Backends {
			backends = append(backends, b.Cluster)
		}
		origin := model.Origin{Object: kind + "/" + name, File: r.At.File, Line: r.At.Line, Column: r.At.Column}
		all = append(all, explain.Pairs(r.Name, origin, backends, r.Policy, policies)...)
	}
	slices.SortStableFunc(all, func(a, b explain.Inventory) int { return strings.Compare(a.Route, b.Route) })
	return all, nil
}

// inventoryRow is a pair in short.
func inventoryRow(v *explain.Inventory) []string {
	r, b := shortPolicy(v.Policy), shortPolicy(v.BackendPolicy)
	return []string{
		v.Route, cmp.Or(v.Backend, "-"), r.timeout(), r.tries(), joinWords(r.budget(), b.budget()),
		b.breaker(), b.outliers(), r.overload(),
	}
}

// joinWords puts the backend's budget behind that of the route.
func joinWords(route, backend string) string {
	switch {
	case backend == "-":
		return route
	case route == "-":
		return "backend " + backend
	}
	return route + ", backend " + backend
}

// shortPolicy says in a few words what an effective policy is.
type shortPolicy []model.PolicyField

func (p shortPolicy) find(field string) (model.PolicyField, bool) {
	i := slices.IndexFunc(p, func(f model.PolicyField) bool { return f.Field == field })
	if i < 0 {
		return model.PolicyField{}, false
	}
	return p[i], true
}

func (p shortPolicy) value(field string) string {
	f, _ := p.find(field)
	return f.Value
}

// said puts in brackets what is so because nobody set any of the fields.
func (p shortPolicy) said(text string, fields ...string) string {
	for _, name := range fields {
		if f, ok := p.find(name); ok && !f.Default {
			return text
		}
	}
	return "(" + text + ")"
}

// duration is a field's value; none for 0s.
func (p shortPolicy) duration(field string) string {
	value := p.value(field)
	if value == "" || value == "0s" {
		return p.said("none", field)
	}
	return p.said(value, field)
}

func (p shortPolicy) timeout() string { return p.duration("timeouts.request") }

// tries are how often, and for how long each: "1+2 × 700ms".
func (p shortPolicy) tries() string {
	text := "1"
	if n := cmp.Or(p.value("retries.attempts"), p.value("retry.attempts"), "0"); n != "0" {
		text += "+" + n
	}
	if n := p.value("retries.hedge.max"); n != "" {
		text += "+" + n + " hedged" + p.mode("retries.hedge.")
	}
	if per := p.value("timeouts.perTry"); per != "" && per != "0s" {
		text += " × " + per
	}
	return p.said(text, "retries.attempts", "retry.attempts", "retries.hedge.max", "retries.hedge.mode", "retries.hedge.after", "retries.hedge.afterQuantile", "timeouts.perTry")
}

func (p shortPolicy) budget() string {
	share := p.value("retries.budget.percent")
	if share == "" {
		return "-"
	}
	text := share + " + " + p.value("retries.budget.minPerSecond") + "/s" + p.mode("retries.budget.")
	return p.said(text, "retries.budget.percent", "retries.budget.minPerSecond", "retries.budget.mode")
}

// mode is that of the protection at a path, if it does not act.
func (p shortPolicy) mode(path string) string {
	if mode := p.value(path + "mode"); !model.Mode(mode).Acts() {
		return " (" + mode + ")"
	}
	return ""
}

// list says what the fields of a path are, those that have a value, and the mode if it does not
// act.
func (p shortPolicy) list(path string, words [][2]string) string {
	var parts, fields []string
	for _, w := range words {
		if value := p.value(path + w[0]); value != "" {
			parts, fields = append(parts, strings.TrimSpace(w[1]+" "+value)), append(fields, path+w[0])
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return p.said(strings.Join(parts, ", ")+p.mode(path), fields...)
}

func (p shortPolicy) breaker() string {
	return p.list("circuitBreaker.", [][2]string{
		{"maxConnections", "connections"}, {"maxPending", "pending"}, {"maxRequests", "requests"}, {"maxRetries", "retries"}, {"trip.failures", "trips at"},
	})
}

func (p shortPolicy) outliers() string {
	return p.list("outlierDetection.", [][2]string{
		{"consecutive5xx", "5xx"}, {"consecutiveLocal", "local"}, {"failureShare", "share"}, {"successRateDeviation", "deviation"}, {"slowerThanMedian", "slower ×"},
	})
}

func (p shortPolicy) overload() string {
	text := p.list("overload.", [][2]string{
		{"concurrency.limit", "limit"}, {"concurrency.adaptive.max", "adaptive to"}, {"queue.size", "queue"}, {"throttle.acceptRatio", "throttle"},
	})
	if steps := p.value("overload.degrade"); steps != "" && text != "-" {
		text += ", degrades"
	}
	return text
}
