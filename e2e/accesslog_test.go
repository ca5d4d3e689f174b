package e2e_test

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"weir.dev/weir/app"
)

// TestAccessLog checks that every request leaves one line with what people search for.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	out := &logBuffer{}
	w := start(t, map[string]string{"gateway.yaml": gateway, "route.yaml": split(1, 0)}, func(c *app.Config) { c.AccessLog = out })
	client := w.client(t)
	for _, path := range []string{"/fine", "/broken?status=500"} {
		resp, err := client.Get("http://example.com" + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if err := w.stop(); err != nil { // the end writes what is queued
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2:\n%s", len(lines), out)
	}
	for i, want := range []map[string]any{
		{"method": "GET", "path": "/fine", "status": 200.0, "host": "example.com"},
		{"method": "GET", "path": "/broken", "status": 500.0, "flag": "U5", "blame": "upstream"},
	} {
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatalf("%v: %s", err, lines[i])
		}
		for key, value := range want {
			if got[key] != value {
				t.Errorf("line %d: %s is %v, want %v\n%s", i+1, key, got[key], value, lines[i])
			}
		}
		for _, key := range []string{"route", "cluster"} {
			if s, _ := got[key].(string); !strings.Contains(s, "default/") {
				t.Errorf("line %d: %s is %v\n%s", i+1, key, got[key], lines[i])
			}
		}
	}
}
