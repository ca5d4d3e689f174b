package guard

import (
	"fmt"
	"math"

	"weir.dev/weir/model"
)

const (
	// byFar is by how much the canary's share of bad outcomes has to exceed that of a stable that is
	// unhealthy itself.
	byFar = 0.25
	// fewest is on fewer than how many who failed no test acts.
	fewest = 3
)

// test is one sequential test. Its boundary is 0 where the guard does not ask for it.
type test struct {
	name, claim     string
	boundary, borne float64
	evidence        evidence

	open    block   // of the canary; stable's part is what has been counted since before
	before  counted // of stable, at the end of the last block
	careful bool    // stable was unhealthy as the block began

	canary, stable total
}

// total is all that a test has heard of one arm.
type total struct{ all, bad uint64 }

func (t total) share() float64 { return float64(t.bad) / float64(max(t.all, 1)) }

func newTest(name, claim string, alpha, borne, expected float64) test {
	return test{
		name: name, claim: claim, boundary: boundaryOf(alpha), borne: borne, evidence: newEvidence(expected),
	}
}

// add takes an outcome of the canary, beside all that was counted of stable until now, and says
// whether there is evidence enough. A block ends as soon as it has outcomes of both arms.
func (t *test) add(bad bool, stable counted, unhealthy bool) (trip bool) {
	t.open.canary++
	t.canary.all++
	if bad {
		t.open.canaryBad++
		t.canary.bad++
	}
	news := stable - t.before
	if news.all() == 0 {
		return false
	}
	t.open.stable, t.open.stableBad = news.all(), news.bad()
	t.stable.all += uint64(t.open.stable)
	t.stable.bad += uint64(t.open.stableBad)
	borne := t.borne
	if t.careful {
		borne = max(borne, byFar)
	}
	t.evidence.add(t.open, borne)
	t.end(stable)
	t.careful = unhealthy
	return t.canary.bad >= fewest && t.evidence.wealth() >= t.boundary
}

// end begins another block, beside all that was counted of stable until now.
func (t *test) end(stable counted) {
	t.open, t.before = block{}, stable
}

func (t *test) observation() model.TestObservation {
	return model.TestObservation{
		Name: t.name, Evidence: math.Log(t.evidence.wealth()), Boundary: math.Log(t.boundary), Detail: t.detail(),
	}
}

func (t *test) detail() string {
	text := fmt.Sprintf("%s: %s of canary's, %s of stable's; %s more are borne",
		t.claim, t.canary, t.stable, percent(t.borne))
	if t.careful {
		text += fmt.Sprintf(", %s while stable is unhealthy", percent(max(t.borne, byFar)))
	}
	return text
}

func (t *test) reason() string {
	return fmt.Sprintf("%s: %s of the canary's, but %s of stable's at the same time; were it no more than %s worse, this would come about once in %.0f times",
		t.claim, t.canary, t.stable, percent(t.borne), t.boundary)
}

func (t total) String() string {
	return fmt.Sprintf("%d of %d (%s)", t.bad, t.all, percent(t.share()))
}

func percent(share float64) string { return fmt.Sprintf("%.3g %%", 100*share) }
