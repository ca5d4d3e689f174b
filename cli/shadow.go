package cli

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
)

func shadowCommand(std Streams) *cobra.Command {
	cmd := inquiry[map[string]any]{"Shadow", "/api/v1/shadows", printShadows}.serve(std, &cobra.Command{
		Use:   "shadow [NAMESPACE/NAME]",
		Short: "Show what copies of requests found",
		Long: "A Shadow copies a share of requests to another backend and compares the answers. Shadow shows what\n" +
			"became of the copies, and where the answers differ: what also differs between two answers of the\n" +
			"primary is noise, and counted apart.",
		Example: "  weir shadow\n  weir shadow shop/checkout-v2 -o json",
	})
	cmd.AddCommand(shadowReset(std))
	return cmd
}

func shadowReset(std Streams) *cobra.Command {
	var admin, tokenFile string
	cmd := &cobra.Command{
		Use:     "reset NAMESPACE/NAME",
		Short:   "Forget what was counted and compared, as after a new version of the shadow",
		Example: "  weir shadow reset shop/checkout-v2",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("name one Shadow as NAMESPACE/NAME")
			}
			c, err := authorised(admin, tokenFile)
			if err != nil {
				return err
			}
			var done struct{ Done string }
			if err := c.post(cmd.Context(), "/api/v1/shadows/reset", map[string]any{"shadow": args[0]}, &done); err != nil {
				return err
			}
			_, err = fmt.Fprintf(std.Out, "%s: %s\n", args[0], done.Done)
			return err
		},
	}
	adminFlags(cmd, &admin, &tokenFile)
	return cmd
}

func printShadows(out io.Writer, items []map[string]any) {
	for i, s := range items {
		if i > 0 {
			fmt.Fprintln(out)
		}
		printShadow(out, s)
	}
}

// printShadow prints one report for people.
func printShadow(out io.Writer, s map[string]any) {
	fmt.Fprintf(out, "%s, since %s\n", word(s["name"]), moment(s["since"]))
	text := word(s["answered"]) + " answered, " + word(s["failed"]) + " failed, " + word(s["inFlight"]) + " under way"
	for _, d := range children(s["dropped"]) {
		text += ", " + word(d["count"]) + " dropped (" + word(d["reason"]) + ")"
	}
	fmt.Fprintln(out, "copies:  ", text)
	c := child(s, "comparison")
	if c == nil {
		fmt.Fprintln(out, "answers:  not compared")
		return
	}
	share, _ := c["share"].(float64)
	fmt.Fprintf(out, "answers:   %s compared: %s equal, %s noise, %s different (%s%%); %s not comparable\n", word(c["compared"]), word(c["equal"]),
		word(c["noise"]), word(c["different"]), strconv.FormatFloat(100*share, 'f', 2, 64), word(c["uncompared"]))
	if l := child(s, "latency"); l != nil {
		primary, shadow, ratio := child(l, "primary"), child(l, "shadow"), child(l, "ratio")
		var rows [][]string
		for _, q := range []string{"p50", "p95", "p99"} {
			rows = append(rows, []string{q, milliseconds(primary[q+"Ms"]), milliseconds(shadow[q+"Ms"]), times(ratio[q])})
		}
		table(out, []string{"latency", "primary", "shadow", "ratio"}, rows)
	}
	var rows [][]string
	for _, f := range children(c["fields"]) {
		verdict := ""
		if f["noisy"] == true {
			verdict = "noise"
		}
		rows = append(rows, []string{word(f["field"]), word(f["different"]), word(f["noise"]), word(f["net"]), verdict})
	}
	if rows != nil {
		table(out, []string{"field", "different", "noise", "net", ""}, rows)
	}
	rows = nil
	for _, e := range children(c["examples"]) {
		rows = append(rows, []string{word(e["method"]) + " " + word(e["path"]), word(e["field"]), word(e["primary"]), word(e["shadow"])})
	}
	if rows != nil {
		table(out, []string{"example", "field", "primary", "shadow"}, rows)
	}
}

// times shows how many times something is, "-" where nobody knows.
func times(v any) string {
	n, _ := v.(float64)
	if n <= 0 {
		return "-"
	}
	return significant(n)
}
