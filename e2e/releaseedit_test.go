package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/bench/release"
)

const editUsers = 4000

// editable starts a release at its second stage of three, half of the users at the canary.
func editable(t *testing.T, first func(string) string) (r *releasing, edit func(t *testing.T, pairs ...string), canary []int) {
	t.Helper()
	base := func(text string) string {
		return first(staged(t, halfStages)(text))
	}
	r = startRelease(t, editUsers, base)
	canary = r.half(t)
	return r, func(t *testing.T, pairs ...string) {
		t.Helper()
		r.put(t, func(text string) string { return swap(t, pairs...)(base(text)) })
		r.live(t)
	}, canary
}

func asIs(text string) string { return text }

// TestReleaseEdited edits what a run is about while it goes on: it never gets a larger share by that, and
// who has not to change over stays.
func TestReleaseEdited(t *testing.T) {
	t.Parallel()
	r, edit, canary := editable(t, asIs)
	edit(t, "maxDifference: 1%", "maxDifference: 2%")
	r.asEdited(t, "another guard", canary)
	edit(t, "{share: 50%, for: 1h}", "{share: 50%, for: 2h}, {share: 80%, for: 1h}")
	r.asEdited(t, "another stage", canary)

	edit(t, "{share: 50%, for: 1h}", "{share: 90%, for: 1h}")
	if s := r.share(t, "a larger share for the stage", "Progressing", 50); s.Run != 1 {
		t.Errorf("run %d", s.Run)
	}
	r.stay(t, "a larger share for the stage")

	edit(t, "{share: 50%, for: 1h}", "{share: 20%, for: 1h}")
	r.became(t, "a smaller share for the stage", func(s release.Status) bool { return s.Share == 20 })
	now := r.divided(t)
	if !within(now, canary) || len(now) >= len(canary) {
		t.Errorf("a smaller share for the stage: %d users at the canary, want some of the %d before", len(now), len(canary))
	}
	r.moved(t, "a smaller share for the stage", map[release.Move]int{{From: "canary", To: "stable"}: len(canary) - len(now)})

	edit(t)
	r.share(t, "the larger share again", "Progressing", 20)
	r.stay(t, "the larger share again")
}

func (r *releasing) asEdited(t *testing.T, what string, canary []int) {
	t.Helper()
	if s := r.share(t, what, "Progressing", 50); s.Run != 1 || s.Stage != 2 {
		t.Errorf("%s: run %d, stage %d, want 1, 2", what, s.Run, s.Stage)
	}
	if now := r.divided(t); !slices.Equal(now, canary) {
		t.Errorf("%s: %d users at the canary, want the same %d", what, len(now), len(canary))
	}
	r.moved(t, what, nil)
}

// TestReleaseRevised: another revision is another run, from stage one.
func TestReleaseRevised(t *testing.T) {
	t.Parallel()
	r, edit, canary := editable(t, asIs)
	edit(t, "  sampling:", "  revision: v2\n  sampling:")
	s := r.became(t, "a second run", func(s release.Status) bool { return s.Run == 2 })
	if s.Stage != 1 || s.Share != 10 {
		t.Errorf("stage %d with %v %%, want the first one", s.Stage, s.Share)
	}
	if now := r.divided(t); !within(now, canary) || len(now) == 0 {
		t.Errorf("%d users at the canary, want some of the %d before: the salt is the same", len(now), len(canary))
	}
}

