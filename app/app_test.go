package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// A status like upstream's, of which this room knows only the JSON form.
type (
	condition struct {
		Type               string `json:"type"`
		Status             string `json:"status"`
		Reason             string `json:"reason"`
		LastTransitionTime string `json:"lastTransitionTime"`
	}
	parent struct {
		ParentRef  map[string]any `json:"parentRef"`
		Conditions []condition    `json:"conditions"`
	}
	status struct {
		Parents []parent `json:"parents"`
	}
)

func TestTransitionTimes(t *testing.T) {
	key := resource.Key{Kind: "HTTPRoute", Namespace: "shop", Name: "cart"}
	of := func(accepted, resolved string) []translate.Status {
		return []translate.Status{{Key: key, Value: status{[]parent{{
			ParentRef:  map[string]any{"kind": "Gateway", "name": "edge", "sectionName": "web", "port": 80},
			Conditions: []condition{{Type: "Accepted", Status: accepted, Reason: "R"}, {Type: "ResolvedRefs", Status: resolved, Reason: "R"}},
		}}}}}
	}
	begin := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(minute int) time.Time { return begin.Add(time.Duration(minute) * time.Minute) }
	var times transitions
	for i, c := range []struct {
		accepted, resolved           string
		acceptedSince, resolvedSince int // minutes
	}{
		{"True", "True", 0, 0},
		{"True", "True", 0, 0},
		{"True", "False", 0, 2},
		{"True", "False", 0, 2},
		{"False", "False", 4, 2},
		{"False", "True", 4, 5},
	} {
		rendered, list := times.follow(of(c.accepted, c.resolved), at(i)).of(key).render()
		conditions := rendered["parents"].([]any)[0].(map[string]any)["conditions"].([]any)
		for j, want := range []int{c.acceptedSince, c.resolvedSince} {
			got := conditions[j].(map[string]any)["lastTransitionTime"]
			if got != at(want).Format(time.RFC3339) {
				t.Errorf("step %d, condition %d: since %v, want minute %d", i, j, got, want)
			}
		}
		if len(list) != 2 || list[0].Of != "Gateway edge/web:80" || list[1].Status != c.resolved {
			t.Errorf("step %d: conditions %+v", i, list)
		}
	}
	if left := times.follow(nil, at(9)).of(key); left != nil {
		t.Errorf("a status that is gone is kept: %v", left)
	}
}

// fakeEngine refuses as long as it is told to.
type fakeEngine struct {
	refuse  error
	applied []string
}

func (f *fakeEngine) Apply(s *model.Snapshot) error {
	f.applied = append(f.applied, s.Version)
	return f.refuse
}

func (f *fakeEngine) Tune(*model.Knobs) error { return nil }

func (f *fakeEngine) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// TestRetry checks that what could not be put into effect is tried again until it can.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{refuse: errors.New("port taken")}
		var log strings.Builder
		p := newPipeline([]Engine{engine}, telemetry.NewMetrics(1), slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.tend(ctx); close(done) }()
		p.deliver(resource.NewSet(nil, nil))
		if p.now.Load().problem == nil {
			t.Error("the refusal is not shown")
		}
		time.Sleep(2*retryAfter + time.Millisecond)
		synctest.Wait()
		if len(engine.applied) != 3 {
			t.Errorf("applied %d times, want 3", len(engine.applied))
		}
		p.mu.Lock()
		if log.Len() > 0 {
			t.Errorf("before anything is live, and with nothing new to say: %s", &log)
		}
		engine.refuse = nil
		p.mu.Unlock()
		time.Sleep(3 * retryAfter)
		synctest.Wait()
		if len(engine.applied) != 4 || p.now.Load().problem != nil {
			t.Errorf("applied %d times, problem %v", len(engine.applied), p.now.Load().problem)
		}
		if strings.Count(log.String(), "configuration is live") != 1 {
			t.Errorf("at last it is: %s", &log)
		}
		cancel()
		<-done
	})
}

const minimal = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners: [{name: web, protocol: HTTP, port: 80}]
`

func anyPort(ctx context.Context, _ netip.AddrPort) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", "127.0.0.1:0")
}

// TestRunLeavesNothing runs everything and checks that no goroutine is left.
func TestRunLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	a, err := New(Config{
		Inline: []byte(minimal), InlineName: "test", Admin: "127.0.0.1:0", Probe: "127.0.0.1:0",
		AccessLog: new(strings.Builder), Listen: anyPort, DrainTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(context.Background()) }()
	<-a.Ready()
	for _, address := range a.Addresses() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + address.String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("without a route: %s", resp.Status)
		}
	}
	if !a.Drain() || a.Drain() {
		t.Error("the first Drain begins it, the second does not")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestNothingToListenOn: if no socket opens at the start, Run says why and ends.
func TestNothingToListenOn(t *testing.T) {
	a, err := New(Config{
		Inline: []byte(minimal), InlineName: "test",
		Listen: func(context.Context, netip.AddrPort) (net.Listener, error) { return nil, errors.New("port taken") },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "port taken") {
		t.Errorf("Run returned %v", err)
	}
}

// TestInlineIsChecked: what flags stand for is refused like a file.
func TestInlineIsChecked(t *testing.T) {
	a, err := New(Config{Inline: []byte("kind: [\n"), InlineName: "--listen", Listen: anyPort})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("Run returned %v", err)
	}
}
