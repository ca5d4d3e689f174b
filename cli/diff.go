package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

func diffCommand(std Streams) *cobra.Command {
	var admin string
	var output format
	cmd := &cobra.Command{
		Use:   "diff BEFORE AFTER",
		Short: "Say which requests two configurations treat differently",
		Long: "Diff compares what two files or folders of resources mean: which requests go elsewhere or by another policy,\n" +
			"which releases earn their traffic otherwise, and which objects make it so. Order, comments, the split into files and names of routes and policies mean nothing.\n\n" +
			"With --admin it asks a running Weir for its traffic, and says which share of recent requests a change concerns.\n\n" +
			"The exit code is 0 if nothing differs, 1 if something does, 2 if it cannot be said.",
		Example: "  weir diff routes.old routes\n  weir diff main/routes routes --admin 127.0.0.1:9901",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("want two files or folders: BEFORE AFTER")
			}
			if args[0] == "-" && args[1] == "-" {
				return usagef("standard input can be read once: BEFORE or AFTER is -, not both")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			err := runDiff(cmd.Context(), std, args, admin, &output)
			if err != nil && !errors.Is(err, errFindings) && !isUsage(err) {
				err = trouble{err}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&admin, "admin", "", "address of an admin API that tells of recent traffic")
	output.flag(cmd)
	return cmd
}

func runDiff(ctx context.Context, std Streams, paths []string, admin string, output *format) error {
	if err := existing(paths); err != nil {
		return err
	}
	var sides [2]explain.Side
	for i, path := range paths {
		set, out, err := load(ctx, std, []string{path})
		if err != nil {
			return err
		}
		if n := countErrors(set); n > 0 {
			return fmt.Errorf("%s has %s, so that it is unknown what it means; `weir lint -f %s` says more", path, count(n, "error"), path)
		}
		sides[i] = explain.Side{Snapshot: out.Snapshot, Set: set, Rollouts: out.Rollouts, Objectives: out.Objectives}
	}
	rates, err := ratesOf(ctx, admin)
	if err != nil {
		return err
	}
	d := explain.Diff(sides[0], sides[1], rates)
	if err := output.write(std.Out, d, func() { printDiff(std.Out, &d) }); err != nil {
		return err
	}
	if len(d.Changes) > 0 {
		return errFindings
	}
	return nil
}

func countErrors(set *resource.Set) (n int) {
	for _, d := range set.Diagnostics {
		if d.Severity == resource.Error {
			n++
		}
	}
	return n
}

// ratesOf asks a running Weir for the requests per second of its routes.
func ratesOf(ctx context.Context, admin string) (explain.Rates, error) {
	if admin == "" {
		return nil, nil
	}
	c, err := newClient(admin)
	if err != nil {
		return nil, err
	}
	rates := explain.Rates{}
	routes, err := pages[map[string]any](ctx, c, "/api/v1/routes", url.Values{})
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		rate, _ := child(child(r, "traffic"), "lately")["requestsPerSecond"].(float64)
		rates[word(r["name"])] = rate
	}
	return rates, nil
}

func printDiff(out io.Writer, d *explain.Difference) {
	listeners := map[string]bool{}
	for _, c := range d.Changes {
		for _, class := range c.Classes {
			listeners[class.Listener] = true
		}
	}
	for i := range d.Changes {
		printChange(out, &d.Changes[i], len(listeners) > 1)
	}
	if len(d.Changes) == 0 {
		fmt.Fprintf(out, "no difference in %d classes of requests\n", d.Classes)
		return
	}
	of := ""
	if d.Share != nil {
		of = ", up to " + explain.Percent(*d.Share) + " of recent requests"
	}
	fmt.Fprintf(out, "%s; %d of %d classes of requests go elsewhere or by another policy%s\n", count(len(d.Changes), "change"), d.Changed, d.Classes, of)
}

func printChange(out io.Writer, c *explain.Change, showListeners bool) {
	title := string(c.Kind) + " " + c.Name
	if c.Kind == explain.ChangeRequests {
		title = "requests to " + classesText(c, showListeners)
	}
	if c.Share != nil {
		title += " (up to " + explain.Percent(*c.Share) + " of recent requests)"
	}
	fmt.Fprintln(out, title)
	if c.Before != c.After {
		fmt.Fprintf(out, "    %s -> %s\n", c.Before, c.After)
	}
	switch {
	case c.From == c.To:
	case c.From == "":
		fmt.Fprintf(out, "    taken by route %s\n", c.To)
	case c.To == "":
		fmt.Fprintf(out, "    no longer taken by route %s\n", c.From)
	default:
		fmt.Fprintf(out, "    taken by route %s from %s\n", c.To, c.From)
	}
	for _, f := range c.Fields {
		fmt.Fprintf(out, "    %s: %s -> %s\n", f.Field, cmp.Or(f.Before, "none"), cmp.Or(f.After, "none"))
	}
	for _, o := range c.Causes {
		fmt.Fprintf(out, "    at %s: %s\n", originText(o), objectText(o))
	}
}

// maxShown is how many classes of one change are named for people.
const maxShown = 6

// classesText names the first classes of a change and counts the rest.
func classesText(c *explain.Change, showListeners bool) string {
	var names []string
	for _, class := range c.Classes[:min(maxShown, len(c.Classes))] {
		name := class.String()
		if showListeners {
			name += " on " + class.Listener
		}
		names = append(names, name)
	}
	text := strings.Join(names, ", ")
	if more := len(c.Classes) + c.More - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// objectText is an origin's object as diagnostics write it: HTTPRoute shop/cart.
func objectText(o model.Origin) string { return strings.Replace(o.Object, "/", " ", 1) }
