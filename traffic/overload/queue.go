package overload

import "weir.dev/weir/model"

// Waiter is a request that waits. It may be used again after Wake has been called, or Withdraw
// has returned true.
type Waiter struct {
	// Wake is told, once, what becomes of the request: it is admitted, and Leave must follow, or
	// it lost its place for a reason. It may be called before Enter returns, and is called with
	// the gate's lock held: it must not block, nor call the gate.
	Wake func(admitted bool, why Why)

	in          *row // nil: it does not wait
	class       model.Class
	older, next *Waiter
}

// places is in how many the rows of a class are looked up.
const places = 1024

// queue holds waiters: by class, within a class in rows that take turns, within a row by age. There
// is a row for each key of which somebody waits, so there are no more than waiters.
// Where it is full, the longest row of the lowest class loses a waiter: so a row gets its
// turn and its part of the room however much another one sends.
type queue struct {
	seed  uint64
	lifo  bool
	n     int
	lines [model.Classes]line
}

// line is the waiters of one class.
type line struct {
	n        int
	rows     *[places]*row // the first of a list by row.beside; nil: nobody has waited yet
	turn     *row          // whose turn it is: one of a ring of those that are not empty
	byLength []*row        // the first of a list, by how many wait
	longest  int
	free     *row
}

// row is the waiters of one class whose keys have the same hash, all 64 bits of it.
type row struct {
	key            uint64
	home           **row // the list of its place
	beside         *row  // the next one there
	n              int
	oldest, newest *Waiter
	before, after  *row // of the ring
	shorter, more  *row // of those of the same length: the one before and the one behind
}

// place returns where the row of a key stands, below places.
func (q *queue) place(key uint64) uint64 { return (key ^ q.seed) * 0x9e3779b97f4a7c15 >> 54 }

// find returns the row of a key, nil if nobody of it waits, and the list where it stands or is to stand.
func (q *queue) find(c model.Class, key uint64) (l *row, home **row) {
	ln := &q.lines[c]
	if ln.rows == nil {
		ln.rows = new([places]*row)
	}
	home = &ln.rows[q.place(key)]
	for l = *home; l != nil && l.key != key; l = l.beside {
	}
	return l, home
}

// push puts a waiter at the young end of its key's row.
func (q *queue) push(c model.Class, key uint64, w *Waiter) {
	ln := &q.lines[c]
	l, home := q.find(c, key)
	if l == nil {
		l = ln.enter(key, home)
	}
	w.in, w.class, w.older, w.next = l, c, l.newest, nil
	if l.newest != nil {
		l.newest.next = w
	} else {
		l.oldest = w
	}
	l.newest = w
	ln.resize(l, 1)
	q.n++
}

// remove takes a waiter out, wherever it stands.
func (q *queue) remove(w *Waiter) {
	l, ln := w.in, &q.lines[w.class]
	if w.older != nil {
		w.older.next = w.next
	} else {
		l.oldest = w.next
	}
	if w.next != nil {
		w.next.older = w.older
	} else {
		l.newest = w.older
	}
	w.in, w.older, w.next = nil, nil, nil
	q.n--
	ln.resize(l, -1)
	if l.n == 0 {
		ln.leave(l)
	}
}

// next returns who is let through next of a class, and ends the turn of its row.
func (q *queue) next(c model.Class) *Waiter {
	ln := &q.lines[c]
	l := ln.turn
	ln.turn = l.after
	if q.lifo {
		return l.newest
	}
	return l.oldest
}

// worst returns who goes first where there are too many in a row: the one whose turn would
// come last.
func (q *queue) worst(l *row) *Waiter {
	if q.lifo {
		return l.oldest
	}
	return l.newest
}

// highest returns the highest class of which somebody waits, and lowest the lowest.
func (q *queue) highest() model.Class {
	for c := model.Classes - 1; c > model.ClassNone; c-- {
		if q.lines[c].n > 0 {
			return c
		}
	}
	return model.ClassNone
}

