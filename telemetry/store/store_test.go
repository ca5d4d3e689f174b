package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// rig is a store with a clock of its own, whose rounds the test makes.
type rig struct {
	*Store
	t       *testing.T
	metrics *telemetry.Metrics
	own     *feed
	mu      sync.Mutex
	now     time.Time
	log     *strings.Builder
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	r := &rig{t: t, metrics: telemetry.NewMetrics(1), now: time.Now().Truncate(time.Second), log: new(strings.Builder)}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.Metrics, cfg.Now = r.metrics, r.clock
	cfg.Log = slog.New(slog.NewTextHandler(locked{&r.mu, r.log}, nil))
	r.Store = New(cfg)
	if err := r.openAt(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	r.own = newFeed(r.Store, "weir", "self")
	t.Cleanup(func() {
		if r.db != nil {
			r.close()
		}
	})
	return r
}

type locked struct {
	mu *sync.Mutex
	w  *strings.Builder
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// round is a round of samples, five seconds after the one before.
func (r *rig) round() {
	r.pass(5 * time.Second)
	r.own.own()
}

func (r *rig) requests(route string, code, n int) {
	s := r.metrics.Route(route)
	for range n {
		s.Begin(0)
		s.End(0, &telemetry.Outcome{Code: code, Duration: 3 * time.Millisecond})
	}
}

func (r *rig) one(expr string) float64 {
	r.t.Helper()
	list, err := r.Query(r.t.Context(), expr, r.clock())
	if err != nil || len(list) != 1 {
		r.t.Fatalf("%s: %v, %v; want one sample", expr, list, err)
	}
	return list[0].Value
}

func (r *rig) none(expr string) {
	r.t.Helper()
	if list, err := r.Query(r.t.Context(), expr, r.clock()); err != nil || len(list) != 0 {
		r.t.Errorf("%s: %v, %v; want nothing", expr, list, err)
	}
}

// TestOwnMetrics checks that what is counted is what queries say: also what was counted before the first
// sample, and that a series which ends is gone at once.
func TestOwnMetrics(t *testing.T) {
	r := newRig(t, Config{})
	r.round()
	r.requests("shop/cart", 200, 90)
	r.requests("shop/cart", 503, 10) // a series that begins with what it has counted
	r.round()
	for expr, want := range map[string]float64{
		`sum(weir_route_requests_total{route="shop/cart"})`:                                        100,
		`weir_route_requests_total{route="shop/cart",code_class="5xx",job="weir",instance="self"}`: 10,
		`weir_route_request_duration_seconds_count{route="shop/cart"}`:                             100,
		`weir_route_request_duration_seconds_bucket{route="shop/cart",le="+Inf"}`:                  100,
		`weir_route_request_duration_seconds_bucket{route="shop/cart",le="0.0016"}`:                0,
		`weir_route_request_duration_seconds_bucket{route="shop/cart",le="0.0032"}`:                100,
		`sum(increase(weir_route_requests_total[6s]))`:                                             100,
		`go_goroutines > bool 0`: 1,
		`1 + 1`:                  2,
	} {
		if got := r.one(expr); got != want {
			t.Errorf("%s = %v, want %v", expr, got, want)
		}
	}
	r.metrics.Route("shop/idle")
	r.round()
	r.none(`weir_route_requests_total{route="shop/idle"}`)

	// What vanishes is gone in the next round, not five minutes later.
	clear(r.own.series)
	f := newFeed(r.Store, "weir", "other")
	f.last = r.clock().UnixMilli()
	f.own()
	if r.one(`count(weir_ready{instance="other"})`) != 1 {
		t.Error("want the other feed's series")
	}
	r.pass(5 * time.Second)
	f.stop()
	r.none(`weir_ready{instance="other"}`)
}

// TestSeriesLimit checks that series beyond the limit are refused and counted, and those before kept.
func TestSeriesLimit(t *testing.T) {
	const limit = 300
	r := newRig(t, Config{Series: limit})
	r.round()
	for i := range 200 {
		r.requests(fmt.Sprintf("shop/r%d", i), 200, 1)
	}
	r.round()
	r.round()
	if n := r.db.Head().NumSeries(); n > limit || n < limit-limit/spared {
		t.Errorf("%d series, want at most %d", n, limit)
	}
	// An objective's series find room when those of routes have long taken theirs.
	r.metrics.WatchObjectives(func() []telemetry.ObjectiveState { return []telemetry.ObjectiveState{{Name: "shop/late", Good: 1}} })
	r.round()
	if got := r.one(`sum(weir_slo_events_total{slo="shop/late"})`); got != 1 {
		t.Errorf("events %v, want 1", got)
	}
	if s := r.state(); s.Refused == 0 || s.Failures != 0 {
		t.Errorf("%+v; want refused samples and no failures", s)
	}
	if r.one(`weir_ready`) != 0 {
		t.Error("want the series that were there first")
	}
	page := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(page.Body.String(), "weir_store_series 2") {
		t.Error("the metrics page does not say how many series there are")
	}
}

// TestNoFalseIncrease checks that a counter which could not be kept for a while has not come from zero
// when it is kept again: neither after rounds that could not be written, nor when there is room for its series at last.
func TestNoFalseIncrease(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, Config{Dir: dir})
	r.requests("shop/cart", 200, 100)
	r.round()
	r.round()
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	r.requests("shop/new", 200, 5)
	r.round() // into a log that is closed
	if s := r.state(); s.Failures == 0 || !strings.Contains(r.log.String(), "time series are not kept") {
		t.Fatalf("%+v, log %q; want a failure", s, r.log)
	}
	if err := r.openAt(dir); err != nil {
		t.Fatal(err)
	}
	r.requests("shop/cart", 200, 1)
	r.round()
	r.round()
	if got := r.one(`increase(weir_route_requests_total{route="shop/cart",code_class="2xx"}[10m] anchored)`); got != 101 {
		t.Errorf("%v requests, want 101", got)
	}
	if got := r.one(`increase(weir_route_requests_total{route="shop/new",code_class="2xx"}[10m] anchored)`); got != 5 {
		t.Errorf("%v requests of a route that began meanwhile, want 5", got)
	}

	const limit = 200
	small := newRig(t, Config{Series: limit})
	for i := range 10 {
		small.requests(fmt.Sprintf("shop/r%d", i), 200, 1000)
	}
	small.round()
	small.cfg.Series = 2 * DefaultSeries
	small.round()
	if got := small.one(`count(increase(weir_route_requests_total{code_class="2xx"}[5s] anchored) > 0) or vector(0)`); got != 0 {
		t.Errorf("%v routes seem to have had requests in the last five seconds", got)
	}
}

// TestReopen checks that series survive a store that is closed, and one that is not.
func TestReopen(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash=%v", crash), func(t *testing.T) {
			dir := t.TempDir()
			r := newRig(t, Config{Dir: dir})
			r.round()
			r.requests("shop/cart", 200, 7)
			r.round()
			from := dir
			if crash { // what is on the disk at this moment
				from = filepath.Join(t.TempDir(), "copy")
				if err := os.CopyFS(from, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(filepath.Join(from, "lock")); err != nil {
					t.Fatal(err)
				}
			} else {
				r.close()
			}
			again := newRig(t, Config{Dir: from})
			again.now = r.clock()
			again.round()
			if got := again.one(`sum(max_over_time(weir_route_requests_total{route="shop/cart"}[1m]))`); got != 7 {
				t.Errorf("%v requests, want 7", got)
			}
			again.requests("shop/cart", 200, 2) // of a process that counts anew
			again.round()
			if got := again.one(`sum(max_over_time(weir_route_requests_total{route="shop/cart"}[10s]))`); got < 2 {
				t.Errorf("%v requests, want those of the new process", got)
			}
		})
	}
}

