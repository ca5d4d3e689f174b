package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"weir.dev/weir/bench/release"
)

const restartUsers = 3000

const halfStages = "[{share: 10%, for: 1h}, {share: 50%, for: 1h}, {share: 100%}]"

// atHalf starts a release and brings it to its second stage, at which the canary has half of the users.
func atHalf(t *testing.T) (r *releasing, canary []int) {
	t.Helper()
	r = startRelease(t, restartUsers, staged(t, halfStages))
	return r, r.half(t)
}

// half promotes a run from its first stage.
func (r *releasing) half(t *testing.T) (canary []int) {
	t.Helper()
	r.order(t, "promote")
	r.was = r.share(t, "promoted", "Progressing", 50)
	canary = r.divided(t)
	r.ledger.Moves()
	return canary
}

// asBefore fails the test unless the run is where half has left it, for every user.
func (r *releasing) asBefore(t *testing.T, when string, canary []int) {
	t.Helper()
	s := r.became(t, when+": the run goes on", func(s release.Status) bool { return s.Phase == "Progressing" })
	at := func(s release.Status) string {
		return fmt.Sprintf("run %d since %v, generation %d, stage %d, %v %%", s.Run, s.Began, s.Generation, s.Stage, s.Share)
	}
	if is, want := at(s), at(r.was); is != want {
		t.Errorf("%s: %s, want %s", when, is, want)
	}
	if now := r.divided(t); !slices.Equal(now, canary) {
		t.Errorf("%s: %d users are at the canary, want the same %d as before", when, len(now), len(canary))
	}
	r.moved(t, when, nil)
}

// TestReleaseKilled: a run whose program is killed in the middle of a stage goes on where it was, and from
// the first request on nobody is elsewhere.
func TestReleaseKilled(t *testing.T) {
	t.Parallel()
	r, canary := atHalf(t)
	for range 2 {
		r.kill(t)
		r.process = launch(t, r.args...)
		r.asBefore(t, "after kill -9", canary)
	}
	r.order(t, "abort")
	r.divided(t)
	r.ledger.Moves()
	r.kill(t)
	r.process = launch(t, r.args...)
	if now := r.divided(t); len(now) > 0 {
		t.Errorf("aborted before kill -9, and %d users are at the canary after it", len(now))
	}
	r.share(t, "aborted before kill -9", "Aborted", 0)
}

// TestReleaseUpgraded: an upgrade in the middle of a stage, under traffic: no request fails, and no user
// changes over, not even while both processes serve, nor when the last one is killed.
func TestReleaseUpgraded(t *testing.T) {
	t.Parallel()
	r := prepareRelease(t, restartUsers, staged(t, halfStages))
	u := launchService(t, r.args...)
	r.process = u.process
	r.became(t, "Progressing", func(s release.Status) bool { return s.Phase == "Progressing" })
	canary := r.half(t)
	traffic := release.Load{Address: r.front, Users: r.users, Rate: 500, Seed: 5, Turns: true}.Begin(t.Context())
	defer traffic.Stop()
	pid := u.cmd.Process.Pid
	for range 2 {
		if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		pid = u.newPid(t)
		r.asBefore(t, "after an upgrade", canary)
	}
	traffic.Stop()
	if traffic.Failed.Load() > 0 || traffic.Broken.Load() > 0 || traffic.Sent.Load() < 100 {
		t.Errorf("of %d requests %d failed and %d had no answer: %s", traffic.Sent.Load(), traffic.Failed.Load(), traffic.Broken.Load(), traffic.Problem())
	}
	r.moved(t, "in all", nil)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		status, body := fetch("http://" + r.Admin + "/readyz")
		return status == 0, body
	})
	r.process = launch(t, r.args...)
	r.asBefore(t, "after upgrades and a kill", canary)
	r.order(t, "abort") // the last process has the state, and may act
	if now := r.divided(t); len(now) > 0 {
		t.Errorf("the process after two upgrades and a kill was told to abort, and %d users are at the canary", len(now))
	}
}

