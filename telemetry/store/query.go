package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"weir.dev/weir/model"
)

// Bounds of queries.
const (
	maxQueries       = 4                // of the API at the same time; others wait
	maxOwn           = 2                // of this process at the same time
	maxWait          = 5 * time.Second  // for their turn
	maxQueryTime     = 30 * time.Second // of one
	maxQuerySamples  = 5_000_000        // in memory, of 16 bytes
	maxPoints        = 11_000           // of one series in an answer, as of Prometheus
	maxSteps         = 200_000          // of subqueries
	maxReplacement   = 256              // bytes in label_replace and label_join
	maxGrowth        = 16               // of what is in labels, by these
	maxQueryText     = 32 << 10         // bytes: what a parser does with text that is nested deeply grows with its square
	lookback         = 5 * time.Minute
	subqueryInterval = time.Minute
)

// errBusy says that a query waited in vain for its turn.
var errBusy = errors.New("too many queries at once")

func newEngine(log *slog.Logger) *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		Logger:                   slog.New(louder{log.Handler()}),
		MaxSamples:               maxQuerySamples,
		Timeout:                  maxQueryTime,
		LookbackDelta:            lookback,
		NoStepSubqueryIntervalFn: func(int64) int64 { return subqueryInterval.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		Parser:                   parsing,
	})
}

// Query answers a question of PromQL whose answer is a vector or a scalar, which is one sample without
// labels. No sample means that no series fits. Its error is ErrClosed before the store is open, and
// otherwise says what is wrong with the question, or that it was too much.
func (s *Store) Query(ctx context.Context, expr string, at time.Time) ([]model.Sample, error) {
	var list []model.Sample
	err := s.use(ctx, s.own, func(ctx context.Context, db *tsdb.DB) error {
		if err := bearable(expr, 0); err != nil {
			return err
		}
		q, err := s.engine.NewInstantQuery(ctx, db, nil, expr, at)
		if err != nil {
			return err
		}
		defer q.Close()
		result := q.Exec(ctx)
		if result.Err != nil {
			return result.Err
		}
		list, err = samples(result.Value)
		return err
	})
	return list, err
}

// parsing parses PromQL. Of what is experimental it has anchored and smoothed ranges: increases that are
// differences of samples, and nothing extrapolated.
var parsing = parser.NewParser(parser.Options{EnableExtendedRangeSelectors: true})

// bearable refuses what cannot be parsed, and subqueries of too many steps: the engine makes room for all
// of them before it looks at its bounds. span is the time from the first moment to the last.
func bearable(query string, span time.Duration) error {
	if len(query) > maxQueryText {
		return fmt.Errorf("a query of %d bytes; at most %d", len(query), maxQueryText)
	}
	expr, err := parsing.ParseExpr(query)
	if err != nil {
		return err
	}
	if _, err := labelled(expr); err != nil {
		return err
	}
	for steps := range subqueries(expr, span) {
		if steps > maxSteps {
			return fmt.Errorf("a subquery of %d steps; at most %d: take larger steps", steps, maxSteps)
		}
	}
	return nil
}

// labelled refuses expressions that make labels long: the engine has no bound for them, and each step of
// label_replace or label_join may repeat what the step before it made.
func labelled(node parser.Node) (growth int, err error) {
	growth = 1
	for child := range parser.ChildrenIter(node) {
		of, err := labelled(child)
		if err != nil {
			return 0, err
		}
		growth = max(growth, of)
	}
	call, ok := node.(*parser.Call)
	if !ok {
		return growth, nil
	}
	switch call.Func.Name {
	case "label_replace":
		text := literal(call.Args[2])
		if len(text) > maxReplacement {
			return 0, fmt.Errorf("a replacement of %d bytes; at most %d", len(text), maxReplacement)
		}
		growth *= max(1, strings.Count(text, "$"))
	case "label_join":
		if text := literal(call.Args[2]); len(text) > maxReplacement {
			return 0, fmt.Errorf("a separator of %d bytes; at most %d", len(text), maxReplacement)
		}
		growth *= max(1, len(call.Args)-3)
	}
	if growth > maxGrowth {
		return 0, fmt.Errorf("labels that may become %d times as long; at most %d", growth, maxGrowth)
	}
	return growth, nil
}

// literal is what a string in a query says; empty: it is none.
func literal(expr parser.Expr) string {
	if text, ok := expr.(*parser.StringLiteral); ok {
		return text.Val
	}
	if in, ok := expr.(*parser.ParenExpr); ok {
		return literal(in.Expr)
	}
	return ""
}

// subqueries gives the number of steps of each subquery in a tree that is evaluated over span.
func subqueries(node parser.Node, span time.Duration) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		if sub, ok := node.(*parser.SubqueryExpr); ok {
			span += min(sub.Range, math.MaxInt64-span)
			step := sub.Step
			if step <= 0 {
				step = subqueryInterval
			}
			if !yield(int64(span / step)) {
				return
			}
		}
		for child := range parser.ChildrenIter(node) {
			for steps := range subqueries(child, span) {
				if !yield(steps) {
					return
				}
			}
		}
	}
}

// samples copies a query's answer, which is gone when the query is closed.
func samples(v parser.Value) ([]model.Sample, error) {
	switch v := v.(type) {
	case promql.Scalar:
		return []model.Sample{{Value: v.V, At: time.UnixMilli(v.T)}}, nil
	case promql.Vector:
		list := make([]model.Sample, 0, len(v))
		for _, one := range v {
			if one.H == nil {
				list = append(list, model.Sample{Labels: one.Metric.Map(), Value: one.F, At: time.UnixMilli(one.T)})
			}
		}
		return list, nil
	default:
		return nil, fmt.Errorf("the answer is a %s; want a vector or a scalar", v.Type())
	}
}

// use has f ask the store, when there is a place for it and while it is open.
func (s *Store) use(ctx context.Context, places chan struct{}, f func(ctx context.Context, db *tsdb.DB) error) error {
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		s.figures.queriesRefused.Add(1)
		return errBusy
	}
	defer func() { <-places }()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.db == nil {
		return s.closedBecause()
	}
	s.figures.queries.Add(1)
	ctx, cancel := context.WithTimeout(ctx, maxQueryTime)
	defer cancel()
	defer context.AfterFunc(s.open, cancel)()
	return f(ctx, s.db)
}

// querier asks for series themselves.
func (s *Store) querier(ctx context.Context, from, to time.Time, f func(ctx context.Context, q storage.Querier) error) error {
	return s.use(ctx, s.asked, func(ctx context.Context, db *tsdb.DB) error {
		q, err := db.Querier(from.UnixMilli(), to.UnixMilli())
		if err != nil {
			return err
		}
		return errors.Join(f(ctx, q), q.Close())
	})
}
