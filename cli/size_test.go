package cli

import (
	"testing"

	"weir.dev/weir/app"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "512": 512, "64Ki": 64 << 10, "512Mi": 512 << 20, "2Gi": 2 << 30, "1Ti": 1 << 40, "3k": 3000, "1M": 1e6, "5G": 5e9, "1T": 1e12,
		"": -1, "Mi": -1, "-1": -1, "1.5Gi": -1, "1mb": -1, "1 Mi": -1, "9223372036854775807Ki": -1,
	} {
		got, ok := parseSize(text)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, ok, want)
		}
	}
}

// TestMaxMemory: a size, none, or what the program finds itself.
func TestMaxMemory(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "0": -1, "512Mi": 512 << 20, "1Mi": -2, "much": -2} {
		var cfg app.Config
		f := runFlags{maxMemory: text}
		err := f.memory(&cfg)
		if (err != nil) != (want == -2) || err == nil && cfg.MaxMemory != want {
			t.Errorf("%q: %d, %v; want %d", text, cfg.MaxMemory, err, want)
		}
	}
}
