package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/annotations"
)

// Prefix is where Handler answers: what follows is as below the root of a Prometheus server.
const Prefix = "/prometheus"

// Bounds of an answer.
const (
	maxAnswerPoints = 1_000_000
	maxAnswerItems  = 100_000 // series, names and values in a list
	maxNotes        = 10      // warnings and infos, each
	maxMatches      = 100     // selectors in a question for a list
)

// statusClientClosed is what Prometheus answers a client with that did not wait.
const statusClientClosed = 499

// apiError is an error as Prometheus's API has it.
type apiError struct {
	kind string
	error
}

func (e apiError) Unwrap() error { return e.error }

func badData(err error) error { return apiError{"bad_data", err} }

func badParameter(name string, err error) error {
	return badData(fmt.Errorf("invalid parameter %q: %w", name, err))
}

// statusOf are the statuses of the kinds of errors.
var statusOf = map[string]int{
	"bad_data": http.StatusBadRequest, "execution": http.StatusUnprocessableEntity, "timeout": http.StatusServiceUnavailable,
	"unavailable": http.StatusServiceUnavailable, "canceled": statusClientClosed, "not_found": http.StatusNotFound,
	"internal": http.StatusInternalServerError,
}

// envelope is what every answer is in.
type envelope struct {
	Status    string          `json:"status"`
	Data      json.RawMessage `json:"data,omitempty"`
	ErrorType string          `json:"errorType,omitempty"`
	Error     string          `json:"error,omitempty"`
	Warnings  []string        `json:"warnings,omitempty"`
	Infos     []string        `json:"infos,omitempty"`
}

// reply is what a question of the API comes to.
type reply struct {
	data            json.RawMessage
	warnings, infos []string
}

func (r *reply) set(data any) (err error) {
	r.data, err = json.Marshal(data)
	return err
}

func (r *reply) note(notes annotations.Annotations, query string) {
	r.warnings, r.infos = notes.AsStrings(query, maxNotes, maxNotes)
}

// truncated notes that a list was cut.
func (r *reply) truncated() { r.warnings = append(r.warnings, "results truncated due to limit") }

// Handler answers a part of Prometheus's HTTP API below Prefix: what Grafana and promtool ask. It only
// reads.
func (s *Store) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, e := range []struct {
		methods, path string
		answer        func(context.Context, url.Values, *reply) error
	}{
		{"GET POST", "query", s.instant},
		{"GET POST", "query_range", s.span},
		{"GET POST", "query_exemplars", s.exemplars},
		{"GET POST", "format_query", s.format},
		{"GET POST", "series", s.listSeries},
		{"GET POST", "labels", s.labelNames},
		{"GET", "label/{name}/values", s.labelValues},
		{"GET", "metadata", s.metadata},
		{"GET", "rules", s.listRules},
		{"GET", "alerts", s.listAlerts},
		{"GET", "status/buildinfo", s.buildInfo},
	} {
		handle := func(w http.ResponseWriter, r *http.Request) {
			var out reply
			err := badData(errors.New("the form cannot be read"))
			if r.ParseForm() == nil {
				if name := r.PathValue("name"); name != "" {
					r.Form.Set("name", name)
				}
				err = e.answer(r.Context(), r.Form, &out)
			}
			write(w, &out, err)
		}
		for method := range strings.FieldsSeq(e.methods) {
			mux.HandleFunc(method+" "+Prefix+"/api/v1/"+e.path, handle)
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		write(w, nil, apiError{"not_found", errors.New("no such thing here; Weir answers query, query_range, query_exemplars, format_query, series, labels, label/NAME/values, metadata, rules, alerts and status/buildinfo")})
	})
	return mux
}

