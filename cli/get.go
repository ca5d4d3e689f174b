package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// listing is one thing that `weir get` shows.
type listing struct {
	name, short string
	path        string
	query       url.Values // always asked with; nil: none
	filter      string     // the query parameter for NAME; empty: none
	of          string     // the field that NAME is of; empty: filter
	columns     []string
	row         func(item map[string]any) []string
}

// listings are all things that `weir get` shows.
var listings = []listing{
	{
		name: "routes", short: "rules with their backends and traffic", path: "/api/v1/routes", filter: "name",
		columns: []string{"route", "hosts", "matches", "backends", "state", "req/s", "p99"},
		row: func(r map[string]any) []string {
			hosts := words(r["hostnames"])
			if hosts == "" {
				hosts = "*"
			}
			lately := child(child(r, "traffic"), "lately")
			return []string{
				word(r["name"]), hosts, words(r["matches"]), backends(r["backends"]), word(r["state"]),
				decimal(lately["requestsPerSecond"]), estimate(lately["p99Ms"]),
			}
		},
	},
	{
		name: "hosts", short: "upstream hosts with health and load", path: "/api/v1/hosts", filter: "cluster",
		columns: []string{"cluster", "address", "zone", "healthy", "check", "weight", "in flight", "connections", "latency", "req/s", "what is wrong"},
		row: func(h map[string]any) []string {
			lately := child(child(h, "traffic"), "lately")
			return []string{
				word(h["cluster"]), word(h["address"]), cmp.Or(word(h["zone"]), "-"), word(h["healthy"]), cmp.Or(word(child(h, "check")["state"]), "-"), word(h["weight"]), word(h["inFlight"]),
				word(h["openConnections"]), milliseconds(h["latencyAverageMs"]), decimal(lately["requestsPerSecond"]),
				cmp.Or(ejection(child(h, "outlier")), word(child(h, "check")["error"]), word(h["lastError"])),
			}
		},
	},
	{
		name: "listeners", short: "sockets with what clients may speak, for whom, and what is wrong", path: "/api/v1/listeners", filter: "name",
		columns: []string{"listener", "protocols", "hosts", "certificates", "routes", "connections", "refused", "problem"},
		row: func(l map[string]any) []string {
			var hosts, certificates []any
			routes := 0.0
			for _, b := range children(l["bindings"]) {
				hosts = append(hosts, cmp.Or(word(b["hostname"]), "*"))
				n, _ := b["routes"].(float64)
				routes += n
			}
			for _, c := range children(l["certificates"]) {
				certificates = append(certificates, words(c["certificates"]))
			}
			return []string{
				word(l["name"]), words(l["protocols"]), words(hosts), cmp.Or(words(certificates), "-"), word(routes),
				word(l["openConnections"]), word(l["refusedConnections"]), cmp.Or(word(l["problem"]), "-"),
			}
		},
	},
	resilienceListing,
	rolloutListing,
	faultListing,
	{
		name: "resources", short: "objects with their conditions", path: "/api/v1/resources", filter: "name",
		columns: []string{"kind", "name", "where", "newest version", "conditions"},
		row: func(o map[string]any) []string {
			name, version := word(o["name"]), "live"
			if ns := word(o["namespace"]); ns != "" {
				name = ns + "/" + name
			}
			if o["accepted"] == false {
				version = "quarantined"
			}
			return []string{word(o["kind"]), name, position(o["at"]), version, conditions(o["conditions"])}
		},
	},
	{
		name: "diagnostics", short: "what is wrong with the configuration, and where", path: "/api/v1/diagnostics",
		columns: []string{"severity", "where", "object", "message"},
		row: func(d map[string]any) []string {
			message := word(d["message"])
			if field := word(d["field"]); field != "" {
				message = field + ": " + message
			}
			return []string{word(d["severity"]), position(d["at"]), word(d["object"]), message}
		},
	},
}

