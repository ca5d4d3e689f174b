// Package store keeps the time series of a running Weir and answers queries about them: the TSDB and
// the PromQL engine of Prometheus as libraries, in this process, fed from its own metrics and from
// scraped targets. It answers as Prometheus's HTTP API does. It decides nothing by what it keeps.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// Defaults of Config.
const (
	DefaultInterval  = 5 * time.Second
	DefaultRetention = 32 * 24 * time.Hour // a window of thirty days, and what is left of the blocks at its beginning
	DefaultBytes     = 1 << 30
	DefaultSeries    = 50_000
	// TemporaryRetention is how long samples are kept without a folder to keep them in.
	TemporaryRetention = time.Hour
)

// Bounds that are not configured.
const (
	headWindow  = 30 * time.Minute // of samples that are in memory, before they make a block; half as much again is
	outOfOrder  = time.Hour        // how far a clock may go back and lose nothing
	spared      = 5                // the part of all series that is kept free of single routes', clusters' and hosts'
	aside       = ".aside"         // the end of the name of the folder that was last put aside
	largest     = ".largest"       // and of the largest before it
	reopenAfter = 2 * time.Second
	logEvery    = time.Minute
)

// Config is everything that a Store is made from. Metrics and Log are needed.
type Config struct {
	Off       bool          // it is never run
	Dir       string        // where series survive; empty: a temporary folder, removed at the end
	Interval  time.Duration // between samples; DefaultInterval if zero
	Retention time.Duration // how long samples are kept; DefaultRetention if zero, TemporaryRetention at most without Dir
	Bytes     int64         // how much they may take on disk; DefaultBytes if zero
	Series    int           // how many series of the last hour there may be; DefaultSeries if zero
	Targets   []Target      // what is scraped
	Metrics   *telemetry.Metrics
	Log       *slog.Logger
	Now       func() time.Time // time.Now if nil
	Version   string           // of the program
}

// Store keeps series while Run runs.
type Store struct {
	cfg    Config
	engine *promql.Engine
	asked  chan struct{} // a place for each query of the API that may run
	own    chan struct{} // and for each of this process's own, which no other keeps waiting

	mu      sync.RWMutex // held by whoever uses db
	db      *tsdb.DB
	closing context.CancelCauseFunc // ends the queries under way
	open    context.Context         // until then

	disk  func(dir string) (free, size int64, err error)
	leave context.CancelCauseFunc // has the store closed; set while it is open

	closed atomic.Pointer[closure]
	rounds int  // that the newest sample has been too far in the future for
	future bool // what is of the future is put aside when it is opened

	targets atomic.Pointer[[]*feed]
	alerts  alerting

	figures  figures
	lastSaid atomic.Int64 // when the log had the last failure, in unix nanoseconds
}

// figures are what the store says of itself.
type figures struct {
	samples, refused, failed, queries, queriesRefused atomic.Uint64
}

