package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func breakerCommand(std Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "breaker", Short: "Close the breaker of a backend that is well again", Args: noArgs,
	}
	cmd.AddCommand(breakerCloseCommand(std))
	return cmd
}

func breakerCloseCommand(std Streams) *cobra.Command {
	var admin, tokenFile, reason string
	cmd := &cobra.Command{
		Use:   "close BACKEND...",
		Short: "Close open breakers at once, without waiting for probes",
		Long: "Close closes the breaker of a Backend, NAMESPACE/NAME, or of whatever `weir get resilience` names, such as\n" +
			"service/NAMESPACE/NAME/PORT. What has failed before counts no more; new failures open it again.",
		Example: "  weir breaker close shop/payments --reason 'the database is back'",
		RunE: func(cmd *cobra.Command, backends []string) error {
			if len(backends) == 0 {
				return usagef("name backends as NAMESPACE/NAME, or as `weir get resilience` does")
			}
			c, err := authorised(admin, tokenFile)
			if err != nil {
				return err
			}
			for _, name := range backends {
				var done struct{ Done, Was string }
				target := clusterOf(name)
				if err := c.post(cmd.Context(), "/api/v1/breakers/close", map[string]any{"target": target, "reason": reason}, &done); err != nil {
					return fmt.Errorf("%s: %w", target, err)
				}
				fmt.Fprintf(std.Out, "%s: %s, was %s\n", target, done.Done, done.Was)
			}
			return nil
		},
	}
	adminFlags(cmd, &admin, &tokenFile)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the log")
	return cmd
}

// clusterOf is the cluster of a Backend's name, or what already names a cluster.
func clusterOf(name string) string {
	switch strings.Count(name, "/") {
	case 0:
		return "backend/default/" + name
	case 1:
		return "backend/" + name
	}
	return name
}
