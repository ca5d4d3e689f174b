package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

func explainCommand(std Streams) *cobra.Command {
	var files, headers []string
	var admin, listener string
	var output format
	cmd := &cobra.Command{
		Use:   "explain [-f PATH...] [METHOD] URL",
		Short: "Say what happens to a request, and why, without sending it",
		Long: "Explain decides as the data plane would: which listener, route and rule get the request, where it goes, and\n" +
			"the effective policy with the file and line that set each field; and which other routes lost, and why.\n\n" +
			"It asks files and folders with -f, or else a running Weir at its admin address.",
		Example: "  weir explain -f ./routes http://shop.example.com:8080/cart\n" +
			"  weir explain -f ./routes POST http://127.0.0.1:8080/cart -H 'Host: shop.example.com'\n" +
			"  weir explain -f ./routes tls://mqtt.example.com:8883\n" +
			"  weir explain http://127.0.0.1:8080/cart",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("want [METHOD] URL, like http://shop.example.com:8080/cart")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := requestOf(args, headers, listener)
			if err != nil {
				return err
			}
			if len(files) > 0 && cmd.Flags().Changed("admin") {
				return usagef("-f and --admin do not go together: ask files, or a running Weir")
			}
			return runExplain(cmd.Context(), std, files, admin, q, &output)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file or folder with resources, - for standard input; repeatable")
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "header of the request: 'NAME: VALUE'; Host replaces the URL's; repeatable")
	cmd.Flags().StringVar(&listener, "listener", "", "address of the listener that gets the request; default: the one that the URL leads to")
	adminFlag(cmd.Flags(), &admin)
	output.flag(cmd)
	return cmd
}

var methodPattern = regexp.MustCompile(`^[A-Za-z-]+$`)

// requestOf makes the question of [METHOD] URL and -H.
func requestOf(args, headers []string, listener string) (explain.Request, error) {
	q := explain.Request{URL: args[len(args)-1], Listener: listener}
	if len(args) == 2 {
		if !methodPattern.MatchString(args[0]) {
			return q, usagef("%q is not a method; want [METHOD] URL", args[0])
		}
		q.Method = strings.ToUpper(args[0])
	}
	for _, h := range headers {
		name, value, found := strings.Cut(h, ":")
		if !found {
			return q, usagef("-H %q: want 'NAME: VALUE'", h)
		}
		q.Headers = append(q.Headers, explain.Header{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	return q, nil
}

// questionOf is a request as the admin API takes it.
func questionOf(q explain.Request) any {
	headers := map[string][]string{}
	for _, h := range q.Headers {
		headers[h.Name] = append(headers[h.Name], h.Value)
	}
	return map[string]any{"method": q.Method, "url": q.URL, "listener": q.Listener, "headers": headers}
}

func runExplain(ctx context.Context, std Streams, files []string, admin string, q explain.Request, output *format) error {
	var x model.Explanation
	if len(files) > 0 {
		_, out, err := load(ctx, std, files)
		if err != nil {
			return err
		}
		if x, err = explain.New(out.Snapshot).Explain(q); err != nil {
			return usagef("%w", err)
		}
	} else {
		c, err := newClient(admin)
		if err != nil {
			return err
		}
		if err := c.post(ctx, "/api/v1/explain", questionOf(q), &x); err != nil {
			return err
		}
	}
	return output.write(std.Out, x, func() { printExplanation(std.Out, q, &x) })
}

// load reads resources that are there and translates them. What is not in effect is said beside.
func load(ctx context.Context, std Streams, files []string) (*resource.Set, translate.Output, error) {
	if err := present(files); err != nil {
		return nil, translate.Output{}, err
	}
	set, err := read(ctx, std, files)
	if err != nil {
		return nil, translate.Output{}, err
	}
	for _, d := range set.Diagnostics {
		if d.Severity == resource.Error || set.Len() == 0 { // then a warning may say why
			fmt.Fprintln(std.Err, d)
		}
	}
	return set, translate.Translate(translate.Input{Set: set}), nil
}

func printExplanation(out io.Writer, q explain.Request, x *model.Explanation) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-10s"+format+"\n", append([]any{name}, args...)...)
	}
	if stream := strings.HasPrefix(q.URL, "tcp://") || strings.HasPrefix(q.URL, "tls://") || strings.HasPrefix(q.URL, "udp://"); stream {
		line("stream", "%s", q.URL)
	} else {
		line("request", "%s %s", cmp.Or(q.Method, "GET"), q.URL)
	}
	if x.Listener != "" {
		line("listener", "%s", x.Listener)
	}
	if x.Table != "" {
		line("table", "%s, for %s", x.Table, cmp.Or(x.Hostname, "every host"))
	}
	switch {
	case x.Route == "":
	case x.Match == "": // of a stream
		line("route", "%s, for %s (%s)", x.Route, cmp.Or(x.Hostname, "every name"), originText(x.Origin))
	default:
		line("route", "%s: %s (%s)", x.Route, x.Match, originText(x.Origin))
	}
	switch {
	case x.Location != "":
		line("answer", "%d to %s", x.Status, x.Location)
	case x.Status != 0 && x.Flag != "":
		line("answer", "%d (%s): %s", x.Status, x.Flag, x.Reason)
	case x.Status != 0:
		line("answer", "%d: %s", x.Status, x.Reason)
	case x.Reason != "":
		line("answer", "none: %s", x.Reason)
	case x.ForwardedPath == "":
		line("carries", "what comes as it is")
	default:
		line("forwards", "%s, Host %s", x.ForwardedPath, x.ForwardedHost)
	}
	if len(x.Arms) > 0 {
		rows := make([][]string, len(x.Arms))
		for i, a := range x.Arms {
			hosts := a.Hosts
			if len(x.Arms) == 1 {
				hosts = x.Hosts
			}
			where := strings.Join(hosts, ", ")
			if a.Refusal != "" {
				where = "refused: " + a.Refusal
			}
			name := a.Name
			if a.Release != "" {
				name += " (" + a.Release + ")"
			}
			rows[i] = []string{explain.Percent(a.Share), name, a.Cluster, cmp.Or(where, "none")}
		}
		fmt.Fprintln(out)
		table(out, []string{"share", "backend", "cluster", "hosts"}, rows)
	}
	printPolicy(out, x)
	printLost(out, x)
}

func printPolicy(out io.Writer, x *model.Explanation) {
	var rows [][]string
	add := func(fields []model.PolicyField, of string) {
		for _, f := range fields {
			origin := originText(f.Origin)
			if f.Default {
				origin = "default"
			}
			rows = append(rows, []string{f.Field + of, cmp.Or(f.Value, "-"), origin})
		}
	}
	add(x.Policy, "")
	for _, a := range x.Arms {
		add(a.Policy, " of "+a.Name)
	}
	if len(rows) > 0 {
		fmt.Fprintln(out)
		table(out, []string{"policy", "value", "set at"}, rows)
	}
}

func printLost(out io.Writer, x *model.Explanation) {
	if len(x.Lost) == 0 {
		return
	}
	rows := make([][]string, len(x.Lost))
	for i, l := range x.Lost {
		rows[i] = []string{l.Route, originText(l.Origin), l.Why}
	}
	fmt.Fprintln(out)
	table(out, []string{"lost", "where", "why"}, rows)
	if x.LostMore > 0 {
		fmt.Fprintf(out, "and %s more\n", count(x.LostMore, "route"))
	}
}

// originText is a position as editors understand it.
func originText(o model.Origin) string {
	return resource.Position{File: o.File, Line: o.Line, Column: o.Column}.String()
}
