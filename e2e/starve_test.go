package e2e_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// launchStarved runs the real program and then leaves it forty file descriptors.
func launchStarved(t *testing.T, args ...string) *process {
	t.Helper()
	if _, err := exec.LookPath("prlimit"); err != nil {
		t.Fatal("prlimit (util-linux) is needed")
	}
	p := launch(t, args...)
	pid := fmt.Sprint(p.cmd.Process.Pid)
	if out, err := exec.Command("prlimit", "--pid", pid, "--nofile=40:40").CombinedOutput(); err != nil {
		t.Fatalf("prlimit: %v %s", err, out)
	}
	return p
}

// TestDescriptorsRunOut floods a program whose descriptors run out for real: the limit falls
// to 40 after the start, below what its own bounds were derived from. Accepting fails, is
// counted, and nothing dies; the admin port, which needs descriptors as well, answers again
// as soon as there are some; and then requests are served as before.
func TestDescriptorsRunOut(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	t.Cleanup(upstream.Close)
	front := freePort(t)
	p := launchStarved(t, "--listen", front, "--to", upstream.URL)

	flood := make([]net.Conn, 0, 100)
	for range cap(flood) {
		if c, err := net.DialTimeout("tcp", front, time.Second); err == nil {
			flood = append(flood, c)
		}
	}
	if len(flood) < 40 {
		t.Fatalf("only %d connections: no flood", len(flood))
	}
	for _, c := range flood {
		c.Close()
	}
	eventually(t, func() (bool, string) {
		status, body := fetch("http://" + p.admin + "/metrics")
		return status == 200 && refused(body, "descriptors") > 0, body
	})
	eventually(t, func() (bool, string) {
		status, body := fetch("http://" + front + "/")
		return status == 200 && body == "ok", body
	})
}

// TestFloodAndSlowLoris fills a listener up to its limit with connections that never finish
// a head: more are refused and counted, the admin port answers meanwhile, the slow ones get
// 408 in time, and service resumes by itself.
func TestFloodAndSlowLoris(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	t.Cleanup(upstream.Close)
	front := freePort(t)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "all.yaml"), edge(front)+routed("app", "app")+backend("app", upstream.Listener.Addr().String())+`---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  client: {headTimeout: 2s, maxConnections: 20}
`)
	p := launch(t, "-f", dir)

	slow := make([]net.Conn, 20)
	for i := range slow {
		c, err := net.Dial("tcp", front)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: ")); err != nil {
			t.Fatal(err)
		}
		slow[i] = c
	}
	eventually(t, func() (bool, string) { // one connection too many, sooner or later
		_, body := fetch("http://" + front + "/")
		_, metrics := fetch("http://" + p.admin + "/metrics")
		return refused(metrics, "limit") > 0, body
	})
	for _, c := range slow {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 408 || resp.Header.Get("X-Weir-Flag") != "DPE" {
			t.Fatalf("a slow client got %d %v", resp.StatusCode, resp.Header)
		}
		c.Close()
	}
	eventually(t, func() (bool, string) {
		status, body := fetch("http://" + front + "/")
		return status == 200 && body == "ok", body
	})
}

// refused reads how many connections were refused for a reason.
func refused(metrics, reason string) (n float64) {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "weir_listener_connections_refused_total") && strings.Contains(line, `reason="`+reason+`"`) {
			fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &n)
		}
	}
	return n
}
