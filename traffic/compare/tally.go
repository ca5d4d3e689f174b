package compare

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"weir.dev/weir/model"
)

// Bounds of a Tally.
const (
	maxFields   = 100
	maxExamples = 10
)

// Diffy's bounds (github.com/opendiffy/diffy, "How does Diffy work?"): what differs between primary and
// candidate is noise unless its rate is beyond that between two primaries by more than 20 % of both together, and by more than
// 0.03 % of all requests.
const (
	leastRelative = 0.20
	leastAbsolute = 0.0003
)

// Tally is what many comparisons have found. Any number of callers may use it at a time.
type Tally struct {
	mu                         sync.Mutex
	equal, noise, different    uint64
	uncompared, paired, others uint64
	fields                     map[string]*tallied
	examples                   [maxExamples]model.ShadowExample
	shown                      int // examples so far
}

// tallied is one place. Without a second answer of the primary all of it is net.
type tallied struct {
	different, noise, net uint64
	paired                uint64 // of different, those that noise is set against
}

// Finding is one comparison.
type Finding struct {
	At           time.Time
	Method, Path string
	Differences  []Difference // between the primary's answer and the shadow's
	Noise        []Difference // between it and a second one of the primary's
	Paired       bool         // there is a second one
}

// Uncompared counts a request whose answers could not be compared.
func (t *Tally) Uncompared() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.uncompared++
}

// Add counts a comparison. Its memory may be used again after.
func (t *Tally) Add(f *Finding) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.Paired {
		t.paired++
	}
	for i := range f.Noise {
		if place := t.place(f.Noise[i].Field); place != nil {
			place.noise++
		}
	}
	real := -1
	for i := range f.Differences {
		d := &f.Differences[i]
		noise := slices.ContainsFunc(f.Noise, func(n Difference) bool { return n.Field == d.Field })
		if !noise && real < 0 {
			real = i
		}
		place := t.place(d.Field)
		if place == nil {
			t.others++
			continue
		}
		place.different++
		if f.Paired {
			place.paired++
		}
		if !noise {
			place.net++
		}
	}
	switch {
	case real >= 0:
		t.different++
		t.show(f, &f.Differences[real])
	case len(f.Differences) > 0:
		t.noise++
	default:
		t.equal++
	}
}

// place returns what is counted at a place; nil: the table is full.
func (t *Tally) place(field string) *tallied {
	p := t.fields[field]
	if p == nil && len(t.fields) < maxFields {
		if t.fields == nil {
			t.fields = map[string]*tallied{}
		}
		p = new(tallied)
		t.fields[field] = p
	}
	return p
}

// show keeps an example, in the place of the oldest. A place that has an example needs no other while
// there is room for few.
func (t *Tally) show(f *Finding, d *Difference) {
	at := t.shown % maxExamples
	for i := range min(t.shown, maxExamples) {
		if t.examples[i].Field == d.Field {
			t.examples[i] = exampleOf(f, d)
			return
		}
	}
	t.examples[at] = exampleOf(f, d)
	t.shown++
}

func exampleOf(f *Finding, d *Difference) model.ShadowExample {
	return model.ShadowExample{
		At: f.At, Method: f.Method, Path: shorten([]byte(f.Path)), Field: d.Field, Primary: d.Primary, Shadow: d.Other,
	}
}

// Reset forgets everything.
func (t *Tally) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.equal, t.noise, t.different, t.uncompared, t.paired, t.others = 0, 0, 0, 0, 0, 0
	t.fields, t.examples, t.shown = nil, [maxExamples]model.ShadowExample{}, 0
}

// Report returns what was found, but for latencies.
func (t *Tally) Report() *model.ShadowComparison {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &model.ShadowComparison{Equal: t.equal, Noise: t.noise, Different: t.different, Uncompared: t.uncompared, Other: t.others}
	for field, n := range t.fields {
		r.Fields = append(r.Fields, model.ShadowField{
			Field: field, Different: n.different, Noise: n.noise, Net: n.net, Noisy: noisy(n, t.paired),
		})
	}
	slices.SortFunc(r.Fields, func(a, b model.ShadowField) int {
		return cmp.Or(cmp.Compare(b.Net, a.Net), cmp.Compare(b.Different, a.Different), cmp.Compare(a.Field, b.Field))
	})
	for i := range min(t.shown, maxExamples) {
		r.Examples = append(r.Examples, t.examples[i])
	}
	slices.SortFunc(r.Examples, func(a, b model.ShadowExample) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Field, b.Field))
	})
	return r
}

// noisy reports whether a place differs about as often between two answers of the primary.
func noisy(n *tallied, paired uint64) bool {
	if n.noise == 0 || paired == 0 {
		return false
	}
	beyond := float64(n.paired) - float64(n.noise)
	return beyond <= leastRelative*float64(n.paired+n.noise) || beyond <= leastAbsolute*float64(paired)
}
