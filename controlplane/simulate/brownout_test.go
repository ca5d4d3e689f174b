package simulate

import (
	"fmt"
	"strings"
	"testing"
)

// tight is the good policy with a time for tries that is right on a good day only, and with what
// ejects by default.
var tight = strings.Replace(good, "perTry: 500ms", "perTry: 300ms", 1)

// TestBrownOutEjectsHardlyAnybody: where all hosts are slow at once nobody is the odd one, although
// tries run out of time in rows everywhere. What can be done is done, as if nobody could be
// ejected, and a second after the cause has gone so has its effect.
func TestBrownOutEjectsHardlyAnybody(t *testing.T) {
	off := backendPolicy("  outlierDetection: {consecutiveLocal: 0}\n")
	for seed, factor := range []string{"2", "3", "4", "8"} {
		spec := strings.Replace(storm, `slowDown: "4"`, `slowDown: "`+factor+`"`, 1) + fmt.Sprint(seed) + "\n"
		with := play(t, snapshotOf(t, edge+policy(tight)), scenarioOf(t, spec))
		without := play(t, snapshotOf(t, edge+policy(tight)+off), scenarioOf(t, spec))
		if with.Failed > 0 || with.Goodput < without.Goodput-0.02 {
			t.Errorf("%s times as slow: goodput %.3f, and %.3f without ejections; limits %v", factor, with.Goodput, without.Goodput, with.Limits)
		}
		if n := with.Services[0].Ejections; n > 2 {
			t.Errorf("%s times as slow: %d of ten hosts are ejected", factor, n)
		}
	}
}

// TestWhoHangsIsEjected: hosts that connect and never answer leave within a second, as long as
// others do well: up to the ceiling, even if they are most.
func TestWhoHangsIsEjected(t *testing.T) {
	for hosts, want := range map[int]int{1: 1, 3: 3, 7: 5} {
		spec := strings.Replace(storm, `slowDown: "4"`, fmt.Sprintf(`hang: true, hosts: "%d"`, hosts), 1) + "1\n"
		r := play(t, snapshotOf(t, edge+policy(tight)), scenarioOf(t, spec))
		if got := r.Steps[10].Services[0].Ejected; got != want {
			t.Errorf("%d of ten hang, %d are ejected", hosts, got)
		}
	}
}
