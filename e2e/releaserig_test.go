package e2e_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/bench/release"
)

// releasing is the real program before two versions of a service, with the Rollout default/app.
type releasing struct {
	*process
	release.Rollout
	stable, canary *release.Version
	ledger         *release.Ledger
	users          int
	front          string
	file           string
	args           []string
	edits          int
	was            release.Status // when half of the users came to the canary
}

const (
	anyGuard   = "{errors: {maxDifference: 1%, confidence: 99.9%}, consecutiveFailures: 5}"
	hourStages = "[{share: 1%, for: 1h}, {share: 10%, for: 1h}, {share: 50%, for: 1h}, {share: 100%}]"
)

// prepareRelease starts both versions, and writes what the program is to read: as edit would have it.
func prepareRelease(t *testing.T, users int, edit func(string) string) *releasing {
	t.Helper()
	r := &releasing{users: users, ledger: release.NewLedger(users), front: freePort(t)}
	dir := t.TempDir()
	for name, v := range map[string]**release.Version{"stable": &r.stable, "canary": &r.canary} {
		served, err := release.Serve(name, release.Times{}, r.ledger)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = served.Close() })
		*v = served
	}
	r.file = filepath.Join(dir, "app.yaml")
	r.put(t, edit)
	r.Rollout = release.Rollout{Admin: freePort(t), Name: "default/app"}
	r.args = []string{
		"-f", r.file, "--admin", r.Admin, "--state-dir", filepath.Join(dir, "state"), "--token-file", filepath.Join(dir, "token"),
	}
	return r
}

// startRelease is prepareRelease, and starts the program: the run is at its first stage.
func startRelease(t *testing.T, users int, edit func(string) string) *releasing {
	t.Helper()
	r := prepareRelease(t, users, edit)
	r.process = launch(t, r.args...)
	r.became(t, "Progressing", func(s release.Status) bool { return s.Phase == "Progressing" })
	return r
}

func (r *releasing) path(name string) string { return filepath.Join(filepath.Dir(r.file), name) }

// put writes the resources, as edit would have them; nil changes nothing.
func (r *releasing) put(t *testing.T, edit func(string) string) {
	t.Helper()
	text := release.Service{
		Port: portAt(t, r.front), Stable: r.stable.Port(), Canary: r.canary.Port(), Share: "10%", Guard: anyGuard,
	}.Resources()
	if edit != nil {
		text = edit(text)
	}
	r.edits++
	put(t, r.file, text+fmt.Sprintf(mark, r.edits))
}

// mark is a route that tells one edit from another.
const mark = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: mark}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /mark}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: edit-%d.test}}]
`

// live waits until what was put last is in effect, and decided about.
func (r *releasing) live(t *testing.T) {
	t.Helper()
	eventually(t, func() (bool, string) {
		_, body := fetch("http://" + r.Admin + "/api/v1/snapshot")
		return strings.Contains(body, fmt.Sprintf("edit-%d.test", r.edits)), body
	})
}

func portAt(t *testing.T, address string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

// swap is an edit that puts other texts in the places of some, each of which has to be there.
func swap(t *testing.T, pairs ...string) func(string) string {
	return func(text string) string {
		t.Helper()
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(text, pairs[i]) {
				t.Fatalf("no %q in\n%s", pairs[i], text)
			}
			text = strings.Replace(text, pairs[i], pairs[i+1], 1)
		}
		return text
	}
}

// staged gives the Rollout other stages.
func staged(t *testing.T, stages string) func(string) string {
	return swap(t, "[{share: 10%, for: 1h}, {share: 100%}]", stages)
}

// became waits until the status is so.
func (r *releasing) became(t *testing.T, what string, ok func(release.Status) bool) release.Status {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("did not happen: "+what))
	defer cancel()
	s, err := r.Until(ctx, ok)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// order has something done by whoever holds the token file.
func (r *releasing) order(t *testing.T, verb string) {
	t.Helper()
	token, err := os.ReadFile(r.path("token"))
	if err != nil {
		t.Fatal(err)
	}
	r.Token = strings.TrimSpace(string(token))
	if err := r.Do(t.Context(), verb); err != nil {
		t.Fatal(err)
	}
}

// weir runs the program for its answer.
func (r *releasing) weir(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	text, err := exec.CommandContext(ctx, program, append(args, "--admin", r.Admin)...).CombinedOutput()
	return string(text), err
}

// kill ends the program at once.
func (r *releasing) kill(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.exited
}

// sweepers is how many users of a sweep are on their way at once.
const sweepers = 16

// sweep has every user come once, and reports how many were answered with anything but 200.
func (r *releasing) sweep(t *testing.T, front string, fields ...string) (failed int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for first := range sweepers {
		all.Go(func() {
			bad, err := sweepPart(front, first, r.users, fields)
			mu.Lock()
			defer mu.Unlock()
			failed += bad
			if err != nil {
				t.Errorf("sweep: %v", err)
			}
		})
	}
	all.Wait()
	return failed
}

func sweepPart(front string, first, users int, fields []string) (bad int, err error) {
	var conn net.Conn
	var answers *bufio.Reader
	last := true
	extra := strings.Join(append(slices.Clone(fields), ""), "\r\n")
	for uid := first; uid < users; uid += sweepers {
		if last { // for a process that is replaced says so with an answer
			if conn, err = net.DialTimeout("tcp", front, patience); err != nil {
				return bad, err
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
				return bad, err
			}
			answers = bufio.NewReader(conn)
		}
		if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: app\r\nCookie: uid=%d\r\n%s\r\n", uid, extra); err != nil {
			return bad, err
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return bad, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil {
			return bad, err
		}
		if resp.StatusCode != 200 {
			bad++
		}
		last = resp.Close
	}
	return bad, nil
}

// divided has every user come once, and returns those who were at the canary.
func (r *releasing) divided(t *testing.T) (canary []int) {
	t.Helper()
	if failed := r.sweep(t, r.front); failed > 0 {
		t.Errorf("%d of %d users got no 200", failed, r.users)
	}
	return r.ledger.At("canary")
}

// stay fails the test if anybody is at another version than before.
func (r *releasing) stay(t *testing.T, when string) {
	t.Helper()
	r.ledger.Moves()
	r.divided(t)
	r.moved(t, when, nil)
}

// moved fails the test if others have changed over than these.
func (r *releasing) moved(t *testing.T, when string, want map[release.Move]int) {
	t.Helper()
	if got := r.ledger.Moves(); !maps.Equal(got, want) {
		t.Errorf("%s: users who changed over: %v, want %v", when, got, want)
	}
}

// within reports whether all of some are among others, both in rising order.
func within(some, others []int) bool {
	for _, one := range some {
		if _, found := slices.BinarySearch(others, one); !found {
			return false
		}
	}
	return true
}

// blocking is the name of what blocks a Rollout.
func blocking(s release.Status) string {
	if s.Blocking == nil {
		return ""
	}
	return s.Blocking.Name
}

// share fails the test unless the status has this share and phase.
func (r *releasing) share(t *testing.T, when, phase string, share release.Percent) release.Status {
	t.Helper()
	s, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Phase != phase || s.Share != share {
		t.Errorf("%s: %s with %v %% (%s), want %s with %v %%", when, s.Phase, s.Share, cmp.Or(blocking(s), "nothing blocks"), phase, share)
	}
	return s
}

// history is what `weir rollout history` prints.
func (r *releasing) history(t *testing.T) string {
	t.Helper()
	out, err := r.weir(t, "rollout", "history", r.Name)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(bytes.TrimSpace([]byte(out)))
}
