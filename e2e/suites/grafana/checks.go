package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana/pkg/promlib"
)

// byRoute is what a dashboard asks about routes.
const byRoute = "sum by (route) (rate(weir_route_requests_total[$__rate_interval]))"

// byMethod is how many checks, the first ones, are made with other settings, too.
const byMethod = 12

// checks are what every data source, explorer, variable, annotation and list of alerts does.
var checks = []check{
	{"save and test", health},
	{"a range with a legend and $__rate_interval", legend},
	{"a range filtered ad hoc, with more to group by", filtered},
	{"an instant", instant},
	{"names of labels", labelNames},
	{"values of a label", labelValues},
	{"series", series},
	{"query_result of a variable", queryResult},
	{"names suggested for a query", suggestNames},
	{"values suggested for filters", suggestValues},
	{"is there anything like exemplars", probe},
	{"what cannot be parsed says why", wrong},

	{"$__interval, $__range and their seconds", variables},
	{"a legend by itself", auto},
	{"exemplars beside a range", exemplars},
	{"a heat map", heatmap},
	{"a scalar and a string", scalars},
	{"many targets, one of them wrong", many},
	{"a hint about a query", notice},
	{"a time without samples", empty},
	{"more points than there may be", tooMany},
	{"names of metrics", metrics},
	{"a name that is not of letters only", strange},
	{"what metrics are", metadata},
	{"what it is", heuristics},
	{"rules of alerts", rules},
	{"alerts", alerts},
	{"what is not there", missing},
}

func health(ctx context.Context, s *source) error {
	got, err := s.CheckHealth(ctx, &backend.CheckHealthRequest{PluginContext: s.plugin})
	if err != nil {
		return err
	}
	if want := `{"application":"Prometheus","features":{"rulerApiEnabled":false}}`; got.Status != backend.HealthStatusOk || string(got.JSONDetails) != want {
		return fmt.Errorf("%s %q %s, want ok with %s", got.Status, got.Message, got.JSONDetails, want)
	}
	return nil
}

func legend(ctx context.Context, s *source) error {
	frames, err := s.frames(ctx, target{"expr": byRoute, "range": true, "legendFormat": "{{route}} now"})
	if err != nil {
		return err
	}
	f := frames[0]
	if want := f.Fields[1].Labels["route"] + " now"; name(f) != want || want == " now" {
		return fmt.Errorf("named %q, want %q", name(f), want)
	}
	if list := values(f); len(list) == 0 || slices.Max(list) <= 0 {
		return fmt.Errorf("values %v", list)
	}
	if !strings.Contains(executed(frames), "[20s]") || !strings.Contains(executed(frames), "Step: 5s") {
		return fmt.Errorf("asked %q, want rates of 20 s every 5 s", executed(frames))
	}
	return nil
}

func filtered(ctx context.Context, s *source) error {
	frames, err := s.frames(ctx, target{
		"expr": byRoute, "range": true,
		"adhocFilters": []any{map[string]any{"key": "job", "operator": "equals", "value": "weir"}}, "groupByKeys": []string{"code_class"},
	})
	if err != nil {
		return err
	}
	if frames[0].Fields[1].Labels["code_class"] == "" || !strings.Contains(executed(frames), `job="weir"`) {
		return fmt.Errorf("labels %v of %s", frames[0].Fields[1].Labels, executed(frames))
	}
	return nil
}

func instant(ctx context.Context, s *source) error {
	frames, err := s.frames(ctx, target{"expr": "weir_ready", "instant": true, "format": "table", "legendFormat": "__auto"})
	if err != nil {
		return err
	}
	if list := values(frames[0]); len(frames) != 1 || len(list) != 1 || list[0] != 1 || frames[0].Fields[1].Labels["job"] != "weir" {
		return fmt.Errorf("%d frames, values %v, labels %v", len(frames), list, frames[0].Fields[1].Labels)
	}
	return nil
}

