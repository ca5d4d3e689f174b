package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
)

// Tests whose name begins with TestSuite have programs that others wrote talk with the real
// binary. `make test` runs those that are quick, `make conformance` all of them.
var conformance = flag.Bool("conformance", false, "also run the suites of others that take long, and print a table of all")

// verdict is what one suite found over one transport.
type verdict struct {
	suite, over    string
	passed, failed int
	note           string // why it was not run
}

var verdicts struct {
	sync.Mutex
	list []verdict
}

func (v verdict) record() {
	verdicts.Lock()
	defer verdicts.Unlock()
	verdicts.list = append(verdicts.list, v)
}

// judge records how a suite ended, and fails the test unless so many cases passed.
func judge(t *testing.T, suite, over string, want, passed, failed int) {
	t.Helper()
	verdict{suite: suite, over: over, passed: passed, failed: failed}.record()
	if passed != want || failed != 0 {
		t.Errorf("%s over %s: %d passed, %d failed, want %d passed", suite, over, passed, failed, want)
	}
}

// judged runs the cases of a table as subtests, and records how many of them passed.
func judged(t *testing.T, suite, over string, cases map[string]func(t *testing.T)) {
	t.Helper()
	v := verdict{suite: suite, over: over}
	t.Run(over, func(t *testing.T) {
		for _, name := range slices.Sorted(maps.Keys(cases)) {
			if t.Run(name, cases[name]) {
				v.passed++
			} else {
				v.failed++
			}
		}
	})
	v.record()
}

// writeVerdicts prints the table of `make conformance`.
func writeVerdicts(w io.Writer) {
	verdicts.Lock()
	defer verdicts.Unlock()
	slices.SortStableFunc(verdicts.list, func(a, b verdict) int {
		return cmp.Or(strings.Compare(a.suite, b.suite), strings.Compare(a.over, b.over))
	})
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "\nsuite\tover\tpassed\tfailed")
	passed, failed := 0, 0
	for _, v := range verdicts.list {
		if v.note != "" {
			fmt.Fprintf(tab, "%s\t%s\t-\t-\tnot run: %s\n", v.suite, v.over, v.note)
			continue
		}
		fmt.Fprintf(tab, "%s\t%s\t%d\t%d\n", v.suite, v.over, v.passed, v.failed)
		passed, failed = passed+v.passed, failed+v.failed
	}
	tab.Flush()
	fmt.Fprintf(w, "\n%d passed, %d failed\n", passed, failed)
}

// need returns a program that others wrote. Where `make deps` has run it must be there.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") != "" || *conformance {
			t.Fatalf("%v; `make deps` installs it", err)
		}
		t.Skip(err)
	}
	return path
}

// long skips a suite that takes long.
func long(t *testing.T) {
	t.Helper()
	if !*conformance {
		t.Skip("takes long; `make conformance` runs it")
	}
}

var summary = regexp.MustCompile(`(?m)^(\d+) passed, (\d+) failed$`)

// script runs a program of e2e/suites and returns what it prints.
func script(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join("suites", name, "run.sh"), args...).CombinedOutput()
	return string(out), err
}

// runSuite runs a script that ends with "N passed, N failed", and judges it.
func runSuite(t *testing.T, suite, over string, want int, name string, args ...string) {
	t.Helper()
	out, err := script(t, name, args...)
	found := summary.FindStringSubmatch(out)
	if found == nil {
		verdict{suite: suite, over: over, failed: want}.record()
		t.Fatalf("%s ended early: %v\n%s", name, err, out)
	}
	passed, _ := strconv.Atoi(found[1])
	failed, _ := strconv.Atoi(found[2])
	judge(t, suite, over, want, passed, failed)
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

// built has a script build what it needs, and returns the last line that it prints: a path.
func built(t *testing.T, name, what string) string {
	t.Helper()
	out, err := script(t, name, what)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, what, err, out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

// serve runs a program until the test ends, and returns once something listens at the address.
func serve(t *testing.T, address, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	eventually(t, func() (bool, string) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false, err.Error()
		}
		return c.Close() == nil, ""
	})
}

// suiteFront is a real Weir between the programs of others. Its certificate is for the name
// that suites ask for.
type suiteFront struct {
	clear, secure string // addresses
	roots         string // the path of the certificate's authority
	certificate   string // PEM
	*process
}

const suiteName = "localhost"

// port is the second half of an address.
func port(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// suiteHost is what stands behind Weir.
type suiteHost struct {
	kind, match string // of route, in YAML
	protocol    string // in YAML; empty: HTTP/1.1
	address     string
}

// startSuite runs the real binary before hosts, in clear text and over TLS.
func startSuite(t *testing.T, hosts []suiteHost, flags ...string) *suiteFront {
	t.Helper()
	f := &suiteFront{clear: freePort(t), secure: freePort(t)}
	authority := newAuthority(t)
	certificate, key := authority.issue(t, suiteName)
	f.certificate = certificate
	text := fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
  - {name: clear, protocol: HTTP, port: %s}
  - {name: tls, protocol: HTTPS, port: %s, tls: {certificateRefs: [{name: cert}]}}
`, port(t, f.clear), port(t, f.secure))
	for i, h := range hosts {
		text += fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: %[1]s
metadata: {name: route-%[2]d}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [%[3]s]
    backendRefs: [{group: weir.dev, kind: Backend, name: host-%[2]d}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: host-%[2]d}
spec: {%[4]s endpoints: [{address: 127.0.0.1, port: %[5]s}]}
`, h.kind, i, h.match, h.protocol, port(t, h.address))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "weir.yaml")
	f.roots = filepath.Join(dir, "ca.pem")
	for path, text := range map[string]string{f.roots: authority.text, file: text + "---\n" + tlsSecret("cert", certificate, key)} {
		put(t, path, text)
	}
	f.process = launch(t, append([]string{"-f", file}, flags...)...)
	return f
}

