package translate

import (
	"slices"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// tableSlot is a route table with what it was made from.
type tableSlot struct {
	table       *model.RouteTable
	attachments []*attachment
	attached    int32        // those of accepted routes
	sums        []model.Hash // of each sumSpan attachments
}

// sumSpan is how many attachments are hashed together: of a change only their hash, and that
// of all such hashes, must be made anew.
const sumSpan = 64

// sum hashes the attachments of one span.
func (s *tableSlot) sum(span int) model.Hash {
	first := span * sumSpan
	b := make([]byte, 0, 32*sumSpan)
	for _, a := range s.attachments[first:min(first+sumSpan, len(s.attachments))] {
		b = append(b, a.hash...)
	}
	return hashBytes(b)
}

// hash covers a table's name and all of its attachments, in their order.
func (s *tableSlot) hash(name string) model.Hash {
	b := append(make([]byte, 0, len(name)+32*len(s.sums)), name...)
	for _, sum := range s.sums {
		b = append(b, sum...)
	}
	return hashBytes(b)
}

// assembleTables fills the tables of the listeners, oldest route first, and keeps those
// whose content has not changed.
func (t *translator) assembleTables() []*model.RouteTable {
	tables := make(map[string]*tableSlot, len(t.tables))
	entries := make(map[string]int, len(t.tables)) // how many
	for l := range t.gateways.listeners() {
		s := &tableSlot{}
		if old := t.tables[l.name]; old != nil {
			s.attachments = make([]*attachment, 0, len(old.attachments)+1)
		}
		tables[l.name] = s
	}
	for _, slot := range t.rankedRoutes() {
		for i := range slot.view.attachments {
			a := &slot.view.attachments[i]
			s := tables[a.table]
			if slot.view.accepted && !a.lost {
				s.attached++
			}
			a.place, a.first = len(s.attachments), entries[a.table]
			s.attachments = append(s.attachments, a)
			entries[a.table] += len(a.entries)
		}
	}
	list := make([]*model.RouteTable, 0, len(tables))
	for _, name := range t.gateways.tables {
		s := tables[name]
		for first := 0; first < len(s.attachments); first += sumSpan {
			s.sums = append(s.sums, s.sum(first/sumSpan))
		}
		hash := s.hash(name)
		if old := t.tables[name]; old != nil && old.table != nil && old.table.Hash == hash {
			s.table = old.table
		} else {
			s.table = &model.RouteTable{Name: name, Hash: hash, Entries: make([]model.Entry, 0, entries[name])}
			for _, a := range s.attachments {
				s.table.Entries = append(s.table.Entries, a.entries...)
			}
		}
		list = append(list, s.table)
	}
	t.tables = tables
	t.attached = make(map[string]int32, len(tables))
	for name, s := range tables {
		t.attached[name] = s.attached
	}
	return list
}

// replacement is a route whose object changed, with what it was before.
type replacement struct {
	slot   *routeSlot
	before *routeView
}

// patch makes the output from the last one when all that has happened is that some routes
// have other content, with the same place in tables and the same clusters: what people edit
// most. It returns false, having changed nothing, when there is more to it.
func (t *translator) patch() (Output, bool) {
	if t.last.Snapshot == nil || t.structural || t.reshaped || t.relisted || !slices.Equal(t.local, t.lastLocal) {
		return Output{}, false
	}
	for _, r := range t.replaced {
		if r.slot.kind.stream || !sameOutside(r.before, r.slot.view) {
			return Output{}, false
		}
	}
	statuses := slices.Clone(t.last.Statuses)
	for _, r := range t.replaced {
		at, found := slices.BinarySearchFunc(statuses, r.slot.key(), func(s Status, k resource.Key) int { return s.Key.Compare(k) })
		if !found {
			return Output{}, false
		}
		statuses[at].Value = r.slot.view.status
	}
	snapshot := *t.last.Snapshot
	snapshot.RouteTables = t.patchTables()
	return t.finish(Output{
		Snapshot: &snapshot, Statuses: statuses, Diagnostics: t.last.Diagnostics,
		Rollouts: t.last.Rollouts, Objectives: t.last.Objectives,
	}), true
}

// sameOutside tells whether only the entries of a route are different, and its status.
func sameOutside(a, b *routeView) bool {
	return a.accepted == b.accepted && len(a.diagnostics) == 0 && len(b.diagnostics) == 0 &&
		slices.EqualFunc(a.attachments, b.attachments, func(x, y attachment) bool {
			return x.table == y.table && x.lost == y.lost && len(x.entries) == len(y.entries)
		})
}

// patchTables puts the entries of replaced routes in the place of those that they had.
func (t *translator) patchTables() []*model.RouteTable {
	touched := map[string]map[int]struct{}{} // the spans of tables
	for _, r := range t.replaced {
		for i := range r.slot.view.attachments {
			a, old := &r.slot.view.attachments[i], &r.before.attachments[i]
			a.place, a.first = old.place, old.first
			t.tables[a.table].attachments[a.place] = a
			if a.hash == old.hash || t.tables[a.table].table == nil { // or its listener is not served
				continue
			}
			if touched[a.table] == nil {
				touched[a.table] = map[int]struct{}{}
			}
			touched[a.table][a.place/sumSpan] = struct{}{}
		}
	}
	for name, spans := range touched {
		s := t.tables[name]
		for span := range spans {
			s.sums[span] = s.sum(span)
		}
		s.table = &model.RouteTable{Name: name, Hash: s.hash(name), Entries: slices.Clone(s.table.Entries)}
	}
	for _, r := range t.replaced {
		for _, a := range r.slot.view.attachments {
			if touched[a.table] != nil {
				copy(t.tables[a.table].table.Entries[a.first:], a.entries)
			}
		}
	}
	list := make([]*model.RouteTable, 0, len(t.gateways.tables))
	for _, name := range t.gateways.tables {
		list = append(list, t.tables[name].table)
	}
	return list
}