// TestClock checks that a clock that goes back loses nothing if it is little, and begins a new store
// if it is much: after a while also if it went back between two processes.
func TestClock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "series")
	r := newRig(t, Config{Dir: dir})
	r.requests("shop/cart", 200, 7)
	r.round()
	r.pass(-30 * time.Minute)
	r.round()
	if got := r.one(`sum(weir_route_requests_total)`); got != 7 {
		t.Errorf("half an hour back: %v, want 7", got)
	}
	if s := r.state(); s.Refused != 0 {
		t.Errorf("half an hour back: %d samples refused", s.Refused)
	}
	r.pass(-300 * time.Hour)
	r.round()
	if s := r.state(); s.Refused == 0 || s.Failures != 0 {
		t.Errorf("300 hours back: %+v, want refused samples and no failure", s)
	}
	if err := r.overtaken(); err != nil {
		t.Errorf("at once: %v", err)
	}
	r.close()
	again := newRig(t, Config{Dir: dir})
	again.close()
	again.now = r.clock()
	for waited := false; !waited; again.close() {
		if err := again.openAt(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(dir + aside); err == nil {
			t.Fatal("a start puts something aside at once")
		}
		for range clockPatience / DefaultInterval {
			waited = again.overtaken() != nil
		}
	}
	if err := again.openAt(dir); err != nil {
		t.Fatal(err)
	}
	again.round()
	if got := again.one(`weir_ready`); got != 0 {
		t.Errorf("weir_ready %v, want 0", got)
	}
	if _, err := os.Stat(dir + aside); err != nil || !strings.Contains(again.log.String(), "put aside") {
		t.Errorf("%v, log %q; want the old store put aside", err, again.log)
	}
}