// url is where a client finds the front over TLS, or in clear text.
func (f *suiteFront) url(scheme string) string {
	at := f.clear
	if scheme == "https" || scheme == "wss" {
		at = f.secure
	}
	return scheme + "://" + suiteName + at[strings.LastIndexByte(at, ':'):]
}

// TestSuiteH2Spec: 146 cases of RFC 9113 and RFC 7541, strictly.
func TestSuiteH2Spec(t *testing.T) {
	t.Parallel()
	upstream := clientHost(t)
	f := startSuite(t, []suiteHost{{kind: "HTTPRoute", address: upstream}})
	for mode, address := range map[string]string{"h2c": f.clear, "tls": f.secure} {
		runSuite(t, "h2spec --strict", mode, 146, "h2spec", address, mode, "/")
	}
}

// TestSuiteGRPCInterop has gRPC's own client call gRPC's own server.
func TestSuiteGRPCInterop(t *testing.T) {
	t.Parallel()
	folder, up := built(t, "grpc-interop", "build"), freePort(t)
	serve(t, up, filepath.Join(folder, "server"), "--port="+port(t, up))
	f := startSuite(t, []suiteHost{{kind: "GRPCRoute", protocol: "protocol: GRPC,", address: up}})
	runSuite(t, "gRPC interop", "h2c", 14, "grpc-interop", f.clear)
	runSuite(t, "gRPC interop", "tls", 14, "grpc-interop", f.secure, f.roots, suiteName)
}

// startWSEcho starts the WebSocket server that others wrote most of, and returns its address.
func startWSEcho(t *testing.T) string {
	t.Helper()
	at := freePort(t)
	serve(t, at, built(t, "autobahn", "echo"), at)
	return at
}

// TestSuiteAutobahn: 247 cases of RFC 6455 through Weir, which carries each frame untouched.
func TestSuiteAutobahn(t *testing.T) {
	t.Parallel()
	long(t)
	built(t, "autobahn", "build")
	f := startSuite(t, []suiteHost{{kind: "HTTPRoute", address: startWSEcho(t)}})
	for _, scheme := range []string{"ws", "wss"} {
		runSuite(t, "Autobahn", scheme, 247, "autobahn", f.url(scheme))
	}
}

// Findings of testssl.sh that say nothing about how Weir speaks TLS.
var notWeirs = map[string]string{
	"engine_problem":        "of this machine's openssl",
	"cert_expirationStatus": "of the test's certificate",
	"cert_notAfter":         "of the test's certificate",
	"cert_revocation":       "of the test's certificate",
	"cert_serialNumberLen":  "of the test's certificate",
	"DNS_CAArecord":         "of the test's name",
	"HSTS":                  "of the upstream's answer",
	"security_headers":      "of the upstream's answer",
	"TLS_session_ticket":    "crypto/tls always says a week; keys are kept for a day (tickets.go)",
	"cipherlist_AVERAGE":    "CBC for old clients, which cipherSuites of a TrafficPolicy can forbid",
	"LUCKY13":               "the same; crypto/tls has the countermeasure for them",
}

// TestSuiteTestSSL looks for known weaknesses of TLS, with testssl.sh.
func TestSuiteTestSSL(t *testing.T) {
	t.Parallel()
	long(t)
	program := need(t, "testssl")
	f := startSuite(t, []suiteHost{{kind: "HTTPRoute", address: clientHost(t)}})
	report := filepath.Join(t.TempDir(), "report.json")
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none",
		"--ip", "127.0.0.1", "--add-ca", f.roots, "--jsonfile", report, f.url("https")+"/").CombinedOutput()
	data, readErr := os.ReadFile(report)
	var findings []struct{ ID, Severity, Finding string }
	if readErr == nil {
		readErr = json.Unmarshal(data, &findings)
	}
	if readErr != nil || len(findings) < 100 { // it exits with the number of its complaints
		t.Fatalf("%v, %v, %d findings\n%s", err, readErr, len(findings), out)
	}
	v := verdict{suite: "testssl.sh", over: "tls"}
	for _, found := range findings {
		_, excused := notWeirs[found.ID]
		switch {
		case found.Severity == "OK" || found.Severity == "INFO":
			v.passed++
		case !excused:
			v.failed++
			t.Errorf("%s, %s: %s", found.ID, found.Severity, found.Finding)
		}
	}
	v.record()
}
