package store

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// timeOf reads a parameter; absent is otherwise.
func timeOf(form url.Values, name string, otherwise time.Time) (time.Time, error) {
	text := form.Get(name)
	if text == "" {
		return otherwise, nil
	}
	t, err := parseTime(text)
	if err != nil {
		return t, badParameter(name, err)
	}
	return t, nil
}

// lastSecond is the end of the year 9999, and firstSecond the beginning of the year 1: no series has
// times beyond.
const (
	firstSecond = -62135596800
	lastSecond  = 253402300799
)

// parseTime reads seconds since 1970, with or without a fraction, or RFC 3339. What lies beyond the
// years 1 to 9999 is their beginning or end: clients write so when they mean ever.
func parseTime(text string) (time.Time, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(seconds) {
		seconds = min(max(seconds, firstSecond), lastSecond)
		return time.UnixMilli(int64(math.Round(seconds * 1000))), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	switch {
	case !strings.HasSuffix(text, "Z") || strings.Count(text, "-") < 2:
	case strings.HasPrefix(text, "-"):
		return time.Unix(firstSecond, 0), nil
	case strings.IndexByte(text, '-') > len("9999"):
		return time.Unix(lastSecond, 0), nil
	}
	return time.Time{}, fmt.Errorf("cannot parse %q to a valid timestamp", text)
}

// units are those of Prometheus's durations, in the order in which they stand.
var units = []struct {
	name string
	of   time.Duration
}{
	{"y", 365 * 24 * time.Hour},
	{"w", 7 * 24 * time.Hour},
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
	{"ms", time.Millisecond},
}

// parseDuration reads seconds, or a duration as PromQL writes it: 1h30m.
func parseDuration(text string) (time.Duration, error) {
	wrong := fmt.Errorf("cannot parse %q to a valid duration", text)
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if v := seconds * float64(time.Second); v > math.MinInt64 && v < math.MaxInt64 {
			return time.Duration(v), nil
		}
		return 0, wrong
	}
	var sum time.Duration
	rest, next := text, 0
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, wrong
		}
		rest = rest[digits:]
		letters := len(rest) - len(strings.TrimLeft(rest, "ywdhms"))
		unit := next
		for unit < len(units) && units[unit].name != rest[:letters] {
			unit++
		}
		if unit == len(units) || n > int64(math.MaxInt64-sum)/int64(units[unit].of) {
			return 0, wrong
		}
		sum += time.Duration(n) * units[unit].of
		rest, next = rest[letters:], unit+1
	}
	if text == "" {
		return 0, wrong
	}
	return sum, nil
}
