package release

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/guard"
	"weir.dev/weir/traffic/sample"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testRelease is the release of all tests here, of the arms stable and canary.
const testRelease = "shop/checkout"

// launch is a release without a proxy: requests are drawn, and end as tests say.
type launch struct {
	t     testing.TB
	set   *Set
	split model.Split
	route *Route
}

// newLaunch has a release with a strict guard, by the field x-user, under a knob.
func newLaunch(t testing.TB, knobs ...model.ReleaseKnob) *launch {
	l := &launch{t: t, set: NewSet(slog.New(slog.DiscardHandler), 2), split: model.Split{
		Arms: []model.Arm{{Name: "stable", Weight: 1}, {Name: "canary"}},
		Release: &model.Release{
			Name: testRelease, Subject: "v2", Stable: "stable", Canary: "canary",
			Guard: model.Guard{
				Errors:              &model.ErrorGuard{MaxDifference: 0.01, Alpha: 0.001},
				Latency:             &model.LatencyGuard{Quantile: 0.99, MaxRatio: 1.5, Alpha: 0.001},
				ConsecutiveFailures: 5, Stages: 4,
			},
			Sampling: model.Sampling{
				Unit: model.SampleUsers, Salt: testRelease, Key: []model.Key{{Source: model.KeyHeader, Name: "x-user"}}, Fallback: model.FallbackRequest,
			},
		},
	}}
	l.compile(func(*model.Split) {})
	if err := l.tune(knobs...); err != nil {
		t.Fatal(err)
	}
	return l
}

// compile has the route be compiled again, with a change.
func (l *launch) compile(change func(s *model.Split)) {
	m := *l.split.Release
	l.split.Release = &m
	change(&l.split)
	l.route = l.set.Route(&l.split, func(int) bool { return true })
}

func (l *launch) tune(list ...model.ReleaseKnob) error {
	return l.set.Tune(&model.Knobs{Releases: list, SampleSecret: []byte("a secret of all proxies")})
}

// knob gives the canary so many of 10,000 buckets.
func knob(run, generation uint64, share int) model.ReleaseKnob {
	written := []sample.ArmWeight{{Arm: "stable", Weight: 1}, {Arm: "canary"}}
	return model.ReleaseKnob{
		Release: testRelease, Subject: "v2", Run: run, Generation: generation, Running: true,
		Ranges: sample.Reweight(sample.Initial(written), sample.ShareOf(written, "stable", "canary", share)),
	}
}

// request is the head of one with some fields.
func request(t testing.TB, fields string) *policy.Facts {
	var r http1.Request
	if _, err := r.Parse([]byte(strings.ReplaceAll("GET / HTTP/1.1\nHost: h\n"+fields+"\n", "\n", "\r\n")), &http1.Limits{}); err != nil {
		t.Fatal(err)
	}
	return &policy.Facts{Request: &r}
}

// begin draws a request with some fields, which are believed, and begins it.
func (l *launch) begin(fields string) (d Draw, arm string) {
	at := d.Choose(l.route, request(l.t, fields), true, rand.Uint64)
	d.Begin(0, 0)
	return d, l.route.arms[at].Name
}

// ask is a whole request that ends so.
func (l *launch) ask(fields string, v guard.Verdict) (arm string) {
	d, arm := l.begin(fields)
	if d.Heard() {
		d.HeadCame()
	}
	d.End(v)
	return arm
}

// seen is the release as the control plane hears of it.
func (l *launch) seen() model.ReleaseObservation {
	l.t.Helper()
	list := l.set.Observe()
	if len(list) != 1 {
		l.t.Fatalf("%d observations", len(list))
	}
	return list[0]
}

// fail has a number of users fail at the canary, beside others whom stable serves well.
func (l *launch) fail(users int) {
	for i := range users {
		l.ask(fmt.Sprintf("X-User: a%d\nX-Weir-Arm: %s=stable\n", i, testRelease), guard.Good)
		l.ask(fmt.Sprintf("X-User: b%d\nX-Weir-Arm: %s=canary\n", i, testRelease), guard.Bad)
	}
}
