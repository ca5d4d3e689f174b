package e2e_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// faultPolicy is one of each kind, for those who ask for it by a header.
const faultPolicy = `apiVersion: weir.dev/v1alpha1
kind: FaultPolicy
metadata: {name: %s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: %s}]
  expires: %s
  reason: %s
  faults:
  - {name: late, share: 100%%, when: 'request.headers["x-chaos"] == "late"', delay: {fixed: 300ms}}
  - {name: abort, share: 100%%, when: 'request.headers["x-chaos"] == "abort"', abort: {status: 503}}
  - {name: call, share: 100%%, when: 'request.headers["x-chaos"] == "call"', abort: {grpc: RESOURCE_EXHAUSTED}}
  - {name: reset, share: 100%%, when: 'request.headers["x-chaos"] == "reset"', reset: {}}
  - {name: slow, share: 100%%, when: 'request.headers["x-chaos"] == "slow"', throttle: {bytesPerSecond: 20000}}
`

// broken is a weir whose commands find its token by themselves, with a service behind it.
type broken struct {
	*process
	t           *testing.T
	front, file string
	base        string // of the configuration
	args        []string
	env         []string // of the program, and of commands
}

// aliceToken is that of somebody by name.
const aliceToken = "of-alice-and-nobody-else"

// breakable starts one. Commands of this test find its token without being told.
func breakable(t *testing.T) *broken {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Told", r.Header.Get("X-Weir-Fault"))
		_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
	}))
	t.Cleanup(upstream.Close)
	b := &broken{t: t, env: []string{"XDG_STATE_HOME=" + t.TempDir(), "WEIR_TOKEN="}, front: freePort(t), file: filepath.Join(t.TempDir(), "shop.yaml")}
	b.base = edge(b.front) + routed("shop", "checkout") + backend("checkout", upstream.Listener.Addr().String()) + "---\n"
	tokens := fmt.Appendf(nil, "- {name: alice, sha256: %x}\n", sha256.Sum256([]byte(aliceToken)))
	if err := os.WriteFile(b.file+".tokens", tokens, 0o600); err != nil {
		t.Fatal(err)
	}
	b.args = []string{"--tokens", b.file + ".tokens", "-f", b.file, "--admin", freePort(t), "--access-log", "json:" + b.file + ".log"}
	b.write("")
	b.launch()
	return b
}

func (b *broken) write(more string) {
	b.t.Helper()
	put(b.t, b.file, b.base+more)
}

// again kills the process so that it can write nothing, and starts it anew.
func (b *broken) again() {
	b.t.Helper()
	_ = b.cmd.Process.Kill()
	<-b.exited
	b.launch()
}

func (b *broken) launch() {
	b.t.Helper()
	program, err := binary()
	if err != nil {
		b.t.Fatal(err)
	}
	b.process = launchProgram(b.t, slices.Concat([]string{"env"}, b.env, []string{program}), b.args...)
}

// command is the program, asking this weir.
func (b *broken) command(args ...string) *exec.Cmd {
	b.t.Helper()
	program, err := binary()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.CommandContext(b.t.Context(), program, append(args, "--admin", b.admin)...)
	cmd.Env = append(os.Environ(), b.env...)
	return cmd
}

// weir runs a command and looks for parts of what it says.
func (b *broken) weir(fine bool, args string, parts ...string) string {
	b.t.Helper()
	out, err := b.command(strings.Fields(args)...).CombinedOutput()
	if (err == nil) != fine {
		b.t.Errorf("weir %s: %v\n%s", args, err, out)
	}
	for _, p := range parts {
		if !regexp.MustCompile(p).Match(out) {
			b.t.Errorf("weir %s: no %s in\n%s", args, p, out)
		}
	}
	return string(out)
}