// TestClockGoesBack checks that a running store whose clock has gone back by hours goes on, and has what is older
// than that still; and that it waits a while, because a clock may be right again soon.
func TestClockGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "series")
		var back atomic.Int64
		now := func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
		metrics := telemetry.NewMetrics(1)
		s := New(Config{Dir: dir, Metrics: metrics, Interval: 15 * time.Second, Now: now, Log: slog.New(slog.DiscardHandler)})
		s.disk = func(string) (int64, int64, error) { return 1 << 40, 1 << 40, nil }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		began := time.Now()
		pass := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		samples := func(over string) float64 {
			list, err := s.Query(ctx, "count_over_time(weir_ready["+over+"])", now())
			if err != nil || len(list) > 1 {
				t.Fatalf("%v, %v", list, err)
			}
			if len(list) == 0 {
				return 0
			}
			return list[0].Value
		}
		pass(7 * time.Hour)
		back.Store(int64(2 * time.Hour))
		pass(clockPatience / 2)
		if _, err := os.Stat(dir + aside); err == nil {
			t.Error("something is put aside at once")
		}
		back.Store(0)
		pass(5 * time.Minute)
		if n := samples("4m"); n != 16 {
			t.Errorf("a clock that was wrong for a moment: %v samples in four minutes, want 16", n)
		}
		back.Store(int64(2 * time.Hour))
		pass(clockPatience + 4*time.Minute)
		if n := samples("3m"); n != 12 {
			t.Errorf("two hours back: %v samples in three minutes, want 12", n)
		}
		if n := samples("12h"); n < 4*60*3 {
			t.Errorf("of %v there are %v samples left, want those of three hours at least", now().Sub(began), n)
		}
		if _, err := os.Stat(dir + aside); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestRun checks the whole life: nothing before it is open, samples while it runs, nothing left of a
