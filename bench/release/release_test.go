package release

import (
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func get(t *testing.T, v *Version, uid string, sent time.Time) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+v.Address+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(&http.Cookie{Name: "uid", Value: uid})
	if !sent.IsZero() {
		mark(req, sent)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get(Header); got != v.Name {
		t.Errorf("it calls itself %q, want %q", got, v.Name)
	}
	return resp.StatusCode
}

func serve(t *testing.T, name string, l *Ledger) *Version {
	t.Helper()
	v, err := Serve(name, Times{}, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// TestVersion: a version is good for as many requests as it should be, then bad, and counts both.
func TestVersion(t *testing.T) {
	v := serve(t, "canary", nil)
	v.Play(Fault{After: 2, Share: 1}, 1)
	before := time.Now()
	var got []int
	for range 4 {
		got = append(got, get(t, v, "1", time.Now()))
	}
	got = append(got, get(t, v, "1", before.Add(-time.Hour)))
	if want := []int{200, 200, 500, 500, 500}; !slices.Equal(got, want) {
		t.Errorf("answers %v, want %v", got, want)
	}
	s := v.Seen()
	if s.Requests != 5 || s.Faulty != 3 || s.Bad != 3 || s.FirstBad.Before(before) {
		t.Errorf("it has seen %+v, want 5 requests, of which 3 could be bad and were", s)
	}
	if n := v.SentAfter(before); n != 4 {
		t.Errorf("%d requests were sent after the first, want 4", n)
	}
	v.Play(Fault{}, 1)
	if got := get(t, v, "1", time.Time{}); got != 200 || v.Seen().Bad != 0 {
		t.Errorf("well again it answers %d and has seen %+v", got, v.Seen())
	}
}

// TestSeed: the same seed gives the same failures.
func TestSeed(t *testing.T) {
	v := serve(t, "canary", nil)
	play := func(seed uint64) (all []int) {
		v.Play(Fault{Share: 0.5}, seed)
		for range 40 {
			all = append(all, get(t, v, "1", time.Time{}))
		}
		return all
	}
	if first := play(1); !slices.Equal(first, play(1)) || slices.Equal(first, play(2)) {
		t.Errorf("seed 1: %v; again: %v; seed 2: %v", first, play(1), play(2))
	}
}

// TestLedger: users are where they were last, and those who change over are counted, once each time.
func TestLedger(t *testing.T) {
	l := NewLedger(3)
	stable, canary := serve(t, "stable", l), serve(t, "canary", l)
	for _, uid := range []string{"0", "1", "1", "7", "who"} {
		get(t, stable, uid, time.Time{})
	}
	get(t, canary, "1", time.Time{})
	if got := l.At("stable"); !slices.Equal(got, []int{0}) {
		t.Errorf("at stable: %v", got)
	}
	if got := l.At("canary"); !slices.Equal(got, []int{1}) {
		t.Errorf("at the canary: %v", got)
	}
	if got := l.Moves(); len(got) != 1 || got[Move{"stable", "canary"}] != 1 {
		t.Errorf("moves: %v", got)
	}
	if got := l.Moves(); len(got) != 0 {
		t.Errorf("and again: %v", got)
	}
}

// TestLoad: a load goes on whatever the answers are, counts them, and ends with every request answered.
func TestLoad(t *testing.T) {
	v := serve(t, "canary", nil)
	v.Play(Fault{After: 10, Share: 1}, 1)
	traffic := Load{Address: v.Address, Users: 10, Rate: 1000, Turns: true}.Begin(t.Context())
	for v.Seen().Requests < 50 {
		runtime.Gosched()
	}
	traffic.Stop()
	s := v.Seen()
	if sent := int(traffic.Sent.Load()); sent != s.Requests || s.InFlight != 0 {
		t.Errorf("%d were sent, %+v seen", sent, s)
	}
	if failed := int(traffic.Failed.Load()); failed != s.Bad || failed != s.Requests-10 || traffic.Broken.Load() != 0 {
		t.Errorf("%d failed and %d broke, want %d and none: %s", failed, traffic.Broken.Load(), s.Requests-10, traffic.Problem())
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	traffic = Load{Address: v.Address, Users: 10, Rate: 1000}.Begin(t.Context())
	for traffic.Broken.Load() == 0 {
		runtime.Gosched()
	}
	traffic.Stop()
	if !strings.HasPrefix(traffic.Problem(), "user ") {
		t.Errorf("of requests that nobody answers it says %q", traffic.Problem())
	}
}
