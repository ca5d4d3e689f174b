package cluster

import (
	"container/heap"

	"weir.dev/weir/dataplane/transport"
)

// slot is when something is due, and where it waits for that.
type slot struct {
	due   transport.Instant
	place int // in its queue, from 1; 0: it is not there
}

// queued is what waits in a queue, by its slot for that one.
type queued interface {
	comparable
	slot() *slot
}

// queue is what waits, by when it is due: a heap.
type queue[T queued] []T

// put adds t, or moves it to where it belongs now.
func (q *queue[T]) put(t T, due transport.Instant) {
	s := t.slot()
	if s.due = due; s.place != 0 {
		heap.Fix(q, s.place-1)
		return
	}
	heap.Push(q, t)
}

// remove takes t out, if it is there.
func (q *queue[T]) remove(t T) {
	if s := t.slot(); s.place != 0 {
		heap.Remove(q, s.place-1)
	}
}

// next takes out what is due first, if anything is due by now.
func (q *queue[T]) next(now transport.Instant) (t T, ok bool) {
	if len(*q) == 0 || (*q)[0].slot().due > now {
		return t, false
	}
	return heap.Pop(q).(T), true
}

// Len implements heap.Interface, as do the others.
func (q *queue[T]) Len() int { return len(*q) }

// Less puts what is due first before the others.
func (q *queue[T]) Less(i, j int) bool { return (*q)[i].slot().due < (*q)[j].slot().due }

// Swap keeps the places.
func (q *queue[T]) Swap(i, j int) {
	l := *q
	l[i], l[j] = l[j], l[i]
	l[i].slot().place, l[j].slot().place = i+1, j+1
}

// Push adds a T at the end.
func (q *queue[T]) Push(t any) {
	*q = append(*q, t.(T))
	t.(T).slot().place = len(*q)
}

// Pop removes the last one.
func (q *queue[T]) Pop() any {
	var none T
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = none
	*q = (*q)[:last]
	t.slot().place = 0
	return t
}