// TestReleaseAlone: while nobody decides anything, because the control side has stopped for an upgrade that does
// not come about, the proxy itself takes a canary back. Who decides hears of it afterwards.
func TestReleaseAlone(t *testing.T) {
	t.Parallel()
	r := prepareRelease(t, restartUsers, nil)
	u := launchService(t, append(r.args, "--upgrade-timeout", "10m")...)
	r.process = u.process
	r.became(t, "Progressing", func(s release.Status) bool { return s.Phase == "Progressing" })
	canary := r.divided(t)
	pidFile, end := u.replaceUntil(t, "exit 1")
	if err := syscall.Kill(u.cmd.Process.Pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		return strings.Contains(u.log.String(), "a new process starts"), u.log.String()
	})
	pidIn(t, pidFile)
	r.canary.Play(release.Fault{Share: 1}, 1)
	if failed := r.sweep(t, r.front); failed > 9 {
		t.Errorf("%d users saw a failure, want five or so", failed)
	}
	if n := r.canary.Seen().Requests; n > len(canary)/4 {
		t.Errorf("%d requests came to the canary, where %d would have if nobody had taken it back", n, len(canary))
	}
	before := r.canary.Seen().Requests
	r.sweep(t, r.front)
	if n := r.canary.Seen().Requests - before; n > 0 {
		t.Errorf("%d requests came to the canary after it was taken back", n)
	}
	if s := r.share(t, "while nobody decides", "Progressing", 10); s.Trip != nil {
		t.Error("somebody has decided: the test shows nothing")
	}
	end()
	s := r.became(t, "the trip is told of", func(s release.Status) bool { return s.Trip != nil })
	if s.Phase != "Aborted" || s.Share != 0 {
		t.Errorf("it is %s with %v %%", s.Phase, s.Share)
	}
	if out := r.history(t); !strings.Contains(out, "tripped") {
		t.Errorf("the history does not tell: %s", out)
	}
	r.sweep(t, r.front)
	if n := r.canary.Seen().Requests - before; n > 0 {
		t.Errorf("%d requests came to the canary once somebody decided again", n)
	}
}

// TestReleaseTwice starts two programs on one state folder: one acts, the other one leaves everything on
// stable, and takes over when the first is gone.
func TestReleaseTwice(t *testing.T) {
	t.Parallel()
	r, canary := atHalf(t)
	other := *r
	other.front, other.Admin = freePort(t), freePort(t)
	other.file = r.path("other.yaml")
	other.put(t, staged(t, halfStages))
	other.args = slices.Clone(r.args)
	other.args[1], other.args[3] = other.file, other.Admin
	other.process = launch(t, other.args...)
	if now := other.divided(t); len(now) > 0 {
		t.Errorf("the second program has sent %d users to the canary", len(now))
	}
	if s, err := other.Status(t.Context()); err != nil || !strings.Contains(s.Problem, "another process") {
		t.Errorf("its status is %+v, %v; want the problem that another process holds the state", s, err)
	}
	token, err := os.ReadFile(r.path("token"))
	if err != nil {
		t.Fatal(err)
	}
	other.Token = strings.TrimSpace(string(token))
	if err := other.Do(t.Context(), "promote"); err == nil {
		t.Error("the second program has promoted what is not its own")
	}
	r.divided(t)
	r.ledger.Moves()
	r.asBefore(t, "beside a second program", canary)
	r.kill(t)
	other.became(t, "the second program takes over", func(s release.Status) bool { return s.Problem == "" && s.Phase == "Progressing" })
	other.asBefore(t, "in the second program", canary)
}

// TestReleaseStateLost: without what was kept nobody is sent to a canary that may have been taken back; and where
// nothing ever was, the run begins at its first stage.
func TestReleaseStateLost(t *testing.T) {
	t.Parallel()
	r, _ := atHalf(t)
	r.kill(t)
	file := filepath.Join(r.path("state"), "state.db")
	put(t, file, strings.Repeat("no state\n", 4096))
	r.process = launch(t, r.args...)
	if now := r.divided(t); len(now) > 0 {
		t.Errorf("with a damaged state %d users are at the canary", len(now))
	}
	s := r.share(t, "with a damaged state", "Aborted", 0)
	if blocking(s) != "state" {
		t.Errorf("it says %+v, want that the state is lost", s.Blocking)
	}
	r.order(t, "start")
	r.share(t, "started by hand", "Progressing", 10)
	r.order(t, "promote")
	r.kill(t)
	if err := os.RemoveAll(r.path("state")); err != nil {
		t.Fatal(err)
	}
	r.process = launch(t, r.args...)
	s = r.became(t, "it begins anew", func(s release.Status) bool { return s.Phase == "Progressing" })
	if s.Run != 1 || s.Stage != 1 || s.Share != 10 {
		t.Errorf("without the folder: run %d, stage %d, %v %%; want the first stage of a first run", s.Run, s.Stage, s.Share)
	}
	if resp, err := http.Get("http://" + r.front + "/"); err != nil || resp.Header.Get(release.Header) != "stable" {
		t.Errorf("a request without a user: %v, %v; want stable", resp, err)
	}
}
