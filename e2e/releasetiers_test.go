package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/bench/release"
)

// TestReleaseUsers divides 20,000 users: fairly, only adding some while the share grows, and with an abort
// sends exactly those back. Nobody ever changes over for another reason.
func TestReleaseUsers(t *testing.T) {
	t.Parallel()
	const users = 20_000
	r := startRelease(t, users, staged(t, hourStages))
	var before []int
	for _, c := range []struct{ share, least, most int }{{1, 140, 260}, {10, 1830, 2170}, {50, 9720, 10280}} { // 4 deviations of a fair draw
		if c.share > 1 {
			r.order(t, "promote")
		}
		r.ledger.Moves()
		now := r.divided(t)
		if n := len(now); n < c.least || n > c.most {
			t.Errorf("at %d %% the canary has %d of %d users, want %d to %d", c.share, n, users, c.least, c.most)
		}
		if !within(before, now) {
			t.Errorf("at %d %% not all of the %d users from before are at the canary still", c.share, len(before))
		}
		if before != nil {
			r.moved(t, fmt.Sprint("at ", c.share, " %"), map[release.Move]int{{From: "stable", To: "canary"}: len(now) - len(before)})
		}
		before = now
		s := r.became(t, "the division of users is known", func(s release.Status) bool {
			return s.Figures != nil && s.Figures.Sample != nil && s.Figures.Canary.Requests >= uint64(len(now))
		})
		if sample := *s.Figures.Sample; sample.Unfair || sample.Wanted != float64(c.share)/100 {
			t.Errorf("at %d %% it says of its own division: %+v", c.share, sample)
		}
	}
	if s := r.share(t, "in the middle", "Progressing", 50); s.Run != 1 || s.Stage != 3 {
		t.Errorf("run %d, stage %d, want 1, 3", s.Run, s.Stage)
	}
	r.stay(t, "at the same share")
	r.order(t, "abort")
	if now := r.divided(t); len(now) > 0 {
		t.Errorf("after the abort %d users are at the canary", len(now))
	}
	r.moved(t, "after the abort", map[release.Move]int{{From: "canary", To: "stable"}: len(before)})
}

// armed is a host that notes which arm each request has, by the caller's number.
type armed struct {
	mu   sync.Mutex
	arms map[string]string
	next http.Handler // nil: it answers itself
}

func serveArmed(t *testing.T, next http.Handler) (*armed, string) {
	t.Helper()
	a := &armed{arms: map[string]string{}, next: next}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return a, s.Listener.Addr().String()
}

func (a *armed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.arms[r.Header.Get("X-Number")] = r.Header.Get("X-Weir-Arm")
	a.mu.Unlock()
	if a.next != nil {
		a.next.ServeHTTP(w, r)
	}
}

// onwards asks the next tier, and hands on nothing but the arm and the number: not who the user is.
func onwards(t *testing.T, front string) http.Handler {
	transport := &http.Transport{MaxIdleConnsPerHost: sweepers}
	t.Cleanup(transport.CloseIdleConnections)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+front+"/", http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("X-Weir-Arm", r.Header.Get("X-Weir-Arm"))
		req.Header.Set("X-Number", r.Header.Get("X-Number"))
		resp, err := transport.RoundTrip(req)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
	})
}

const trusting = `---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  client: {trust: {addresses: [127.0.0.0/8]}}
`

// TestReleaseTiers: two proxies one behind the other that hold the same Rollout choose the same arm for
// every request, even where the second does not know the user; callers who are not trusted choose
// nothing.
func TestReleaseTiers(t *testing.T) {
	t.Parallel()
	const requests = 4000
	tier := func(edit func(string) string) *releasing { return prepareRelease(t, requests, edit) }
	begin := func(r *releasing) {
		r.process = launch(t, r.args...)
		r.became(t, "Progressing", func(s release.Status) bool { return s.Phase == "Progressing" })
	}
	hosts := func(stable, canary string, more string) func(string) string {
		return func(text string) string {
			text = strings.ReplaceAll(staged(t, "[{share: 50%, for: 1h}, {share: 100%}]")(text), "fallback: Stable", "fallback: Request")
			for name, address := range map[string]string{"stable": stable, "canary": canary} {
				at := strings.Index(text, "kind: Backend\nmetadata: {name: "+name+"}")
				port := strings.Index(text[at:], "port: ") + at
				end := strings.Index(text[port:], "}") + port
				_, number, _ := net.SplitHostPort(address)
				text = text[:port] + "port: " + number + text[end:]
			}
			return text + more
		}
	}
	backStable, backStableAddress := serveArmed(t, nil)
	backCanary, backCanaryAddress := serveArmed(t, nil)
	back := tier(hosts(backStableAddress, backCanaryAddress, trusting))
	begin(back)
	frontStable, frontStableAddress := serveArmed(t, onwards(t, back.front))
	frontCanary, frontCanaryAddress := serveArmed(t, onwards(t, back.front))
	front := tier(hosts(frontStableAddress, frontCanaryAddress, ""))
	begin(front)

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: sweepers}, Timeout: patience}
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for first := range sweepers {
		all.Go(func() {
			for n := first; n < requests; n += sweepers {
				req, err := http.NewRequest(http.MethodGet, "http://"+front.front+"/", http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("X-Number", fmt.Sprint(n))
				req.Header.Set("X-Weir-Arm", "default/app=canary, evil/one=canary")
				if n%2 == 0 {
					req.AddCookie(&http.Cookie{Name: "uid", Value: fmt.Sprint(n)})
				}
				resp, err := client.Do(req)
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("request %d: %v %v", n, resp, err)
					return
				}
				resp.Body.Close()
			}
		})
	}
	all.Wait()
	for name, pair := range map[string][2]*armed{"stable": {frontStable, backStable}, "canary": {frontCanary, backCanary}} {
		if n := len(pair[0].arms); n < requests/2-requests/10 || n > requests/2+requests/10 {
			t.Errorf("the first tier's %s had %d of %d requests: the callers' own header must count for nothing", name, n, requests)
		}
		if len(pair[0].arms) != len(pair[1].arms) {
			t.Errorf("%s had %d requests in the first tier and %d in the second", name, len(pair[0].arms), len(pair[1].arms))
		}
		for n := range pair[0].arms {
			if got := pair[0].arms[n]; got != "default/app="+name {
				t.Fatalf("the first tier's %s got X-Weir-Arm: %q", name, got)
			}
			if got := pair[1].arms[n]; got != "default/app="+name {
				t.Fatalf("request %s, %s in the first tier, has X-Weir-Arm: %q in the second's %s", n, name, got, name)
			}
		}
	}
}
