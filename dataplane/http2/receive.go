package http2

import (
	"encoding/binary"
	"slices"
)

// The handlers of frames that are not header blocks are called with mu held.

func (m *mux) onData(f frame, p []byte) *fault {
	m.inWindow -= int64(f.length)
	if m.inWindow < 0 {
		return errWindowIn
	}
	if m.client != nil {
		m.credit(f.length)
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
		m.creditRead(f.length)
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

// receive takes bytes of a body; size is what they count for in windows.
func (s *Stream) receive(data []byte, size int, end bool) *fault {
	m := s.m
	s.inWindow -= int64(size)
	var wrong *fault
	switch {
	case m.client != nil && !s.answered:
		wrong = errNoHead
	case s.inEnded:
		wrong = errStreamEnded
	case s.inWindow < 0:
		wrong = errWindowOf
	case s.rest >= 0 && int64(len(data)) > s.rest, s.rest >= 0 && end && int64(len(data)) < s.rest:
		wrong = errLengthBody
	}
	if wrong != nil {
		m.creditRead(size)
		return wrong
	}
	if s.rest >= 0 {
		s.rest -= int64(len(data))
	}
	s.got.push(data)
	s.creditBoth(size - len(data))
	if end {
		s.endIn()
	}
	s.reads.open()
	return nil
}

func (m *mux) onReset(f frame, p []byte) *fault {
	if f.stream > m.last {
		return errStreamIdle
	}
	s := m.streams[f.stream]
	if s == nil || s.gone {
		return m.charge(costPriority)
	}
	if m.client != nil {
		m.client.onReset(s, code(binary.BigEndian.Uint32(p)))
		return nil
	}
	early := !s.outEnded
	s.lose(errReset)
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
			if m.client != nil {
				wrong = m.client.onSetting(v)
			}
			if wrong != nil {
				return wrong
			}
			continue // the rest is of no use to who has an encoder without a table, and small frames
		}
		grow := int64(v.value) - m.outFirst
		m.outFirst = int64(v.value)
		for _, s := range m.streams {
			if s.outWindow += grow; s.outWindow > maxWindow {
				return errWindowOut
			}
			if grow > 0 {
				s.writes.open()
			}
		}
	}
	if m.client != nil {
		m.client.greet()
	}
	m.out = appendFrame(m.buffer(), 0, kindSettings, flagAck, 0)
	return m.bounded()
}

func (m *mux) onPing(f frame, p []byte) *fault {
	if f.has(flagAck) {
		if m.client != nil {
			m.client.pongs++
		}
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

// bounded ends a connection whose other side causes frames and does not read them.
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
	s.writes.open()
	return nil
}

// refuse resets a stream for a fault of the other side's.
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
		if m.client != nil { // it cost a request of ours, and its neighbours nothing
			s.lose(&Broken{Reason: wrong.reason, Protocol: true})
			return nil
		}
		s.lose(errReset)
	}
	if wrong == errNoRoom {
		return m.charge(costNoRoom)
	}
	return m.charge(costFault)
}

// reset tells the other side that a stream is over. It is called with mu held.
func (m *mux) reset(stream uint32, c code) {
	if len(m.resets) < m.cfg.Limits.remembered() {
		m.resets = append(m.resets, stream)
	} else {
		m.resets[m.resetAt%len(m.resets)] = stream
	}
	m.resetAt++
	m.unsaid++
	m.out = appendReset(m.buffer(), stream, c)
}

// didReset reports whether a stream is one of the last that we reset: what the other side sent
// before it knew is no fault.
func (m *mux) didReset(stream uint32) bool { return slices.Contains(m.resets, stream) }

// credit gives back bytes of the connection's window, in large pieces. It is
// called with mu held.
func (m *mux) credit(n int) {
	if m.inOwed += n; m.inOwed < m.cfg.Limits.all()/4 || m.phase >= phaseEnding {
		return
	}
	m.out = appendWindow(m.buffer(), 0, m.inOwed)
	m.inWindow += int64(m.inOwed)
	m.inOwed = 0
}

// creditRead gives back bytes of the connection's window that have been read. A client has
// done so when they came: one stream that is not read must not hold up all others, and what
// their windows allow is all that can wait.
func (m *mux) creditRead(n int) {
	if m.client == nil {
		m.credit(n)
	}
}

// creditBoth gives back bytes that have been read, of both windows.
func (s *Stream) creditBoth(n int) {
	if n == 0 {
		return
	}
	s.m.creditRead(n)
	if s.inEnded || s.gone {
		return
	}
	s.inOwed += n
	limits := &s.m.cfg.Limits
	if s.inRead += n; s.inRead >= limits.Window && !s.grown && (s.m.client == nil || len(s.m.streams) <= maxGrown) {
		s.grown = true // it is a large body, and somebody reads it
		s.inOwed += limits.Grown() - limits.Window
	}
	if s.inOwed < limits.Window/2 {
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
		m.endLocked(errDone)
		return
	}
	m.out = appendGoAway(m.buffer(), m.last, codeNo, "")
}