// TestReleaseGoes takes away what a run needs: everything goes back to stable at once.
func TestReleaseGoes(t *testing.T) {
	t.Parallel()
	r, edit, _ := editable(t, asIs)
	rollout := func(text string) string {
		return text[strings.Index(text, "---\napiVersion: weir.dev/v1alpha1\nkind: Rollout"):]
	}
	text := staged(t, halfStages)(release.Service{
		Port: portAt(t, r.front), Stable: r.stable.Port(), Canary: r.canary.Port(), Share: "10%", Guard: anyGuard,
	}.Resources())

	canaryBackend := fmt.Sprintf("kind: Backend\nmetadata: {name: canary}\nspec: {endpoints: [{address: 127.0.0.1, port: %d}]}", r.canary.Port())
	edit(t, canaryBackend, strings.Replace(canaryBackend, "name: canary", "name: elsewhere", 1))
	s := r.became(t, "the run has ended", func(s release.Status) bool { return s.Phase == "Waiting" })
	if now := r.divided(t); len(now) > 0 {
		t.Errorf("the canary's Backend is gone, and %d users are at it", len(now))
	}
	if s.Share != 0 || blocking(s) != "plan" {
		t.Errorf("%v %%, %+v; want 0 %% and the plan to blame", s.Share, s.Blocking)
	}
	edit(t)
	s = r.became(t, "a second run", func(s release.Status) bool { return s.Phase == "Progressing" })
	if s.Run != 2 || s.Stage != 1 || s.Share != 10 {
		t.Errorf("run %d, stage %d, %v %%; want a share that is earned from stage one", s.Run, s.Stage, s.Share)
	}

	edit(t, rollout(text), "")
	eventually(t, func() (bool, string) {
		s, err := r.Status(t.Context())
		return err != nil, fmt.Sprintf("%+v", s)
	})
	if now := r.divided(t); len(now) > 0 {
		t.Errorf("the Rollout is gone, the rule lists stable alone, and %d users are at the canary", len(now))
	}
}

// TestReleaseConflict: a second Rollout on the rule changes nothing, and is told so.
func TestReleaseConflict(t *testing.T) {
	t.Parallel()
	r, edit, canary := editable(t, asIs)
	second := fmt.Sprintf(`---
apiVersion: weir.dev/v1alpha1
kind: Rollout
metadata: {name: second}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: app, sectionName: all}
  stable: {group: weir.dev, kind: Backend, name: canary}
  canary: {group: weir.dev, kind: Backend, name: stable}
  stages: [{share: 100%%}]
---
apiVersion: weir.dev/v1alpha1
kind: Rollout
metadata: {name: app}
`)
	edit(t, "---\napiVersion: weir.dev/v1alpha1\nkind: Rollout\nmetadata: {name: app}\n", second)
	r.asEdited(t, "a second Rollout", canary)
	out, err := r.weir(t, "get", "rollouts")
	if err != nil || !strings.Contains(out, "already has Rollout default/app") {
		t.Errorf("%v; the second one does not say why it does nothing: %s", err, out)
	}
}

// TestReleaseBesideOthers: backends of the rule that the Rollout is not about keep their share, and when their
// weights change only as many users change over as have to.
func TestReleaseBesideOthers(t *testing.T) {
	t.Parallel()
	var r *releasing
	other, err := release.Serve("other", release.Times{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	with := func(weight int) string {
		return fmt.Sprintf("[{group: weir.dev, kind: Backend, name: stable, weight: 80}, {group: weir.dev, kind: Backend, name: other, weight: %d}]", weight)
	}
	first := func(text string) string {
		return swap(t, "[{group: weir.dev, kind: Backend, name: stable}]", with(20))(text) + fmt.Sprintf(`---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: other}
spec: {endpoints: [{address: 127.0.0.1, port: %d}]}
`, other.Port())
	}
	var edit func(*testing.T, ...string)
	var canary []int
	r, edit, canary = editable(t, first)
	near := func(when, what string, n, percent int) {
		t.Helper()
		if want := editUsers * percent / 100; n < want-want/8 || n > want+want/8 {
			t.Errorf("%s: %s has %d of %d users, want about %d %%", when, what, n, editUsers, percent)
		}
	}
	near("at half", "the canary", len(canary), 40)
	other.Play(release.Fault{}, 1)
	r.divided(t)
	near("at half", "the other", other.Seen().Requests, 20)

	edit(t, "name: other, weight: 20}", "name: other, weight: 80}")
	r.ledger.Forget()
	other.Play(release.Fault{}, 1)
	now := r.divided(t)
	near("with more weight", "the other", other.Seen().Requests, 50)
	near("with more weight", "the canary", len(now), 25)
	if !within(now, canary) {
		t.Error("users have come to the canary because the other has more weight")
	}
	r.share(t, "with more weight", "Progressing", 50)
}
