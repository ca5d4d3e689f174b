// Command weir is a programmable HTTP front door in one binary.
// Everything it can do is a subcommand in package cli.
package main

import (
	"os"

	"weir.dev/weir/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
