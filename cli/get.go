package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// maxAnswer is the most that is read of one page of an answer, in bytes.
const maxAnswer = 64 << 20

// listing is one thing that `weir get` shows.
type listing struct {
	name, short string
	path        string
	filter      string // the query parameter for NAME; empty: none
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
				decimal(lately["requestsPerSecond"]), milliseconds(lately["p99Ms"]),
			}
		},
	},
	{
		name: "hosts", short: "upstream hosts with health and load", path: "/api/v1/hosts", filter: "cluster",
		columns: []string{"cluster", "address", "healthy", "weight", "in flight", "connections", "latency", "req/s"},
		row: func(h map[string]any) []string {
			lately := child(child(h, "traffic"), "lately")
			return []string{
				word(h["cluster"]), word(h["address"]), word(h["healthy"]), word(h["weight"]), word(h["inFlight"]),
				word(h["openConnections"]), milliseconds(h["latencyAverageMs"]), decimal(lately["requestsPerSecond"]),
			}
		},
	},
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
			return usagef("what to get is missing; one of routes, hosts, resources, diagnostics, snapshot, status")
		},
	}
	cmd.PersistentFlags().StringVar(&admin, "admin", defaultAdmin, "address of the admin API")
	for _, l := range listings {
		use, args := l.name, cobra.PositionalArgs(noArgs)
		if l.filter != "" {
			use, args = l.name+" ["+strings.ToUpper(l.filter)+"]", atMostOne
		}
		sub := &cobra.Command{
			Use: use, Short: "Show " + l.short, Args: args,
			RunE: func(cmd *cobra.Command, args []string) error {
				return list(cmd.Context(), std, client{admin: admin}, l, args, &output)
			},
		}
		output.flag(sub)
		cmd.AddCommand(sub)
	}
	for name, short := range map[string]string{"snapshot": "everything that is being served, as one document", "status": "the program's state in short"} {
		sub := &cobra.Command{
			Use: name, Short: "Show " + short, Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return document(cmd.Context(), std, client{admin: admin}, "/api/v1/"+name, &output)
			},
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

// list shows all pages of a listing.
func list(ctx context.Context, std Streams, c client, l listing, args []string, output *format) error {
	query := url.Values{"limit": {"500"}}
	if len(args) == 1 {
		query.Set(l.filter, args[0])
	}
	items := []map[string]any{}
	for {
		var page struct {
			Items    []map[string]any `json:"items"`
			Continue string           `json:"continue"`
		}
		if err := c.get(ctx, l.path+"?"+query.Encode(), &page); err != nil {
			return err
		}
		items = append(items, page.Items...)
		if page.Continue == "" {
			break
		}
		query.Set("continue", page.Continue)
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

// document shows one JSON document; its text form is YAML, which people read well.
func document(ctx context.Context, std Streams, c client, path string, output *format) error {
	var v any
	if err := c.get(ctx, path, &v); err != nil {
		return err
	}
	if *output == formatText {
		*output = formatYAML
	}
	return output.write(std.Out, v, nil)
}

// client asks an admin API.
type client struct{ admin string }

func (c client) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.admin+path, nil)
	if err != nil {
		return usagef("--admin %q: want HOST:PORT, like %s", c.admin, defaultAdmin)
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		cause := err
		if u, ok := errors.AsType[*url.Error](err); ok {
			cause = u.Err
		}
		return fmt.Errorf("no answer from the admin API at %s: %w; is `weir run` running, and is its --admin address this one?", c.admin, cause)
	}
	defer resp.Body.Close() //nolint:errcheck // everything was read
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("admin API at %s: %w", c.admin, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("admin API at %s: %s: %s", c.admin, resp.Status, problem(data))
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s answers, but not as Weir's admin API: %w", c.admin, err)
	}
	return nil
}

// problem reads what the API says about an error (RFC 9457).
func problem(data []byte) string {
	var p struct {
		Title, Detail, Remedy string
	}
	if json.Unmarshal(data, &p) != nil || p.Title == "" {
		return "no explanation"
	}
	parts := []string{p.Title}
	for _, more := range []string{p.Detail, p.Remedy} {
		if more != "" {
			parts = append(parts, more)
		}
	}
	return strings.Join(parts, "; ")
}

func word(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

func words(v any) string {
	items, _ := v.([]any)
	all := make([]string, 0, len(items))
	for _, item := range items {
		all = append(all, word(item))
	}
	return strings.Join(all, ", ")
}

func child(m map[string]any, name string) map[string]any {
	c, _ := m[name].(map[string]any)
	return c
}

func decimal(v any) string {
	n, _ := v.(float64)
	return strconv.FormatFloat(n, 'f', 1, 64)
}

func milliseconds(v any) string {
	n, _ := v.(float64)
	if n == 0 {
		return "-"
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + "ms"
}

func position(v any) string {
	at, _ := v.(map[string]any)
	where := word(at["file"])
	for _, part := range []string{"line", "column"} {
		if n := word(at[part]); n != "" {
			where += ":" + n
		}
	}
	return where
}

// backends shows the arms: "httpbin-v1 90%, httpbin-v2 10%".
func backends(v any) string {
	items, _ := v.([]any)
	all := make([]string, 0, len(items))
	for _, item := range items {
		b, _ := item.(map[string]any)
		percent, _ := b["percent"].(float64)
		all = append(all, word(b["name"])+" "+strconv.FormatFloat(percent, 'f', -1, 64)+"%")
	}
	return strings.Join(all, ", ")
}

// conditions shows what holds, and why what should hold does not.
func conditions(v any) string {
	items, _ := v.([]any)
	all := make([]string, 0, len(items))
	for _, item := range items {
		c, _ := item.(map[string]any)
		text := word(c["type"])
		if c["status"] != "True" {
			text += "=" + word(c["status"]) + " (" + word(c["reason"]) + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}
