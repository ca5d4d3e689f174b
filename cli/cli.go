// Package cli is the command line: one file per subcommand, flags in, text out. It decides
// nothing about traffic; package app does the work, and the admin API answers questions
// about a running Weir.
//
// Exit codes: 0 for success, 1 for what went wrong or was found wrong, 2 for wrong usage. Of
// `weir diff`, as of diff(1): 0 for no difference, 1 for some, 2 for what went wrong.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

// Streams are the standard streams of one invocation.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// errFindings ends a command that has already printed what it found.
var errFindings = errors.New("findings")

// usageError is a mistake in how a command was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// trouble is an error of a command whose exit code 1 means something else.
type trouble struct{ error }

func (e trouble) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// Main runs the command that args names and returns its exit code.
func Main(args []string, std Streams) int {
	root := Command(std)
	root.SetArgs(args)
	command, err := root.ExecuteC()
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFindings):
		return exitError
	case isTrouble(err):
		fmt.Fprintf(std.Err, "weir: %s\n", trim(err))
		return exitUsage
	case isUsage(err):
		fmt.Fprintf(std.Err, "weir: %s\nRun '%s --help' to see what it takes.\n", trim(err), command.CommandPath())
		return exitUsage
	default:
		fmt.Fprintf(std.Err, "weir: %s\n", trim(err))
		return exitError
	}
}

func isTrouble(err error) bool {
	_, ok := errors.AsType[trouble](err)
	return ok
}

// isUsage tells our own usage errors and cobra's, which have no type but fixed beginnings.
func isUsage(err error) bool {
	if _, ok := errors.AsType[usageError](err); ok {
		return true
	}
	for _, start := range []string{"unknown command", "unknown flag", "unknown shorthand", "required flag"} {
		if strings.HasPrefix(err.Error(), start) {
			return true
		}
	}
	return false
}

func trim(err error) string { return strings.TrimRight(err.Error(), "\n") }

// Command returns the whole tree of commands.
func Command(std Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "A programmable HTTP front door",
		Long: "Weir serves HTTP, gRPC, TCP and UDP by policy written as Gateway API resources, from plain files that may\nchange at any time.\n\n" +
			"  weir run -f ./routes                               serve what the files say\n" +
			"  weir run --listen :8080 --to http://127.0.0.1:3000 serve without any file\n\n" +
			"Commands that ask a running Weir find it at --admin, or where the variable WEIR_ADMIN says. Those that change\n" +
			"something use the token of a Weir that the same user started, that of --token-file, or WEIR_TOKEN. What\n" +
			"survives a restart is kept below XDG_STATE_HOME, or in ~/.local/state.\n\n" +
			"Exit codes: 0 for success, 1 for what went wrong or was found wrong, 2 for wrong usage; of diff 0 for no\n" +
			"difference, 1 for some, 2 for what went wrong.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
	}
	// cobra's own flag is printed by a template: were one reachable, the linker would keep every exported method there is.
	asked := root.Flags().Bool("version", false, "print the version of this program")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *asked {
			_, err := fmt.Fprintln(std.Out, versionText())
			return err
		}
		return cmd.Help()
	}
	root.SetIn(std.In)
	root.SetOut(std.Out)
	root.SetErr(std.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if wrong := cmd.ValidateArgs(cmd.Flags().Args()); wrong != nil && cmd.HasSubCommands() {
			return wrong // the flag is of the command that was meant
		}
		return usageError{err}
	})
	for _, g := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Serve:", []*cobra.Command{runCommand(std)}},
		{"Ask files before they are live:", []*cobra.Command{
			lintCommand(std), explainCommand(std), diffCommand(std), testCommand(std), budgetCommand(std), simulateCommand(std), fmtCommand(std),
		}},
		{"Ask and move what runs:", []*cobra.Command{
			getCommand(std), rolloutCommand(std), sloCommand(std), shadowCommand(std), breakerCommand(std), faultCommand(std), drillCommand(std),
		}},
	} {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.title
			root.AddCommand(c)
		}
	}
	root.AddCommand(versionCommand(std))
	return root
}

// noArgs refuses arguments, and says what the nearest command is when it knows one.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usagef("%s has no command %q; did you mean %q?", cmd.CommandPath(), args[0], near[0])
	}
	files := cmd.Flags().Lookup("file") != nil
	if cmd.HasSubCommands() && !files {
		return usagef("%s has no command %q, but %s", cmd.CommandPath(), args[0], commands(cmd))
	}
	hint := ""
	if files {
		hint = "; paths are given with -f"
	}
	return usagef("%s takes no arguments, but got %q%s", cmd.CommandPath(), args[0], hint)
}

// commands lists the names of a command's own commands.
func commands(cmd *cobra.Command) string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return strings.Join(names, ", ")
}
