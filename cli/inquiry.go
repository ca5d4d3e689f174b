package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"
)

// inquiry is how a command tells of what has names, of all of it or of one, in words of its own.
type inquiry[T any] struct {
	kind  string // of the resources
	path  string // of the API
	print func(out io.Writer, items []T)
}

// serve makes a command tell it.
func (q inquiry[T]) serve(std Streams, cmd *cobra.Command) *cobra.Command {
	var admin string
	var output format
	cmd.Args, cmd.ValidArgsFunction = atMostOne, offer(listing{path: q.path, filter: "name"}, &admin)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		items, err := q.ask(cmd.Context(), admin, args)
		if err != nil {
			return err
		}
		if len(items) == 0 && len(args) == 1 {
			return fmt.Errorf("no live %s is named %q; `%s` shows all", q.kind, args[0], cmd.CommandPath())
		}
		return output.write(std.Out, items, func() {
			if len(items) == 0 {
				fmt.Fprintf(std.Out, "There are no %ss.\n", q.kind)
				return
			}
			q.print(std.Out, items)
		})
	}
	adminFlag(cmd.Flags(), &admin)
	output.flag(cmd)
	return cmd
}

func (q inquiry[T]) ask(ctx context.Context, admin string, args []string) ([]T, error) {
	c, err := newClient(admin)
	if err != nil {
		return nil, err
	}
	names := url.Values{}
	if len(args) == 1 {
		names.Set("name", args[0])
	}
	return pages[T](ctx, c, q.path, names)
}
