package guard

import "weir.dev/weir/model"

// spoken is the canary's users who have failed last: a test does not hear of them again for now. Who
// always fails, wherever they are, is drawn to the canary a little more often in one run than in another,
// and asks again and again: that is chance, and would soon be taken for proof. By how many users chance
// errs is of the order of the root of their number: of n who were heard of whom one in sixteen always
// fails, by more than √n in one of thirty thousand runs. So that many are left out, four at least.
//
// Who is left out is known before the block, so the rest is tested as fairly; and only the canary's are
// left out, so nothing is held against it that is not there. What is lost is little, as the root is: a
// canary that goes bad late is heard of by all the others.
type spoken struct {
	heard, failed users
	all, kept     int // how many those are
	most          int // that may be kept: the root of all
	oldest        int // of ring
	ring          [mostSpoken]uint16
}

const (
	fewSpoken  = 4
	mostSpoken = 100 // the root of model.Buckets
)

// users is a set of buckets, all below model.Buckets: of others some are taken for the same.
type users [(model.Buckets + 63) / 64]uint64

func (u *users) has(bucket uint16) bool { return u[u.word(bucket)]>>(bucket%64)&1 == 1 }
func (u *users) flip(bucket uint16)     { u[u.word(bucket)] ^= 1 << (bucket % 64) }
func (u *users) word(bucket uint16) int { return int(bucket/64) % len(u) }

func (s *spoken) has(bucket uint16) bool { return s.failed.has(bucket) }

// hear notes that a user was heard.
func (s *spoken) hear(bucket uint16) {
	if s.heard.has(bucket) {
		return
	}
	s.heard.flip(bucket)
	s.all++
	if next := s.most + 1; next*next <= s.all && next <= mostSpoken {
		s.most = next
	}
}

// add leaves a user out from now on, and hears the oldest again whose place that takes.
func (s *spoken) add(bucket uint16) {
	if s.failed.has(bucket) {
		return
	}
	if s.kept >= max(s.most, fewSpoken) {
		s.failed.flip(s.ring[s.oldest])
		s.oldest = (s.oldest + 1) % mostSpoken
		s.kept--
	}
	s.failed.flip(bucket)
	s.ring[(s.oldest+s.kept)%mostSpoken] = bucket
	s.kept++
}
