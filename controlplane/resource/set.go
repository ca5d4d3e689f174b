package resource

import (
	"iter"
	"slices"
)

// Set is everything a source knows at one moment. It is immutable once delivered.
type Set struct {
	// Revision counts the sets that the source delivered, from 1.
	Revision uint64

	// Diagnostics are everything that is wrong with what was read, the problems of objects
	// included, in the order of positions.
	Diagnostics []Diagnostic

	objects []*Object           // sorted by Key, which is unique
	deleted map[string]struct{} // files
	leaving map[Key]struct{}    // objects that are about to be deleted
}

// NewSet returns the set of the given objects and diagnostics. Of several objects with one
// key the first counts.
func NewSet(objects []*Object, diagnostics []Diagnostic) *Set {
	objects = slices.Clone(objects)
	byKey := func(a, b *Object) int { return a.Key.Compare(b.Key) }
	if !slices.IsSortedFunc(objects, byKey) {
		slices.SortStableFunc(objects, byKey)
	}
	objects = slices.CompactFunc(objects, func(a, b *Object) bool { return a.Key == b.Key })
	diagnostics = slices.Clone(diagnostics)
	SortDiagnostics(diagnostics)
	return &Set{Diagnostics: diagnostics, objects: objects}
}

// SortedSet is NewSet of objects that are sorted by keys, each once. The set keeps the slice,
// which must not change any more.
func SortedSet(objects []*Object, diagnostics []Diagnostic) *Set {
	diagnostics = slices.Clone(diagnostics)
	SortDiagnostics(diagnostics)
	return &Set{Diagnostics: diagnostics, objects: objects}
}

// AddDeleted notes, before the set is delivered, that a file is gone although objects of it
// stay live.
func (s *Set) AddDeleted(file string) {
	if s.deleted == nil {
		s.deleted = map[string]struct{}{}
	}
	s.deleted[file] = struct{}{}
}

// AddLeaving notes, before the set is delivered, that an object is no longer declared and
// about to be deleted: what it refers to may be gone already.
func (s *Set) AddLeaving(k Key) {
	if s.leaving == nil {
		s.leaving = map[Key]struct{}{}
	}
	s.leaving[k] = struct{}{}
}

// MarkDeleted adds to diagnostics that point into deleted files that these were deleted, and
// leaves out what is said of leaving objects. It changes diagnostics, and is for what is said
// of a set's objects; the set's own Diagnostics say it themselves.
func (s *Set) MarkDeleted(diagnostics []Diagnostic) []Diagnostic {
	diagnostics = slices.DeleteFunc(diagnostics, func(d Diagnostic) bool {
		_, ok := s.leaving[d.Object]
		return ok
	})
	for i, d := range diagnostics {
		if _, ok := s.deleted[d.At.File]; ok {
			diagnostics[i].Message += " (the file was deleted)"
		}
	}
	return diagnostics
}

// Get returns the object with the given key, nil if there is none.
func (s *Set) Get(k Key) *Object {
	i, ok := slices.BinarySearchFunc(s.objects, k, func(o *Object, k Key) int { return o.Key.Compare(k) })
	if !ok {
		return nil
	}
	return s.objects[i]
}

// Len returns the number of objects, those without an accepted version included.
func (s *Set) Len() int { return len(s.objects) }

// Objects returns every object in the order of keys, those without an accepted version
// included.
func (s *Set) Objects() iter.Seq[*Object] { return slices.Values(s.objects) }

// All returns the objects of s whose value is a T, such as *gatewayv1.HTTPRoute, in the
// order of keys.
func All[T any](s *Set) iter.Seq2[*Object, T] {
	return func(yield func(*Object, T) bool) {
		for _, o := range s.objects {
			if v, ok := o.Value.(T); ok && !yield(o, v) {
				return
			}
		}
	}
}

// With returns the set with further objects, which take the place of those with the same keys. The
// set itself stays as it is.
func (s *Set) With(extra []*Object) *Set {
	merged := *s
	if len(extra) > 0 {
		merged.objects = NewSet(slices.Concat(extra, s.objects), nil).objects
	}
	return &merged
}
