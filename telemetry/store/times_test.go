package store

import (
	"strings"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	for text, want := range map[string]time.Time{
		"1435781451.781":                      time.UnixMilli(1435781451781),
		"-1.5":                                time.UnixMilli(-1500),
		"2015-07-01T20:10:51.781Z":            time.UnixMilli(1435781451781),
		"2015-07-01T22:10:51.781+02:00":       time.UnixMilli(1435781451781),
		"-292273086-05-16T16:47:06Z":          time.Unix(firstSecond, 0),
		"292277025-08-18T07:12:54.999999999Z": time.Unix(lastSecond, 0),
		"1e300":                               time.Unix(lastSecond, 0),
		"+Inf":                                time.Unix(lastSecond, 0),
	} {
		if got, err := parseTime(text); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "NaN", "now", "2015-07-01", "-Z", "99999Z"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"15": 15 * time.Second, "0.5": 500 * time.Millisecond, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "1w": 7 * 24 * time.Hour,
		"1y": 365 * 24 * time.Hour, "5ms": 5 * time.Millisecond, "1m5ms": time.Minute + 5*time.Millisecond, "-3": -3 * time.Second,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "h", "1", "1x", "30m1h", "1m1m", "1e400", "NaN", "300y", "99999999999999999999s", "1 m"} {
		if got, err := parseDuration(text); text != "1" && err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

// FuzzTimes checks that no text does harm, and that durations with units are never negative.
func FuzzTimes(f *testing.F) {
	for _, text := range []string{"1h30m", "1e9", "2015-07-01T20:10:51.781Z", "-Z", "1y52w", "292y24w3d23h47m16s854ms"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if at, err := parseTime(text); err == nil && (at.Before(time.Unix(firstSecond, 0)) || at.After(time.Unix(lastSecond+1, 0))) {
			t.Errorf("%q is %v", text, at)
		}
		if d, err := parseDuration(text); err == nil && d < 0 && !strings.HasPrefix(text, "-") {
			t.Errorf("%q is %v", text, d)
		}
	})
}

func TestTargets(t *testing.T) {
	for text, want := range map[string]Target{
		"shop=http://10.0.0.1:9100":              {"shop", "http://10.0.0.1:9100/metrics"},
		"shop=https://u:p@shop.example/m?a=b":    {"shop", "https://u:p@shop.example/m?a=b"},
		"shop=http://[::1]:9100/federate?x[]=up": {"shop", "http://[::1]:9100/federate?x[]=up"},
	} {
		got, err := ParseTarget(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
		if strings.Contains(got.instance(), "u:p") {
			t.Errorf("%s: the label instance has a password: %s", text, got.instance())
		}
	}
	for _, text := range []string{"", "shop", "=http://a", "shop=", "shop=a:9100", "shop=ftp://a", "shop=http://", "shop=http://%zz"} {
		if got, err := ParseTarget(text); err == nil || strings.Contains(err.Error(), "%zz") {
			t.Errorf("%q: %+v, %v; want an error without the URL", text, got, err)
		}
	}
	for _, bad := range [][]Target{{{"weir", "http://a"}}, {{"a", "http://a"}, {"a", "http://b"}}, make([]Target, maxTargets+1)} {
		if CheckTargets(bad) == nil {
			t.Errorf("%d targets were accepted", len(bad))
		}
	}
}
