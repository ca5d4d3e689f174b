package e2e_test

import "testing"

// TestConsoleOfProtocols looks at routes that are not HTTPRoutes in a real browser: in the list, and
// each kind's own page.
func TestConsoleOfProtocols(t *testing.T) {
	t.Parallel()
	f := newScenery(t).raise(t, nil)
	seen := &faults{admin: "http://" + f.admin + "/"}
	b := newChromium(t, seen.heard)
	open := func(view string) {
		b.call("Page.navigate", map[string]any{"url": "http://" + f.admin + "/#/" + view}, nil)
	}
	open("routes?q=missing")
	b.sees("TCPRoute/default/tcp-missing/0", "TLSRoute/default/through-missing/0", "there is no Backend default/tcps-missing")
	for name, words := range map[string][]string{
		"UDPRoute/default/udp-idle/0":       {"Takes connections for", "served by default/edge/udp-idle", "Backend/default/udp-a", "timeouts.idle", "300ms"},
		"TLSRoute/default/ending-weights/0": {"Takes connections for", "weights.ending.test", "Backend/default/tcp-b"},
		"GRPCRoute/default/grpc/weights":    {"Takes requests for", "grpc.test", "Backend/default/grpc-b", "Explain a request like this"},
	} {
		open("route?name=" + name)
		b.sees(append(words, "Route "+name)...)
	}
	open("listeners")
	b.sees("default/edge/through", "TLSRoute/default/through-a/0", "UDPRoute/default/udp-a/0")
	for _, fault := range seen.stop() {
		t.Error(fault)
	}
}