func (q *queue) lowest() model.Class {
	for c := model.ClassSheddable; c < model.Classes; c++ {
		if q.lines[c].n > 0 {
			return c
		}
	}
	return model.ClassNone
}

// enter begins a row, which joins the ring behind all others.
func (ln *line) enter(key uint64, home **row) *row {
	l := ln.free
	if l == nil {
		l = &row{}
	} else {
		ln.free = l.after
	}
	*l = row{key: key, home: home, beside: *home}
	*home = l
	if t := ln.turn; t == nil {
		l.before, l.after = l, l
		ln.turn = l
	} else {
		l.before, l.after = t.before, t
		l.before.after, t.before = l, l
	}
	return l
}

// leave takes an empty row out of its place and the ring.
func (ln *line) leave(l *row) {
	at := l.home
	for *at != l {
		at = &(*at).beside
	}
	*at = l.beside
	if l.after == l {
		ln.turn = nil
	} else {
		l.before.after, l.after.before = l.after, l.before
		if ln.turn == l {
			ln.turn = l.after
		}
	}
	l.before, l.after = nil, ln.free
	ln.free = l
}

// resize notes that a row has one waiter more or less.
func (ln *line) resize(l *row, by int) {
	if l.n > 0 { // out of the list of its length
		if l.shorter != nil {
			l.shorter.more = l.more
		} else {
			ln.byLength[l.n] = l.more
		}
		if l.more != nil {
			l.more.shorter = l.shorter
		}
	}
	l.n += by
	ln.n += by
	l.shorter, l.more = nil, nil
	if l.n > 0 {
		for len(ln.byLength) <= l.n {
			ln.byLength = append(ln.byLength, nil)
		}
		if l.more = ln.byLength[l.n]; l.more != nil {
			l.more.shorter = l
		}
		ln.byLength[l.n] = l
		ln.longest = max(ln.longest, l.n)
	}
	if ln.longest > 0 && ln.byLength[ln.longest] == nil { // it was the only one, and is one shorter now
		ln.longest--
	}
}

// makeRoom makes room in a full queue for a waiter of a class and key, if somebody has less
// of a claim to it. The gate's lock is held.
func (g *Gate) makeRoom(c model.Class, key uint64) bool {
	q := &g.queue
	if low := q.lowest(); low < c {
		g.evictLowest(WhyPriority)
		return true
	}
	ln := &q.lines[c]
	if ln.n == 0 {
		return false // all who wait are of higher classes
	}
	mine := 0
	own, _ := q.find(c, key)
	if own != nil {
		mine = own.n
	}
	switch {
	case q.lifo && mine == ln.longest: // the youngest takes the place of the oldest of its own row
		g.evict(q.worst(own), WhyQueue)
	case q.lifo || ln.longest > mine+1:
		g.evict(q.worst(ln.byLength[ln.longest]), WhyQueue)
	default:
		return false
	}
	return true
}

// evictLowest takes a waiter out of the longest row of the lowest class.
func (g *Gate) evictLowest(why Why) {
	ln := &g.queue.lines[g.queue.lowest()]
	g.evict(g.queue.worst(ln.byLength[ln.longest]), why)
}

func (g *Gate) evict(w *Waiter, why Why) {
	g.queue.remove(w)
	g.waiting.Add(-1)
	g.classes[w.class].shed.Add(1)
	w.Wake(false, why)
}

// dispatch lets those through who wait, as far as there is room. The lock is held. Where the
// highest class that waits finds no room, no lower one would: their ceilings are lower.
func (g *Gate) dispatch() {
	for g.queue.n > 0 {
		c := g.queue.highest()
		if !g.config.Observe && !g.take(c) {
			return
		}
		if g.config.Observe {
			g.inFlight.Add(1)
		}
		w := g.queue.next(c)
		g.queue.remove(w)
		g.waiting.Add(-1)
		of := &g.classes[c]
		of.admitted.Add(1)
		of.inFlight.Add(1)
		w.Wake(true, WhyNone)
	}
}
