package http3

import (
	"context"
	"errors"
	"io"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// acceptUni takes the client's unidirectional streams. Their number is never given back, so
// that nobody can open and end them without end.
func (m *session) acceptUni() {
	for {
		q, err := m.q.AcceptUniStream(context.Background())
		if err != nil {
			return
		}
		m.work.Go(func() { m.guard(func() { m.serveUni(&reader{q: q}) }) })
	}
}

// serveUni reads one of them. The control stream and those of QPACK last as long as the
// connection; what comes on others is not wanted.
func (m *session) serveUni(r *reader) {
	kind, err := quicvarint.Read(r)
	if err != nil {
		return
	}
	if kind == streamPush {
		m.fail(errPushStream)
		return
	}
	if kind > streamDecoder {
		r.q.CancelRead(codeStreamCreation.stream())
		return
	}
	m.mu.Lock()
	twice := m.unique[kind]
	m.unique[kind] = true
	m.mu.Unlock()
	var wrong *fault
	switch {
	case twice:
		wrong = errTwice
	case kind == streamControl:
		wrong = m.readControl(r)
	case kind == streamEncoder:
		wrong = m.readInstructions(r, encoderInstruction)
	default:
		wrong = m.readInstructions(r, decoderInstruction)
	}
	if wrong != nil {
		m.fail(wrong)
	}
}

// criticalEnd is what it means that a stream has ended which lasts as long as its connection:
// nothing if that is over.
func criticalEnd(err error) *fault {
	var reset *quic.StreamError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &reset) {
		return errCriticalEnded
	}
	return nil
}

// reader reads a unidirectional stream by bytes.
type reader struct {
	q        *quic.ReceiveStream
	from, to int
	buf      [256]byte
}

// ReadByte is io.ByteReader's.
func (r *reader) ReadByte() (byte, error) {
	for r.from == r.to {
		n, err := r.q.Read(r.buf[:])
		r.from, r.to = 0, n
		if n == 0 && err != nil {
			return 0, err
		}
	}
	r.from++
	return r.buf[r.from-1], nil
}

// Read is io.Reader's.
func (r *reader) Read(p []byte) (int, error) {
	if r.from < r.to {
		n := copy(p, r.buf[r.from:r.to])
		r.from += n
		return n, nil
	}
	return r.q.Read(p)
}

// readControl reads the control stream until the connection ends or is to.
func (m *session) readControl(r *reader) *fault {
	var push uint64 // the highest push ID that the client allows
	var memory []byte
	for greeted := false; ; greeted = true {
		t, err := quicvarint.Read(r)
		if err != nil {
			return criticalEnd(err)
		}
		length, err := quicvarint.Read(r)
		if err != nil {
			return criticalEnd(err)
		}
		k := kind(t)
		if !greeted && k != kindSettings {
			return errNoSettings
		}
		if !m.charge(costFrame) {
			return nil
		}
		switch {
		case k.formerly():
			return errFormer
		case k == kindData, k == kindHeaders, k == kindPushPromise:
			return errNotControl
		case k == kindSettings && greeted:
			return errSettingsTwice
		case !k.controls():
			if _, err := io.CopyN(io.Discard, r, int64(length)); err != nil {
				return criticalEnd(err)
			}
			continue
		case length > maxControl:
			return errControlLong
		}
		if uint64(cap(memory)) < length {
			memory = make([]byte, length)
		}
		payload := memory[:length]
		if _, err := io.ReadFull(r, payload); err != nil {
			return criticalEnd(err)
		}
		if wrong := controlFrame(k, payload, &push); wrong != nil {
			return wrong
		}
	}
}

// controlFrame judges a frame. There is nothing to do about any: we push nothing, and a client
// that goes away ends its connection itself.
func controlFrame(k kind, payload []byte, push *uint64) *fault {
	if k == kindSettings {
		return checkSettings(payload)
	}
	id, n, err := quicvarint.Parse(payload)
	if err != nil || n != len(payload) {
		return errControlFrame
	}
	switch {
	case k == kindMaxPush && id < *push, k == kindCancelPush:
		return errPushID
	case k == kindMaxPush:
		*push = id
	}
	return nil
}

// readInstructions reads one of the streams of QPACK, each of whose instructions begins with a
// byte that judge looks at.
func (m *session) readInstructions(r *reader, judge func(first byte) *fault) *fault {
	for {
		b, err := r.ReadByte()
		if err != nil {
			return criticalEnd(err)
		}
		if wrong := judge(b); wrong != nil {
			return wrong
		}
		for more := b&0x3f == 0x3f; more; { // the rest of a decoder's integer
			if b, err = r.ReadByte(); err != nil {
				return criticalEnd(err)
			}
			more = b&0x80 != 0
		}
		if !m.charge(costFrame) {
			return nil
		}
	}
}

// encoderInstruction lets only pass that the table's capacity be 0 (RFC 9204 section 4.3.1).
func encoderInstruction(first byte) *fault {
	if first != 0x20 {
		return errTable
	}
	return nil
}

// decoderInstruction lets only the cancellation of streams pass (RFC 9204 section 4.4.2).
func decoderInstruction(first byte) *fault {
	if first&0xc0 != 0x40 {
		return errNoInserts
	}
	return nil
}
