package overload

import "sync"

// Busiest counts by name, exactly for those of whom there is most, in bounded memory
// (Metwally, Agrawal, El Abbadi: Space-Saving). Where a new name finds no room, the one with
// the lowest rank makes it; its count goes to the others, and the new name inherits the rank,
// so that whoever comes often stays, whatever order they come in. The counts and the others
// always add up to all.
type Busiest struct {
	mu     sync.Mutex
	most   int
	byName map[string]*tally
	list   []*tally // the same ones
	others uint64
}

type tally struct {
	name        string
	rank, count uint64
}

// NewBusiest returns a count of at most so many names.
func NewBusiest(most int) *Busiest {
	return &Busiest{most: max(most, 1), byName: make(map[string]*tally)}
}

// Add counts one of a name.
func (b *Busiest) Add(name []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.byName[string(name)]; t != nil {
		t.rank++
		t.count++
		return
	}
	t := &tally{name: string(name), rank: 1, count: 1}
	if len(b.list) < b.most {
		b.list = append(b.list, t)
	} else {
		least := b.least()
		delete(b.byName, b.list[least].name)
		b.others += b.list[least].count
		t.rank = b.list[least].rank + 1
		b.list[least] = t
	}
	b.byName[t.name] = t
}

// least returns the place of the one with the lowest rank.
func (b *Busiest) least() int {
	least := 0
	for i, t := range b.list {
		if t.rank < b.list[least].rank {
			least = i
		}
	}
	return least
}

// Each calls f with every name that is kept and its count, and returns the count of all
// others together.
func (b *Busiest) Each(f func(name string, count uint64)) (others uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.list {
		f(t.name, t.count)
	}
	return b.others
}
