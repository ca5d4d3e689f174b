package http2

import "weir.dev/weir/dataplane/transport"

func (m *mux) onHeaders(f frame, p []byte) *fault {
	if f.stream%2 == 0 {
		return errStreamEven
	}
	fragment, wrong := f.fragment(p)
	if wrong != nil && !wrong.stream {
		return wrong
	}
	m.head.reset(m.cfg.MaxHead, false)
	m.head.answer = m.client != nil
	m.head.fault = wrong // the block is decoded all the same, or the table would be another
	if f.has(flagEndHeaders) {
		return m.onBlock(f, fragment)
	}
	m.open, m.pieces = f, 0
	m.block = append(m.block[:0], fragment...)
	return nil
}

func (m *mux) onContinuation(f frame, p []byte) *fault {
	if m.open.stream == 0 {
		return errNoBlock
	}
	if m.pieces++; m.pieces > maxFragments || len(m.block)+len(p) > 2*m.cfg.MaxHead+maxFrame {
		return errBlockLong
	}
	if len(p) == 0 {
		m.mu.Lock()
		wrong := m.charge(costEmpty)
		m.mu.Unlock()
		if wrong != nil {
			return wrong
		}
	}
	m.block = append(m.block, p...)
	if !f.has(flagEndHeaders) {
		return nil
	}
	open := m.open
	m.open = frame{}
	wrong := m.onBlock(open, m.block)
	if cap(m.block) > 8<<10 {
		m.block = nil
	}
	return wrong
}

// onBlock takes a whole header block: a request's head, or trailers.
func (m *mux) onBlock(f frame, block []byte) *fault {
	m.mu.Lock()
	s := m.streams[f.stream]
	m.head.trailer = s != nil || f.stream <= m.last
	if m.client != nil {
		m.head.trailer = s != nil && s.answered
	}
	m.mu.Unlock()
	if _, err := m.decoder.Write(block); err != nil {
		return errBlock
	}
	if err := m.decoder.Close(); err != nil {
		return errBlock
	}
	if m.client != nil && !m.head.trailer {
		return m.client.onAnswer(f)
	}
	if m.head.trailer {
		return m.onTrailers(f)
	}
	return m.onRequest(f)
}

// onTrailers ends a body. Trailers of one with a length are left out: HTTP/1.1
// has no place for them.
func (m *mux) onTrailers(f frame) *fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.streams[f.stream] // which may have been given up while the block was decoded
	switch {
	case m.didReset(f.stream), s == nil && m.client != nil:
		return nil // they were on their way
	case s == nil:
		return errStreamOver
	case s.inEnded, s.gone:
		return errStreamEnded
	case !f.has(flagEndStream):
		return errTrailerEnd
	case m.head.fault != nil:
		return m.head.fault
	case m.head.over:
		return errTrailerLong
	case s.rest > 0:
		return errLengthBody
	}
	s.trailers = append(append(append(s.trailers[:0], "0\r\n"...), m.head.fields...), "\r\n"...)
	s.endIn()
	s.reads.open()
	return nil
}

// onRequest opens a stream.
func (m *mux) onRequest(f frame) *fault {
	h := &m.head
	ended := f.has(flagEndStream)
	wrong := h.finish(ended)
	m.mu.Lock()
	m.last = f.stream
	switch {
	case m.phase >= phaseLast:
		m.mu.Unlock()
		return errTooMany // the client has been told, and sends it elsewhere
	case wrong != nil:
		m.mu.Unlock()
		m.cfg.Malformed(wrong.reason)
		return wrong
	case !m.takesMore():
		m.mu.Unlock()
		return errTooMany
	case !m.share.More(len(m.streams)):
		m.mu.Unlock()
		return errNoRoom
	}
	s := m.pool.stream(m, f.stream)
	if m.streams == nil {
		m.streams = make(map[uint32]*Stream)
	}
	m.streams[f.stream] = s
	m.current++
	s.tunnel = h.tunnels()
	s.chunked = !ended && h.length < 0 && !s.tunnel
	s.rest = h.length
	if ended {
		s.endIn()
	}
	m.mu.Unlock()
	s.method = append(s.method[:0], h.method...)
	if s.tunnel {
		s.method = append(s.method[:0], "GET"...)
	}
	s.scratch = h.appendTo(s.scratch[:0], s.chunked)
	s.In.Append(s.scratch)
	m.mu.Lock()
	m.begin(s)
	m.mu.Unlock()
	return nil
}

// takesMore reports whether a client may open another stream, as far as its connection goes. It is called with mu held.
func (m *mux) takesMore() bool {
	l := &m.cfg.Limits
	return m.current < l.Streams && m.current+m.unsaid < l.unsaid() && len(m.streams) < l.handlers()
}

// serveStream runs the handler, and reports whether its goroutine stays.
func (m *mux) serveStream(s *Stream, jobs chan *Stream) (stays bool) {
	intact := false
	defer func() {
		if !intact {
			if f := recover(); f != nil {
				m.cfg.Panicked(f)
			}
			m.sever(errReset) // nobody knows in what state it was left
		}
	}()
	s.gather()
	m.cfg.Handle(s)
	stays = m.finish(s, jobs)
	intact = true
	return stays
}

// finish ends a stream whose handler has returned, and reports whether its goroutine stays.
func (m *mux) finish(s *Stream, jobs chan *Stream) (stays bool) {
	m.mu.Lock()
	again := !s.closed // else a goroutine that the handler left behind might still use it
	s.hangUp()
	m.creditRead(s.got.drop())
	delete(m.streams, s.id)
	m.share.Less(len(m.streams))
	if len(m.streams) == 0 {
		m.idle = transport.Now()
	}
	switch {
	case m.phase == phaseOpen && (m.cfg.KeepAlive <= 0 || m.cfg.Draining()):
		m.drain()
	case m.phase == phaseLast && len(m.streams) == 0:
		m.endLocked(errDone)
	}
	m.kick()
	stays = m.stay(jobs)
	m.mu.Unlock()
	if again {
		m.pool.recycle(s)
	} else {
		s.In.Release()
	}
	return stays
}
