package policy

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"weir.dev/weir/model"
)

// encoderMemory bounds, in bytes, what the encoders in use take together: an answer that
// would exceed it is sent as it is. An encoder is in use as long as its answer, so slow
// clients could otherwise fill the memory.
const encoderMemory = 256 << 20

// encoderPiece is from how many bytes on an encoder gives its output away.
const encoderPiece = 8 << 10

// recipes are the codings with fast levels: each answer is compressed anew, and the next levels
// cost twice the CPU for some percent in size. Measured as size in percent of the original and
// as CPU time on one core of an AMD EPYC, for answers that come in pieces of 15 KiB:
//
//	                HTML 78 kB      schema 83 kB    JSON 43 kB      JSON 2 kB     memory
//	zstd fastest    33 %   213 µs    6 %   45 µs    13 %   63 µs    22 %   6 µs   0.7 to 0.9 MiB
//	zstd default    31 %   480 µs    6 %   51 µs    14 %   79 µs    22 %   6 µs   1.8 MiB
//	br 3            31 %  1040 µs    6 %  226 µs    15 %  264 µs    20 %  23 µs   0.3 MiB, 2.0 if long
//	br 4            30 %  1404 µs    5 %  354 µs    14 %  405 µs    20 %  34 µs   0.6 MiB, 2.9 if long
//	gzip 5          30 %   540 µs    9 %  106 µs    16 %   84 µs    24 %   7 µs   1.0 MiB
//	gzip 6          30 %   554 µs    8 %  129 µs    15 %  100 µs    24 %   8 µs   1.0 MiB
//
// zstd has a small window (128 KiB, of which browsers accept up to 8 MiB): it is most of the
// memory, and most answers are smaller.
var recipes = [...]struct {
	coding model.Coding
	memory int64 // bytes
	make   func() (stream, error)
}{
	{model.CodingZstd, 1 << 20, func() (stream, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(128<<10),
			zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	}},
	{model.CodingBrotli, 2304 << 10, func() (stream, error) {
		return brotli.NewWriterOptions(io.Discard, brotli.WriterOptions{Quality: 3, LGWin: 18}), nil
	}},
	{model.CodingGzip, 1088 << 10, func() (stream, error) { return gzip.NewWriterLevel(io.Discard, 5) }},
}

// stream is what the libraries' encoders have in common.
type stream interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// Encoders lends encoders. The zero value is ready, and any number of connections use it at once.
type Encoders struct {
	used  atomic.Int64 // bytes
	pools [len(recipes)]sync.Pool
}

// Encoder compresses one answer. Its errors are those of put.
type Encoder struct {
	stream stream
	recipe int
	put    func(piece []byte) error
	out    []byte
	dirty  bool // something was written since the last flush
}

// Take returns an encoder that gives its output to put, in pieces of some KiB that are put's
// until it returns. It is nil for a coding that is not known, and when all encoders in use
// take too much memory. Give or Drop must follow.
func (e *Encoders) Take(coding model.Coding, put func(piece []byte) error) *Encoder {
	for i := range recipes {
		if recipes[i].coding != coding {
			continue
		}
		if e.used.Add(recipes[i].memory) > encoderMemory {
			e.used.Add(-recipes[i].memory)
			return nil
		}
		enc, ok := e.pools[i].Get().(*Encoder)
		if !ok {
			s, err := recipes[i].make()
			if err != nil {
				panic(err) // the options above are wrong
			}
			enc = &Encoder{stream: s, recipe: i}
		}
		enc.put = put
		enc.stream.Reset((*collector)(enc))
		return enc
	}
	return nil
}

// Give takes an encoder back, wherever in its answer it is.
func (e *Encoders) Give(enc *Encoder) {
	enc.put, enc.dirty = nil, false
	enc.out = enc.out[:0]
	enc.stream.Reset(io.Discard)
	e.used.Add(-recipes[enc.recipe].memory)
	e.pools[enc.recipe].Put(enc)
}

// Drop takes an encoder back that cannot be trusted to be whole.
func (e *Encoders) Drop(enc *Encoder) {
	enc.put = nil
	e.used.Add(-recipes[enc.recipe].memory)
}

// Write compresses p. Output is kept back until there is enough of it.
func (e *Encoder) Write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	e.dirty = true
	_, err := e.stream.Write(p)
	return err
}

// Flush gives put all that can be decoded from what was written so far. It does nothing if
// nothing was written since the last time.
func (e *Encoder) Flush() error {
	if !e.dirty {
		return nil
	}
	e.dirty = false
	if err := e.stream.Flush(); err != nil {
		return err
	}
	return e.give()
}

// Finish ends the answer and returns the rest of the output, valid until the encoder is
// given back.
func (e *Encoder) Finish() ([]byte, error) {
	err := e.stream.Close()
	return e.out, err
}

func (e *Encoder) give() error {
	if len(e.out) == 0 {
		return nil
	}
	err := e.put(e.out)
	e.out = e.out[:0]
	return err
}

// collector is an Encoder as its stream's writer.
type collector Encoder

var errReturned = errors.New("the encoder was given back")

func (c *collector) Write(p []byte) (int, error) {
	e := (*Encoder)(c)
	if e.put == nil {
		return 0, errReturned
	}
	for rest := p; len(rest) > 0; {
		n := min(len(rest), encoderPiece-len(e.out))
		e.out = append(e.out, rest[:n]...)
		rest = rest[n:]
		if len(e.out) >= encoderPiece {
			if err := e.give(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

// InUse returns how many bytes the encoders take that are lent now.
func (e *Encoders) InUse() int64 { return e.used.Load() }