func variables(ctx context.Context, s *source) error {
	frames, err := s.frames(ctx, target{
		"expr": "sum(increase(weir_route_requests_total[$__range])) + 0 * (${__interval_ms} + $__range_s) + 0 * max(max_over_time(weir_ready[$__interval]))", "instant": true,
	})
	if err != nil {
		return err
	}
	if !strings.Contains(executed(frames), "[900s]") || !strings.Contains(executed(frames), "(5000 + 900)") || values(frames[0])[0] <= 0 {
		return fmt.Errorf("%v from %s", values(frames[0]), executed(frames))
	}
	return nil
}

func auto(ctx context.Context, s *source) error {
	frames, err := s.frames(ctx, target{"expr": "weir_ready", "range": true, "legendFormat": "__auto"})
	if err == nil && frames[0].Fields[1].Name != "weir_ready" {
		err = fmt.Errorf("named %q", frames[0].Fields[1].Name)
	}
	return err
}

// exemplars has none drawn, and the range beside them nevertheless.
func exemplars(ctx context.Context, s *source) error {
	frames, err := s.frames(ctx, target{"expr": "histogram_quantile(0.99, sum by (le) (rate(weir_route_request_duration_seconds_bucket[$__rate_interval])))", "range": true, "exemplar": true})
	if err == nil && (len(frames) != 1 || len(values(frames[0])) == 0) {
		err = fmt.Errorf("%d frames", len(frames))
	}
	return err
}

// probe is what Grafana asks when a data source is opened, in milliseconds: else it would offer no exemplars.
func probe(ctx context.Context, s *source) error {
	var list []any
	now := time.Now()
	err := s.resource(ctx, "api/v1/query_exemplars", url.Values{
		"query": {"test"}, "start": {strconv.FormatInt(now.Add(-30*time.Minute).UnixMilli(), 10)}, "end": {strconv.FormatInt(now.UnixMilli(), 10)},
	}, &list)
	if err == nil && (list == nil || len(list) > 0) {
		err = fmt.Errorf("%v, want an empty list", list)
	}
	return err
}

func heatmap(ctx context.Context, s *source) error {
	frames, err := s.frames(ctx, target{"expr": "sum by (le) (increase(weir_route_request_duration_seconds_bucket[$__rate_interval]))", "range": true, "format": "heatmap", "legendFormat": "{{le}}"})
	if err != nil {
		return err
	}
	for _, f := range frames {
		if _, err := strconv.ParseFloat(name(f), 64); err != nil {
			return err
		}
	}
	if len(frames) < 3 {
		return fmt.Errorf("%d buckets", len(frames))
	}
	return nil
}

func scalars(ctx context.Context, s *source) error {
	frames, err := s.frames(ctx, target{"expr": "1+1", "instant": true})
	if err != nil || values(frames[0])[0] != 2 {
		return errors.Join(err, errors.New("1+1 is not 2"))
	}
	all, err := s.query(ctx, target{"expr": `"text"`, "instant": true})
	if err == nil && (all["A"].Error != nil || len(all["A"].Frames) != 1) {
		err = errors.Join(errors.New("a string"), all["A"].Error)
	}
	return err
}

func wrong(ctx context.Context, s *source) error {
	all, err := s.query(ctx, target{"expr": "sum(", "range": true})
	if err != nil {
		return err
	}
	if got := all["A"]; got.Error == nil || got.Status != backend.StatusBadRequest || !strings.HasPrefix(got.Error.Error(), "bad_data: ") || !strings.Contains(got.Error.Error(), "parse error") {
		return errors.Join(fmt.Errorf("status %d", got.Status), got.Error)
	}
	return nil
}

func many(ctx context.Context, s *source) error {
	var targets []target
	for i := range 12 {
		targets = append(targets, target{"refId": strconv.Itoa(i), "expr": fmt.Sprintf("weir_ready + %d", i), "range": true})
	}
	targets[7]["expr"] = "sum("
	all, err := s.query(ctx, targets...)
	if err != nil {
		return err
	}
	for id, got := range all {
		if (got.Error != nil) != (id == "7") {
			return errors.Join(errors.New("target "+id), got.Error)
		}
	}
	return nil
}

