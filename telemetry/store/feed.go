package store

import (
	"context"
	"errors"
	"math"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"

	"weir.dev/weir/telemetry"
)

// feed is where samples come from: this process, or a target. It remembers its series, so that a
// round costs a look at a map for each, and one that vanishes is marked as ended.
type feed struct {
	store         *Store
	job, instance string

	series  map[string]*series // by name and labels
	round   uint64
	last    int64 // when the round before was, in milliseconds
	missed  bool  // series that it had were refused
	key     []byte
	builder labels.ScratchBuilder

	metadataMu sync.Mutex
	metadata   map[string]metadata // of a target's metrics, by their names
}

type series struct {
	ref    storage.SeriesRef
	labels labels.Labels
	first  uint64 // the first round that had it, of those that were written
	round  uint64 // the last
}

func newFeed(s *Store, job, instance string) *feed {
	return &feed{store: s, job: job, instance: instance, series: map[string]*series{}, builder: labels.NewScratchBuilder(8)}
}

// batch is one round of a feed.
type batch struct {
	feed      *feed
	appender  storage.Appender
	at        int64 // milliseconds
	before    int64 // when the round before was; 0: none
	room      int   // series that may come anew
	spare     int   // of them, those that are kept free of series of single routes, clusters and hosts
	taken     uint64
	refused   uint64
	problem   error
	missed    bool
	countFrom int64 // a counter that appears was zero then; 0: nobody knows
}

// begin starts a round. It returns nil while the store is not open; else end must follow. The lock is
// held until then.
func (f *feed) begin(at int64) *batch {
	s := f.store
	s.mu.RLock()
	if s.db == nil {
		s.mu.RUnlock()
		return nil
	}
	b := &batch{
		feed: f, appender: s.db.Appender(context.Background()), at: at, before: f.last,
		room:  s.cfg.Series - int(min(s.db.Head().NumSeries(), math.MaxInt32)),
		spare: s.cfg.Series / spared,
	}
	f.round++
	f.last = at
	return b
}

// figure is a sample to put.
type figure struct {
	key     []byte // of its series
	value   float64
	counter bool // it was 0 before it began
	object  bool // as telemetry.Figure's; and every one of a target's page
}

// put adds a sample. labelsOf is called for a series that is new.
func (b *batch) put(g figure, labelsOf func() labels.Labels) {
	f := b.feed
	known := f.series[string(g.key)]
	if known == nil {
		if b.room <= 0 || g.object && b.room <= b.spare {
			b.refused++
			b.missed = true
			return
		}
		b.room--
		known = &series{labels: labelsOf(), first: f.round}
		f.series[string(g.key)] = known
		if g.counter && b.countFrom > 0 && b.countFrom < b.at {
			b.add(known, b.countFrom, 0)
		}
	}
	known.round = f.round
	b.add(known, b.at, g.value)
}

// add appends a sample. One that is older than what the store takes is no trouble of the disk.
func (b *batch) add(s *series, at int64, v float64) {
	ref, err := b.appender.Append(s.ref, s.labels, at, v)
	switch {
	case err == nil:
		s.ref = ref
		b.taken++
	case errors.Is(err, storage.ErrOutOfOrderSample), errors.Is(err, storage.ErrDuplicateSampleForTimestamp),
		errors.Is(err, storage.ErrOutOfBounds), errors.Is(err, storage.ErrTooOldSample):
		b.refused++
	default:
		b.refused++
		b.problem = err
	}
}

// end marks what has vanished, and has the round written.
func (b *batch) end() {
	f := b.feed
	s := f.store
	defer s.mu.RUnlock()
	for key, known := range f.series {
		if known.round != f.round {
			b.add(known, b.at, math.Float64frombits(value.StaleNaN))
			delete(f.series, key)
		}
	}
	f.missed = b.missed
	if err := b.appender.Commit(); err != nil {
		b.problem = err
		b.refused, b.taken = b.refused+b.taken, 0
		f.forgetRound(b.before)
	} else if err := s.flush(s.db); err != nil {
		b.problem = err
		s.leave(err)
	}
	s.figures.samples.Add(b.taken)
	s.figures.refused.Add(b.refused)
	if b.problem != nil {
		s.complain("write", b.problem)
	}
}

// stop marks all series as ended: nobody is to see for minutes what was true at the end.
func (f *feed) stop() {
	if b := f.begin(f.store.cfg.Now().UnixMilli()); b != nil {
		b.end()
	}
}

// forgetRound makes as if the last round had not been: nothing of it was written. What was there before
// must not be taken for new, or a counter would seem to have come from zero.
func (f *feed) forgetRound(before int64) {
	f.last = before
	for key, known := range f.series {
		if known.first == f.round {
			delete(f.series, key)
		}
		known.ref = 0
	}
}

// own is a round of this process's own metrics.
func (f *feed) own() {
	s := f.store
	now := s.cfg.Now()
	b := f.begin(now.UnixMilli())
	if b == nil {
		return
	}
	// A counter of ours that appears has just begun, or began with the process.
	switch {
	case b.before == 0:
		b.countFrom = s.cfg.Metrics.Started().UnixMilli()
	case !f.missed:
		b.countFrom = b.before
	}
	s.cfg.Metrics.Figures(func(g *telemetry.Figure) {
		one := figure{
			key: f.keyOf(g.Name, g.Names, g.Values), value: g.Value, object: g.Object,
			counter: g.Type == telemetry.Counter || g.Type == telemetry.Histogram,
		}
		b.put(one, func() labels.Labels { return f.labelsOf(g.Name, g.Names, g.Values) })
	})
	b.end()
}

// keyOf is what a series is remembered by, valid until the next call.
func (f *feed) keyOf(name string, names, values []string) []byte {
	f.key = append(f.key[:0], name...)
	for i := range names {
		f.key = append(f.key, 0xff)
		f.key = append(f.key, names[i]...)
		f.key = append(f.key, 0xff)
		f.key = append(f.key, values[i]...)
	}
	return f.key
}

// labelsOf are the labels of a series of this feed.
func (f *feed) labelsOf(name string, names, values []string) labels.Labels {
	f.builder.Reset()
	f.builder.Add("__name__", name)
	f.builder.Add("instance", f.instance)
	f.builder.Add("job", f.job)
	for i := range names {
		f.builder.Add(names[i], values[i])
	}
	f.builder.Sort()
	return f.builder.Labels()
}
