package transport

import "sync"

// Buffer sizes in bytes. A buffer starts Small; bodies that fill it move on to Large.
// Headroom is kept free in front of what is read, so that a rewritten head fits in
// front of the body that came with the old one and both leave in one write.
const (
	Small    = 16 << 10
	Large    = 72 << 10
	Headroom = 1 << 10
)

var (
	smallPool = sync.Pool{New: func() any { return new([Small]byte) }}
	largePool = sync.Pool{New: func() any { return new([Large]byte) }}
)

// Buffer is a window of unread bytes over pooled memory. It holds no memory while it is
// empty and idle: memory is taken when bytes arrive and given back by Release. The zero
// value is ready. It is used by one goroutine at a time.
type Buffer struct {
	small    *[Small]byte
	large    *[Large]byte
	grown    []byte // beyond Large, for heads that are allowed to be that long; never pooled
	mem      []byte // the memory in use: one of the above
	from, to int    // the unread bytes are mem[from:to]
	roomy    bool   // the next memory taken is Large at once
}

// Bytes returns the unread bytes. They are valid until the next read or Release.
func (b *Buffer) Bytes() []byte { return b.mem[b.from:b.to] }

// Len returns how many bytes are unread.
func (b *Buffer) Len() int { return b.to - b.from }

// Consume drops the first n unread bytes.
func (b *Buffer) Consume(n int) {
	b.from += n
	if b.from == b.to && b.mem != nil {
		b.from, b.to = Headroom, Headroom
	}
}

// Prepend copies p in front of the unread bytes and reports whether there was room.
func (b *Buffer) Prepend(p []byte) bool {
	if len(p) > b.from {
		return false
	}
	b.from -= len(p)
	copy(b.mem[b.from:], p)
	return true
}

// space returns the free memory behind the unread bytes, taking a small buffer if there is none yet.
func (b *Buffer) space() []byte {
	if b.mem == nil {
		if b.roomy && larges.take() {
			b.large = largePool.Get().(*[Large]byte)
			b.mem = b.large[:]
		} else {
			b.small = smallPool.Get().(*[Small]byte)
			b.mem = b.small[:]
		}
		b.from, b.to = Headroom, Headroom
	}
	return b.mem[b.to:]
}

// Expect prepares for n more bytes, a hint: a buffer that is empty and too small for them
// is given back, and the next one taken is the larger or the smaller kind as fits, the smaller
// one also where the larger ones have taken all the memory that they may.
func (b *Buffer) Expect(n int64) {
	b.roomy = n > Small-Headroom
	if b.mem != nil && b.from == b.to && (b.roomy == (b.small != nil)) {
		b.unused()
	}
}

// Append copies p behind the unread bytes, widening as needed.
func (b *Buffer) Append(p []byte) {
	for len(b.space()) < len(p) {
		b.Widen()
	}
	b.to += copy(b.mem[b.to:], p)
}

// Full reports whether a read would find no space.
func (b *Buffer) Full() bool { return b.mem != nil && b.to == len(b.mem) }

// Widen moves the unread bytes to a larger buffer. Beyond Large it doubles: the caller bounds it.
func (b *Buffer) Widen() {
	old := *b
	b.small, b.grown = nil, nil
	switch {
	case len(old.mem) < Large:
		larges.held.Add(1)
		b.large = largePool.Get().(*[Large]byte)
		b.mem = b.large[:]
	default:
		b.large = nil
		b.grown = make([]byte, 2*len(old.mem))
		b.mem = b.grown
	}
	b.from = Headroom
	b.to = Headroom + copy(b.mem[Headroom:], old.Bytes())
	old.give()
}

// Compact moves the unread bytes to the front, so that the space behind them grows.
func (b *Buffer) Compact() {
	if b.from <= Headroom {
		return
	}
	b.to = Headroom + copy(b.mem[Headroom:], b.mem[b.from:b.to])
	b.from = Headroom
}

// unused gives back memory that space took and nothing was read into.
func (b *Buffer) unused() {
	roomy := b.roomy
	b.Release()
	b.roomy = roomy
}

// Release gives the memory back. Unread bytes are lost.
func (b *Buffer) Release() {
	b.give()
	*b = Buffer{}
}

// ReleaseIfEmpty gives the memory back when nothing is unread.
func (b *Buffer) ReleaseIfEmpty() {
	if b.mem != nil && b.from == b.to {
		b.Release()
	}
}

func (b *Buffer) give() {
	if b.small != nil {
		smallPool.Put(b.small)
	}
	if b.large != nil {
		larges.held.Add(-1)
		largePool.Put(b.large)
	}
}
