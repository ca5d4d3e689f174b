// Command grafana has promlib, the part of Grafana's server that asks Prometheus servers, ask one: what its
// data sources, dashboards, variables, annotations and lists of alerts ask. It is not Grafana's pages: what those
// ask by themselves is asked as they do, through promlib.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"regexp"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	sdklog "github.com/grafana/grafana-plugin-sdk-go/backend/log"
	"github.com/grafana/grafana/pkg/promlib"
	"go.yaml.in/yaml/v3"
)

// patience is how long all checks together wait for series that are not there yet.
const patience = 2 * time.Minute

// check is one thing that Grafana does.
type check struct {
	name string
	run  func(ctx context.Context, s *source) error
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: grafana URL PAGE DASHBOARD")
		os.Exit(2)
	}
	failed, err := ask(os.Stdout, os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// ask makes all checks, prints a line of each and their number, and returns how many failed.
func ask(out io.Writer, server, page, board string) (failed int, err error) {
	setting, err := provisioned(page)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", page, err)
	}
	setting.url = server
	panels, err := dashboardChecks(board)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", board, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	passed, deadline := 0, time.Now().Add(patience)
	for _, with := range []struct {
		name   string
		source *source
		checks []check
	}{
		{"POST, ", open(setting, nil), checks},
		{"dashboard, ", open(setting, nil), panels},
		{"GET, ", open(setting, map[string]any{"httpMethod": "GET"}), checks[:byMethod]},
		{"parameters, ", open(setting, map[string]any{"customQueryParameters": "limit=50&max_source_resolution=5m", "queryTimeout": "10s"}), checks[:byMethod]},
	} {
		for _, c := range with.checks {
			if err := until(ctx, deadline, func() error { return c.run(ctx, with.source) }); err != nil {
				failed++
				fmt.Fprintf(out, "× %s%s: %v\n", with.name, c.name, err)
				continue
			}
			passed++
			fmt.Fprintf(out, "✓ %s%s\n", with.name, c.name)
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
	return failed, nil
}

// until tries again until nothing is wrong, or until the deadline.
func until(ctx context.Context, deadline time.Time, try func() error) error {
	for {
		err := try()
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// setting is a data source as Grafana is told of it.
type setting struct {
	url  string
	data map[string]any
}

// provisioned reads the first block of YAML of a page: the file that tells Grafana of the data source.
func provisioned(page string) (s setting, err error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return s, err
	}
	block := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindSubmatch(text)
	if block == nil {
		return s, fmt.Errorf("no block of YAML")
	}
	var file struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, Type, Access, URL string
			JSONData                map[string]any `yaml:"jsonData"`
		}
	}
	if err := yaml.Unmarshal(block[1], &file); err != nil {
		return s, err
	}
	if file.APIVersion != 1 || len(file.Datasources) != 1 {
		return s, fmt.Errorf("want apiVersion 1 and one data source")
	}
	d := file.Datasources[0]
	if u, err := url.Parse(d.URL); err != nil || u.Path != "/prometheus" || d.Type != "prometheus" || d.Access != "proxy" || d.Name == "" {
		return s, fmt.Errorf("want a named data source of type prometheus, by proxy, at /prometheus: %+v", d)
	}
	return setting{data: d.JSONData}, nil
}

// source is a data source of Grafana's.
type source struct {
	*promlib.Service
	plugin backend.PluginContext
	method string // of its questions, where Grafana has a choice
}

// open makes a data source of a setting, with some of its JSON data being other.
func open(s setting, other map[string]any) *source {
	data := map[string]any{"httpMethod": "POST"}
	maps.Copy(data, s.data)
	maps.Copy(data, other)
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // it came from YAML
	}
	return &source{
		method:  data["httpMethod"].(string),
		Service: promlib.NewService(nil, sdklog.NewNullLogger(), nil), //nolint:forbidigo // it writes nothing
		plugin: backend.PluginContext{
			OrgID: 1, PluginID: "prometheus",
			DataSourceInstanceSettings: &backend.DataSourceInstanceSettings{
				ID: 1, UID: "weir", Type: "prometheus", Name: "Weir", URL: s.url, JSONData: text,
			},
			GrafanaConfig: backend.NewGrafanaCfg(map[string]string{}),
		},
	}
}