// meet asks for a fault by its header.
func (b *broken) meet(chaos string) (resp *http.Response, took time.Duration, err error) {
	b.t.Helper()
	req, _ := http.NewRequestWithContext(b.t.Context(), http.MethodPost, "http://"+b.front+"/", nil)
	req.Header.Set("X-Chaos", chaos)
	if chaos == "call" {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("TE", "trailers")
	}
	began := time.Now()
	resp, err = (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp, time.Since(began), err
}

// aborts waits until requests are aborted by a fault, or are not.
func (b *broken) aborts(want bool) {
	b.t.Helper()
	eventually(b.t, func() (bool, string) {
		resp, _, err := b.meet("abort")
		if err != nil {
			return false, err.Error()
		}
		return (resp.Header.Get("X-Weir-Flag") == "FI") == want, fmt.Sprint(resp.Status, resp.Header)
	})
}

func policyUntil(expires time.Time, name, reason string) string {
	return fmt.Sprintf(faultPolicy, name, "shop", expires.UTC().Format(time.RFC3339), reason)
}

// TestFaults: a FaultPolicy in a file acts in the real program, is marked wherever somebody may look,
// and stays stopped over a kill.
func TestFaults(t *testing.T) {
	t.Parallel()
	b := breakable(t)
	soon := time.Now().Add(time.Hour)
	b.write(policyUntil(soon, "chaos", "a rehearsal"))
	b.aborts(true)
	for chaos, want := range map[string]struct {
		status int
		mark   string
		flag   string
		least  time.Duration
	}{
		"none":  {200, "", "", 0},
		"late":  {200, "default/chaos/late", "", 300 * time.Millisecond},
		"abort": {503, "default/chaos/abort", "FI", 0},
		"call":  {200, "default/chaos/call", "FI", 0},
		"slow":  {200, "default/chaos/slow", "", 400 * time.Millisecond},
	} {
		resp, took, err := b.meet(chaos)
		if err != nil {
			t.Fatalf("%s: %v", chaos, err)
		}
		h := resp.Header
		if resp.StatusCode != want.status || h.Get("X-Weir-Fault") != want.mark || h.Get("X-Weir-Flag") != want.flag || took < want.least {
			t.Errorf("%s: %s after %v, %v; want %+v", chaos, resp.Status, took, h, want)
		}
		if told := h.Get("X-Told"); want.flag == "" && told != want.mark {
			t.Errorf("%s: the service heard of %q", chaos, told)
		}
		if code := h.Get("Grpc-Status"); chaos == "call" && code != "8" {
			t.Errorf("grpc-status %q", code)
		}
	}
	if _, _, err := b.meet("reset"); err == nil {
		t.Error("reset: there is an answer")
	}
	_, metrics := fetch("http://" + b.admin + "/metrics")
	for _, fault := range []string{"late", "call", "reset", "slow"} {
		if line := fmt.Sprintf(`weir_faults_injected_total{fault="%s",policy="default/chaos"} 1`, fault); !strings.Contains(metrics, line) {
			t.Errorf("no %s in the metrics: %s", line, regexp.MustCompile(`(?m)^weir_faults.*`).FindAllString(metrics, -1))
		}
	}
	eventually(t, func() (bool, string) {
		log, _ := os.ReadFile(b.file + ".log")
		return strings.Contains(string(log), `"FI"`) && strings.Contains(string(log), `"DI"`), string(log)
	})
	b.weir(true, "get faults", `(?m)^default/chaos +late +active +delay 300ms +100% +1 `, `call +active +abort RESOURCE_EXHAUSTED`, "a rehearsal")
	b.weir(true, "explain http://"+b.front+"/", `fault\[default/chaos/abort\].*abort 503`)
	b.stops(soon)

	b.write(policyUntil(time.Now().Add(2*time.Second), "chaos", "soon over"))
	b.aborts(true)
	b.aborts(false)
	b.weir(true, "get faults", `abort +expired`)
}

// stops has the policy stopped in each way, and go on.
func (b *broken) stops(soon time.Time) {
	t := b.t
	t.Helper()
	stopped := func(want bool) {
		t.Helper()
		if resp, _, err := b.meet("abort"); err != nil || (resp.StatusCode == 200) != want {
			t.Errorf("want stopped to be %v: %v, %v", want, resp, err)
		}
	}
	usual := b.env
	b.env = append(usual, "WEIR_TOKEN=guessed")
	b.weir(false, "fault stop --all", "401", "token")
	b.env = append(usual, "WEIR_TOKEN="+aliceToken)
	b.weir(true, "fault stop --all", "stopped: 5 faults")
	stopped(true)
	b.weir(true, "get faults", "abort +stopped by alice")
	b.weir(true, "fault resume --all", "resumed: 5 faults")
	b.env = append(usual, "XDG_STATE_HOME="+t.TempDir())
	b.weir(false, "fault stop --all", "--token-file", "WEIR_TOKEN")
	b.env = usual
	b.weir(false, "fault stop nobody", "no live FaultPolicy")
	stopped(false)
	b.weir(false, "fault stop chaos nobody --reason page", "stopped: 5 faults", "left alone: default/nobody")
	stopped(true)
	b.weir(true, "get faults", "abort +stopped by admin")
	b.again()
	stopped(true)
	b.weir(true, "fault resume default/chaos", "resumed: 5 faults")
	stopped(false)
	b.weir(true, "fault stop --all")
	b.write(policyUntil(soon, "chaos", "written anew"))
	b.aborts(true)
}

// TestBurnStopsFaults: what is broken on purpose goes on for no longer than users are promised.
func TestBurnStopsFaults(t *testing.T) {
	t.Parallel()
	b := breakable(t)
	b.write(policyUntil(time.Now().Add(time.Hour), "chaos", "a rehearsal") + `---
apiVersion: weir.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  indicator: {availability: {}}
  objective: 99%
  window: 24h
`)
	b.aborts(true)
	eventually(t, func() (bool, string) {
		for range 50 {
			if resp, _, err := b.meet("abort"); err == nil && resp.StatusCode == 200 {
				return true, ""
			}
		}
		_, body := fetch("http://" + b.admin + "/api/v1/slos")
		return false, body
	})
	b.weir(true, "get faults", "abort +stopped by ServiceLevelObjective default/shop")
}

// TestFaultsInStreams: a reset is that of one stream, and a neighbour on the connection notices nothing.
func TestFaultsInStreams(t *testing.T) {
	t.Parallel()
	file, address, ca, _ := http3Front(t, http.HandlerFunc(hello))
	text, err := os.ReadFile(file)
	if err == nil {
		policy := fmt.Sprintf(faultPolicy, "chaos", "all", time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "a rehearsal")
		err = os.WriteFile(file, append(text, "\n---\n"+policy...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	launch(t, "-f", file)
	port := portNumber(address)
	var dials int
	http2 := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.pool()}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			dials++
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
		},
	}
	defer http2.CloseIdleConnections()
	h3 := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool()}}
	defer h3.Close()
	for name, client := range map[string]http.RoundTripper{"HTTP/2": http2, "HTTP/3": h3} {
		ask := func(chaos string) (*http.Response, error) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, "POST", "https://localhost:"+port+"/", nil)
			req.Header.Set("X-Chaos", chaos)
			resp, err := client.RoundTrip(req)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			return resp, err
		}
		if _, err := ask("none"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var neighbours sync.WaitGroup
		for range 5 {
			neighbours.Go(func() {
				if resp, err := ask("late"); err != nil || resp.StatusCode != 200 || resp.Header.Get("X-Weir-Fault") != "default/chaos/late" {
					t.Errorf("%s: a neighbour has %v, %v", name, resp, err)
				}
			})
		}
		if resp, err := ask("slow"); err != nil || resp.Header.Get("X-Weir-Fault") != "default/chaos/slow" {
			t.Errorf("%s: throttled: %v, %v", name, resp, err)
		}
		if _, err := ask("reset"); err == nil {
			t.Errorf("%s: a reset has an answer", name)
		}
		neighbours.Wait()
	}
	if dials != 1 {
		t.Errorf("%d connections of HTTP/2", dials)
	}
}

