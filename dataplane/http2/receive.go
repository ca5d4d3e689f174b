package http2

import (
	"slices"
)

// The handlers of frames that are not header blocks are called with mu held.

func (m *mux) onData(f frame, p []byte) *fault {
	m.inWindow -= int64(f.length)
	if m.inWindow < 0 {
		return errWindowIn
	}
	data, wrong := f.unpad(p)
	if wrong != nil {
		return wrong
	}
	if f.length == 0 && !f.has(flagEndStream) {
		if wrong := m.charge(costEmpty); wrong != nil {
			return wrong
		}
	} else if len(data) >= usefulData {
		m.calm.earn(earnData)
	}
	s := m.streams[f.stream]
	if s == nil || s.gone {
		m.credit(f.length)
		switch {
		case f.stream > m.last:
			return errStreamIdle
		case m.didReset(f.stream):
			return m.charge(costWindow) // it was on its way
		}
		return errStreamEnded
	}
	if wrong := s.receive(data, f.length, f.has(flagEndStream)); wrong != nil {
		return wrong
	}
	return nil
}

// receive takes bytes of the request's body; size is what they count for in windows.
func (s *Stream) receive(data []byte, size int, end bool) *fault {
	m := s.m
	s.inWindow -= int64(size)
	switch {
	case s.inEnded:
		m.credit(size)
		return errStreamEnded
	case s.inWindow < 0:
		m.credit(size)
		return errWindowOf
	case s.rest >= 0 && int64(len(data)) > s.rest, s.rest >= 0 && end && int64(len(data)) < s.rest:
		m.credit(size)
		return errLengthBody
	}
	if s.rest >= 0 {
		s.rest -= int64(len(data))
	}
	s.got.push(data)
	s.creditBoth(size - len(data))
	if end {
		s.endIn()
	}
	signal(s.readable)
	return nil
}

func (m *mux) onReset(f frame) *fault {
	if f.stream > m.last {
		return errStreamIdle
	}
	s := m.streams[f.stream]
	if s == nil || s.gone {
		return m.charge(costPriority)
	}
	early := !s.outEnded
	s.lose()
	if early {
		return m.charge(costReset)
	}
	return nil
}

func (m *mux) onSettings(f frame, p []byte) *fault {
	m.greeted = true
	if f.has(flagAck) {
		return m.charge(costPriority)
	}
	if wrong := m.charge(costSettings + len(p)/settingSize); wrong != nil {
		return wrong
	}
	for ; len(p) > 0; p = p[settingSize:] {
		v, wrong := settingAt(p)
		if wrong != nil {
			return wrong
		}
		if v.id != settingWindow {
			continue // of no use to a server whose encoder has no table, and whose frames are small
		}
		grow := int64(v.value) - m.outFirst
		m.outFirst = int64(v.value)
		for _, s := range m.streams {
			if s.outWindow += grow; s.outWindow > maxWindow {
				return errWindowOut
			}
			if grow > 0 {
				signal(s.writable)
			}
		}
	}
	m.out = appendFrame(m.buffer(), 0, kindSettings, flagAck, 0)
	return m.bounded()
}

func (m *mux) onPing(f frame, p []byte) *fault {
	if f.has(flagAck) {
		if m.phase == phaseWarned && string(p) == drainPing {
			m.refuseNew()
		}
		return m.charge(costPriority)
	}
	if wrong := m.charge(costPing); wrong != nil {
		return wrong
	}
	m.out = appendPing(m.buffer(), flagAck, p)
	return m.bounded()
}

// bounded ends a connection whose client causes frames and does not read them.
func (m *mux) bounded() *fault {
	if len(m.out) > maxControl {
		return errCalm
	}
	return nil
}

func (m *mux) onWindow(f frame, p []byte) *fault {
	n, wrong := f.increment(p)
	if f.stream > m.last {
		return errStreamIdle
	}
	if wrong != nil {
		return wrong
	}
	if wrong := m.charge(costWindow); wrong != nil {
		return wrong
	}
	if f.stream == 0 {
		if m.outWindow += n; m.outWindow > maxWindow {
			return errWindowOut
		}
		m.pass()
		return nil
	}
	s := m.streams[f.stream]
	if s == nil || s.gone {
		return nil
	}
	if s.outWindow += n; s.outWindow > maxWindow {
		return errWindowLarge
	}
	signal(s.writable)
	return nil
}

// refuse resets a stream for a fault of the client's.
func (m *mux) refuse(stream uint32, wrong *fault) *fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.kick()
	s := m.streams[stream]
	if stream > m.last { // idle streams cannot be reset
		return connFault(wrong.code, wrong.reason)
	}
	if m.didReset(stream) {
		return m.charge(costFault)
	}
	m.reset(stream, wrong.code)
	if s != nil {
		s.lose()
	}
	return m.charge(costFault)
}

// reset tells the client that a stream is over. It is called with mu held.
func (m *mux) reset(stream uint32, c code) {
	m.resets[m.resetAt%rememberResets] = stream
	m.resetAt++
	m.out = appendReset(m.buffer(), stream, c)
}

// didReset reports whether a stream is one of the last that we reset: what the client sent
// before it knew is no fault.
func (m *mux) didReset(stream uint32) bool { return slices.Contains(m.resets[:], stream) }

// credit gives the client back bytes of the connection's window, in large pieces. It is
// called with mu held.
func (m *mux) credit(n int) {
	if m.inOwed += n; m.inOwed < connWindow/4 {
		return
	}
	m.out = appendWindow(m.buffer(), 0, m.inOwed)
	m.inWindow += int64(m.inOwed)
	m.inOwed = 0
}

// creditBoth gives back bytes that the stream's handler has read, of both windows.
func (s *Stream) creditBoth(n int) {
	if n == 0 {
		return
	}
	s.m.credit(n)
	if s.inEnded || s.gone {
		return
	}
	s.inOwed += n
	if s.inRead += n; s.inRead >= streamWindow && !s.grown {
		s.grown = true // it is a large body, and somebody reads it
		s.inOwed += grownWindow - streamWindow
	}
	if s.inOwed < streamWindow/2 {
		return
	}
	s.m.out = appendWindow(s.m.buffer(), s.id, s.inOwed)
	s.inWindow += int64(s.inOwed)
	s.inOwed = 0
}

// drainPing is the content of the PING behind the first GOAWAY of a drain: what the client
// sent before it saw that GOAWAY has come when it is acknowledged.
const drainPing = "draining"

// drain begins to end the connection without losing a request (RFC 9113 section 6.8). It is
// called with mu held.
func (m *mux) drain() {
	if m.phase != phaseOpen {
		return
	}
	m.phase = phaseWarned
	m.out = appendGoAway(m.buffer(), maxWindow, codeNo, "")
	m.out = appendPing(m.out, 0, []byte(drainPing))
	m.after(drainTime, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.phase == phaseWarned {
			m.refuseNew()
			m.kick()
		}
	})
}

// refuseNew says which streams are still served, and ends the connection behind the last.
func (m *mux) refuseNew() {
	m.phase = phaseLast
	m.accepted = m.last
	if len(m.streams) == 0 {
		m.endLocked(codeNo, "")
		return
	}
	m.out = appendGoAway(m.buffer(), m.last, codeNo, "")
}
