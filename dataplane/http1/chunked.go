package http1

import (
	"bytes"
	"math"
)

// Bounds of a trailer section.
const (
	maxTrailer       = 8 << 10 // bytes, with its empty line
	maxTrailerFields = 32

	maxAnswerTrailer       = defaultHead
	maxAnswerTrailerFields = defaultFields
)

// Chunked validates a chunked body as it streams (RFC 9112 7.1). Sizes are plain
// hexadecimal, at most 16 digits, and less than 2^63; extensions are refused; lines end
// with CRLF. Trailer fields are checked as header fields are, may not have underscores, may
// not be framing, routing, authentication, hop-by-hop or proxies' own fields
// (RFC 9110 6.5.1), and take at most 8 KiB and 32 lines. Those of an answer may have underscores
// and take as much as its head: gRPC puts there what it has to say. The zero value is ready.
//
//	       size line > 0            Size bytes
//	size ─────────────────► data ──────────────► end
//	 │ ▲                                          │ CRLF
//	 │ └──────────────────────────────────────────┘
//	 │ size line = 0             empty line
//	 └──────────────► trailer ──────────────► over
//	                   │   ▲ field line
//	                   └───┘
//
// After an error, which is always an *Error, it needs a Reset. The error's status is that for a request.
type Chunked struct {
	// Answer says that the body is an answer's.
	Answer bool
	// Trailer, when not nil, is shown each trailer field, before Next says that it is valid.
	Trailer func(name Name, value []byte)

	state   chunkState
	left    int64 // bytes of the current chunk's data
	scanned int   // bytes of an incomplete trailer line known to have no LF
	bytes   int   // of the trailer section so far
	fields  int   // in the trailer section so far
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkData
	chunkEnd
	chunkTrailer
	chunkOver
)

// Reset makes c ready for another body, a request's.
func (c *Chunked) Reset() { *c = Chunked{} }

// trailerLimits are the bounds of the trailer section, in bytes and lines.
func (c *Chunked) trailerLimits() (size, fields int) {
	if c.Answer {
		return maxAnswerTrailer, maxAnswerTrailerFields
	}
	return maxTrailer, maxTrailerFields
}

// Scan returns how many leading bytes of buf are valid and may be forwarded as they are,
// and whether the body, trailers and final CRLF included, ends there. The next call's buf
// starts n bytes further. n == 0, not done and no err: more bytes are needed than buf has.
// Lines are given only whole. Bytes before a fault may be lost with it: n is 0 on error.
func (c *Chunked) Scan(buf []byte) (n int, done bool, err error) {
	for {
		data, used, done, err := c.Next(buf[n:])
		if err != nil {
			return 0, false, err
		}
		n += used
		if done || used == 0 && len(data) == 0 {
			return n, done, nil
		}
	}
}

// Trailing reports whether the line of the last chunk has been used: every byte from there on
// belongs to the trailer section, whose field lines and empty line Next gives only whole.
func (c *Chunked) Trailing() bool { return c.state >= chunkTrailer }

// Next is the same walk for decoding: data is the next piece of content in buf, possibly
// empty, and n how many bytes of buf were used up to its end. It stops where the trailer
// section begins.
func (c *Chunked) Next(buf []byte) (data []byte, n int, done bool, err error) {
	trailing := c.Trailing()
	for {
		if c.state == chunkData {
			size := int(min(c.left, int64(len(buf)-n)))
			if c.left -= int64(size); c.left == 0 {
				c.state = chunkEnd
			}
			return buf[n : n+size], n + size, false, nil
		}
		if c.state == chunkOver {
			return nil, n, true, nil
		}
		used, refusal := c.step(buf[n:])
		if refusal != nil {
			return nil, 0, false, refusal
		}
		if used == 0 {
			return nil, n, false, nil
		}
		n += used
		if c.state == chunkTrailer && !trailing {
			return nil, n, false, nil
		}
	}
}

// step consumes one piece of framing at the start of buf, or nothing while it is incomplete.
func (c *Chunked) step(buf []byte) (int, *Error) {
	switch c.state {
	case chunkSize:
		return c.sizeLine(buf)
	case chunkEnd:
		switch {
		case len(buf) > 0 && buf[0] != '\r', len(buf) > 1 && buf[1] != '\n':
			return 0, errChunkEnd
		case len(buf) < 2:
			return 0, nil
		}
		c.state = chunkSize
		return 2, nil
	}
	return c.trailerLine(buf)
}

func (c *Chunked) sizeLine(buf []byte) (int, *Error) {
	var size uint64
	i := 0
	for ; i < len(buf) && classes[buf[i]]&isHex != 0; i++ {
		if i == 16 {
			return 0, errChunkHuge
		}
		size = size<<4 | uint64(hexValue(buf[i]))
	}
	switch {
	case i == len(buf):
		return 0, nil
	case i == 0:
		return 0, errChunkSize
	case size > math.MaxInt64:
		return 0, errChunkHuge
	case buf[i] == ';':
		return 0, errChunkExt
	case buf[i] == '\n':
		return 0, errChunkLine
	case buf[i] != '\r':
		return 0, errChunkSize
	case i+1 == len(buf):
		return 0, nil
	case buf[i+1] != '\n':
		return 0, errChunkLine
	}
	c.left, c.state = int64(size), chunkData
	if size == 0 {
		c.state = chunkTrailer
	}
	return i + 2, nil
}

func (c *Chunked) trailerLine(buf []byte) (int, *Error) {
	if c.scanned > len(buf) { // the caller shows less than last time
		c.scanned = 0
	}
	maxBytes, maxFields := c.trailerLimits()
	i := bytes.IndexByte(buf[c.scanned:], '\n')
	if i < 0 {
		c.scanned = len(buf)
		if c.bytes+len(buf) >= maxBytes {
			return 0, errTrailerLarge
		}
		return 0, nil
	}
	end := c.scanned + i
	c.scanned = 0
	if c.bytes += end + 1; c.bytes > maxBytes {
		return 0, errTrailerLarge
	}
	if end == 0 || buf[end-1] != '\r' {
		return 0, errBareLF
	}
	if end == 1 {
		c.state = chunkOver
		return 2, nil
	}
	if c.fields++; c.fields > maxFields {
		return 0, errTrailerMany
	}
	line := buf[:end-1]
	nameEnd, valueAt, valueEnd, seen, err := splitField(line)
	if err != nil {
		return 0, err
	}
	name := recognise(line[:nameEnd])
	switch {
	case seen&isUnderscore != 0 && !c.Answer:
		return 0, errUnderscore
	case name.has(early):
		return 0, errTrailerFields
	}
	if c.Trailer != nil {
		c.Trailer(name, line[valueAt:valueEnd])
	}
	return end + 1, nil
}
