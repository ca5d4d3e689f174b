package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
)

// dashboard is the part of a dashboard's JSON that asks.
type dashboard struct {
	Title      string
	Panels     []panel
	Templating struct {
		List []variable
	}
	Annotations struct {
		List []struct {
			Name   string
			Target target
		}
	}
}

type panel struct {
	Title, Description string
	Targets            []target
}

type variable struct {
	Name, Type string
	Query      any // of a data source its type, else an object with the query
}

// dashboardChecks are all queries of a dashboard: each has to answer with numbers.
func dashboardChecks(file string) ([]check, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	var list []check
	for _, p := range d.Panels {
		if p.Description == "" || len(p.Targets) == 0 {
			return nil, fmt.Errorf("panel %s: no reason, or no target", p.Title)
		}
		for _, t := range p.Targets {
			list = append(list, check{p.Title, func(ctx context.Context, s *source) error { return d.draws(ctx, s, t) }})
		}
	}
	for _, a := range d.Annotations.List {
		a.Target["range"] = true // as Grafana does
		list = append(list, check{a.Name, func(ctx context.Context, s *source) error { return d.draws(ctx, s, a.Target) }})
	}
	return list, nil
}

// legendLabel is a label in a legend.
var legendLabel = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// draws asks a target with the values of variables in it.
func (d *dashboard) draws(ctx context.Context, s *source, t target) error {
	expr, err := d.fill(ctx, s, t["expr"].(string))
	if err != nil {
		return err
	}
	filled := target{}
	for field, value := range t {
		filled[field] = value
	}
	filled["expr"] = expr
	frames, err := s.frames(ctx, filled)
	if err != nil {
		return fmt.Errorf("%s: %w", expr, err)
	}
	legend, _ := t["legendFormat"].(string)
	drawn := 0
	for _, f := range frames {
		drawn += len(values(f))
		for _, label := range legendLabel.FindAllStringSubmatch(legend, -1) {
			if f.Fields[1].Labels[label[1]] == "" {
				return fmt.Errorf("%s: no label %s for the legend in %v", expr, label[1], f.Fields[1].Labels)
			}
		}
	}
	if drawn == 0 {
		return fmt.Errorf("%s: no numbers", expr)
	}
	return nil
}

var labelValuesOf = regexp.MustCompile(`^label_values\((.+), *(\w+)\)$`)

// fill puts all values that a variable has in its place, as Grafana does when all are chosen.
func (d *dashboard) fill(ctx context.Context, s *source, expr string) (string, error) {
	for _, v := range d.Templating.List {
		if v.Type != "query" || !strings.Contains(expr, "$"+v.Name) {
			continue
		}
		query, _ := v.Query.(map[string]any)
		text, _ := query["query"].(string)
		asked := labelValuesOf.FindStringSubmatch(text)
		if asked == nil {
			return "", fmt.Errorf("variable %s: %q is not known here", v.Name, text)
		}
		var list []string
		if err := s.resource(ctx, "api/v1/label/"+asked[2]+"/values", span(url.Values{"match[]": {asked[1]}}), &list); err != nil {
			return "", err
		}
		if len(list) == 0 {
			return "", errors.New("variable " + v.Name + ": no values")
		}
		for i, value := range list {
			list[i] = strings.ReplaceAll(regexp.QuoteMeta(value), `\`, `\\`)
		}
		expr = strings.ReplaceAll(expr, "$"+v.Name, "("+strings.Join(list, "|")+")")
	}
	return expr, nil
}
