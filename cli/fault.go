package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// faultListing is what `weir get faults` shows.
var faultListing = listing{
	name: "faults", short: "what is broken on purpose, until when, and what it did", path: "/api/v1/faults", filter: "name", of: "policy",
	columns: []string{"policy", "fault", "state", "does", "share", "met", "expires", "reason"},
	row: func(f map[string]any) []string {
		share, _ := f["share"].(float64)
		state := word(f["state"])
		if stop := child(f, "stop"); stop != nil && state == "stopped" {
			state += " by " + word(stop["by"])
		}
		return []string{word(f["policy"]), word(f["name"]), state, word(f["does"]), percent(share), word(f["injected"]), moment(f["expires"]), word(f["reason"])}
	},
}

func faultCommand(std Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fault",
		Short: "Stop what is broken on purpose",
		Long: "A FaultPolicy breaks a share of requests on purpose, until it expires. `weir get faults` lists what is\n" +
			"live. What is stopped stays so, over restarts too, until it goes on or is written anew.",
		Args: noArgs,
	}
	cmd.AddCommand(faultOrder(std, "stop", "Stop faults at once"), faultOrder(std, "resume", "Let stopped faults go on"))
	return cmd
}

func faultOrder(std Streams, verb, short string) *cobra.Command {
	var admin, tokenFile, reason string
	var all bool
	cmd := &cobra.Command{
		Use:               verb + " {NAMESPACE/NAME... | --all}",
		Short:             short,
		Example:           "  weir fault " + verb + " shop/slow-payments\n  weir fault " + verb + " --all",
		ValidArgsFunction: offer(faultListing, &admin),
		RunE: func(cmd *cobra.Command, policies []string) error {
			if all == (len(policies) > 0) {
				return usagef("name FaultPolicies as NAMESPACE/NAME, or give --all")
			}
			for i, name := range policies {
				if !strings.Contains(name, "/") {
					policies[i] = "default/" + name
				}
			}
			c, err := authorised(admin, tokenFile)
			if err != nil {
				return err
			}
			var done struct {
				Done    string
				Faults  int
				Unknown []string
			}
			body := map[string]any{"policies": policies, "all": all, "reason": reason}
			if err := c.post(cmd.Context(), "/api/v1/faults/"+verb, body, &done); err != nil {
				return err
			}
			fmt.Fprintf(std.Out, "%s: %d faults\n", done.Done, done.Faults)
			if len(done.Unknown) > 0 {
				return fmt.Errorf("not live, and so left alone: %s; see `weir get faults`", strings.Join(done.Unknown, ", "))
			}
			return nil
		},
	}
	adminFlags(cmd, &admin, &tokenFile)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log and for others")
	cmd.Flags().BoolVar(&all, "all", false, "every fault of every FaultPolicy")
	return cmd
}

// adminFlags adds the flags of a command that changes something.
func adminFlags(cmd *cobra.Command, admin, tokenFile *string) {
	adminFlag(cmd.Flags(), admin)
	cmd.Flags().StringVar(tokenFile, "token-file", "", "file with a token (default: WEIR_TOKEN, or that of a process of yours at the address)")
}