// temporary store, and the same again.
func TestRun(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := New(Config{Metrics: telemetry.NewMetrics(1), Log: slog.New(slog.DiscardHandler), Interval: 10 * time.Millisecond})
	if _, err := s.Query(t.Context(), "1", time.Now()); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		await(t, func() bool {
			list, err := s.Query(ctx, `weir_store_open`, time.Now())
			return err == nil && len(list) == 1 && list[0].Value == 1
		})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// await returns when ok is true; the test's own deadline is the bound.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatal("it never came true")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestUnopenable checks that a store which cannot be opened stops nobody.
func TestUnopenable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	log := new(strings.Builder)
	s := New(Config{Metrics: telemetry.NewMetrics(1), Dir: file, Log: slog.New(slog.NewTextHandler(locked{&mu, log}, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	await(t, func() bool { return s.state().Failures > 0 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String(), file) {
		t.Errorf("log %q; want the folder in it", log)
	}
}

// TestScrape checks what becomes of a target's page, good and bad.
func TestScrape(t *testing.T) {
	page := "# HELP orders Orders.\n# TYPE orders counter\norders{v=\"2\",job=\"theirs\"} 5\nplain 1e3 1700000000000\nanswers{\"http.code\"=\"200\"} 1\n"
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		w.WriteHeader(status)
		fmt.Fprint(w, page)
	}))
	defer server.Close()
	target, err := ParseTarget("shop=" + server.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Config{Targets: []Target{target}})
	f := newFeed(r.Store, target.Name, target.instance())
	r.targets.Store(&[]*feed{f})
	f.scrape(t.Context(), target)
	if got := r.one(`orders{v="2",job="shop",exported_job="theirs",instance=~"127.0.0.1:.*"}`); got != 5 {
		t.Errorf("orders %v, want 5", got)
	}
	if got := r.one(`plain{job="shop"}`) + r.one(`up{job="shop"}`); got != 1001 {
		t.Errorf("plain + up = %v, want 1001", got)
	}
	if got := r.get("metadata?metric=orders"); got != `{"orders":[{"type":"counter","help":"Orders.","unit":""}]}` {
		t.Errorf("metadata %s", got)
	}
	if got := r.get("label/U__http_2e_code/values"); got != `["200"]` { // as Grafana writes the name
		t.Errorf("values of http.code: %s", got)
	}
	for name, bad := range map[string]func(){
		"status":     func() { status = http.StatusTeapot },
		"not a page": func() { page = "<html>" },
		"too many":   func() { page = strings.Repeat("x{a=\"b\"} 1\n", maxScrapeSamples+1) },
		"too long":   func() { page = strings.Repeat("#"+strings.Repeat("x", 1023)+"\n", maxScrapeBytes>>10+1) },
	} {
		good := page
		r.pass(time.Second)
		f.scrape(t.Context(), target)
		r.one(`plain`)
		bad()
		r.pass(time.Second)
		f.scrape(t.Context(), target)
		if got := r.one(`up{job="shop"}`); got != 0 {
			t.Errorf("%s: up %v, want 0", name, got)
		}
		r.none("plain") // not the value of before
		page, status = good, http.StatusOK
	}
	server.Close()
	r.pass(time.Second)
	f.scrape(t.Context(), target)
	if got := r.one(`up{job="shop"}`); got != 0 {
		t.Errorf("gone: up %v, want 0", got)
	}
}

// get asks the API and returns the data of a good answer.
func (r *rig) get(path string) string {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", Prefix+"/api/v1/"+path, nil))
	var got envelope
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || got.Status != "success" {
		r.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return string(got.Data)
}

// TestAlerts checks when alerts are pending, firing and gone.
func TestAlerts(t *testing.T) {
	r := newRig(t, Config{})
	rule := model.AlertRule{Name: "Errors", Expr: `sum by (route) (weir_route_requests_total{code_class="5xx"}) > 0`, For: 10 * time.Second, Labels: map[string]string{"severity": "page"}}
	broken := model.AlertRule{Name: "Broken", Expr: `1 + `}
	r.SetRules([]model.RuleGroup{{Name: "g", Interval: 5 * time.Second, Rules: []model.AlertRule{rule, broken}}})
	state := func() string {
		r.round()
		r.evaluateDue(t.Context(), r.clock())
		var text []string
		for _, a := range r.Alerts() {
			text = append(text, fmt.Sprintf("%s %s firing=%v %v", a.Labels["route"], a.Labels["severity"], a.Firing, a.Value))
		}
		return strings.Join(text, ",")
	}
	if got := state(); got != "" {
		t.Errorf("%q, want none", got)
	}
	r.requests("shop/cart", 500, 3)
	for _, want := range []string{"shop/cart page firing=false 3", "shop/cart page firing=false 3", "shop/cart page firing=true 3"} {
		if got := state(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	rules := r.get("rules?type=alert")
	for _, want := range []string{`"state":"firing"`, `"health":"err"`, `"alertname":"Errors"`, `"type":"alerting"`} {
		if !strings.Contains(rules, want) {
			t.Errorf("rules without %s: %s", want, rules)
		}
	}
	// The same rule keeps its alerts; another begins anew.
	r.SetRules([]model.RuleGroup{{Name: "g", Interval: 5 * time.Second, Rules: []model.AlertRule{rule}}})
	if got := state(); got != "shop/cart page firing=true 3" {
		t.Errorf("after the same rules: %q", got)
	}
	rule.Expr += " and vector(0) > 1"
	r.SetRules([]model.RuleGroup{{Name: "g", Interval: 5 * time.Second, Rules: []model.AlertRule{rule}}})
	if got := state(); got != "" {
		t.Errorf("after another rule: %q", got)
	}
}

// TestKeptAlerts checks that a firing alert goes on for a while after it is in no answer, and that a pending one
// does not.
func TestKeptAlerts(t *testing.T) {
	r := newRig(t, Config{})
	rule := model.AlertRule{Name: "Errors", Expr: `sum(increase(weir_route_requests_total{code_class="5xx"}[20s] anchored)) > 2`, For: 5 * time.Second, Keep: 20 * time.Second}
	r.SetRules([]model.RuleGroup{{Name: "g", Interval: 5 * time.Second, Rules: []model.AlertRule{rule}}})
	history := ""
	for i := range 30 {
		if i == 2 || i == 14 {
			r.requests("shop/cart", 500, 3)
		}
		r.round()
		r.evaluateDue(t.Context(), r.clock())
		state := "."
		for _, a := range r.Alerts() {
			if state = "p"; a.Firing {
				state = "f"
			}
			if !a.Gone.IsZero() {
				state += "-"
			}
		}
		history += state
	}
	if want := "..pfff" + "f-f-f-f-" + "...." + "pfff" + "f-f-f-f-" + "........"; history != want {
		t.Errorf("%s, want\n%s", history, want)
	}
	r.requests("shop/cart", 500, 3)
	for range 5 {
		r.round()
		r.evaluateDue(t.Context(), r.clock())
	}
	r.pass(-30 * time.Minute) // the alert is over, and no longer kept because the clock says that it will come
	for range 6 {
		r.round()
		r.evaluateDue(t.Context(), r.clock())
	}
	if list := r.Alerts(); len(list) != 0 {
		t.Errorf("%+v after the clock went back", list)
	}
	if rules := r.get("rules"); !strings.Contains(rules, `"keepFiringFor":20`) {
		t.Errorf("rules: %s", rules)
	}
	for form, want := range map[string]int{"file[]=weir": 1, "file[]=other": 0, "rule_name[]=other": 0} {
		if rules := r.get("rules?" + form); strings.Count(rules, `"keepFiringFor"`) != want {
			t.Errorf("rules?%s: %s, want %d", form, rules, want)
		}
	}
}

// TestAPI checks answers and errors byte for byte against what Prometheus answers.
func TestAPI(t *testing.T) {
	r := newRig(t, Config{})
	r.mu.Lock()
	r.now = time.Unix(r.now.Unix(), 0)
	r.mu.Unlock()
	r.round()
	at := r.clock().Unix()
	handler := r.Handler()
	for _, c := range []struct {
		path, want string
		status     int
	}{
		{fmt.Sprintf("query?query=1%%2B1&time=%d.5", at), fmt.Sprintf(`{"status":"success","data":{"resultType":"scalar","result":[%d.5,"2"]}}`, at), 200},
		{fmt.Sprintf("query?query=weir_ready&time=%d", at), fmt.Sprintf(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"weir_ready","instance":"self","job":"weir"},"value":[%d,"0"]}]}}`, at), 200},
		{"query?query=nothing", `{"status":"success","data":{"resultType":"vector","result":[]}}`, 200},
		{fmt.Sprintf("query_range?query=weir_ready&start=%d&end=%d&step=1", at, at+1), fmt.Sprintf(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"weir_ready","instance":"self","job":"weir"},"values":[[%d,"0"],[%d,"0"]]}]}}`, at, at+1), 200},
		{"query_range?query=nothing&start=1&end=2&step=1m", `{"status":"success","data":{"resultType":"matrix","result":[]}}`, 200},
		{"query?query=1+", `{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:3: parse error: unexpected end of input"}`, 400},
		{"query?query=1&time=never", `{"status":"error","errorType":"bad_data","error":"invalid parameter \"time\": cannot parse \"never\" to a valid timestamp"}`, 400},
		{"query_range?query=1&start=1&end=0&step=1", `{"status":"error","errorType":"bad_data","error":"invalid parameter \"end\": end timestamp must not be before start time"}`, 400},
		{"query_range?query=1&start=0&end=11001&step=1", `{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11000 points per timeseries. Try decreasing the query resolution (?step=XX)"}`, 400},
		{"query_exemplars?query=test&start=1700000000000&end=1700001800000", `{"status":"success","data":[]}`, 200}, // as Grafana asks, in milliseconds
		{"query_exemplars?query=1+&start=1&end=2", `{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:3: parse error: unexpected end of input"}`, 400},
		{"query_exemplars?query=test&start=1", `{"status":"error","errorType":"bad_data","error":"invalid parameter \"end\": cannot parse \"\" to a valid timestamp"}`, 400},
		{"series", `{"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}`, 400},
		{"series?match[]=weir_ready", `{"status":"success","data":[{"__name__":"weir_ready","instance":"self","job":"weir"}]}`, 200},
		{"series?match[]={a=~%22.*%22}", `{"status":"error","errorType":"bad_data","error":"invalid parameter \"match[]\": match[] must contain at least one non-empty matcher"}`, 400},
		{"labels?match[]=weir_ready", `{"status":"success","data":["__name__","instance","job"]}`, 200},
		{"label/job/values?start=-292273086-05-16T16:47:06Z&end=%2B292277025-08-18T07:12:54.999999999Z", `{"status":"success","data":["weir"]}`, 200},
		{"label/__name__/values?match[]={__name__=~%22weir_r.*%22}&limit=1", `{"status":"success","data":["weir_ready"]}`, 200},
		{"metadata?metric=weir_ready", `{"status":"success","data":{"weir_ready":[{"type":"gauge","help":"1 if the process wants traffic, else 0.","unit":""}]}}`, 200},
		{"alerts", `{"status":"success","data":{"alerts":[]}}`, 200},
		{"rules", `{"status":"success","data":{"groups":[]}}`, 200},
		{"query?query=count({__name__=~%22.%2B%22})%20%2F%200%20%3E%200&limit=-1", `{"status":"error","errorType":"bad_data","error":"invalid parameter \"limit\": limit must be non-negative"}`, 400},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", Prefix+"/api/v1/"+strings.ReplaceAll(c.path, "1+", "1%2B"), nil))
		if w.Code != c.status || w.Body.String() != c.want {
			t.Errorf("%s: %d\n%s\nwant %d\n%s", c.path, w.Code, w.Body, c.status, c.want)
		}
	}
	form := httptest.NewRequest("POST", Prefix+"/api/v1/query", strings.NewReader(url.Values{"query": {"vector(1)"}}.Encode()))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	if handler.ServeHTTP(w, form); w.Code != 200 || !strings.Contains(w.Body.String(), `"1"`) {
		t.Errorf("POST: %d %s", w.Code, w.Body)
	}
	r.close()
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", Prefix+"/api/v1/query?query=1", nil))
	if want := `{"status":"error","errorType":"unavailable","error":"the store of time series is not open"}`; w.Code != 503 || w.Body.String() != want {
		t.Errorf("closed: %d %s", w.Code, w.Body)
	}
}

