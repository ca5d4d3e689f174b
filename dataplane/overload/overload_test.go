package overload

import (
	"testing"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	load "weir.dev/weir/traffic/overload"
)

func newSet() (*Set, *telemetry.Metrics) {
	m := telemetry.NewMetrics(1)
	return NewSet(m, func() uint64 { return 0 }), m
}

// TestLess: what steps give up together, each counted at the first step that does.
func TestLess(t *testing.T) {
	s, metrics := newSet()
	soon, sooner := &model.Timeouts{Request: 2 * time.Second}, &model.Timeouts{Request: time.Second}
	g := s.Guard(&model.Overload{Scope: "ns/r", Limit: 10, Degrade: []model.Degrade{
		{At: 0.5, NoRetries: true, ServeStale: time.Minute},
		{At: 0.8, Shed: model.ClassSheddable, Timeouts: soon, ServeStale: time.Second},
		{At: 0.9, Shed: model.ClassSheddablePlus, NoRetries: true, Timeouts: sooner, Answer: &model.FixedAnswer{Status: 200}},
	}})
	if g.Stale != time.Minute {
		t.Errorf("answers are kept for %v", g.Stale)
	}
	for _, test := range []struct {
		heat load.Heat // thousandths
		some bool
		want Less
	}{
		{499, false, Less{}},
		{500, true, Less{NoRetries: true, Stale: time.Minute}},
		{850, true, Less{NoRetries: true, Stale: time.Minute, Shed: model.ClassSheddable, Timeouts: soon}},
		{1000, true, Less{NoRetries: true, Stale: time.Minute, Shed: model.ClassSheddablePlus, Timeouts: sooner, Answer: g.Model.Degrade[2].Answer}},
	} {
		if got, some := g.Less(test.heat, func() uint64 { return 0 }); got != test.want || some != test.some {
			t.Errorf("at %d: %+v, %v", test.heat, got, some)
		}
	}
	g.CountGiven(GiveShed)
	g.CountWould(&Less{Shed: model.ClassSheddable, NoRetries: true, Stale: 1})
	for name, want := range map[telemetry.ProtectionKind]uint64{"shed": 1, "noRetries": 1, "serveStale": 1, "timeouts": 0, "answer": 0} {
		if got := metrics.Protection("ns/r", telemetry.ProtectDegrade+name).Acted(); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// TestStateOutlivesPolicies: a scope counts on whatever its policy says, until no route has it, and so does a throttle.
func TestStateOutlivesPolicies(t *testing.T) {
	s, _ := newSet()
	policy := model.Overload{Scope: "ns/r", Limit: 1, Throttle: &model.Throttle{Window: time.Minute, AcceptRatio: 2}}
	g := s.Guard(&policy)
	if !g.Scope.Gate.Try(0, model.ClassCritical) {
		t.Fatal("no place")
	}
	s.Throttle(&policy, "up").State.Count(0, true)
	disabled := policy
	disabled.Mode = model.ModeDisabled
	if s.Guard(&disabled) != nil || s.Throttle(&disabled, "up") != nil {
		t.Error("what is disabled guards")
	}
	wider := policy
	wider.Limit = 2
	if again := s.Guard(&wider); again.Scope != g.Scope {
		t.Error("the scope is another one")
	}
	if st := s.Statuses(); len(st) != 1 || st[0].InFlight != 1 || st[0].Limit != 2 {
		t.Errorf("%+v", st)
	}
	with := func(o *model.Overload) *model.Snapshot {
		r := &model.Route{Overload: o, Split: model.Split{Arms: []model.Arm{{Cluster: "up"}}}}
		return &model.Snapshot{RouteTables: []*model.RouteTable{{Entries: []model.Entry{{Route: r}}}}}
	}
	if s.Retain(with(&disabled)); len(s.Statuses()) != 1 || len(s.Throttles()) != 1 {
		t.Errorf("forgotten: %+v, %+v", s.Statuses(), s.Throttles())
	}
	if s.Retain(with(nil)); len(s.Statuses()) != 0 || len(s.Throttles()) != 0 {
		t.Errorf("left over: %+v, %+v", s.Statuses(), s.Throttles())
	}
}
