package source

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/controlplane/resource"
)

// File is what one file holds, decoded.
type File struct {
	Name        string
	Objects     []*resource.Object
	Diagnostics []resource.Diagnostic

	// Unclear: the file could not be read, is not YAML or has objects without names, so that
	// no object may be taken for deleted because it is not in Objects.
	Unclear bool
}

// Accepted turns what files hold into what is live. An object whose newest version is wrong
// keeps its last accepted one; objects of a file that is unclear or newly empty are
// retained; a change that would remove more than half of the routes, or all that a given
// folder held, waits for consent. Of two objects with one key the first in the order of
// files wins.
//
// It costs what changed, not what there is. It is not safe for concurrent use.
type Accepted struct {
	files    map[string]*File
	rank     map[string]int                      // the order of files
	declared map[resource.Key][]*resource.Object // by key, in the order of files
	twice    map[resource.Key]struct{}           // keys of several declarations
	orphans  map[resource.Key]orphan             // live and no longer declared
	sorted   []*resource.Object                  // what the last Set held, by key
	changed  map[resource.Key]*resource.Object   // within an Update, what is live instead; nil: nothing is
	held     int                                 // objects that wait for consent
	due      time.Time                           // when the next deletions are; zero: none are
	base     int                                 // routes before anything began to go; -1: nothing has
	young    map[resource.Key]struct{}           // that came since
	missing  []string                            // files that may be gone
	emptied  []string                            // given folders with nothing in them
}

// NewAccepted returns an Accepted in which the given objects, such as those of a Cache, are
// live until files say otherwise.
func NewAccepted(live []*resource.Object) *Accepted {
	a := &Accepted{
		files: map[string]*File{}, rank: map[string]int{}, declared: map[resource.Key][]*resource.Object{},
		twice: map[resource.Key]struct{}{}, changed: map[resource.Key]*resource.Object{}, orphans: map[resource.Key]orphan{}, young: map[resource.Key]struct{}{},
	}
	for _, o := range live {
		a.changed[o.Key] = o
		a.orphans[o.Key] = orphan{}
	}
	a.resort()
	return a
}

func byKey(a, b *resource.Object) int { return a.Key.Compare(b.Key) }

// Change is how the files differ from the last Update.
type Change struct {
	Order   []string // the names of all files, the first wins
	Changed []*File  // new or different
	Missing []string // of Order: files that are gone, unless they come back in a moment
	Emptied []string // folders that were given, and that hold nothing or are gone
	Consent bool     // to every removal

	// Now is when the change was seen; what is no longer declared is deleted a little later.
	// Zero: at once.
	Now time.Time
}

// Held returns how many objects are live only because their removal waits for consent.
func (a *Accepted) Held() int { return a.held }

// Due returns when an Update is due that deletes what by then is still not declared; zero
// if nothing is about to be deleted.
func (a *Accepted) Due() time.Time { return a.due }

// Update applies a change and returns the new set, whose Revision is still to be set. A
// file that is in Order must have been in a Change before.
func (a *Accepted) Update(c Change) *resource.Set {
	if a.due.IsZero() && len(a.missing) == 0 {
		a.base = -1
	}
	affected := map[resource.Key]struct{}{}
	rank := make(map[string]int, len(c.Order))
	for i, name := range c.Order {
		rank[name] = i
	}
	moved := !a.sameOrder(rank)
	a.rank, a.missing, a.emptied = rank, c.Missing, c.Emptied
	for name := range a.files {
		if _, ok := rank[name]; !ok {
			a.replace(name, nil, affected)
		}
	}
	if len(a.declared)+len(affected) == 0 { // everything comes at once, and maps that grow leave garbage
		n := 0
		for _, f := range c.Changed {
			n += len(f.Objects)
		}
		a.declared = make(map[resource.Key][]*resource.Object, n)
		a.changed = make(map[resource.Key]*resource.Object, n)
		affected = make(map[resource.Key]struct{}, n)
	}
	for _, f := range c.Changed {
		a.replace(f.Name, f, affected)
	}
	if moved {
		maps.Copy(affected, a.twice)
	}
	for key := range affected {
		a.settle(key)
	}
	kept := a.deleteOrphans(c)
	if a.due.IsZero() && len(a.missing) == 0 {
		a.young = map[resource.Key]struct{}{} // if cleared, it would keep room for all that there is
	}
	a.resort()
	set := resource.SortedSet(a.sorted, a.diagnostics(kept))
	for _, o := range slices.Concat(kept.unclear, kept.held) {
		if a.files[o.At.File] == nil {
			set.AddDeleted(o.At.File)
		}
	}
	for _, o := range kept.leaving {
		set.AddLeaving(o.Key)
	}
	return set
}

// sameOrder tells whether the files that stay have the order that they had.
func (a *Accepted) sameOrder(rank map[string]int) bool {
	last := -1
	for _, name := range slices.SortedFunc(maps.Keys(a.rank), func(x, y string) int { return cmp.Compare(a.rank[x], a.rank[y]) }) {
		if r, ok := rank[name]; ok {
			if r < last {
				return false
			}
			last = r
		}
	}
	return true
}

// replace puts the objects of a file in the place of those that it had.
func (a *Accepted) replace(name string, f *File, affected map[resource.Key]struct{}) {
	old := a.files[name]
	before, after := differing(old, f)
	if old != nil {
		for _, o := range before {
			a.declared[o.Key] = slices.DeleteFunc(a.declared[o.Key], func(x *resource.Object) bool { return x == o })
			affected[o.Key] = struct{}{}
		}
	}
	if f == nil {
		delete(a.files, name)
		return
	}
	a.files[name] = f
	for _, o := range after {
		a.declared[o.Key] = append(a.declared[o.Key], o)
		affected[o.Key] = struct{}{}
	}
}

