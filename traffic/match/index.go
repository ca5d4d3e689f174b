package match

import (
	"hash/maphash"
	"iter"
	"slices"
)

// index maps names to values, as a Go map would, but copies cheaply: names are dealt out by
// hash to pages, and a copy shares every page that it does not change. Of 10,000 names a
// copy with one changed value costs 10 KB instead of all of them. A page is a table in
// which a name is at the place that its hash says, or behind it:
//
//	pages ─► [ {c.test, v3}  –  {a.test, v1} {b.test, v2} ]    up to pageSlots
//	         [ –  –  {d.test, v4}  – ]
//
// The zero index is empty.
type index[T any] struct {
	pages []page[T] // a power of two of them, or none
	n     int
}

// page is a part of an index. Its slots are a power of two, the same of all pages.
type page[T any] struct {
	slots []slot[T]
	used  int
}

// slot holds a name and its value; its hash is 0 where there is none.
type slot[T any] struct {
	hash  uint64
	name  string
	value T
}

// The bounds of pages, in slots.
const (
	minPageSlots = 4
	pageSlots    = 128
)

// seed makes it impossible to choose names that all come to one place.
var seed = maphash.MakeSeed()

// taken marks the hash of every name, so that none is 0.
const taken = 1 << 63

func (x *index[T]) page(hash uint64) int { return int(hash>>32) & (len(x.pages) - 1) }

// get returns the value of a name. It does not allocate.
func (x *index[T]) get(name []byte) (value T, ok bool) {
	if x.n == 0 {
		return value, false
	}
	hash := maphash.Bytes(seed, name) | taken
	slots := x.pages[x.page(hash)].slots
	for i := int(hash); ; i++ {
		s := &slots[i&(len(slots)-1)]
		if s.hash == hash && s.name == string(name) {
			return s.value, true
		}
		if s.hash == 0 {
			return value, false
		}
	}
}

// find returns the slot that a name has or would get.
func (p *page[T]) find(hash uint64, name string) *slot[T] {
	for i := int(hash); ; i++ {
		s := &p.slots[i&(len(p.slots)-1)]
		if s.hash == 0 || s.hash == hash && s.name == name {
			return s
		}
	}
}

func (p *page[T]) add(s slot[T]) {
	*p.find(s.hash, s.name) = s
	p.used++
}

// crowded: there must always be free slots, so that a search ends, and soon.
func (p *page[T]) crowded() bool { return 8*p.used > 7*len(p.slots) }

// set gives a name its value. With shared set, pages belong to other indexes as well and
// are replaced instead of changed.
func (x *index[T]) set(name string, value T, shared bool) {
	if len(x.pages) == 0 {
		x.pages = []page[T]{{slots: make([]slot[T], minPageSlots)}}
	}
	hash := maphash.String(seed, name) | taken
	p := &x.pages[x.page(hash)]
	if shared {
		p.slots = slices.Clone(p.slots)
	}
	if s := p.find(hash, name); s.hash != 0 {
		s.value = value
		return
	}
	p.add(slot[T]{hash, name, value})
	x.n++
	for x.pages[x.page(hash)].crowded() {
		x.grow()
	}
}

// remove forgets a name. Its page may belong to other indexes and is replaced.
func (x *index[T]) remove(name string) {
	if x.n == 0 {
		return
	}
	hash := maphash.String(seed, name) | taken
	old := &x.pages[x.page(hash)]
	if old.find(hash, name).hash == 0 {
		return
	}
	without := page[T]{slots: make([]slot[T], len(old.slots))}
	for _, s := range old.slots {
		if s.hash != 0 && s.name != name {
			without.add(s)
		}
	}
	*old = without
	x.n--
}

// grow makes larger pages, or more of them.
func (x *index[T]) grow() {
	old := *x
	count, slots := len(old.pages), 2*len(old.pages[0].slots)
	if slots > pageSlots {
		count, slots = 2*count, pageSlots
	}
	x.pages = make([]page[T], count)
	for i := range x.pages {
		x.pages[i].slots = make([]slot[T], slots)
	}
	for _, p := range old.pages {
		for _, s := range p.slots {
			if s.hash != 0 {
				x.pages[x.page(s.hash)].add(s)
			}
		}
	}
}

// clone returns a copy that shares all pages: set must be told so.
func (x *index[T]) clone() index[T] {
	return index[T]{pages: slices.Clone(x.pages), n: x.n}
}

// all yields every name and value once, in no order.
func (x *index[T]) all() iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		for _, p := range x.pages {
			for _, s := range p.slots {
				if s.hash != 0 && !yield(s.name, s.value) {
					return
				}
			}
		}
	}
}
