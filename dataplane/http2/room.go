package http2

import "sync/atomic"

// Room is what the streams of all clients may take together, of HTTP/2 and HTTP/3. Each connection
// has a few streams anyway; those beyond count here. So a few connections with all the streams that
// they may have are served as ever, and very many are not, however fast they come: this bound does
// not wait until somebody has seen that memory is short.
type Room struct {
	used    atomic.Int64
	most    int64
	short   func() bool
	refused func()
}

const (
	fewStreams = 8 // what a connection has anyway
	roomStep   = 8 // connections take room for so many streams at once, and seldom touch what all share
)

// NewRoom returns room for so many streams; 0: for any number. short says that none beyond the few
// are to be taken now, and refused is told of each that is not; nil: never, and nobody.
func NewRoom(most int64, short func() bool, refused func()) *Room {
	return &Room{most: most, short: short, refused: refused}
}

// Used returns the share of the room that is taken, 0 to 1; 0 of any number.
func (r *Room) Used() float64 {
	if r.most <= 0 {
		return 0
	}
	return float64(r.used.Load()) / float64(r.most)
}

func (r *Room) take() bool {
	if r.used.Add(roomStep) <= r.most || r.most <= 0 {
		return true
	}
	r.used.Add(-roomStep)
	return false
}

// Share is what one connection has of it. Its owner guards it. One of no Room is without bounds.
type Share struct {
	room  *Room
	extra int
}

// NewShare returns that of a new connection; room may be nil.
func NewShare(room *Room) Share { return Share{room: room} }

// More reports whether a connection with so many streams may have one more, and takes room for it.
func (s *Share) More(open int) bool {
	if s.room == nil || open < fewStreams {
		return true
	}
	r := s.room
	switch {
	case r.short != nil && r.short():
	case open < fewStreams+s.extra:
		return true
	case r.take():
		s.extra += roomStep
		return true
	}
	if r.refused != nil {
		r.refused()
	}
	return false
}

// Less gives back what a connection with so many streams will not soon need again: all of it when
// it has none.
func (s *Share) Less(open int) {
	for s.extra > 0 && fewStreams+s.extra-open >= 2*roomStep {
		s.extra -= roomStep
		s.room.used.Add(-roomStep)
	}
}
