package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/controlplane/rollout"
	durable "weir.dev/weir/controlplane/state"
	"weir.dev/weir/model"
)

// shop is one Weir before two versions of a service, each of which says its name.
type shop struct {
	t      *testing.T
	app    *App
	bad    *atomic.Bool // the canary's answers
	client *http.Client
	cfg    Config
	ended  chan error
}

const shopText = minimal + `
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{address: 127.0.0.1, port: %d}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: two}
spec: {endpoints: [{address: 127.0.0.1, port: %d}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - name: all
    backendRefs: [{group: weir.dev, kind: Backend, name: one}]
---
apiVersion: weir.dev/v1alpha1
kind: Rollout
metadata: {name: shop}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: all}
  stable: {group: weir.dev, kind: Backend, name: one}
  canary: {group: weir.dev, kind: Backend, name: two}
  stages: [{share: 50%%, for: 1s}, {share: 100%%}]
  minimumRequests: 20
  gates: [{name: owner, approval: {from: [team:shop]}}]
`

func newShop(t *testing.T) *shop {
	s := &shop{t: t, bad: new(atomic.Bool), client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	version := func(name string, bad *atomic.Bool) int {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if bad.Load() {
				w.WriteHeader(500)
			}
			io.WriteString(w, name)
		}))
		t.Cleanup(server.Close)
		var port int
		fmt.Sscanf(server.URL, "http://127.0.0.1:%d", &port)
		return port
	}
	text := fmt.Sprintf(shopText, version("one", new(atomic.Bool)), version("two", s.bad))
	s.cfg = Config{Inline: []byte(text), InlineName: "test", StateDir: t.TempDir(), Listen: anyPort, DrainTimeout: time.Second}
	return s
}

func (s *shop) start() {
	s.t.Helper()
	a, err := New(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.app, s.ended = a, make(chan error, 1)
	go func() { s.ended <- a.Run(context.Background()) }()
	select {
	case <-a.Ready():
	case err := <-s.ended:
		s.t.Fatal(err)
	}
}

func (s *shop) stop() {
	s.t.Helper()
	s.app.Drain()
	if err := <-s.ended; err != nil {
		s.t.Error(err)
	}
}

// ask returns how many of n requests each version answered.
func (s *shop) ask(n int) map[string]int {
	s.t.Helper()
	got := map[string]int{}
	for range n {
		for _, address := range s.app.Addresses() {
			resp, err := s.client.Get("http://" + address.String() + "/")
			if err != nil {
				s.t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			got[string(text)]++
		}
	}
	return got
}

// until asks until the Rollout is as wanted.
func (s *shop) until(wanted func(rollout.Status) bool) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		s.ask(10)
		status := window{s.app}.Rollouts()
		if len(status) == 1 && wanted(status[0]) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("it stays %+v; history %+v", status, window{s.app}.RolloutHistory("default/shop"))
		}
	}
}

// TestRolloutGoesOn: a run goes on after a restart where it was, before the first request; and after
// the last stage the canary has everything.
func TestRolloutGoesOn(t *testing.T) {
	s := newShop(t)
	s.start()
	held := func(st rollout.Status) bool { return st.Blocking != nil && st.Blocking.Name == "gate/owner" }
	s.until(held)
	if got := s.ask(100); got["one"] == 0 || got["two"] == 0 {
		t.Errorf("at 50 %%: %v", got)
	}
	s.stop()

	s.start()
	if k := (window{s.app}.Rollouts()[0]); k.Share != model.Buckets/2 || k.Run != 1 || k.Generation != 1 {
		t.Errorf("after the restart: %+v", k)
	}
	if got := s.ask(100); got["one"] == 0 || got["two"] == 0 {
		t.Errorf("after the restart: %v", got)
	}
	s.until(held)
	var refusal *rollout.Refusal
	approve := rollout.Command{Do: rollout.Approve, By: "bob", Groups: []string{"team:till"}}
	if err := s.app.Rollout(t.Context(), "default/shop", approve); !errors.As(err, &refusal) {
		t.Errorf("an approval by bob: %v", err)
	}
	approve.Groups = []string{"team:shop"}
	if err := s.app.Rollout(t.Context(), "default/shop", approve); err != nil {
		t.Fatal(err)
	}
	s.until(func(st rollout.Status) bool { return st.Phase == rollout.Succeeded })
	if got := s.ask(50); got["one"] > 0 {
		t.Errorf("at 100 %%: %v", got)
	}
	if patch := (window{s.app}).RolloutPatch("default/shop"); !strings.Contains(patch, "HTTPRoute default/shop") {
		t.Errorf("patch %q", patch)
	}
	s.stop()

	s.start()
	if got := s.ask(20); got["one"] > 0 {
		t.Errorf("100 %% after a restart: %v", got)
	}
	s.stop()
}

// TestRolloutTrips: what a proxy's guard says is written down, and holds after a restart.
func TestRolloutTrips(t *testing.T) {
	s := newShop(t)
	s.start()
	s.ask(20)
	s.bad.Store(true)
	s.until(func(st rollout.Status) bool { return st.Phase == rollout.Aborted })
	status := window{s.app}.Rollouts()[0]
	if status.Trip == nil || status.Blocking.Name != "guard" || status.Share != 0 {
		t.Errorf("status %+v", status)
	}
	s.stop()
	s.start()
	if got := s.ask(50); got["two"] > 0 {
		t.Errorf("after a restart: %v", got)
	}
	if h := (window{s.app}).RolloutHistory("default/shop"); h[len(h)-1].What != "tripped" {
		t.Errorf("history %+v", h)
	}
	s.stop()
}

// TestRolloutWaitsForTheState: beside a process that decides, this one serves stable and decides nothing
// until the other is gone.
func TestRolloutWaitsForTheState(t *testing.T) {
	s := newShop(t)
	held, err := durable.Open(s.cfg.StateDir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	if got := s.ask(50); got["two"] > 0 {
		t.Errorf("while another process decides: %v", got)
	}
	if st := (window{s.app}).Rollouts()[0]; !strings.Contains(st.Problem, "another process") {
		t.Errorf("status %+v", st)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	s.until(func(st rollout.Status) bool { return st.Share == model.Buckets/2 })
	s.stop()
}
