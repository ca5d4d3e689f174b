// Package stale keeps answers for when a backend has too much to do, and says which may be given to whom. It is no
// cache: what it has is only given by a step of degradation, which is the proxy's.
package stale

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
)

// Bounds of a Store.
const (
	maxBody    = 64 << 10 // bytes of one answer's body
	maxBytes   = 32 << 20 // of all that is kept
	maxEntries = 8192
	nParts     = 16 // of the store, each with a lock of its own and its part of the bounds
	after      = time.Second
	places     = 4096
)

// Store keeps answers: the newest to each request, in bounded memory; those that were asked for longest ago go first.
// It is ready for use, and empty until Use.
type Store struct {
	used  atomic.Bool // some route may give old answers, or has
	seed  maphash.Seed
	once  sync.Once
	parts [nParts]part
	last  [places]atomic.Uint64 // for which key each was due last, in 40 bits, and when
}

type part struct {
	mu    sync.Mutex
	byKey map[string]*Answer
	bytes int
	first Answer // of a ring, the most recently used behind it
}

// Answer is one that is kept. What it says does not change.
type Answer struct {
	Fields         string // lines of the head that are no hop's business
	Body           string
	key            string
	public         bool              // it may be given to whoever asks
	made           transport.Instant // when it came
	aged           time.Duration     // how old it was then
	fresh          time.Duration     // for how long it may be given although its owner says no longer; 0: any time
	younger, older *Answer
}

// Use says that answers will be kept, from now on.
func (s *Store) Use() {
	s.once.Do(func() {
		s.seed = maphash.MakeSeed()
		for i := range s.parts {
			p := &s.parts[i]
			p.byKey = make(map[string]*Answer)
			p.first.younger, p.first.older = &p.first, &p.first
		}
	})
	s.used.Store(true)
}

func (s *Store) at(key []byte) *part {
	return &s.parts[maphash.Bytes(s.seed, key)%nParts]
}

// find returns the answer for a key, or nil, and notes that it was asked for.
func (s *Store) find(key []byte) *Answer {
	p := s.at(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.byKey[string(key)]
	if k != nil {
		k.unlink()
		p.link(k)
	}
	return k
}

// due reports whether the answer to a request is to be kept, for the first who asks in each second:
// for those that anybody may have and for others apart, because most of the others turn out to be
// for their askers alone. Of two keys that share a place each may be due more often. It takes no
// lock, as every request asks.
func (s *Store) due(key []byte, who asker, now transport.Instant) bool {
	hash := maphash.Bytes(s.seed, key)*2 + uint64(who)
	at := &s.last[hash%uint64(len(s.last))]
	second := uint64(now / transport.Instant(after))
	word := hash&^0xffffff | second&0xffffff
	old := at.Load()
	return old != word && at.CompareAndSwap(old, word)
}

// keep stores an answer, in place of the last one for its key, unless that came later.
func (s *Store) keep(k *Answer) {
	if k.size() > maxBytes/nParts {
		return
	}
	p := s.at([]byte(k.key))
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.byKey[k.key]; old != nil {
		if old.made > k.made {
			return
		}
		p.drop(old)
	}
	p.byKey[k.key] = k
	p.bytes += k.size()
	p.link(k)
	for p.bytes > maxBytes/nParts || len(p.byKey) > maxEntries/nParts {
		p.drop(p.first.younger) // the ring's end: the one asked for longest ago
	}
}

// remove forgets the answer for a key.
func (s *Store) remove(key []byte) {
	p := s.at(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.byKey[string(key)]; k != nil {
		p.drop(k)
	}
}

// size is about how many bytes of memory an answer takes.
func (k *Answer) size() int { return len(k.key) + len(k.Fields) + len(k.Body) + 256 }

func (p *part) link(k *Answer) {
	k.younger, k.older = &p.first, p.first.older
	k.older.younger, p.first.older = k, k
}

func (k *Answer) unlink() {
	k.younger.older, k.older.younger = k.older, k.younger
}

func (p *part) drop(k *Answer) {
	k.unlink()
	delete(p.byKey, k.key)
	p.bytes -= k.size()
}
