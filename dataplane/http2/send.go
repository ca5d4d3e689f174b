package http2

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"weir.dev/weir/dataplane/transport"
)

// output is memory of connections that have something to write.
type output struct{ p []byte }

var outputs = sync.Pool{New: func() any { return new(output) }}

// buffer returns out, or memory for it. It is called with mu held.
func (m *mux) buffer() []byte {
	if m.out == nil {
		o := outputs.Get().(*output)
		m.holders = append(m.holders, o)
		m.out, o.p = o.p[:0], nil
	}
	return m.out
}

// kick has what is in out written. It is called with mu held, at the end of whatever
// appends to it.
func (m *mux) kick() {
	if m.writing || m.phase == phaseOver {
		return
	}
	if len(m.out) == 0 {
		m.unsaid = 0
		return
	}
	m.writing = true
	m.begin(nil)
}

// write is the connection's writer: it is at work while there is something to write. It lets
// others run first, so that what they have to say leaves in the same write. It reports whether its
// goroutine stays.
func (m *mux) write(jobs chan *Stream) (stays bool) {
	defer func() {
		if f := recover(); f != nil {
			m.cfg.Panicked(f)
			m.sever(errReset)
		}
	}()
	for {
		runtime.Gosched()
		m.mu.Lock()
		p := m.out
		if len(p) == 0 || m.phase == phaseOver {
			m.rest()
			last := m.phase == phaseEnding
			stays := !last && m.stay(jobs)
			m.mu.Unlock()
			if last {
				m.hangUp()
			}
			return stays
		}
		m.out = m.spare[:0]
		m.spare = nil
		m.saying = m.unsaid
		m.pass()
		m.mu.Unlock()
		err := m.conn.Write(p, transport.Wait{Gap: m.cfg.BodyTimeout, Patience: m.cfg.Patience})
		m.mu.Lock()
		m.written += int64(len(p))
		m.unsaid -= m.saying
		m.spare = p[:0]
		m.mu.Unlock()
		if err != nil {
			m.sever(err)
		}
	}
}

// rest gives memory back when nothing is left to write. It is called with mu held.
func (m *mux) rest() {
	m.writing = false
	for _, p := range [...][]byte{m.out, m.spare} {
		if last := len(m.holders) - 1; cap(p) > 0 && cap(p) <= 4*maxOut && last >= 0 {
			o := m.holders[last]
			m.holders = m.holders[:last]
			o.p = p[:0]
			outputs.Put(o)
		}
	}
	m.out, m.spare, m.holders = nil, nil, m.holders[:0]
}

// hangUp ends our side of a connection that has said everything.
func (m *mux) hangUp() {
	if m.client != nil {
		_ = m.conn.Close() // nothing that still comes is wanted
		return
	}
	_ = m.conn.CloseWrite() // it may wait for the client, and if it fails, the timer closes the connection
	m.mu.Lock()
	defer m.mu.Unlock()
	m.after(lingerTime, func() { _ = m.conn.Close() })
}

// pass gives the next waiting stream its turn to send one frame, if there is anything to be
// had and nobody else has it. Whoever has had it passes it on. It is called with mu held.
func (m *mux) pass() {
	if m.turn || len(m.waiting) == 0 || m.outWindow <= 0 || len(m.out) >= maxOut {
		return
	}
	s := m.waiting[0]
	m.leave(s)
	s.turn = true
	m.turn = true
	s.writes.open()
}

// leave takes s out of those who wait. It is called with mu held.
func (m *mux) leave(s *Stream) {
	if !s.queued {
		return
	}
	s.queued = false
	for i, w := range m.waiting {
		if w == s {
			n := copy(m.waiting[i:], m.waiting[i+1:])
			m.waiting[i+n] = nil
			m.waiting = m.waiting[:i+n]
			return
		}
	}
}

// end says good-bye and ends every stream.
func (m *mux) end(wrong *fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endLocked(wrong)
	m.kick()
}

func (m *mux) endLocked(why *fault) {
	if m.phase >= phaseEnding {
		return
	}
	last := m.last
	switch {
	case m.client != nil:
		last = 0 // hosts open no streams
	case m.phase == phaseLast: // what came later has been refused
		last = m.accepted
	}
	m.phase = phaseEnding
	m.out = appendGoAway(m.buffer(), last, why.code, why.reason)
	m.loseAll(why)
}

// sever ends the connection at once.
func (m *mux) sever(why error) {
	m.mu.Lock()
	m.phase = phaseOver
	m.crew.disband()
	m.loseAll(why)
	if m.timer != nil {
		m.timer.Stop()
	}
	m.mu.Unlock()
	_ = m.conn.Close() // it may have been closed by its client
}

func (m *mux) loseAll(why error) {
	if m.client != nil {
		why = m.client.broken(why)
	} else if !errors.Is(why, transport.ErrPressed) {
		why = errReset
	}
	for _, s := range m.streams {
		if m.client == nil || !s.stands() {
			s.lose(why)
		}
	}
}

// after sets the timer. It is called with mu held.
func (m *mux) after(d time.Duration, f func()) {
	if m.timer != nil {
		m.timer.Stop()
	}
	m.timer = time.AfterFunc(d, f)
}

// linger reads on for a moment after the last frame: to close with unread bytes would reset
// the connection, and the client might not see why.
func (m *mux) linger() {
	by := transport.Now().Add(lingerTime)
	for read := 0; read < 4*maxOut; {
		m.in.Consume(m.in.Len())
		n, err := m.conn.ReadInto(m.in, transport.Wait{By: by})
		if err != nil {
			return
		}
		read += n
	}
}
