package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestTakenPort checks that the status of a Gateway tells what is really open: one of its
// two ports is taken at the start, and given up later.
func TestTakenPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, takenPort, _ := net.SplitHostPort(taken.Addr().String())
	_, freePort, _ := net.SplitHostPort(freePort(t))
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  addresses: [{value: 127.0.0.1}]
  listeners:
  - {name: free, protocol: HTTP, port: %s}
  - {name: taken, protocol: HTTP, port: %s}
`, freePort, takenPort), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, "-f", file)
	if got := listenerCondition(t, p, "taken", "Accepted"); got != "False PortUnavailable" {
		t.Errorf("taken: Accepted is %s", got)
	}
	if got := listenerCondition(t, p, "free", "Programmed"); got != "True Programmed" {
		t.Errorf("free: Programmed is %s", got)
	}
	taken.Close()
	eventually(t, func() (bool, string) {
		got := listenerCondition(t, p, "taken", "Programmed")
		return got == "True Programmed", got
	})
}

// listenerCondition asks the API for a condition of a listener of the Gateway edge.
func listenerCondition(t *testing.T, p *process, listener, kind string) string {
	t.Helper()
	_, body := fetch("http://" + p.admin + "/api/v1/resources?kind=Gateway&name=edge")
	var list struct {
		Items []struct {
			Status struct {
				Listeners []struct {
					Name       string
					Conditions []struct{ Type, Status, Reason string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for _, item := range list.Items {
		for _, l := range item.Status.Listeners {
			for _, c := range l.Conditions {
				if l.Name == listener && c.Type == kind {
					return c.Status + " " + c.Reason
				}
			}
		}
	}
	return "absent in " + body
}