func notice(ctx context.Context, s *source) error {
	frames, err := s.frames(ctx, target{"expr": "rate(weir_ready[1m])", "range": true})
	if err == nil && (len(frames[0].Meta.Notices) != 1 || !strings.Contains(frames[0].Meta.Notices[0].Text, "counter")) {
		err = fmt.Errorf("notices %v", frames[0].Meta.Notices)
	}
	return err
}

func empty(ctx context.Context, s *source) error {
	all, err := s.query(ctx, target{"expr": "nothing_at_all", "range": true, "instant": true})
	if err == nil && all["A"].Error != nil {
		err = all["A"].Error
	}
	return err
}

func tooMany(ctx context.Context, s *source) error {
	all, err := s.query(ctx, target{"expr": "sum_over_time(vector(1)[30d:1ms])", "range": true})
	if err == nil && (all["A"].Error == nil || all["A"].Status != backend.StatusBadRequest) {
		err = errors.Join(fmt.Errorf("status %d", all["A"].Status), all["A"].Error)
	}
	return err
}

// span is the time that lists are asked for, and how long they may be.
func span(form url.Values) url.Values {
	now := time.Now()
	form.Set("start", strconv.FormatInt(now.Add(-lookback).Unix(), 10))
	form.Set("end", strconv.FormatInt(now.Unix(), 10))
	form.Set("limit", "40000")
	return form
}

// lists fails unless all of some are in a list.
func lists(what string, list []string, wanted ...string) error {
	for _, one := range wanted {
		if !slices.Contains(list, one) {
			return fmt.Errorf("%s: %q, want %s among them", what, list, one)
		}
	}
	return nil
}

func labelNames(ctx context.Context, s *source) error {
	var list []string
	err := s.resource(ctx, "api/v1/labels", span(url.Values{"match[]": {"weir_route_requests_total"}}), &list)
	if err == nil && slices.Contains(list, "le") {
		err = errors.New("a label of other series")
	}
	return errors.Join(err, lists("labels", list, "__name__", "route", "code_class", "job", "instance"))
}

func labelValues(ctx context.Context, s *source) error {
	var list []string
	err := s.resource(ctx, "api/v1/label/code_class/values", span(url.Values{"match[]": {`{__name__=~".*route_requests.*"}`}}), &list)
	return errors.Join(err, lists("classes", list, "2xx"))
}

func metrics(ctx context.Context, s *source) error {
	var list []string
	err := s.resource(ctx, "api/v1/label/__name__/values", span(url.Values{}), &list)
	return errors.Join(err, lists("metrics", list, "weir_ready", "weir_route_request_duration_seconds_bucket"))
}

func strange(ctx context.Context, s *source) error {
	list := []string{"unset"}
	err := s.resource(ctx, "api/v1/label/U__http_2e_code/values", span(url.Values{}), &list)
	if err == nil && len(list) > 0 {
		err = fmt.Errorf("values %q", list)
	}
	return err
}

func series(ctx context.Context, s *source) error {
	var list []map[string]string
	if err := s.resource(ctx, "api/v1/series", span(url.Values{"match[]": {`{__name__!=""}`}}), &list); err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(l map[string]string) bool { return l["__name__"] != "" }) {
		return fmt.Errorf("%d series without a name", len(list))
	}
	return nil
}

