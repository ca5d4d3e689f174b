package http2

import (
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// TestRoom: whatever many connections do, together they never have more than there is room for
// beyond the few of each; each has its few always; and in the end all is given back.
func TestRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := int64(rapid.IntRange(1, 100).Draw(t, "most"))
		refused := 0
		r := NewRoom(most, nil, func() { refused++ })
		shares, open := make([]Share, 5), make([]int, 5)
		for i := range shares {
			shares[i] = NewShare(r)
		}
		want := 0
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			i := rapid.IntRange(0, 4).Draw(t, "connection")
			if rapid.IntRange(0, 2).Draw(t, "what") > 0 {
				switch {
				case shares[i].More(open[i]):
					open[i]++
				case open[i] < fewStreams:
					t.Fatalf("refused with %d streams", open[i])
				default:
					want++
				}
			} else if open[i] > 0 {
				open[i]--
				shares[i].Less(open[i])
			}
			beyond := 0
			for _, n := range open {
				beyond += max(n-fewStreams, 0)
			}
			if used := r.used.Load(); int64(beyond) > used || used > most {
				t.Fatalf("%d streams beyond the few, %d counted, room for %d", beyond, used, most)
			}
		}
		for i := range shares {
			shares[i].Less(0)
		}
		if r.Used() != 0 || refused != want {
			t.Fatalf("%.2f of it is taken in the end; told of %d of %d refusals", r.Used(), refused, want)
		}
	})
}

// TestRoomIsShared: one connection takes what there is, another has its few. Who tries again a
// thousand times is no worse for it, because it is not his fault; and a handler that
// panics keeps nothing.
func TestRoomIsShared(t *testing.T) {
	var refused atomic.Int64
	room := NewRoom(roomStep, nil, func() { refused.Add(1) })
	release := make(chan struct{})
	handle := func(s *Stream) {
		<-release
		if s.id == 1 {
			panic("handler")
		}
		answer(hello)(s)
	}
	with := func(cfg *Config) { cfg.Room, cfg.Panicked = room, func(any) {} }
	first, second := serve(t, handle, with).greet(), serve(t, handle, with).greet()
	id := uint32(1)
	for range fewStreams + roomStep {
		first.ask(id, flagEndStream)
		id += 2
	}
	first.ask(id, flagEndStream).wantReset(id, codeRefused)
	id = 3
	for range fewStreams {
		second.ask(id, flagEndStream)
		id += 2
	}
	for range 1000 {
		second.ask(id, flagEndStream).wantReset(id, codeRefused)
		id += 2
	}
	if refused.Load() != 1001 || room.Used() != 1 {
		t.Errorf("told of %d refusals, %.2f taken", refused.Load(), room.Used())
	}
	close(release)
	<-first.done
	second.until(kindData, 3)
	if used := room.used.Load(); used != 0 {
		t.Errorf("room for %d streams is lost", used)
	}
}