// differing returns the objects of two versions of a file, of which either may be nil,
// without those that both have the same at their beginning and at their end.
func differing(old, current *File) (before, after []*resource.Object) {
	if old != nil {
		before = old.Objects
	}
	if current != nil {
		after = current.Objects
	}
	for len(before) > 0 && len(after) > 0 && before[0] == after[0] {
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && before[len(before)-1] == after[len(after)-1] {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	return before, after
}

// live returns the version of an object that is live, nil if none is.
func (a *Accepted) live(key resource.Key) *resource.Object {
	if o, ok := a.changed[key]; ok {
		return o
	}
	if i, found := a.place(key); found {
		return a.sorted[i]
	}
	return nil
}

// place returns where an object is in sorted, or would be.
func (a *Accepted) place(key resource.Key) (i int, found bool) {
	return slices.BinarySearchFunc(a.sorted, key, func(o *resource.Object, k resource.Key) int { return o.Key.Compare(k) })
}

// settle decides which version of an object is live.
func (a *Accepted) settle(key resource.Key) {
	versions := a.declared[key]
	slices.SortStableFunc(versions, func(x, y *resource.Object) int {
		return cmp.Or(cmp.Compare(a.rank[x.At.File], a.rank[y.At.File]), cmp.Compare(x.At.Line, y.At.Line), cmp.Compare(x.At.Column, y.At.Column))
	})
	delete(a.twice, key)
	if len(versions) > 1 {
		a.twice[key] = struct{}{}
	}
	if len(versions) == 0 {
		delete(a.declared, key)
		if _, already := a.orphans[key]; !already && a.live(key) != nil {
			a.orphans[key] = orphan{}
		}
		return
	}
	delete(a.orphans, key)
	newest, current := versions[0], a.live(key)
	switch {
	case newest == current:
		return
	case newest.Value == nil && current != nil && current.Value != nil:
		newest = current.WithProblems(newest.Problems)
	}
	if current == nil && len(a.sorted) > 0 { // of nothing, nothing can have begun to go
		a.young[key] = struct{}{}
	}
	a.changed[key] = newest
}

// isRoute tells whether an object is a route that serves, of any of Gateway API's kinds.
func isRoute(o *resource.Object) bool {
	return o.Key.Group == gatewayGroup && strings.HasSuffix(o.Key.Kind, "Route") && o.Value != nil
}

const gatewayGroup = "gateway.networking.k8s.io"

// unclear tells whether a file might still hold objects that were not found in it.
func (a *Accepted) unclear(name string) bool {
	f := a.files[name]
	return f != nil && (f.Unclear || f.empty())
}

// empty: not even a document that is ignored.
func (f *File) empty() bool { return len(f.Objects) == 0 && len(f.Diagnostics) == 0 }

// resort brings sorted up to date. It makes a new slice, for the old one is in a Set.
func (a *Accepted) resort() {
	if len(a.changed) == 0 {
		return
	}
	if 8*len(a.changed) > len(a.sorted) {
		all := slices.DeleteFunc(slices.Clone(a.sorted), func(o *resource.Object) bool { _, ok := a.changed[o.Key]; return ok })
		for _, o := range a.changed {
			if o != nil {
				all = append(all, o)
			}
		}
		slices.SortFunc(all, byKey)
		a.sorted = all
	} else {
		a.sorted = slices.Clone(a.sorted)
		for key, o := range a.changed {
			i, found := a.place(key)
			switch {
			case found && o != nil:
				a.sorted[i] = o
			case found:
				a.sorted = slices.Delete(a.sorted, i, i+1)
			case o != nil:
				a.sorted = slices.Insert(a.sorted, i, o)
			}
		}
	}
	a.changed = map[resource.Key]*resource.Object{}
}

// diagnostics returns everything that is wrong: what files say, keys declared twice, and
// what is retained.
func (a *Accepted) diagnostics(kept retained) []resource.Diagnostic {
	var all []resource.Diagnostic
	for _, f := range a.files {
		all = append(all, f.Diagnostics...)
	}
	for key := range a.twice {
		first := a.declared[key][0]
		for _, o := range a.declared[key][1:] {
			if slices.Contains(a.missing, o.At.File) {
				continue // it moves
			}
			all = append(all, resource.Diagnostic{
				Rule: resource.RuleDuplicate, At: o.At, Object: key,
				Message: fmt.Sprintf("declared twice: %s comes first and counts, %s does not", first.At, o.At),
			})
		}
	}
	byFile := map[string]int{}
	for _, o := range kept.unclear {
		byFile[o.At.File]++
	}
	for name, n := range byFile {
		all = append(all, a.retention(name, n))
	}
	return append(all, a.consents(kept.held)...)
}

// routes returns how many routes served in the last Set.
func (a *Accepted) routes() (n int) {
	for _, o := range a.sorted {
		if isRoute(o) {
			n++
		}
	}
	return n
}

func (a *Accepted) retention(name string, n int) resource.Diagnostic {
	d := resource.Diagnostic{
		Severity: resource.Info, Rule: resource.RuleRetained, At: resource.Position{File: name},
		Message: stay(n),
	}
	if a.files[name].empty() {
		d.Severity = resource.Error
		d.Message = "the file is empty: " + stay(n) + "; delete the file to delete "
		if n == 1 {
			d.Message += "it"
		} else {
			d.Message += "them"
		}
	}
	return d
}

func stay(n int) string {
	if n == 1 {
		return "1 object of its last version stays live"
	}
	return fmt.Sprintf("%d objects of its last version stay live", n)
}