func queryResult(ctx context.Context, s *source) error {
	var got struct {
		ResultType string
		Result     []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	err := s.resource(ctx, "api/v1/query", url.Values{"query": {"count by (job) (weir_ready)"}, "time": {strconv.FormatInt(time.Now().Unix(), 10)}}, &got)
	if err == nil && (got.ResultType != "vector" || len(got.Result) != 1 || got.Result[0].Metric["job"] != "weir" || got.Result[0].Value[1] != "1") {
		err = fmt.Errorf("%+v", got)
	}
	return err
}

func suggestNames(ctx context.Context, s *source) error {
	list, err := s.suggest(ctx, map[string]any{"queries": []string{byRoute}, "limit": 1000})
	return errors.Join(err, lists("names", list, "route", "code_class"))
}

func suggestValues(ctx context.Context, s *source) error {
	list, err := s.suggest(ctx, map[string]any{
		"labelName": "code_class", "queries": []string{byRoute},
		"adhocFilters": []any{map[string]any{"key": "job", "operator": "regex-match", "value": "we.*"}},
	})
	return errors.Join(err, lists("values", list, "2xx"))
}

func metadata(ctx context.Context, s *source) error {
	var got map[string][]struct{ Type, Help, Unit string }
	if err := s.resource(ctx, "api/v1/metadata", url.Values{"limit": {"40000"}}, &got); err != nil {
		return err
	}
	if of := got["weir_route_requests_total"]; len(of) != 1 || of[0].Type != "counter" || of[0].Help == "" {
		return fmt.Errorf("%+v", of)
	}
	return nil
}

// heuristics are what promlib and lists of alerts take it for.
func heuristics(ctx context.Context, s *source) error {
	got, err := s.GetHeuristics(ctx, promlib.HeuristicsRequest{PluginContext: s.plugin})
	if err != nil {
		return err
	}
	if got.Application != promlib.KindPrometheus || got.Features.RulerApiEnabled {
		return fmt.Errorf("%+v", got)
	}
	info, err := s.GetBuildInfo(ctx, promlib.BuildInfoRequest{PluginContext: s.plugin})
	if err == nil && !strings.HasPrefix(info.Data.Version, "3.") {
		err = fmt.Errorf("version %q", info.Data.Version)
	}
	return err
}

// ruleGroup is a group of rules, as lists of alerts read it.
type ruleGroup struct {
	Name, File string
	Rules      []struct {
		Name, Type string
		Alerts     []struct{ State string }
	}
}

// rules asks as lists of alerts do: all groups without their alerts, and then one group with them.
func rules(ctx context.Context, s *source) error {
	groups := func(form url.Values) (list []ruleGroup, err error) {
		var got struct{ Groups []ruleGroup }
		err = s.resource(ctx, "api/v1/rules", form, &got)
		return got.Groups, err
	}
	all, err := groups(url.Values{"exclude_alerts": {"true"}, "group_limit": {"40"}})
	if err != nil {
		return err
	}
	if len(all) == 0 || all[0].Rules[0].Type != "alerting" || all[0].Rules[0].Alerts == nil || len(all[0].Rules[0].Alerts) > 0 {
		return fmt.Errorf("all: %+v", all)
	}
	g := all[0]
	one, err := groups(url.Values{"file[]": {g.File}, "rule_group[]": {g.Name}, "rule_name[]": {g.Rules[0].Name}})
	if err != nil {
		return err
	}
	if len(one) != 1 || len(one[0].Rules[0].Alerts) == 0 {
		return fmt.Errorf("one: %+v", one)
	}
	others, err := groups(url.Values{"file[]": {"other"}})
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return fmt.Errorf("of another file: %+v", others)
	}
	return nil
}

func alerts(ctx context.Context, s *source) error {
	var got struct {
		Alerts []struct {
			Labels, Annotations map[string]string
			State, Value        string
			ActiveAt            time.Time
		}
	}
	if err := s.resource(ctx, "api/v1/alerts", nil, &got); err != nil {
		return err
	}
	for _, a := range got.Alerts {
		if _, err := strconv.ParseFloat(a.Value, 64); err != nil || a.State != "pending" && a.State != "firing" || a.ActiveAt.IsZero() || len(a.Labels) == 0 {
			return fmt.Errorf("%+v", a)
		}
	}
	if len(got.Alerts) == 0 {
		return errors.New("no alerts")
	}
	return nil
}

// missing has to be: what answers status/flags is taken for Thanos, whose rules can be written.
func missing(ctx context.Context, s *source) error {
	err := s.resource(ctx, "api/v1/status/flags", nil, new(any))
	if err == nil || !strings.Contains(err.Error(), "404") {
		return errors.Join(errors.New("want 404"), err)
	}
	return nil
}
