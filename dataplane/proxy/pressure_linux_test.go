package proxy

import (
	"testing"

	"golang.org/x/net/http2"
)

// TestRelief: parked connections end, the oldest first, and the others are served.
func TestRelief(t *testing.T) {
	r := newParkingRig(t, nil)
	clients := make([]*client, 0, 40)
	for i := range cap(clients) {
		c := r.dial().send(get("/a"))
		c.want(200, "", "/a")
		clients = append(clients, c)
		r.parked(int64(i + 1))
	}
	n := r.proxy.Relieve(0.5)
	if n != 20 && n != 19 { // the last one is counted just before it is parked
		t.Errorf("%d ended", n)
	}
	r.parked(int64(len(clients) - n))
	for i, c := range clients {
		if i < n {
			c.ended()
		} else {
			c.send(get("/b")).want(200, "", "/b")
		}
	}
}

// relieve ends all parked connections, which are so many. One is counted just before it is parked.
func (r *rig) relieve(n int) {
	r.t.Helper()
	ended := 0
	until(r.t, "all that are parked end", func() bool {
		ended += r.proxy.Relieve(1)
		return ended >= n
	})
	if ended != n {
		r.t.Errorf("%d ended of %d", ended, n)
	}
}

// TestReliefOfSessions: a connection of HTTP/2 that is parked is ended with GOAWAY, and may still be
// the one that stays.
func TestReliefOfSessions(t *testing.T) {
	r := newParkingRig(t, nil)
	f := r.dialFramed()
	f.get("/a")
	r.parked(1)
	r.relieve(1)
	away, _ := f.until(func(frame http2.Frame) bool { return frame.Header().Type == http2.FrameGoAway }).(*http2.GoAwayFrame)
	if away == nil || away.ErrCode != http2.ErrCodeNo || away.LastStreamID != 1 {
		t.Errorf("GOAWAY %v", away)
	}
	if f.until(func(http2.Frame) bool { return false }) != nil {
		t.Error("the connection is still open")
	}
}

// TestReliefOfCrowds: of very many connections of HTTP/2 that end at once some are told why, and the
// others are closed: to tell them all would take more memory than there is.
func TestReliefOfCrowds(t *testing.T) {
	r := newParkingRig(t, nil)
	const crowd = 400
	clients := make([]*framed, crowd)
	for i := range clients {
		clients[i] = r.dialFramed()
		clients[i].get("/a")
	}
	r.parked(crowd)
	r.relieve(crowd)
	told := 0
	for _, f := range clients {
		if f.until(func(frame http2.Frame) bool { return frame.Header().Type == http2.FrameGoAway }) != nil {
			told++
		}
	}
	if told == 0 || told > 300 {
		t.Errorf("%d of %d are told", told, crowd)
	}
	r.parked(0)
}