// TestQueryLimits checks that a question that is too much is refused, and nothing else.
func TestQueryLimits(t *testing.T) {
	r := newRig(t, Config{})
	r.round()
	for _, query := range []string{
		`sum_over_time((vector(1))[30d:1ms])`,
		`1 + max_over_time(sum_over_time(vector(1)[1s:1ms])[30m:1s])`,
		`sum({__name__!=""} * on() group_left() {__name__!=""})`,
		strings.Repeat("(", 1<<20) + "1" + strings.Repeat(")", 1<<20),
		strings.Repeat("-", maxQueryText) + "1",
		`label_replace(weir_ready, "a", "` + strings.Repeat("x", 300) + `", "", "")`,
		`label_replace(weir_ready, "a", ("` + strings.Repeat("$0", 100) + `"), "job", ".*")`,
		`1 + sum(label_replace(label_replace(label_replace(weir_ready, "a", "$0$0$0", "job", ".*"), "a", "$0$0$0", "a", ".*"), "a", "$0$0$0", "a", ".*"))`,
		`label_join(label_join(weir_ready, "a", "", "job", "job", "job", "job", "job"), "a", "", "a", "a", "a", "a")`,
	} {
		if _, err := r.Query(t.Context(), query, r.clock()); err == nil || kindOf(err) != "execution" {
			t.Errorf("%.80s: %v, want a refusal", query, err)
		}
	}
	if got := r.one(`label_replace(label_replace(weir_ready, "a", "$1-$2", "job", "(.)(.).*"), "b", "$0", "a", ".*")`); got != 0 {
		t.Errorf("labels of moderate length: %v", got)
	}
	for range maxQueries { // of the API
		r.asked <- struct{}{}
	}
	if got := r.one("1"); got != 1 {
		t.Errorf("one of this process's own beside those: %v", got)
	}
	for range maxOwn {
		r.Store.own <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := r.Query(ctx, "1", r.clock()); err == nil {
		t.Error("a query beside too many others was answered")
	}
	for range maxOwn {
		<-r.Store.own
	}
	if got := r.one("1"); got != 1 {
		t.Errorf("afterwards: %v", got)
	}
}
