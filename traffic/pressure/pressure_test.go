package pressure

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// memory returns readings with so many of 1,000 bytes used.
func memory(used uint64) *Readings {
	return &Readings{Memory: {Used: used, Limit: 1000}}
}

// step is a quarter of a second, as the process takes its readings.
const step = 250 * time.Millisecond

// TestLayers goes up at once and down one by one, each after a second below its slack.
func TestLayers(t *testing.T) {
	m := NewMonitor()
	now := time.Unix(1000, 0)
	for _, s := range []struct {
		used  uint64
		steps int // how often
		want  Layer
	}{
		{799, 1, None},
		{800, 1, Trim},
		{910, 1, Hold},
		{850, 20, Hold}, // Hold begins at 90 %, so that it ends below 85 %
		{849, 4, Hold},  // not for a second yet
		{849, 1, Trim},
		{849, 20, Trim},
		{740, 4, Trim},
		{760, 1, Trim}, // the second begins anew
		{740, 4, Trim},
		{740, 1, None},
		{990, 1, Refuse},
		{100, 4, Refuse},
		{100, 4, Hold},
		{100, 4, Trim},
		{100, 4, None},
	} {
		for range s.steps {
			now = now.Add(step)
			m.Step(now, memory(s.used))
		}
		if got := m.State().Layer(); got != s.want {
			t.Fatalf("after %d of 1000 bytes, %d times: %s, want %s", s.used, s.steps, got, s.want)
		}
	}
}

// TestResources: what a resource has no layer for, it never comes to.
func TestResources(t *testing.T) {
	for resource, want := range [Resources]Layer{Memory: Refuse, Connections: Trim, Files: Hold} {
		m := NewMonitor()
		var r Readings
		r[resource] = Reading{Used: 2, Limit: 1}
		now := time.Unix(1000, 0)
		changes := m.Step(now, &r)
		if len(changes) != 1 || changes[0].Resource != Resource(resource) || changes[0].From != None || changes[0].To != want || m.State().Layer() != want {
			t.Errorf("%s: %+v, want it to come to %s", Resource(resource), changes, want)
		}
		r[resource].Limit = 0
		for range 40 {
			now = now.Add(step)
			m.Step(now, &r)
		}
		if got := m.Layer(Resource(resource)); got != None {
			t.Errorf("%s: without a limit it stays at %s", Resource(resource), got)
		}
	}
}

// TestRecovery: after a refusal of all, what is served grows in steps, and falls back at once.
func TestRecovery(t *testing.T) {
	m := NewMonitor()
	now := time.Unix(1000, 0)
	served := []int{m.State().Served()}
	run := func(used uint64, d time.Duration) {
		for end := now.Add(d); now.Before(end); {
			now = now.Add(step)
			m.Step(now, memory(used))
			if s := m.State().Served(); s != served[len(served)-1] {
				served = append(served, s)
			}
		}
	}
	run(960, 2*time.Second)
	run(600, 3*time.Second)
	run(960, step)
	run(600, 20*time.Second)
	want := []int{100, 0, 10, 20, 0, 10, 20, 40, 70, 100}
	if len(served) != len(want) {
		t.Fatalf("served %v percent, want %v", served, want)
	}
	for i := range want {
		if served[i] != want[i] {
			t.Fatalf("served %v percent, want %v", served, want)
		}
	}
}

// TestAdmits serves the share that it says.
func TestAdmits(t *testing.T) {
	m := NewMonitor()
	for share := range recovery {
		m.returned = share
		m.publish(Hold)
		admitted, next := 0, uint64(0)
		for range 1000 {
			if m.State().Admits(func() uint64 { next++; return next }) {
				admitted++
			}
		}
		if want := 10 * int(recovery[share]); admitted != want {
			t.Errorf("at %d %%: %d of 1000", recovery[share], admitted)
		}
	}
	var none *State
	if !none.Admits(nil) || none.Layer() != None || none.Patience() != nil || none.Served() != 100 {
		t.Error("a process without a monitor is under pressure")
	}
}

// TestPatience ends while there is pressure, and is nobody's business without.
func TestPatience(t *testing.T) {
	m := NewMonitor()
	patience := m.State().Patience()
	now := time.Unix(1000, 0)
	if m.Step(now, memory(790)); patience.Load() != 0 {
		t.Errorf("%s without pressure", time.Duration(patience.Load()))
	}
	for _, s := range []struct {
		used uint64
		want time.Duration
	}{
		{850, 4 * time.Second}, {850, 2 * time.Second}, {850, time.Second}, {850, time.Second}, {920, 250 * time.Millisecond}, {970, 250 * time.Millisecond},
	} {
		if m.Step(now, memory(s.used)); time.Duration(patience.Load()) != s.want {
			t.Errorf("%s with %d of 1000, want %s", time.Duration(patience.Load()), s.used, s.want)
		}
		now = now.Add(time.Second)
	}
	for range 30 {
		now = now.Add(step)
		m.Step(now, memory(700))
	}
	if patience.Load() != 0 {
		t.Errorf("%s when it is over", time.Duration(patience.Load()))
	}
}

// TestAnyCourse: whatever the readings, a layer that a resource has reached is never above the
// use's own, but within its slack or a second of it per layer; no change is silent; and nothing
// is refused below the last layer, once the recovery is over.
func TestAnyCourse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewMonitor()
		now := time.Unix(1000, 0)
		var layer [Resources]Layer
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 2000).Draw(t, "ms")) * time.Millisecond)
			var r Readings
			for i := range r {
				r[i] = Reading{Used: uint64(rapid.IntRange(0, 1100).Draw(t, "used")), Limit: 1000}
			}
			for _, c := range m.Step(now, &r) {
				if c.From != layer[c.Resource] || c.To == c.From {
					t.Fatalf("%+v, but it was at %s", c, layer[c.Resource])
				}
				layer[c.Resource] = c.To
			}
			highest := None
			for i := range r {
				if m.Layer(Resource(i)) != layer[i] {
					t.Fatalf("%s came to %s in silence", Resource(i), m.Layer(Resource(i)))
				}
				highest = max(highest, layer[i])
				for l := Trim; l < Layers; l++ {
					if r[i].Share() >= enter[i][l] && layer[i] < l {
						t.Fatalf("%s at %.2f is only at %s", Resource(i), r[i].Share(), layer[i])
					}
				}
			}
			if got := m.State().Layer(); got != highest {
				t.Fatalf("the process is at %s, its resources at %s", got, highest)
			}
			if m.State().Served() == 0 && highest != Refuse {
				t.Fatalf("nothing is served at %s", highest)
			}
		}
		quiet := memory(0)
		for range 60 {
			now = now.Add(step)
			m.Step(now, quiet)
		}
		if m.State().Layer() != None || m.State().Served() != 100 || m.State().Patience().Load() != 0 {
			t.Fatalf("after 15 s of quiet: %s, %d %% served", m.State().Layer(), m.State().Served())
		}
	})
}
