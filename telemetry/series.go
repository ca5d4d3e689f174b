package telemetry

import (
	"sync/atomic"
	"time"
	"unsafe"

	"weir.dev/weir/model"
)

// Outcome is how one request ended, as seen by one series.
type Outcome struct {
	Code     int        // status sent; 0 if none was
	Flag     model.Flag // FlagNone if the answer is simply the upstream's
	Duration time.Duration
	BytesIn  int64 // from the client, or to the upstream for a cluster or host
	BytesOut int64 // the other way
	Retries  int   // tries after the first
	GRPC     GRPCEnd
}

// classes of status codes: the hundreds digit, 0 for no answer or an impossible code.
const classes = 6

// classNames are the values of the label code_class.
var classNames = [classes]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// Series counts the requests of one route, cluster or host. A nil *Series counts nothing.
type Series struct {
	// cells are made by the first request of their shard: of ten thousand routes most are
	// idle, and an idle one costs a few words.
	cells []atomic.Pointer[cell]
}

// cell is one shard's part of a series, alone on its cache lines.
type cell struct {
	inFlight atomic.Int64
	ended    [classes]atomic.Uint64
	duration atomic.Uint64 // sum in nanoseconds
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
	retries  atomic.Uint64
	flags    atomic.Pointer[flagCells] // made by the first flagged answer
	calls    atomic.Pointer[grpcCells] // made by the first call of gRPC
	buckets  [bucketCount]atomic.Uint64
	_        [cellSize - cellUsed]byte
}

type flagCells [model.FlagCount]atomic.Uint64

const (
	cellUsed = 8 * (1 + classes + 4 + 2 + bucketCount)
	cellSize = 512
)

// The padding is right if this compiles: a cell is one size class of the allocator, which
// aligns it to its size.
var _ [cellSize]byte = [unsafe.Sizeof(cell{})]byte{}

func newSeries(shards int) *Series { return &Series{cells: make([]atomic.Pointer[cell], shards)} }

// Begin counts a request in flight. The shard is the caller's, below the number given to
// NewMetrics; another shard is counted as the first.
func (s *Series) Begin(shard int) {
	if s == nil {
		return
	}
	s.cell(shard).inFlight.Add(1)
}

// End counts how a request that was begun ended. The shard should be
// that of Begin: across shards, InFlight is right only once all is quiet.
func (s *Series) End(shard int, o *Outcome) {
	if s == nil {
		return
	}
	c := s.cell(shard)
	class := uint(o.Code) / 100
	if class >= classes {
		class = 0
	}
	c.buckets[scale.Bucket(o.Duration)].Add(1)
	c.duration.Add(uint64(max(o.Duration, 0)))
	if o.BytesIn > 0 {
		c.bytesIn.Add(uint64(o.BytesIn))
	}
	if o.BytesOut > 0 {
		c.bytesOut.Add(uint64(o.BytesOut))
	}
	if o.Retries > 0 {
		c.retries.Add(uint64(o.Retries))
	}
	if o.Flag != model.FlagNone && o.Flag < model.FlagCount {
		c.flag(o.Flag)
	}
	if o.GRPC != 0 && o.GRPC < grpcEnds {
		c.call(o.GRPC)
	}
	c.ended[class].Add(1)
	c.inFlight.Add(-1)
}

// Move counts bytes of something that lasts, before its end, whose Outcome leaves them out.
func (s *Series) Move(shard int, in, out int64) {
	if s == nil {
		return
	}
	c := s.cell(shard)
	if in > 0 {
		c.bytesIn.Add(uint64(in))
	}
	if out > 0 {
		c.bytesOut.Add(uint64(out))
	}
}

func (s *Series) cell(shard int) *cell {
	if uint(shard) >= uint(len(s.cells)) {
		shard = 0
	}
	if c := s.cells[shard].Load(); c != nil {
		return c
	}
	s.cells[shard].CompareAndSwap(nil, new(cell))
	return s.cells[shard].Load()
}

func (c *cell) flag(f model.Flag) {
	flags := c.flags.Load()
	if flags == nil {
		c.flags.CompareAndSwap(nil, new(flagCells))
		flags = c.flags.Load()
	}
	flags[f].Add(1)
}

// Snapshot returns what was counted so far. Requests that end meanwhile may be in one of
// its figures and not yet in another.
func (s *Series) Snapshot() Stats {
	var sum Stats
	if s != nil {
		s.addTo(&sum)
		sum.settle()
	}
	return sum
}

// addTo adds the series to a sum that is not settled yet.
func (s *Series) addTo(sum *Stats) {
	for i := range s.cells {
		c := s.cells[i].Load()
		if c == nil {
			continue
		}
		for class := range c.ended {
			sum.Classes[class] += c.ended[class].Load()
		}
		sum.InFlight += c.inFlight.Load()
		for b := range c.buckets {
			sum.Buckets[b] += c.buckets[b].Load()
		}
		if flags := c.flags.Load(); flags != nil {
			for f := range flags {
				sum.Flags[f] += flags[f].Load()
			}
		}
		if calls := c.calls.Load(); calls != nil {
			for end := range calls {
				sum.Calls[end] += calls[end].Load()
			}
		}
		sum.Duration += time.Duration(c.duration.Load())
		sum.BytesIn += c.bytesIn.Load()
		sum.BytesOut += c.bytesOut.Load()
		sum.Retries += c.retries.Load()
	}
}
