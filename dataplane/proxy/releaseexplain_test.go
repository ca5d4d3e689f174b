package proxy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/sample"
)

// TestExplainRelease: the shares are those that hold now, and who asks is told which arm it got and why.
func TestExplainRelease(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		route := releasing(model.Guard{ConsecutiveFailures: 5, Stages: 1})
		route.Split.Release.Cohorts = []model.Cohort{{Name: "staff", When: `request.headers["x-staff"] == "1"`}}
		route.Split.Release.Sampling.Fallback = model.FallbackCookie
		l := newLaunch(t, n, route, Config{})
		c := l.patient()
		ask := func(fields string) *model.Explanation {
			_, e := c.send("GET / HTTP/1.1\nX-Weir-Explain: 1\nHost: h\n" + fields + "\n").explained()
			return e
		}
		asked := func(fields string, want model.ExplainedRelease, stable float64) *model.Explanation {
			t.Helper()
			want.Name = testRelease
			e := ask(fields)
			if diff := cmp.Diff(&want, e.Release); diff != "" {
				t.Errorf("%s-want +got:\n%s", fields, diff)
			}
			arms := []model.ArmShare{
				{Name: "stable", Cluster: "stable", Weight: 1, Share: stable, Release: "stable of " + testRelease},
				{Name: "canary", Cluster: "canary", Share: 1 - stable, Release: "canary of " + testRelease},
			}
			if diff := cmp.Diff(arms, e.Arms); diff != "" {
				t.Errorf("%s-want +got:\n%s", fields, diff)
			}
			return e
		}
		tune := func(k model.ReleaseKnob) {
			t.Helper()
			if err := l.proxy.Tune(knobs(k)); err != nil {
				t.Fatal(err)
			}
		}
		asked("", model.ExplainedRelease{Arm: "stable", Why: "nothing is decided for this version of the canary: stable has everything"}, 1)

		tune(knob(2, 3, 2500))
		said := func(arm, why string) model.ExplainedRelease {
			return model.ExplainedRelease{Run: 2, Generation: 3, Share: 2500, Arm: arm, Why: why}
		}
		keyed := func(user string, arm string) (fields string, want model.ExplainedRelease) {
			want = said(arm, "its user's bucket, by the key")
			bucket := sample.NewSalt(testRelease).User([]byte(user)).Bucket()
			want.Bucket = &bucket
			return "X-User: " + user + "\n", want
		}
		fields, want := keyed(userIn(100), "stable")
		asked(fields, want, 0.75)
		asked(fields+"X-Staff: 1\n", said("canary", "it belongs to the cohort staff"), 0.75)
		asked(fields+"X-Weir-Arm: "+testRelease+"=canary\n", said("canary", "its caller's x-weir-arm"), 0.75)
		fields, want = keyed(userIn(-100), "canary")
		asked(fields, want, 0.75)
		if e := ask(""); e.Release.Why != "its user's bucket, by the id that the answer gives" || e.Release.Bucket == nil {
			t.Errorf("%+v", e.Release)
		}

		l.crowd(1, 100)
		l.canary.set(func(int64) (int, time.Duration) { return 500, 0 })
		for i := 0; l.tripped() == nil && i < 20; i++ { // users fail, not requests
			e := ask("X-User: " + userIn(i-2500) + "\n")
			ask("X-User: " + userIn(i+100) + "\n")
			if e.Release.Arm != "canary" {
				t.Errorf("%+v", e.Release)
			}
			if l.tripped() != nil && (e.Release.Why != want.Why+"; the canary was taken back meanwhile, and stable was asked again" || e.Arm != "stable") {
				t.Errorf("%+v", e)
			}
		}
		want = said("stable", "the canary was taken back: stable has everything")
		want.Share = 0
		asked(fields, want, 1)
		tune(knob(3, 1, 2500))
		ended := knob(3, 2, 0)
		ended.Running = false
		tune(ended)
		asked(fields, model.ExplainedRelease{Run: 3, Generation: 2, Arm: "stable", Why: "the run is over: stable has everything"}, 1)
	})
}
