package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/tsdb"
)

// A TSDB takes nothing that is much older than its newest sample. Prometheus therefore keeps nothing once a clock went
// back by more than its out-of-order window, until it has caught up. Here what is of the future is put aside after a
// while, and what is of the past stays.

// clockPatience is how long a clock may be wrong that goes forward again. Nothing is kept meanwhile.
const clockPatience = time.Minute

// overtaken returns an error once the newest sample has been too far in the future for long: then the next openAt puts
// it aside. It is called once a round.
func (s *Store) overtaken() error {
	ahead := s.ahead(s.db)
	if ahead <= outOfOrder {
		s.rounds = 0
		return nil
	}
	if s.rounds++; time.Duration(s.rounds)*s.cfg.Interval < clockPatience {
		return nil
	}
	s.rounds, s.future = 0, true
	return broken{fmt.Errorf("the clock went back: the newest sample is %v in the future, and is put aside", ahead)}
}

// ahead is how far in the future the newest sample is.
func (s *Store) ahead(db *tsdb.DB) time.Duration {
	last := int64(math.MinInt64 / 2)
	if db.Head().NumSeries() > 0 {
		last = db.Head().MaxTime()
	}
	for _, b := range db.Blocks() {
		last = max(last, b.MaxTime())
	}
	return time.Duration(max(last-s.cfg.Now().UnixMilli(), 0)) * time.Millisecond
}

// futureAside closes a database, and puts aside what of it ends in the future: beside it counters of the same time would
// seem to go up and down.
func (s *Store) futureAside(db *tsdb.DB, dir string) error {
	ahead, now := s.ahead(db), s.cfg.Now().UnixMilli()
	var parts []string
	for _, b := range db.Blocks() {
		if b.MaxTime() > now {
			parts = append(parts, filepath.Base(b.Dir()))
		}
	}
	if db.Head().NumSeries() > 0 && db.Head().MaxTime() > now {
		parts = append(parts, "wal", "wbl", "chunks_head")
	}
	if err := db.Close(); err != nil {
		return err
	}
	for i, part := range parts {
		if err := partAside(dir, part, i > 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.cfg.Log.LogAttrs(context.Background(), slog.LevelError, "time series are of the future: the clock went back; they were put aside",
		slog.Duration("ahead", ahead), slog.String("folder", filepath.Clean(dir)+aside))
	return nil
}