// New returns a store that is not open yet.
func New(cfg Config) *Store {
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Retention == 0 {
		cfg.Retention = DefaultRetention
	}
	if cfg.Dir == "" {
		cfg.Retention = min(cfg.Retention, TemporaryRetention)
	}
	if cfg.Bytes == 0 {
		cfg.Bytes = DefaultBytes
	}
	if cfg.Series == 0 {
		cfg.Series = DefaultSeries
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Store{cfg: cfg, engine: newEngine(cfg.Log), asked: make(chan struct{}, maxQueries), own: make(chan struct{}, maxOwn), disk: diskOf, leave: func(error) {}}
	if s.closed.Store(&closedYet); cfg.Off {
		s.closed.Store(&closedByOff)
	}
	s.alerts.log = cfg.Log
	cfg.Metrics.WatchStore(s.state)
	return s
}

// Kept returns how long samples are kept at most.
func (s *Store) Kept() time.Duration { return s.cfg.Retention }

// Run opens the store, keeps it fed until ctx ends, and closes it. A store that cannot be opened, or
// written to, is said so in the log and tried again; nothing else suffers. It can be run again.
func (s *Store) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.live(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.blame(err)
		s.complain("open", errors.New(s.Problem()))
		timer := time.NewTimer(reopenAfter)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil // there is no reason to stop serving
}

// live opens the store, keeps it fed until ctx ends, and closes it. Its error says why it could not be opened, or had
// to be closed.
func (s *Store) live(ctx context.Context) error {
	dir := s.cfg.Dir
	if dir == "" {
		temporary, err := os.MkdirTemp("", "weir-series-")
		if err != nil {
			return err
		}
		defer func() {
			if err := os.RemoveAll(temporary); err != nil {
				s.complain("remove the temporary folder", err)
			}
		}()
		dir = temporary
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := s.spacious(dir, 2); err != nil {
		return err
	}
	if err := s.openOrMend(dir); err != nil {
		return err
	}
	defer s.close()
	ctx, s.leave = context.WithCancelCause(ctx)
	defer s.leave(nil)
	s.feed(ctx, dir)
	if err, ok := errors.AsType[broken](context.Cause(ctx)); ok {
		s.blame(err) // before it is closed
		return err
	}
	s.closed.Store(&closedAtEnd)
	return nil
}

// feed feeds the open store until ctx ends.
func (s *Store) feed(ctx context.Context, dir string) {
	var scraping sync.WaitGroup
	targets := make([]*feed, 0, len(s.cfg.Targets))
	for _, t := range s.cfg.Targets {
		f := newFeed(s, t.Name, t.instance())
		targets = append(targets, f)
		scraping.Go(func() { s.every(ctx, func() { f.scrape(ctx, t) }) })
	}
	s.targets.Store(&targets)
	scraping.Go(func() { s.evaluate(ctx) })
	own := newFeed(s, "weir", "self")
	s.every(ctx, func() {
		err := s.spacious(dir, 1)
		if err == nil {
			err = s.overtaken()
		}
		if err != nil {
			s.leave(err)
			return
		}
		own.own()
	})
	scraping.Wait()
	if _, ok := errors.AsType[broken](context.Cause(ctx)); ok {
		return // nothing more is written
	}
	for _, f := range append(targets, own) {
		f.stop()
	}
}

// every calls f at once and at every interval until ctx ends.
func (s *Store) every(ctx context.Context, f func()) {
	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// openAt opens the store in a folder. What lies more than outOfOrder in the future is put aside if it has been there for
// long, because nothing could be kept beside it.
func (s *Store) openAt(dir string) error {
	db, err := s.openDB(dir)
	if err != nil {
		return err
	}
	if s.future && s.ahead(db) > outOfOrder {
		if err := s.futureAside(db, dir); err != nil {
			return err
		}
		if db, err = s.openDB(dir); err != nil {
			return err
		}
	}
	s.future = false
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db = db
	s.open, s.closing = context.WithCancelCause(context.Background())
	if s.closed.Swap(&closure{}).wrong {
		s.cfg.Log.LogAttrs(context.Background(), slog.LevelInfo, "time series are kept again")
	}
	return nil
}

func (s *Store) openDB(dir string) (*tsdb.DB, error) {
	o := tsdb.DefaultOptions()
	o.RetentionDuration = s.cfg.Retention.Milliseconds()
	o.MaxBytes = s.cfg.Bytes
	o.MinBlockDuration = headWindow.Milliseconds()
	o.MaxBlockDuration = max(headWindow, s.cfg.Retention/10).Milliseconds()
	o.WALCompression = compression.Snappy
	o.WALSegmentSize = 16 << 20
	o.StripeSize = 1 << 10                 // of 16 Ki that Prometheus has for millions of series
	o.HeadChunksWriteBufferSize = 64 << 10 // of 4 MiB
	o.OutOfOrderTimeWindow = outOfOrder.Milliseconds()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := tsdb.Open(dir, slog.New(louder{s.cfg.Log.Handler()}), nil, o, tsdb.NewDBStats())
	if err != nil {
		return nil, fmt.Errorf("time series in %s: %w", dir, err)
	}
	return db, nil
}

// close waits for the queries under way, which it ends, and for what is written.
func (s *Store) close() {
	s.closing(s.closedBecause())
	s.mu.Lock()
	db := s.db
	s.db = nil
	s.mu.Unlock()
	if err := shut(db); err != nil {
		s.complain("close", err)
	}
}

// complain counts a failure, and logs one a minute at most: a full disk fails every few seconds.
func (s *Store) complain(doing string, err error) {
	s.figures.failed.Add(1)
	now, last := s.cfg.Now().UnixNano(), s.lastSaid.Load()
	if now-last < int64(logEvery) && now >= last || !s.lastSaid.CompareAndSwap(last, now) {
		return
	}
	s.cfg.Log.LogAttrs(context.Background(), slog.LevelError, "time series are not kept", slog.String("doing", doing), slog.Any("error", err))
}

// state is what the metrics show of the store.
func (s *Store) state() telemetry.StoreState {
	state := telemetry.StoreState{
		Samples: s.figures.samples.Load(), Refused: s.figures.refused.Load(), Failures: s.figures.failed.Load(),
		Queries: s.figures.queries.Load(), QueriesRefused: s.figures.queriesRefused.Load(),
	}
	if !s.mu.TryRLock() {
		return state
	}
	defer s.mu.RUnlock()
	if s.db == nil {
		return state
	}
	state.Open, state.Series, state.Bytes = true, s.db.Head().NumSeries(), s.db.Head().Size()
	for _, b := range s.db.Blocks() {
		state.Bytes += b.Size()
	}
	return state
}

// louder lets through what a library says of trouble only: at info it tells of every block.
type louder struct{ slog.Handler }

// Enabled implements slog.Handler.
func (l louder) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && l.Handler.Enabled(ctx, level)
}

// SetRules has alerts evaluated by these rules from now on.
func (s *Store) SetRules(groups []model.RuleGroup) { s.alerts.set(groups, s.cfg.Now()) }

// Alerts returns the pending and the firing ones, in the order of the rules.
func (s *Store) Alerts() []model.Alert { return s.alerts.list() }
