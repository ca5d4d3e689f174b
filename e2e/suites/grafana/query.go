package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
)

// What a panel of a usual width asks: no more points than pixels, nor a step below the interval of samples.
const (
	lookback = 15 * time.Minute
	pixels   = 800
	step     = 5 * time.Second
)

// target is what a panel asks, as its JSON has it.
type target map[string]any

// query asks all targets in one request, as a panel does. They are known by their refId.
func (s *source) query(ctx context.Context, targets ...target) (backend.Responses, error) {
	now := time.Now()
	request := &backend.QueryDataRequest{PluginContext: s.plugin, Headers: map[string]string{}}
	for i, t := range targets {
		sent := maps.Clone(t)
		if sent["refId"] == nil {
			sent["refId"] = string(rune('A' + i))
		}
		sent["datasource"] = map[string]any{"type": "prometheus", "uid": "weir"}
		sent["intervalMs"], sent["maxDataPoints"], sent["utcOffsetSec"] = step.Milliseconds(), pixels, 3600
		text, err := json.Marshal(sent)
		if err != nil {
			return nil, err
		}
		request.Queries = append(request.Queries, backend.DataQuery{
			RefID: sent["refId"].(string), MaxDataPoints: pixels, Interval: step, JSON: text,
			TimeRange: backend.TimeRange{From: now.Add(-lookback), To: now},
		})
	}
	response, err := s.QueryData(ctx, request)
	if err != nil {
		return nil, err
	}
	if len(response.Responses) != len(targets) {
		return nil, fmt.Errorf("%d answers to %d targets", len(response.Responses), len(targets))
	}
	return response.Responses, nil
}

// frames asks one target, and returns the frames of series that it drew.
func (s *source) frames(ctx context.Context, t target) (data.Frames, error) {
	all, err := s.query(ctx, t)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if r.Error != nil {
			return nil, r.Error
		}
		var drawn data.Frames
		for _, f := range r.Frames {
			if len(f.Fields) == 2 {
				drawn = append(drawn, f)
			}
		}
		if len(drawn) == 0 {
			return nil, errors.New("no data")
		}
		return drawn, nil
	}
	return nil, errors.New("no answer")
}

// values are the numbers of a frame, without those that are none.
func values(f *data.Frame) (list []float64) {
	for i := range f.Fields[1].Len() {
		if v, err := f.Fields[1].FloatAt(i); err == nil && !math.IsNaN(v) {
			list = append(list, v)
		}
	}
	return list
}

// name is what a legend calls a frame's series.
func name(f *data.Frame) string {
	if c := f.Fields[1].Config; c != nil {
		return c.DisplayNameFromDS
	}
	return f.Fields[1].Name
}

// executed is what was asked after all, as Grafana's query inspector shows it.
func executed(frames data.Frames) string {
	if frames[0].Meta == nil {
		return ""
	}
	return frames[0].Meta.ExecutedQueryString
}

// posted are the things that Grafana's pages ask for with the data source's method; others they get.
var posted = []string{"api/v1/query", "api/v1/query_range", "api/v1/series", "api/v1/labels"}

// resource asks what is not a query of a panel, as Grafana's pages do.
func (s *source) resource(ctx context.Context, path string, form url.Values, into any) error {
	asks := func(what string) bool { return strings.Contains(path, what) }
	if s.method == http.MethodPost && slices.ContainsFunc(posted, asks) {
		return s.call(ctx, &backend.CallResourceRequest{Method: http.MethodPost, Path: path, URL: path, Body: []byte(form.Encode())}, into)
	}
	return s.call(ctx, &backend.CallResourceRequest{Method: http.MethodGet, Path: path, URL: path + "?" + form.Encode()}, into)
}

// suggest asks promlib for what fits to queries and filters.
func (s *source) suggest(ctx context.Context, about map[string]any) (list []string, err error) {
	body, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	err = s.call(ctx, &backend.CallResourceRequest{Method: http.MethodPost, Path: "suggestions", URL: "suggestions", Body: body}, &list)
	return list, err
}

func (s *source) call(ctx context.Context, request *backend.CallResourceRequest, into any) error {
	request.PluginContext = s.plugin
	var got *backend.CallResourceResponse
	err := s.CallResource(ctx, request, backend.CallResourceResponseSenderFunc(func(r *backend.CallResourceResponse) error {
		got = r
		return nil
	}))
	if err != nil {
		return err
	}
	if kind := http.Header(got.Headers).Get("Content-Type"); kind != "application/json" {
		return fmt.Errorf("%s: %d of type %q", request.URL, got.Status, kind)
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(got.Body, &answer); err != nil {
		return fmt.Errorf("%s: %w", request.URL, err)
	}
	if got.Status != http.StatusOK || answer.Status != "success" {
		return fmt.Errorf("%s: %d %s", request.URL, got.Status, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}
