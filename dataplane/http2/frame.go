package http2

import (
	"encoding/binary"
	"strconv"
)

// Preface is what a client sends first (RFC 9113 section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	headerSize   = 9
	maxFrame     = 16 << 10 // bytes of a payload: the least that RFC 9113 lets us accept, and all that we send
	maxWindow    = 1<<31 - 1
	firstWindow  = 65_535 // of a connection, and of streams until SETTINGS say otherwise
	firstTable   = 4096   // bytes of the decoder's dynamic table
	settingSize  = 6
	prioritySize = 5
	pingSize     = 8
)

// kind is a frame's type (RFC 9113 section 6).
type kind uint8

const (
	kindData kind = iota
	kindHeaders
	kindPriority
	kindReset
	kindSettings
	kindPush
	kindPing
	kindGoAway
	kindWindow
	kindContinuation
)

// Flags of frames. flagAck has the bit of flagEndStream.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings (RFC 9113 section 6.5.2, RFC 8441 section 3).
const (
	settingTable      = 0x1
	settingPush       = 0x2
	settingStreams    = 0x3
	settingWindow     = 0x4
	settingFrame      = 0x5
	settingHeaderList = 0x6
	settingConnect    = 0x8
)

// code is an error code (RFC 9113 section 7).
type code uint32

const (
	codeNo         code = 0x0
	codeProtocol   code = 0x1
	codeInternal   code = 0x2
	codeFlow       code = 0x3
	codeClosed     code = 0x5
	codeFrameSize  code = 0x6
	codeRefused    code = 0x7
	codeCancel     code = 0x8
	codeCompressed code = 0x9
	codeCalm       code = 0xb
)

// codeNames are those of RFC 9113 section 7.
var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// String returns the code's name.
func (c code) String() string {
	if int64(c) < int64(len(codeNames)) {
		return codeNames[c]
	}
	return "code " + strconv.FormatUint(uint64(c), 10)
}

// fault is what the other side did wrong. Those of a stream leave the connection as it is.
type fault struct {
	code   code
	stream bool
	reason string
}

// Error returns the reason.
func (f *fault) Error() string { return f.reason }

func connFault(c code, reason string) *fault   { return &fault{code: c, reason: reason} }
func streamFault(c code, reason string) *fault { return &fault{code: c, stream: true, reason: reason} }

// Faults of single frames.
var (
	errFrameLong     = connFault(codeFrameSize, "frame longer than SETTINGS_MAX_FRAME_SIZE")
	errFrameSize     = connFault(codeFrameSize, "frame of a wrong size")
	errPrioritySize  = streamFault(codeFrameSize, "PRIORITY of a wrong size")
	errPadding       = connFault(codeProtocol, "padding longer than its frame")
	errStreamZero    = connFault(codeProtocol, "frame on stream 0 that belongs to a stream")
	errStreamOther   = connFault(codeProtocol, "frame on a stream that belongs to the connection")
	errSelf          = streamFault(codeProtocol, "stream depends on itself")
	errSetting       = connFault(codeProtocol, "setting with an illegal value")
	errSettingWindow = connFault(codeFlow, "SETTINGS_INITIAL_WINDOW_SIZE too large")
	errIncrement     = connFault(codeProtocol, "WINDOW_UPDATE of 0")
	errIncrementOf   = streamFault(codeProtocol, "WINDOW_UPDATE of 0")
	errPush          = connFault(codeProtocol, "PUSH_PROMISE that nobody allowed")
)

// frame is one frame's header.
type frame struct {
	length int
	kind   kind
	flags  uint8
	stream uint32
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// parseFrame reads a frame's header; false: there is less than one.
func parseFrame(b []byte) (frame, bool) {
	if len(b) < headerSize {
		return frame{}, false
	}
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   kind(b[3]), flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & maxWindow,
	}, true
}

// check judges what the header alone tells.
func (f *frame) check() *fault {
	if f.length > maxFrame {
		return errFrameLong
	}
	switch f.kind {
	case kindData, kindHeaders, kindPriority, kindReset, kindContinuation:
		if f.stream == 0 {
			return errStreamZero
		}
	case kindSettings, kindPing, kindGoAway:
		if f.stream != 0 {
			return errStreamOther
		}
	case kindPush:
		return errPush
	}
	wrong := false
	switch f.kind {
	case kindPriority:
		if f.length != prioritySize {
			return errPrioritySize
		}
	case kindReset, kindWindow:
		wrong = f.length != 4
	case kindSettings:
		wrong = f.length%settingSize != 0 || f.has(flagAck) && f.length != 0
	case kindPing:
		wrong = f.length != pingSize
	case kindGoAway:
		wrong = f.length < 8
	}
	if wrong {
		return errFrameSize
	}
	return nil
}

// unpad returns the payload without its padding (RFC 9113 section 6.1).
func (f *frame) unpad(p []byte) ([]byte, *fault) {
	if !f.has(flagPadded) {
		return p, nil
	}
	if len(p) == 0 {
		return nil, errFrameSize
	}
	pad := int(p[0])
	if pad >= len(p) {
		return nil, errPadding
	}
	return p[1 : len(p)-pad], nil
}

// fragment returns a HEADERS frame's part of the header block. Priorities are not used.
func (f *frame) fragment(p []byte) ([]byte, *fault) {
	p, err := f.unpad(p)
	if err != nil || !f.has(flagPriority) {
		return p, err
	}
	if len(p) < prioritySize {
		return nil, errFrameSize
	}
	if f.dependsOnItself(p) {
		return p[prioritySize:], errSelf
	}
	return p[prioritySize:], nil
}

func (f *frame) dependsOnItself(p []byte) bool {
	return binary.BigEndian.Uint32(p)&maxWindow == f.stream
}

// increment reads a WINDOW_UPDATE.
func (f *frame) increment(p []byte) (int64, *fault) {
	n := binary.BigEndian.Uint32(p) & maxWindow
	switch {
	case n > 0:
		return int64(n), nil
	case f.stream > 0:
		return 0, errIncrementOf
	}
	return 0, errIncrement
}

// setting is one parameter of SETTINGS.
type setting struct {
	id    uint16
	value uint32
}

// settingAt reads the setting at the start of p.
func settingAt(p []byte) (setting, *fault) {
	s := setting{id: binary.BigEndian.Uint16(p), value: binary.BigEndian.Uint32(p[2:])}
	switch s.id {
	case settingPush, settingConnect:
		if s.value > 1 {
			return s, errSetting
		}
	case settingWindow:
		if s.value > maxWindow {
			return s, errSettingWindow
		}
	case settingFrame:
		if s.value < maxFrame || s.value > 1<<24-1 {
			return s, errSetting
		}
	}
	return s, nil
}

// The appenders write what they are given.

func appendFrame(dst []byte, length int, k kind, flags uint8, stream uint32) []byte {
	dst = append(dst, byte(length>>16), byte(length>>8), byte(length), byte(k), flags)
	return binary.BigEndian.AppendUint32(dst, stream)
}

func appendSetting(dst []byte, id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(dst, id), value)
}

func appendWindow(dst []byte, stream uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(dst, 4, kindWindow, 0, stream), uint32(n))
}

func appendReset(dst []byte, stream uint32, c code) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(dst, 4, kindReset, 0, stream), uint32(c))
}

func appendPing(dst []byte, flags uint8, p []byte) []byte {
	return append(appendFrame(dst, pingSize, kindPing, flags, 0), p...)
}

func appendGoAway(dst []byte, last uint32, c code, reason string) []byte {
	dst = appendFrame(dst, 8+len(reason), kindGoAway, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(c))
	return append(dst, reason...)
}
