package cluster

// checkQueue is hosts by when their checks are due: a heap.
type checkQueue []*Host

// Len implements heap.Interface, as do the others.
func (q checkQueue) Len() int { return len(q) }

// Less puts the host that is due first before the others.
func (q checkQueue) Less(i, j int) bool { return q[i].check.due < q[j].check.due }

// Swap keeps every host's place.
func (q checkQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].check.place, q[j].check.place = i+1, j+1
}

// Push adds a *Host at the end.
func (q *checkQueue) Push(h any) {
	*q = append(*q, h.(*Host))
	h.(*Host).check.place = len(*q)
}

// Pop removes the last one.
func (q *checkQueue) Pop() any {
	last := len(*q) - 1
	h := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	h.check.place = 0
	return h
}
