package guard

import (
	"sync"
	"sync/atomic"

	"weir.dev/weir/model"
)

// crowd is the users of one arm. Who always fails, whatever serves them, asks again and again. Which arm has more
// of them is chance, as far as there are two of them or two hundred; but heard each time, the difference would soon
// be taken for proof. So a test hears once of a user who fails, and leaves them out from then on: of both arms, as
// else what is the same would look different. How many are left out is bounded, because on a long day
// everybody fails once: of those heard of an eighth to a quarter, those who failed last.
//
// Who is left out is known before they ask, so the rest is tested as fairly, as long as either arm hears of its
// users about as soon. A larger one does so later where several users share a number, and would fail while
// the smaller is past it: stable leaves nobody out while the canary is the larger and crowded.
type crowd struct {
	heard  users
	all    atomic.Int64 // users in heard
	failed [every]spoken
}

// spoken is the users of whom one test has heard that they failed, the last so many: an old set and a young one,
// which takes the old one's place when it is full.
type spoken struct {
	sets  [2]users
	mu    sync.Mutex // of what follows
	young int
	n     int // users in the young set
}

const (
	fewSpoken  = 4                 // users that a set may have, at least
	partSpoken = 8                 // of all heard, one of so many
	crowded    = model.Numbers / 8 // users, from which on too many share a number
)

// users is a set of users by their numbers.
type users [model.Numbers / 64]atomic.Uint64

func (u *users) has(user uint16) bool { return u[user/64%uint16(len(u))].Load()>>(user%64)&1 == 1 }
func (u *users) add(user uint16)      { u[user/64%uint16(len(u))].Or(1 << (user % 64)) }

// hears reports whether a test hears this verdict on a request of a user. With everybody it leaves out nobody.
func (c *crowd) hears(which int, user uint16, v Verdict, everybody bool) bool {
	if v == None || !everybody && c.failed[which].has(user) {
		return false
	}
	if !c.heard.has(user) {
		c.heard.add(user)
		c.all.Add(1) // twice now and then, which does not matter
	}
	if v == Bad {
		c.failed[which].add(user, max(fewSpoken, int(c.all.Load()/partSpoken)))
	}
	return true
}

func (s *spoken) has(user uint16) bool { return s.sets[0].has(user) || s.sets[1].has(user) }

// add leaves a user out from now on, beside as many as a set may have.
func (s *spoken) add(user uint16, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n >= most {
		s.young, s.n = 1-s.young, 0
		for i := range s.sets[s.young] {
			s.sets[s.young][i].Store(0)
		}
	}
	if !s.sets[s.young].has(user) {
		s.sets[s.young].add(user)
		s.n++
	}
}

// everybody reports whether stable leaves nobody out.
func (j *Judge) everybody() bool {
	canary := j.canary.all.Load()
	return canary > crowded && canary > j.stable.all.Load()
}
