package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// Bounds of a scrape.
const (
	maxScrapeTime    = 10 * time.Second
	maxScrapeBytes   = 10 << 20
	maxScrapeSamples = 10_000
	maxTargets       = 50
	// accept asks for what textparse reads, without native histograms.
	accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)

// Target is a page of metrics that is scraped.
type Target struct {
	Name string // the label job of its series
	URL  string // http or https; a user and password in it are sent
}

// ParseTarget reads NAME=URL.
func ParseTarget(text string) (Target, error) {
	name, address, ok := strings.Cut(text, "=")
	if !ok || name == "" || address == "" {
		return Target{}, errors.New("want NAME=URL, like shop=http://127.0.0.1:9100/metrics")
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return Target{}, errors.New("want an http or https URL after NAME=, like shop=http://127.0.0.1:9100/metrics")
	}
	if u.Path == "" {
		u.Path = "/metrics"
	}
	return Target{name, u.String()}, nil
}

// CheckTargets finds what is wrong with all of them together.
func CheckTargets(targets []Target) error {
	if len(targets) > maxTargets {
		return fmt.Errorf("%d targets; at most %d", len(targets), maxTargets)
	}
	seen := map[string]bool{"weir": true}
	for _, t := range targets {
		if seen[t.Name] {
			return fmt.Errorf("two targets are named %s (weir is this process itself)", t.Name)
		}
		seen[t.Name] = true
	}
	return nil
}

// instance is the label instance of the target's series.
func (t Target) instance() string {
	u, err := url.Parse(t.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// scrapeClient has no connection but of its own, and follows no redirects: a target is what it is
// configured to be.
var scrapeClient = sync.OnceValue(func() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forbidigo,forcetypeassert // a copy, with the proxies of the environment
	transport.MaxIdleConnsPerHost = 1
	transport.IdleConnTimeout = time.Minute
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
})

// scrape is a round of a target: all of its page or, beside up being 0, nothing.
func (f *feed) scrape(ctx context.Context, t Target) {
	began := time.Now()
	at := f.store.cfg.Now()
	page, kind, err := t.fetch(ctx, min(f.store.cfg.Interval, maxScrapeTime))
	took := time.Since(began)
	if ctx.Err() != nil {
		return
	}
	var samples []scraped
	if err == nil {
		samples, err = f.parse(page, kind)
	}
	up := 1.0
	if err != nil {
		up = 0
		f.store.cfg.Log.LogAttrs(ctx, slog.LevelDebug, "scrape failed", slog.String("target", t.Name), slog.Any("error", err))
	}
	b := f.begin(at.UnixMilli())
	if b == nil {
		return
	}
	for _, s := range samples {
		b.put(figure{key: []byte(s.key), value: s.value, object: true}, func() labels.Labels { return f.prefixed(s.labels) })
	}
	for _, own := range []struct {
		name  string
		value float64
	}{{"up", up}, {"scrape_duration_seconds", took.Seconds()}, {"scrape_samples_scraped", float64(len(samples))}} {
		b.put(figure{key: []byte("\xfe" + own.name), value: own.value}, func() labels.Labels { return f.labelsOf(own.name, nil, nil) })
	}
	b.end()
}

// fetch gets a target's page.
func (t Target) fetch(ctx context.Context, within time.Duration) (page []byte, kind string, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL, nil)
	if err != nil {
		return nil, "", errors.New("not a URL") // it may have a password
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "weir")
	resp, err := scrapeClient().Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL
		}
		return nil, "", err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read, or is given up
	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("status %s", resp.Status)
	}
	page, err = io.ReadAll(io.LimitReader(resp.Body, maxScrapeBytes+1))
	if err == nil && len(page) > maxScrapeBytes {
		err = fmt.Errorf("a page of more than %d bytes", maxScrapeBytes)
	}
	return page, resp.Header.Get("Content-Type"), err
}

// scraped is a sample of a page.
type scraped struct {
	key    string // as the page writes the series
	labels labels.Labels
	value  float64
}

// parse reads a page. Its timestamps are not heeded: all of a round is of one moment.
func (f *feed) parse(page []byte, kind string) ([]scraped, error) {
	parser, err := textparse.New(page, kind, labels.NewSymbolTable(), textparse.ParserOptions{
		FallbackContentType: "text/plain", IgnoreNativeHistograms: true, OpenMetricsSkipSTSeries: true,
	})
	if parser == nil {
		return nil, err
	}
	var list []scraped
	found := map[string]metadata{}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch entry {
		case textparse.EntryType:
			name, kind := parser.Type()
			m := found[string(name)]
			m.Type = string(kind)
			found[string(name)] = m
		case textparse.EntryHelp:
			name, help := parser.Help()
			m := found[string(name)]
			m.Help = string(help)
			found[string(name)] = m
		case textparse.EntryUnit:
			name, unit := parser.Unit()
			m := found[string(name)]
			m.Unit = string(unit)
			found[string(name)] = m
		case textparse.EntrySeries:
			if len(list) == maxScrapeSamples {
				return nil, fmt.Errorf("more than %d samples", maxScrapeSamples)
			}
			text, _, v := parser.Series()
			s := scraped{key: string(text), value: v}
			parser.Labels(&s.labels)
			list = append(list, s)
		default: // comments
		}
	}
	f.metadataMu.Lock()
	f.metadata = found
	f.metadataMu.Unlock()
	return list, nil
}

// prefixed are a scraped series' labels with the target's. Its own of those names are kept as
// exported_job and exported_instance.
func (f *feed) prefixed(l labels.Labels) labels.Labels {
	b := labels.NewBuilder(l)
	for _, own := range []struct{ name, value string }{{"job", f.job}, {"instance", f.instance}} {
		if theirs := l.Get(own.name); theirs != "" {
			b.Set("exported_"+own.name, theirs)
		}
		b.Set(own.name, own.value)
	}
	return b.Labels()
}