const drillFile = `apiVersion: weir.dev/v1alpha1
kind: Drill
metadata: {name: %s}
spec:
  reason: a rehearsal
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: %s}]
  faults: [{name: gone, share: 100%%, when: 'request.headers["x-chaos"] == "%s"', abort: {status: %d}}]
  before: 0s
  during: %s
  after: 0s
  expect:
%s
`

// drill writes one that aborts what meets abort.
func (b *broken) drill(name, route string, status int, during, expect string) (file string) {
	return b.drillOf("abort", name, route, status, during, expect)
}

func (b *broken) drillOf(chaos, name, route string, status int, during, expect string) (file string) {
	b.t.Helper()
	file = filepath.Join(b.t.TempDir(), name+".yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, drillFile, name, route, chaos, status, during, expect), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// pageDrill writes the drill of docs/faults.md, shortened. It is only met by who asks for nothing else.
func (b *broken) pageDrill() (file string) {
	b.t.Helper()
	page, err := os.ReadFile("../docs/faults.md")
	if err != nil {
		b.t.Fatal(err)
	}
	text := regexp.MustCompile("(?ms)^(apiVersion: weir.dev/v1alpha1\nkind: Drill\n.*?)^```$").FindString(string(page))
	text = strings.NewReplacer("default/shop/0", "default/shop/all", "30s", "15s", "1m", "15s", "```", "", "share: 20%", `share: 20%, when: 'request.headers["x-chaos"] == "none"'`).Replace(text)
	file = filepath.Join(b.t.TempDir(), "drill.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

const anything = `  - {name: anything, promql: vector(1), min: "1"}`

// TestDrills: what `weir drill run` says of drills that hold, fail, come to nothing, are wrong, or are
// given up, and that nothing is broken after any of them.
func TestDrills(t *testing.T) {
	t.Parallel()
	b := breakable(t)
	b.write(strings.Replace(policyUntil(time.Now().Add(time.Hour), "drill-taken", "of a user"), "503", "504", 1))
	config, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	b.aborts(true)
	b.weir(true, "fault stop --all")
	ctx, quit := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer quit()
	asking.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			_, _, _ = b.meet("abort")
			_, _, _ = b.meet("none")
		}
	})
	page := b.pageDrill()
	long := b.command("drill", "run", page)
	var said strings.Builder
	long.Stdout, long.Stderr = &said, &said
	if err := long.Start(); err != nil {
		t.Fatal(err)
	}
	b.weir(true, "drill run "+b.drill("holds", "shop", 418, "1s", anything), `(?m)^gone +abort 418 +[1-9]\d* *$`, `(?m)^anything +During +at least 1 +1 +yes$`)
	if out, _ := b.command("drill", "run", b.drill("machine", "shop", 418, "1s", anything), "-o", "json").Output(); !regexp.MustCompile(`(?s)^\{.*"held": true,.*"injected": [1-9]`).Match(out) {
		t.Errorf("-o json: %s", out)
	}
	b.weir(false, "drill run "+b.drill("fails", "shop", 418, "1s", `  - {name: little, promql: vector(2), max: "1"}`), `(?m)^little +During +at most 1 +2 +NO$`)
	b.weir(false, "drill run "+b.drill("nothing", "shop", 418, "1s", `  - {name: none, promql: nobody_counts_this, max: "1"}
  - {name: nan, promql: vector(0)/0, max: "1"}
  - {name: inf, promql: vector(1)/0, min: "1"}`), `none .*comes to nothing.*15s.* NO`, `nan .*"NaN".* NO`, `inf .*"\+Inf".* NO`)
	b.weir(false, "drill run "+b.drill("wrong", "shop", 99, "1s", anything), "wrong drill", `spec\.faults\[0\]\.abort\.status`)
	b.weir(false, "drill run "+b.drill("astray", "nowhere", 418, "1s", anything), "wrong drill", "nowhere")
	b.weir(false, "drill run "+b.drill("taken", "shop", 418, "1s", anything), "there is a FaultPolicy named drill-taken")
	unmet := b.drillOf("nobody", "unmet", "shop", 418, "1s", anything)
	b.weir(false, "drill run "+unmet, "gone +abort 418 +0 +no request met it", "anything .* yes")
	err = long.Wait()
	for _, want := range []string{
		"(?s)before anything is broken for 15s.*broken on purpose for 15s.*recovering for 15s", `late +delay 300ms +[1-9]`,
		`it is used +Before .* yes`, `nobody gets an error +During +at most 0.001 +0 +yes`, `fast again +After .* yes`,
	} {
		if err != nil || !regexp.MustCompile(want).MatchString(said.String()) {
			t.Errorf("the drill of the page: %v, want %s\n%s", err, want, &said)
		}
	}
	quit()
	asking.Wait()
	b.aborts(false)
	if now, _ := os.ReadFile(b.file); string(now) != string(config) {
		t.Error("the user's file is another one")
	}
}

// TestDrillsGivenUp: whatever becomes of the command, of Weir or of the fault, nothing stays broken.
func TestDrillsGivenUp(t *testing.T) {
	t.Parallel()
	b := breakable(t)
	run := func(name, during string) (*exec.Cmd, *strings.Builder) {
		cmd, said := b.command("drill", "run", b.drill(name, "shop", 418, during, anything)), new(strings.Builder)
		cmd.Stdout, cmd.Stderr = said, said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		b.aborts(true)
		return cmd, said
	}
	cmd, said := run("interrupted", "1h")
	b.weir(false, "drill run "+b.drill("interrupted", "shop", 418, "1s", anything), "drill interrupted runs already")
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err == nil || !strings.Contains(said.String(), "interrupted") {
		t.Errorf("interrupted: %v\n%s", err, said)
	}
	if resp, _, err := b.meet("abort"); err != nil || resp.StatusCode != 200 {
		t.Errorf("after Ctrl-C: %v, %v", resp, err)
	}

	cmd, _ = run("killed", "1s")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	b.aborts(false) // by itself

	cmd, said = run("stopped", "3s")
	b.weir(true, "fault stop drill-stopped --reason enough", "stopped: 1 faults")
	if err := cmd.Wait(); err == nil || !strings.Contains(said.String(), "was stopped by admin: enough") {
		t.Errorf("stopped: %v\n%s", err, said)
	}

	cmd, said = run("restarted", "4s")
	b.again()
	if resp, _, err := b.meet("abort"); err != nil || resp.StatusCode != 200 {
		t.Errorf("after a restart: %v, %v", resp, err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(said.String(), "is gone: Weir was started anew") {
		t.Errorf("restarted: %v\n%s", err, said)
	}

	var all []*exec.Cmd
	for i := range 16 {
		cmd, _ := run(fmt.Sprintf("many-%d", i), "1h")
		all = append(all, cmd)
	}
	eventually(t, func() (bool, string) {
		list := b.weir(true, "get faults")
		return strings.Count(list, "default/drill-many-") == 16, list
	})
	b.weir(false, "drill run "+b.drill("one-more", "shop", 418, "1s", anything), "16 drills run already, which is the most")
	for _, cmd := range all {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	b.aborts(false)
}
