package telemetry

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Format is how the access log writes a record.
type Format string

// The formats: one JSON object a line, or one line for people.
const (
	FormatJSON Format = "json"
	FormatText Format = "text"
)

const (
	defaultQueue = 256 << 10
	flushDelay   = 20 * time.Millisecond
	maxPooled    = 64 << 10 // bytes of a line buffer that goes back to the pool
)

// AccessLogConfig is what an access log needs.
type AccessLogConfig struct {
	Writer io.Writer // written to by one goroutine, many lines at a time
	Format Format    // FormatJSON if empty
	Shards int       // at least one
	Queue  int       // bytes that may wait per shard; 256 KiB if zero
	Log    *slog.Logger
}

// AccessLog writes records without ever making a request wait: lines are queued per shard
// in bytes, a full queue drops the line and counts it, and one goroutine writes what
// waited. A nil *AccessLog writes nothing.
type AccessLog struct {
	text    bool
	out     io.Writer
	log     *slog.Logger
	limit   int
	queues  []queue
	lines   sync.Pool // *[]byte
	wake    chan struct{}
	full    chan struct{}
	stop    chan struct{}
	done    chan struct{}
	closing sync.Once
	closed  atomic.Bool
	written atomic.Uint64
	dropped atomic.Uint64
}

// queue is what one shard has to say. The writer swaps its buffer for an empty one.
type queue struct {
	mu    sync.Mutex
	buf   []byte
	lines uint64
	_     [64]byte
}

// NewAccessLog returns a log and starts its writer, which Close ends.
func NewAccessLog(cfg AccessLogConfig) *AccessLog {
	l := &AccessLog{
		text:   cfg.Format == FormatText,
		out:    cfg.Writer,
		log:    cfg.Log,
		limit:  cfg.Queue,
		queues: make([]queue, max(cfg.Shards, 1)),
		wake:   make(chan struct{}, 1),
		full:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	if l.limit <= 0 {
		l.limit = defaultQueue
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.lines.New = func() any { return new([]byte) }
	go l.run()
	return l
}

// Write formats a record and queues it. It never blocks on the writer and keeps nothing
// of r.
func (l *AccessLog) Write(shard int, r *Record) {
	if l == nil {
		return
	}
	line := l.lines.Get().(*[]byte)
	if l.text { // not through a function value: r would escape to the caller's heap
		*line = appendText((*line)[:0], r)
	} else {
		*line = appendJSON((*line)[:0], r)
	}
	l.enqueue(shard, *line)
	if cap(*line) <= maxPooled {
		l.lines.Put(line)
	}
}

func (l *AccessLog) enqueue(shard int, line []byte) {
	if uint(shard) >= uint(len(l.queues)) {
		shard = 0
	}
	q := &l.queues[shard]
	q.mu.Lock()
	before := len(q.buf)
	if before+len(line) > l.limit || l.closed.Load() {
		q.mu.Unlock()
		l.dropped.Add(1)
		return
	}
	q.buf = append(q.buf, line...)
	q.lines++
	q.mu.Unlock()
	if before == 0 {
		signal(l.wake)
	}
	if half := l.limit / 2; before < half && before+len(line) >= half {
		signal(l.full)
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Written returns how many lines were handed to the writer without an error.
func (l *AccessLog) Written() uint64 {
	if l == nil {
		return 0
	}
	return l.written.Load()
}

// Dropped returns how many records were lost: to a full queue, a failed write, or a log
// that was closed.
func (l *AccessLog) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.dropped.Load()
}

// Close writes what is queued and ends the writer. Records that come later are dropped.
// If the io.Writer blocks until ctx ends, Close returns ctx's error, and the writer ends
// when it is let go.
func (l *AccessLog) Close(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.closing.Do(func() {
		l.closed.Store(true)
		close(l.stop)
	})
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run waits for a first line, then a little for more of them, and writes them together.
func (l *AccessLog) run() {
	defer close(l.done)
	var spare []byte
	failing := false
	flush := func() {
		for i := range l.queues {
			spare, failing = l.flush(&l.queues[i], spare, failing)
		}
	}
	delay := time.NewTimer(flushDelay)
	delay.Stop()
	for {
		select {
		case <-l.wake:
		case <-l.stop:
			flush()
			return
		}
		delay.Reset(flushDelay)
		select {
		case <-delay.C:
		case <-l.full:
		case <-l.stop:
			flush()
			return
		}
		flush()
	}
}

// flush writes one queue's lines; it returns the buffer to swap in next, and whether
// writing fails.
func (l *AccessLog) flush(q *queue, spare []byte, failing bool) ([]byte, bool) {
	q.mu.Lock()
	buf, lines := q.buf, q.lines
	if lines == 0 {
		q.mu.Unlock()
		return spare, failing
	}
	q.buf, q.lines = spare[:0], 0
	q.mu.Unlock()
	if _, err := l.out.Write(buf); err != nil {
		l.dropped.Add(lines)
		if !failing { // once, not for every batch
			l.log.LogAttrs(context.Background(), slog.LevelError, "access log cannot be written", slog.Any("error", err))
		}
		return buf, true
	}
	l.written.Add(lines)
	return buf, false
}
