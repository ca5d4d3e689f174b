package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"
)

// scene is where one demo plays.
type scene struct {
	ports
	dir string
	out *screen
}

// replace moves the standard ports in a file's text to these.
func (p ports) replace(text []byte) []byte {
	for _, move := range [][2]int{{standard.front, p.front}, {standard.v1, p.v1}, {standard.v2, p.v2}, {standard.secure, p.secure}, {standard.greeter, p.greeter}, {standard.shop, p.shop}, {standard.shop + 1, p.shop + 1}, {standard.shop + 2, p.shop + 2}, {standard.checkout, p.checkout}, {standard.checkout + 1, p.checkout + 1}} {
		text = bytes.ReplaceAll(text, fmt.Appendf(nil, "port: %d", move[0]), fmt.Appendf(nil, "port: %d", move[1]))
	}
	return text
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// serve plays until ctx ends or Weir does, then takes everything down in the order in which
// no request fails: traffic, Weir, upstreams.
func serve(ctx context.Context, o options, s scene) (err error) {
	for version, port := range map[string]int{"v1": s.v1, "v2": s.v2} {
		stop, upErr := upstream(version, local(port))
		if upErr != nil {
			return upErr
		}
		defer func() { err = errors.Join(err, stop()) }()
	}

	end, err := greet(local(s.greeter))
	if err != nil {
		return err
	}
	defer end()
	store := newShop("http://" + local(s.front) + "/shop")
	closed, err := store.open(s.ports)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed()) }()
	release := newCheckout("http://"+local(s.front)+"/checkout", local(s.admin), s.out, &store.mended)
	ended, err := release.open(s.ports)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ended()) }()

	weir, err := s.start(o.weir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, weir.stop()) }()
	if err := s.ready(ctx, weir); err != nil {
		return err
	}
	if err := s.welcome(weir, store); err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var selling sync.WaitGroup
		selling.Go(func() { store.sell(ctx) })
		selling.Go(func() { release.sell(ctx) })
		newTraffic("http://"+local(s.front), o.rate).run(ctx, s.out, func(since time.Duration) string {
			return store.report(since) + "   " + release.report()
		})
		selling.Wait()
	}()
	select {
	case <-ctx.Done():
	case <-weir.exited:
		err = errors.New("weir ended by itself; its last words are above")
	}
	cancel()
	<-done
	s.out.line("\nstopping: traffic, weir, upstreams")
	return err
}

// upstream serves one version of go-httpbin, which names itself in X-App-Version.
func upstream(version, address string) (stop func() error, err error) {
	app := httpbin.New(httpbin.WithHostname("httpbin-"+version), httpbin.WithMaxDuration(5*time.Second)).Handler()
	return listen("upstream "+version, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-App-Version", version)
		app.ServeHTTP(w, r)
	}))
}

// child is the running weir.
type child struct {
	cmd    *exec.Cmd
	token  string // its file
	exited chan struct{}
	err    error // valid once exited is closed
}

func (s scene) start(program string) (*child, error) {
	state, err := s.fresh()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "run", "-f", s.dir, "--admin", local(s.admin), "--drain-timeout", "2s", "--state-dir", state)
	cmd.SysProcAttr = withParent()
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, token: filepath.Join(state, "token"), exited: make(chan struct{})}
	var copied sync.WaitGroup
	copied.Go(func() {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			s.out.line("weir: " + lines.Text())
		}
		r.CloseWithError(lines.Err()) // a line too long ends the copy, never blocks weir
	})
	go func() {
		c.err = cmd.Wait()
		_ = w.Close() // never fails
		copied.Wait()
		close(c.exited)
	}()
	return c, nil
}

// fresh makes an empty folder for the state, where commands of the same user look for the token: each
// demo begins its release anew.
func (s scene) fresh() (string, error) {
	root := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(root) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		root = filepath.Join(home, ".local", "state")
	}
	dir := filepath.Join(root, "weir", "demo-"+strconv.Itoa(s.front))
	return dir, errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
}

// stop asks, waits, and after five seconds insists.
func (c *child) stop() error {
	select {
	case <-c.exited:
		return c.err
	default:
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-c.exited:
		return c.err
	case <-time.After(5 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.exited
		return errors.New("weir did not drain within 5 s and was killed")
	}
}

// ready waits until Weir says that it serves.
func (s scene) ready(ctx context.Context, weir *child) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	client := &http.Client{Timeout: time.Second}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := client.Get("http://" + local(s.admin) + "/readyz"); err == nil {
			_ = resp.Body.Close() // only the status counts
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-weir.exited:
			return errors.New("weir ended before it was ready; its words are above")
		case <-ctx.Done():
			return errors.New("weir was not ready in time; its words are above")
		}
	}
}

// welcome says what there is to see, with links that open the console for changes, too, if people read it.
func (s scene) welcome(weir *child, store *shop) error {
	token, err := os.ReadFile(weir.token)
	if err != nil {
		return err
	}
	console := func(view string) string {
		link := "http://" + local(s.admin) + "/#/" + view
		if s.out.terminal {
			link += "?token=" + strings.TrimSpace(string(token))
		}
		return link
	}
	admin := ""
	if s.admin != standard.admin {
		admin = " --admin " + local(s.admin) + "  # or export WEIR_ADMIN"
	}
	s.out.line(fmt.Sprintf(`
Weir serves %[3]s/*.yaml, before two versions of go-httpbin and a gRPC server:

  the front door   http://%[1]s/
  with TLS         https://localhost:%[4]d/   (HTTP/1.1, HTTP/2, HTTP/3 and gRPC)
  the console      %[5]s

Try, in another terminal:

  curl -i http://%[1]s/get                       # x-app-version says who answered
  curl -i -H 'x-preview: true' http://%[1]s/get  # always v2
  curl -i http://%[1]s/old/path                  # a redirect
  curl -i --cacert %[3]s/certificate.pem https://localhost:%[4]d/get
  bin/weir get status%[2]s

Edit the weights in %[3]s/routes.yaml and watch the shares below follow; break the file, and
Weir says where and keeps serving. Ctrl-C ends everything.

A new checkout is on its way to customers, and will fail in a minute:

  %[6]s

Break the shop, and watch it:

  %[7]s
%[8]s`, local(s.front), admin, s.dir, s.secure, console("overview"), console("releases"), console("resilience"),
		store.help("curl http://"+local(s.shop+shopHosts)+"/")))
	return nil
}
