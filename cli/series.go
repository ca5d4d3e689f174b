package cli

import (
	"time"

	"github.com/spf13/pflag"

	"weir.dev/weir/app"
	"weir.dev/weir/telemetry/store"
)

// seriesFlags say what time series `weir run` keeps.
type seriesFlags struct {
	retention time.Duration
	size      string
	scrape    []string
}

func (f *seriesFlags) add(fs *pflag.FlagSet) {
	fs.DurationVar(&f.retention, "series-retention", store.DefaultRetention, "how long time series are kept; 0: none are, and no objective is judged")
	fs.StringVar(&f.size, "series-size", "1Gi", "how much of the disk time series may take; the oldest go first")
	fs.StringArrayVar(&f.scrape, "scrape", nil, "page of metrics to keep besides Weir's own, as NAME=URL; repeatable")
}

// leastSeries is below what the series of the last hour take.
const leastSeries = 16 << 20

func (f *seriesFlags) read() (app.Series, error) {
	s := app.Series{Off: f.retention == 0, Retention: f.retention}
	if f.retention != 0 && f.retention < store.TemporaryRetention {
		return s, usagef("--series-retention %v: want %v or more, or 0 for none", f.retention, store.TemporaryRetention)
	}
	size, ok := parseSize(f.size)
	if !ok || size < leastSeries {
		return s, usagef("--series-size %q: want a size of 16Mi or more, such as 1Gi", f.size)
	}
	s.Bytes = size
	for i, text := range f.scrape {
		t, err := store.ParseTarget(text)
		if err != nil { // the text may have a password in it
			return s, usagef("--scrape, the %d. one: %w", i+1, err)
		}
		s.Scrape = append(s.Scrape, t)
	}
	if err := store.CheckTargets(s.Scrape); err != nil {
		return s, usagef("--scrape: %w", err)
	}
	return s, nil
}