func write(w http.ResponseWriter, r *reply, err error) {
	status, e := http.StatusOK, envelope{Status: "success"}
	if err != nil {
		kind := kindOf(err)
		status, e = statusOf[kind], envelope{Status: "error", ErrorType: kind, Error: err.Error()}
	} else {
		e.Data, e.Warnings, e.Infos = r.data, r.warnings, r.infos
	}
	body, err := json.Marshal(e)
	if err != nil {
		panic(err) // contained; data has been marshalled
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nobody to tell
}

// kindOf sorts an error into Prometheus's kinds.
func kindOf(err error) string {
	if e, ok := errors.AsType[apiError](err); ok {
		return e.kind
	}
	if _, ok := errors.AsType[promql.ErrQueryTimeout](err); ok {
		return "timeout"
	}
	if _, ok := errors.AsType[promql.ErrStorage](err); ok {
		return "internal"
	}
	_, canceled := errors.AsType[promql.ErrQueryCanceled](err)
	switch {
	case errors.Is(err, ErrClosed), errors.Is(err, errBusy):
		return "unavailable"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case canceled, errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "execution"
}

func (s *Store) instant(ctx context.Context, form url.Values, out *reply) error {
	at, err := timeOf(form, "time", s.cfg.Now())
	if err != nil {
		return err
	}
	return s.ask(ctx, form, out, 0, func(ctx context.Context, db *tsdb.DB) (promql.Query, error) {
		return s.engine.NewInstantQuery(ctx, db, nil, form.Get("query"), at)
	})
}

func (s *Store) span(ctx context.Context, form url.Values, out *reply) error {
	from, to, err := spanOf(form)
	if err != nil {
		return err
	}
	step, err := parseDuration(form.Get("step"))
	switch {
	case err != nil:
		return badParameter("step", err)
	case step <= 0:
		return badParameter("step", errors.New("zero or negative query resolution step widths are not accepted. Try a positive integer"))
	case to.Sub(from)/step > maxPoints:
		return badData(fmt.Errorf("exceeded maximum resolution of %d points per timeseries. Try decreasing the query resolution (?step=XX)", maxPoints))
	}
	return s.ask(ctx, form, out, to.Sub(from), func(ctx context.Context, db *tsdb.DB) (promql.Query, error) {
		return s.engine.NewRangeQuery(ctx, db, nil, form.Get("query"), from, to, step)
	})
}

// spanOf reads the two times that a question must have.
func spanOf(form url.Values) (from, to time.Time, err error) {
	for _, p := range []struct {
		name string
		into *time.Time
	}{{"start", &from}, {"end", &to}} {
		if *p.into, err = parseTime(form.Get(p.name)); err != nil {
			return from, to, badParameter(p.name, err)
		}
	}
	if to.Before(from) {
		return from, to, badParameter("end", errors.New("end timestamp must not be before start time"))
	}
	return from, to, nil
}

// exemplars has none to answer with: Weir keeps no traces. Grafana asks when a data source is opened, and with
// every query that wants some.
func (s *Store) exemplars(_ context.Context, form url.Values, out *reply) error {
	if _, _, err := spanOf(form); err != nil {
		return err
	}
	if err := bearable(form.Get("query"), 0); err != nil {
		return badParameter("query", err)
	}
	return out.set([]any{})
}

// ask runs a query within the time and the number of series that its form allows.
func (s *Store) ask(ctx context.Context, form url.Values, out *reply, span time.Duration, prepare func(context.Context, *tsdb.DB) (promql.Query, error)) error {
	limit, err := limitOf(form)
	if err != nil {
		return err
	}
	if err := bearable(form.Get("query"), span); err != nil {
		return badParameter("query", err)
	}
	if text := form.Get("timeout"); text != "" {
		timeout, err := parseDuration(text)
		if err != nil {
			return badParameter("timeout", err)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return s.use(ctx, s.asked, func(ctx context.Context, db *tsdb.DB) error {
		q, err := prepare(ctx, db)
		if err != nil {
			return badParameter("query", err)
		}
		defer q.Close()
		result := q.Exec(ctx)
		if result.Err != nil {
			return result.Err
		}
		out.note(result.Warnings, form.Get("query"))
		return out.value(result.Value, limit)
	})
}

// value writes a query's answer down, with limit series at most where it is not 0.
func (r *reply) value(v parser.Value, limit int) error {
	points := 1
	switch list := v.(type) {
	case promql.Vector:
		if limit > 0 && len(list) > limit {
			r.truncated()
			list = list[:limit]
		}
		points = len(list)
		v = slices.Concat(promql.Vector{}, list) // never null
		if points == 0 {
			v = promql.Vector{}
		}
	case promql.Matrix:
		if limit > 0 && len(list) > limit {
			r.truncated()
			list = list[:limit]
		}
		points = 0
		for _, series := range list {
			points += len(series.Floats) + len(series.Histograms)
		}
		v = list
		if len(list) == 0 {
			v = promql.Matrix{}
		}
	}
	if points > maxAnswerPoints {
		return fmt.Errorf("the answer has %d points; at most %d: ask for less time or larger steps, or aggregate", points, maxAnswerPoints)
	}
	return r.set(struct {
		Type   parser.ValueType `json:"resultType"`
		Result parser.Value     `json:"result"`
	}{v.Type(), v})
}

func (s *Store) format(_ context.Context, form url.Values, out *reply) error {
	if err := bearable(form.Get("query"), 0); err != nil {
		return badParameter("query", err)
	}
	expr, err := parsing.ParseExpr(form.Get("query"))
	if err != nil {
		return badParameter("query", err)
	}
	return out.set(expr.Pretty(0))
}

// selection is which series a list is about.
type selection struct {
	from, to time.Time
	matchers [][]*labels.Matcher
	limit    int // 0: none
}

func (s *Store) selectionOf(form url.Values) (list selection, err error) {
	now := s.cfg.Now()
	if list.from, err = timeOf(form, "start", now.Add(-s.cfg.Retention)); err != nil {
		return list, err
	}
	if list.to, err = timeOf(form, "end", now); err != nil {
		return list, err
	}
	if list.limit, err = limitOf(form); err != nil {
		return list, err
	}
	if len(form["match[]"]) > maxMatches {
		return list, badParameter("match[]", fmt.Errorf("%d of them; at most %d", len(form["match[]"]), maxMatches))
	}
	for _, text := range form["match[]"] {
		matchers, err := parsing.ParseMetricSelector(text)
		if err != nil {
			return list, badParameter("match[]", err)
		}
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches("") }) {
			return list, badParameter("match[]", errors.New("match[] must contain at least one non-empty matcher"))
		}
		list.matchers = append(list.matchers, matchers)
	}
	return list, nil
}

func (s *Store) listSeries(ctx context.Context, form url.Values, out *reply) error {
	list, err := s.selectionOf(form)
	if err != nil {
		return err
	}
	if len(list.matchers) == 0 {
		return badData(errors.New("no match[] parameter provided"))
	}
	found := []labels.Labels{}
	most := maxAnswerItems
	if list.limit > 0 {
		most = min(most, list.limit)
	}
	err = s.querier(ctx, list.from, list.to, func(ctx context.Context, q storage.Querier) error {
		hints := &storage.SelectHints{Start: list.from.UnixMilli(), End: list.to.UnixMilli(), Func: "series", Limit: most + 1}
		sets := make([]storage.SeriesSet, len(list.matchers))
		for i, matchers := range list.matchers {
			sets[i] = q.Select(ctx, true, hints, matchers...)
		}
		all := storage.NewMergeSeriesSet(sets, 0, storage.ChainedSeriesMerge)
		for all.Next() && ctx.Err() == nil {
			if len(found) == most {
				out.truncated()
				break
			}
			found = append(found, all.At().Labels().Copy())
		}
		return errors.Join(all.Err(), ctx.Err())
	})
	if err != nil {
		return err
	}
	return out.set(found)
}

func (s *Store) labelNames(ctx context.Context, form url.Values, out *reply) error {
	return s.listLabels(ctx, form, out, func(ctx context.Context, q storage.Querier, hints *storage.LabelHints, m []*labels.Matcher) ([]string, error) {
		names, _, err := q.LabelNames(ctx, hints, m...)
		return names, err
	})
}

func (s *Store) labelValues(ctx context.Context, form url.Values, out *reply) error {
	name := form.Get("name")
	if strings.HasPrefix(name, "U__") { // a name that is not of letters, digits and _ only, as Grafana writes it in a path
		name = model.UnescapeName(name, model.ValueEncodingEscaping)
	}
	return s.listLabels(ctx, form, out, func(ctx context.Context, q storage.Querier, hints *storage.LabelHints, m []*labels.Matcher) ([]string, error) {
		values, _, err := q.LabelValues(ctx, name, hints, m...)
		return values, err
	})
}

// listLabels asks for each selection that a form has, or once for all series.
func (s *Store) listLabels(ctx context.Context, form url.Values, out *reply, ask func(context.Context, storage.Querier, *storage.LabelHints, []*labels.Matcher) ([]string, error)) error {
	list, err := s.selectionOf(form)
	if err != nil {
		return err
	}
	if len(list.matchers) == 0 {
		list.matchers = [][]*labels.Matcher{nil}
	}
	most := maxAnswerItems
	if list.limit > 0 {
		most = min(most, list.limit)
	}
	found := []string{}
	err = s.querier(ctx, list.from, list.to, func(ctx context.Context, q storage.Querier) error {
		for _, matchers := range list.matchers {
			some, err := ask(ctx, q, &storage.LabelHints{Limit: most + 1}, matchers)
			if err != nil {
				return err
			}
			for _, text := range some {
				found = append(found, strings.Clone(text)) // it is of a file that may be gone later
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) > most {
		out.truncated()
		found = found[:most]
	}
	return out.set(found)
}

func limitOf(form url.Values) (int, error) {
	text := form.Get("limit")
	if text == "" {
		return 0, nil
	}
	limit, err := strconv.Atoi(text)
	if err == nil && limit < 0 {
		err = errors.New("limit must be non-negative")
	}
	if err != nil {
		return 0, badParameter("limit", err)
	}
	return limit, nil
}
