package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// manyListeners is a Gateway and a ListenerSet with 64 ports each, and a second Gateway with
// 64 hostnames on one port; each listener has a route of its own, which redirects to its name.
// Those that are named are left out.
func manyListeners(without ...string) string {
	var b strings.Builder
	route := func(kind, owner, listener string) {
		fmt.Fprintf(&b, `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[2]s-%[3]s}
spec:
  parentRefs: [{kind: %[1]s, name: %[2]s, sectionName: %[3]s}]
  rules:
  - filters: [{type: RequestRedirect, requestRedirect: {hostname: %[3]s.%[2]s.test, port: 80}}]
`, kind, owner, listener)
	}
	list := func(owner string, hostnames bool, port int) (names []string) {
		for i := range 64 {
			name := fmt.Sprintf("l%d", i)
			if slices.Contains(without, owner+"/"+name) {
				continue
			}
			names = append(names, name)
			if hostnames {
				fmt.Fprintf(&b, "  - {name: %[1]s, protocol: HTTP, port: %[2]d, hostname: %[1]s.example.com}\n", name, port)
			} else {
				fmt.Fprintf(&b, "  - {name: %s, protocol: HTTP, port: %d}\n", name, port+i)
			}
		}
		return names
	}
	const head = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: %s\nmetadata: {name: %s}\nspec:\n"
	fmt.Fprintf(&b, head+"  gatewayClassName: weir\n  allowedListeners: {namespaces: {from: Same}}\n  listeners:\n", "Gateway", "ports")
	ports := list("ports", false, 20000)
	fmt.Fprintf(&b, head+"  parentRef: {name: ports}\n  listeners:\n", "ListenerSet", "more")
	more := list("more", false, 21000)
	fmt.Fprintf(&b, head+"  gatewayClassName: weir\n  listeners:\n", "Gateway", "hosts")
	hosts := list("hosts", true, 22000)
	for _, name := range ports {
		route("Gateway", "ports", name)
	}
	for _, name := range more {
		route("ListenerSet", "more", name)
	}
	for _, name := range hosts {
		route("Gateway", "hosts", name)
	}
	return b.String()
}

// TestManyListeners asks each of 192 listeners for its own route, removes two of them, and
// sees that they are gone and that connections to the others live on.
func TestManyListeners(t *testing.T) {
	t.Parallel()
	w := start(t, map[string]string{"all.yaml": manyListeners()})
	client := w.client(t)
	reused := false
	ask := func(host string, port int) string {
		trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, fmt.Sprintf("http://%s:%d/", host, port), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return "unreachable"
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != http.StatusFound {
			return resp.Status
		}
		return strings.TrimSuffix(strings.TrimPrefix(resp.Header.Get("Location"), "http://"), "/")
	}
	check := func(host string, port int, want string) {
		t.Helper()
		if got := ask(host, port); got != want {
			t.Errorf("%s:%d leads to %s, want %s", host, port, got, want)
		}
	}
	for i := range 64 {
		check("example.com", 20000+i, fmt.Sprintf("l%d.ports.test", i))
		check("example.com", 21000+i, fmt.Sprintf("l%d.more.test", i))
		check(fmt.Sprintf("l%d.example.com", i), 22000, fmt.Sprintf("l%d.hosts.test", i))
	}
	check("l64.example.com", 22000, "404 Not Found")
	check("example.com", 22000, "404 Not Found")

	w.write(t, "all.yaml", manyListeners("more/l7", "hosts/l9"))
	eventually(t, func() (bool, string) {
		got := ask("l9.example.com", 22000)
		return got == "404 Not Found", got
	})
	eventually(t, func() (bool, string) {
		got := ask("example.com", 21007)
		return got == "unreachable", got
	})
	for i := range 64 {
		check("example.com", 20000+i, fmt.Sprintf("l%d.ports.test", i))
		if !reused {
			t.Errorf("port %d: the connection is a new one", 20000+i)
		}
		if i != 7 {
			check("example.com", 21000+i, fmt.Sprintf("l%d.more.test", i))
			if !reused {
				t.Errorf("port %d: the connection is a new one", 21000+i)
			}
		}
	}
	if log := w.log.String(); strings.Contains(log, "level=ERROR") {
		t.Error("errors were logged")
	}
}

// TestAddresses runs the real program: Gateways on one port of different addresses, one of
// which also names an address that this machine does not have.
func TestAddresses(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(freePort(t))
	file := filepath.Join(t.TempDir(), "all.yaml")
	var b strings.Builder
	for _, g := range []struct{ name, addresses string }{
		{"one", "{value: 127.0.0.1}, {value: 127.0.0.3}"},
		{"two", "{value: 127.0.0.2}"},
		{"absent", "{value: 127.0.0.4}, {value: 198.51.100.1}"},
		{"all", "{type: IPAddress}"},
	} {
		fmt.Fprintf(&b, `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %[1]s}
spec:
  gatewayClassName: weir
  addresses: [%[2]s]
  listeners:
  - {name: http, protocol: HTTP, port: %[3]s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s}
spec:
  parentRefs: [{name: %[1]s}]
  rules:
  - filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /%[1]s}}}]
`, g.name, g.addresses, port)
	}
	put(t, file, b.String())
	p := launch(t, "-f", file)
	client := &http.Client{
		Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for address, want := range map[string]string{
		"127.0.0.1": "/one", "127.0.0.3": "/one", "127.0.0.2": "/two", "127.0.0.4": "/absent", "127.0.0.5": "refused", "[::1]": "refused",
	} {
		got := "refused"
		if resp, err := client.Get("http://" + net.JoinHostPort(strings.Trim(address, "[]"), port)); err == nil {
			resp.Body.Close()
			location, _ := resp.Location()
			got = location.Path
		}
		if got != want {
			t.Errorf("%s leads to %s, want %s", address, got, want)
		}
	}
	for name, want := range map[string]gatewayFacts{
		"one":    {"True Programmed", []string{"127.0.0.1", "127.0.0.3"}},
		"two":    {"True Programmed", []string{"127.0.0.2"}},
		"absent": {"False AddressNotUsable", []string{"127.0.0.4"}},
		"all":    {"False Invalid", nil}, // its port is taken on the others' addresses
	} {
		if got := askGateway(t, p, name); got.programmed != want.programmed || !slices.Equal(got.addresses, want.addresses) {
			t.Errorf("Gateway %s: %+v, want %+v", name, got, want)
		}
	}
}

type gatewayFacts struct {
	programmed string
	addresses  []string
}

func askGateway(t *testing.T, p *process, name string) gatewayFacts {
	t.Helper()
	_, body := fetch("http://" + p.admin + "/api/v1/resources?kind=Gateway&name=" + name)
	var list struct {
		Items []struct {
			Status struct {
				Addresses  []struct{ Value string }
				Conditions []struct{ Type, Status, Reason string }
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Items) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	var facts gatewayFacts
	for _, a := range list.Items[0].Status.Addresses {
		facts.addresses = append(facts.addresses, a.Value)
	}
	for _, c := range list.Items[0].Status.Conditions {
		if c.Type == "Programmed" {
			facts.programmed = c.Status + " " + c.Reason
		}
	}
	return facts
}