func getCommand(std Streams) *cobra.Command {
	var admin string
	var output format
	cmd := &cobra.Command{
		Use:     "get",
		Short:   "Ask a running Weir",
		Long:    "Get asks the admin API of a running Weir what it serves and how it is.",
		Example: "  weir get routes\n  weir get resources shop -o yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("what to get is missing; one of %s", commands(cmd))
		},
	}
	adminFlag(cmd.PersistentFlags(), &admin)
	for _, l := range listings {
		use, args := l.name, cobra.PositionalArgs(noArgs)
		if l.filter != "" {
			use, args = l.name+" ["+strings.ToUpper(l.filter)+"]", atMostOne
		}
		sub := &cobra.Command{
			Use: use, Short: "Show " + l.short, Args: args,
			RunE: func(cmd *cobra.Command, args []string) error {
				return list(cmd.Context(), std, admin, l, args, &output)
			},
			ValidArgsFunction: cobra.NoFileCompletions,
		}
		if l.filter != "" {
			sub.ValidArgsFunction = offer(l, &admin)
		}
		output.flag(sub)
		cmd.AddCommand(sub)
	}
	cmd.AddCommand(policiesCommand(std, &admin))
	for _, d := range []struct {
		name, short string
		show        func(ctx context.Context, std Streams, admin string, output *format) error
	}{
		{"snapshot", "everything that is being served, as one document", showSnapshot},
		{"status", "the program's state in short, and what to look at", showStatus},
	} {
		sub := &cobra.Command{
			Use: d.name, Short: "Show " + d.short, Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
			RunE: func(cmd *cobra.Command, _ []string) error { return d.show(cmd.Context(), std, admin, &output) },
		}
		output.flag(sub)
		cmd.AddCommand(sub)
	}
	return cmd
}

func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("%s takes one name at most, but got %q", cmd.CommandPath(), args)
	}
	return nil
}

// listPage is one page of what the API lists.
type listPage[T any] struct {
	Items    []T    `json:"items"`
	Continue string `json:"continue"`
}

// pages returns what all pages list. It adds to the query.
func pages[T any](ctx context.Context, c client, path string, query url.Values) ([]T, error) {
	query.Set("limit", "500")
	items := []T{}
	for {
		var page listPage[T]
		if err := c.get(ctx, path+"?"+query.Encode(), &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.Continue == "" {
			return items, nil
		}
		query.Set("continue", page.Continue)
	}
}

// offer has shells offer what a listing has, as a command's one argument.
func offer(l listing, admin *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return l.names(cmd.Context(), *admin), cobra.ShellCompDirectiveNoFileComp
	}
}

// names are what l can be asked for, for completion: those of the first page, none if nobody
// answers.
func (l listing) names(ctx context.Context, admin string) []string {
	c, err := newClient(admin)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	var page listPage[map[string]any]
	if c.get(ctx, l.path+"?limit=500", &page) != nil {
		return nil
	}
	found := map[string]bool{}
	for _, item := range page.Items {
		found[word(item[cmp.Or(l.of, l.filter)])] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// list shows all pages of a listing.
func list(ctx context.Context, std Streams, admin string, l listing, args []string, output *format) error {
	c, err := newClient(admin)
	if err != nil {
		return err
	}
	query := maps.Clone(l.query)
	if query == nil {
		query = url.Values{}
	}
	if len(args) == 1 {
		query.Set(l.filter, args[0])
	}
	items, err := pages[map[string]any](ctx, c, l.path, query)
	if err != nil {
		return err
	}
	if len(items) == 0 && len(args) == 1 {
		return fmt.Errorf("no %s with %s %q; `weir get %s` lists all", l.name, l.filter, args[0], l.name)
	}
	return output.write(std.Out, items, func() {
		rows := make([][]string, 0, len(items))
		for _, item := range items {
			rows = append(rows, l.row(item))
		}
		if len(rows) == 0 {
			fmt.Fprintf(std.Out, "no %s\n", l.name)
			return
		}
		table(std.Out, l.columns, rows)
	})
}

// showSnapshot shows everything that is served; its text form is YAML, which people read well.
func showSnapshot(ctx context.Context, std Streams, admin string, output *format) error {
	c, err := newClient(admin)
	if err != nil {
		return err
	}
	var v any
	if err := c.get(ctx, "/api/v1/snapshot", &v); err != nil {
		return err
	}
	if *output == formatText {
		*output = formatYAML
	}
	return output.write(std.Out, v, nil)
}
