package http3

import (
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// kind is a frame's type (RFC 9114 section 7.2).
type kind uint64

const (
	kindData        kind = 0x0
	kindHeaders     kind = 0x1
	kindCancelPush  kind = 0x3
	kindSettings    kind = 0x4
	kindPushPromise kind = 0x5
	kindGoAway      kind = 0x7
	kindMaxPush     kind = 0xd
)

// formerly reports whether k is a frame of HTTP/2 that HTTP/3 forbids (section 7.2.8).
func (k kind) formerly() bool { return k == 0x2 || k == 0x6 || k == 0x8 || k == 0x9 }

// controls reports whether k belongs to control streams.
func (k kind) controls() bool {
	switch k {
	case kindCancelPush, kindSettings, kindGoAway, kindMaxPush:
		return true
	}
	return false
}

// Types of unidirectional streams (RFC 9114 section 6.2, RFC 9204 section 4.2).
const (
	streamControl = 0x0
	streamPush    = 0x1
	streamEncoder = 0x2
	streamDecoder = 0x3
)

// Settings (RFC 9114 section 7.2.4.1, RFC 9220 section 3).
const (
	settingFieldSection = 0x6
	settingConnect      = 0x8
)

// code says what ended a stream or a connection (RFC 9114 section 8.1, RFC 9204 section 6).
type code uint64

const (
	codeNo              code = 0x100
	codeInternal        code = 0x102
	codeStreamCreation  code = 0x103
	codeClosedCritical  code = 0x104
	codeFrameUnexpected code = 0x105
	codeFrame           code = 0x106
	codeExcessive       code = 0x107
	codeID              code = 0x108
	codeSettings        code = 0x109
	codeMissingSettings code = 0x10a
	codeRejected        code = 0x10b
	codeCancelled       code = 0x10c
	codeIncomplete      code = 0x10d
	codeMessage         code = 0x10e
	codeDecompression   code = 0x200
	codeEncoderStream   code = 0x201
	codeDecoderStream   code = 0x202
)

func (c code) stream() quic.StreamErrorCode    { return quic.StreamErrorCode(c) }
func (c code) conn() quic.ApplicationErrorCode { return quic.ApplicationErrorCode(c) }

// fault is what a client did wrong. It ends the stream, or the connection.
type fault struct {
	code   code
	stream bool
	reason string
}

// Error returns the reason.
func (f *fault) Error() string { return f.reason }

func connFault(c code, reason string) *fault   { return &fault{code: c, reason: reason} }
func streamFault(c code, reason string) *fault { return &fault{code: c, stream: true, reason: reason} }

// The faults.
var (
	errFormer        = connFault(codeFrameUnexpected, "frame type of HTTP/2")
	errNotHere       = connFault(codeFrameUnexpected, "frame that does not belong to a request")
	errNotControl    = connFault(codeFrameUnexpected, "frame that does not belong to a control stream")
	errOrder         = connFault(codeFrameUnexpected, "DATA in front of HEADERS")
	errBehind        = connFault(codeFrameUnexpected, "frame behind the trailers")
	errTunnelFrame   = connFault(codeFrameUnexpected, "HEADERS in a tunnel")
	errPushPromise   = connFault(codeFrameUnexpected, "PUSH_PROMISE from a client")
	errCut           = connFault(codeFrame, "stream ends within a frame")
	errControlLong   = connFault(codeExcessive, "control frame too long")
	errControlFrame  = connFault(codeFrame, "malformed control frame")
	errTwice         = connFault(codeStreamCreation, "second stream of a kind that there is one of")
	errPushStream    = connFault(codeStreamCreation, "push stream from a client")
	errCriticalEnded = connFault(codeClosedCritical, "control or QPACK stream ended")
	errNoSettings    = connFault(codeMissingSettings, "first frame is not SETTINGS")
	errSettingsTwice = connFault(codeFrameUnexpected, "SETTINGS twice")
	errSettings      = connFault(codeSettings, "setting of HTTP/2, twice, or with an illegal value")
	errPushID        = connFault(codeID, "push ID that was never promised, or is lower than before")
	errTable         = connFault(codeEncoderStream, "dynamic table used, which there is none of")
	errNoInserts     = connFault(codeDecoderStream, "acknowledgement of what was never sent")
	errCalm          = connFault(codeExcessive, "too many frames or streams that do nothing")
	errBlock         = connFault(codeDecompression, "malformed field section")

	errHeadCut     = streamFault(codeIncomplete, "stream ends before the request's head")
	errHeadLate    = streamFault(codeIncomplete, "request's head not complete in time")
	errTrailerLong = streamFault(codeExcessive, "trailers too long")
	errLengthBody  = streamFault(codeMessage, "content-length and DATA disagree")
)

// parseFrame parses a frame's header at the start of b: n is its length in bytes, 0 if it is
// not whole.
func parseFrame(b []byte) (k kind, length uint64, n int) {
	t, n, err := quicvarint.Parse(b)
	if err != nil {
		return 0, 0, 0
	}
	length, m, err := quicvarint.Parse(b[n:])
	if err != nil {
		return 0, 0, 0
	}
	return kind(t), length, n + m
}

// appendFrame appends a frame's header.
func appendFrame(dst []byte, k kind, length uint64) []byte {
	return quicvarint.Append(quicvarint.Append(dst, uint64(k)), length)
}

// appendSettings appends our SETTINGS. There is no dynamic table, which is the default.
func appendSettings(dst []byte, maxHead int) []byte {
	var memory [32]byte
	b := quicvarint.Append(memory[:0], settingFieldSection)
	b = quicvarint.Append(b, uint64(maxHead))
	b = quicvarint.Append(b, settingConnect)
	b = quicvarint.Append(b, 1)
	return append(appendFrame(dst, kindSettings, uint64(len(b))), b...)
}

// checkSettings judges a client's SETTINGS. None of them changes what we send: our answers use
// no dynamic table, and are not held back for being long.
func checkSettings(b []byte) *fault {
	var seen []uint64
	for len(b) > 0 {
		id, n, err := quicvarint.Parse(b)
		if err != nil {
			return errControlFrame
		}
		value, m, err := quicvarint.Parse(b[n:])
		if err != nil {
			return errControlFrame
		}
		b = b[n+m:]
		for _, s := range seen {
			if s == id {
				return errSettings
			}
		}
		if id >= 0x2 && id <= 0x5 || id == settingConnect && value > 1 {
			return errSettings
		}
		if seen = append(seen, id); len(seen) > maxSettings {
			return errControlLong
		}
	}
	return nil
}
