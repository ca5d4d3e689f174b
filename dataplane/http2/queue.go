package http2

import "sync"

// queue is the bytes of a body that have come and not yet been read. The stream's window
// bounds it. The zero value is ready.
type queue struct {
	first, last *block
	size        int // bytes
}

type block struct {
	next     *block
	from, to int
	memory   [8 << 10]byte
}

var blocks = sync.Pool{New: func() any { return new(block) }}

// push appends a copy of p.
func (q *queue) push(p []byte) {
	q.size += len(p)
	for len(p) > 0 {
		if q.last == nil || q.last.to == len(q.last.memory) {
			b := blocks.Get().(*block)
			b.next, b.from, b.to = nil, 0, 0
			if q.last == nil {
				q.first = b
			} else {
				q.last.next = b
			}
			q.last = b
		}
		n := copy(q.last.memory[q.last.to:], p)
		q.last.to += n
		p = p[n:]
	}
}

// pull moves the first bytes into p and returns how many.
func (q *queue) pull(p []byte) int {
	n := 0
	for n < len(p) && q.first != nil {
		b := q.first
		k := copy(p[n:], b.memory[b.from:b.to])
		n += k
		if b.from += k; b.from == b.to {
			q.shift()
		}
	}
	q.size -= n
	return n
}

func (q *queue) shift() {
	b := q.first
	if q.first = b.next; q.first == nil {
		q.last = nil
	}
	b.next = nil
	blocks.Put(b)
}

// drop forgets everything and returns how many bytes that was.
func (q *queue) drop() int {
	n := q.size
	for q.first != nil {
		q.shift()
	}
	q.size = 0
	return n
}
