package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// statusOfRollout is what the admin API says of the only Rollout.
type statusOfRollout struct {
	Phase      string  `json:"phase"`
	Run        uint64  `json:"run"`
	Generation uint64  `json:"generation"`
	Share      float64 `json:"share"`
	Began      string  `json:"began"`
	Problem    string  `json:"problem"`
}

func rolloutOf(admin string) (s statusOfRollout, body string) {
	_, body = fetch("http://" + admin + "/api/v1/rollouts")
	var list struct {
		Items []statusOfRollout `json:"items"`
	}
	if json.Unmarshal([]byte(body), &list) == nil && len(list.Items) == 1 {
		s = list.Items[0]
	}
	return s, body
}

// TestUpgradeDuringRollout: a run goes on in the new process with the share that it had, and after the
// process was killed in the next one, too.
func TestUpgradeDuringRollout(t *testing.T) {
	version := func(name string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) }))
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://127.0.0.1:")
	}
	front := freePort(t)
	_, port, err := net.SplitHostPort(front)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "shop.yaml")
	text := fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: web, protocol: HTTP, port: %s}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{address: 127.0.0.1, port: %s}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: two}
spec: {endpoints: [{address: 127.0.0.1, port: %s}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{name: all, backendRefs: [{group: weir.dev, kind: Backend, name: one}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Rollout
metadata: {name: shop}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: all}
  stable: {group: weir.dev, kind: Backend, name: one}
  canary: {group: weir.dev, kind: Backend, name: two}
  stages: [{share: 30%%, for: 1h}, {share: 100%%}]
`, port, version("one"), version("two"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	u := launchService(t, "-f", file, "--state-dir", state)
	share := func() (canary int) {
		for range 200 {
			if _, body := fetch("http://" + front + "/"); body == "two" {
				canary++
			}
		}
		return canary
	}
	same := func(was statusOfRollout) {
		t.Helper()
		if now, body := rolloutOf(u.admin); now != was {
			t.Errorf("was %+v, is %+v: %s", was, now, body)
		}
		if n := share(); n < 20 || n > 110 { // 60 of 200, with a deviation of 6.5
			t.Errorf("%d of 200 requests went to the canary, want about 60", n)
		}
	}
	was, body := rolloutOf(u.admin)
	if was.Phase != "Progressing" || was.Share != 30 || was.Run != 1 || was.Generation != 1 {
		t.Fatalf("when it is ready: %s", body)
	}
	same(was)

	if err := u.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	pid := u.newPid(t)
	u.end(t)
	same(was)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	next := launch(t, "-f", file, "--state-dir", state, "--admin", freePort(t))
	u.admin = next.admin
	same(was)
}
