// Command demo starts two versions of go-httpbin, a gRPC server and a shop that can be made to
// misbehave, Weir in front of them with the resources in this folder and a certificate that it
// makes, and steady synthetic traffic, and prints how the traffic is shared. It is a guided first look, not a load generator: the rate
// is small and bounded.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// ports are those that the demo uses on 127.0.0.1 (the front door listens everywhere). The shop
// has three hosts, and behind their ports one that tells it how to behave; checkout has two versions.
type ports struct{ front, v1, v2, admin, secure, greeter, shop, checkout int }

// standard are the ports written in this folder's files.
var standard = ports{front: 8080, v1: 8081, v2: 8082, admin: 9901, secure: 8443, greeter: 8083, shop: 8084, checkout: 8088}

// options are the command line.
type options struct {
	weir, dir string
	port      int
	rate      int // requests a second
	duration  time.Duration
}

func main() {
	// The child's death signal follows this thread, so it must live as long as the program.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	p, dir := standard, o.dir
	if o.port != 0 {
		p = ports{front: o.port, v1: o.port + 1, v2: o.port + 2, admin: o.port + 3, secure: o.port + 4, greeter: o.port + 5, shop: o.port + 6, checkout: o.port + 10}
		if dir, err = moved(o.dir, p); err != nil {
			return err
		}
	}
	if err := free(p); err != nil {
		return err
	}
	if err := certify(dir, time.Now()); err != nil {
		return err
	}
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	return serve(ctx, o, scene{ports: p, dir: dir, out: newScreen(out)})
}

func parse(args []string) (options, error) {
	o := options{}
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.StringVar(&o.weir, "weir", "bin/weir", "the program to run")
	fs.StringVar(&o.dir, "dir", "examples/demo", "the folder with the resources")
	fs.IntVar(&o.port, "port", 0, "use this port and the eleven after it instead of 8080 to 8089, 8443 and 9901")
	fs.IntVar(&o.rate, "rate", 100, "requests a second, 1 to 1000")
	fs.DurationVar(&o.duration, "for", 0, "stop by itself after this time")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.rate < 1 || o.rate > 1000 {
		return o, fmt.Errorf("--rate %d: want 1 to 1000", o.rate)
	}
	if o.port != 0 && (o.port < 1024 || o.port > 65524) {
		return o, fmt.Errorf("--port %d: want 1024 to 65524", o.port)
	}
	if _, err := os.Stat(o.weir); err != nil {
		return o, fmt.Errorf("%s is not there: run `make build` first", o.weir)
	}
	return o, nil
}

// free tells a taken port apart before anything starts.
func free(p ports) error {
	for _, port := range []int{p.front, p.v1, p.v2, p.admin, p.secure, p.greeter, p.shop, p.shop + 1, p.shop + 2, p.shop + shopHosts, p.checkout, p.checkout + 1} {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			other := 18080
			if p.front == other {
				other = 28080
			}
			return fmt.Errorf("port %d is in use: stop what uses it, or move the demo with `make demo PORT=%d`", port, other)
		}
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// moved writes a copy of the resources with other ports and returns its folder.
func moved(dir string, p ports) (string, error) {
	to := filepath.Join(dir, ".run")
	if err := os.RemoveAll(to); err != nil {
		return "", err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", fmt.Errorf("%s holds no *.yaml: run the demo from the top of the repository", dir)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(name)), p.replace(text), 0o644); err != nil {
			return "", err
		}
	}
	return to, nil
}
