package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"weir.dev/weir/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fullRecord() *Record {
	return &Record{
		Time: time.Date(2026, 11, 21, 10, 0, 0, 123456789, time.UTC), ID: []byte("id-1"),
		TraceParent: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		Client:      netip.MustParseAddrPort("192.0.2.1:5000"),
		Request: RequestPart{
			Method: []byte("GET"), Host: []byte("shop.example.com"), Path: []byte(`/a"b`), Protocol: "HTTP/1.1",
			UserAgent: []byte("curl/8 \x1b[31m"), Referer: []byte("http://x/"),
		},
		Status: 502, Flag: model.FlagUC, Detail: `connection "reset"`, Route: "shop/cart/0", Cluster: "backend/shop/cart",
		Upstream: netip.MustParseAddrPort("[2001:db8::1]:80"),
		Attempts: []Attempt{
			{Host: netip.MustParseAddrPort("10.0.0.1:80"), Flag: model.FlagUF, Err: "connection refused", Duration: 250 * time.Microsecond},
			{Host: netip.MustParseAddrPort("[2001:db8::1]:80"), Status: 200, Flag: model.FlagUC, Duration: 2 * time.Second},
		},
		Timings: Timings{Head: 10 * time.Microsecond, Policies: time.Millisecond, Connect: 1234567, FirstByte: 0, Total: 3 * time.Second},
		BytesIn: 100, BytesOut: 2000,
	}
}

func TestJSONLine(t *testing.T) {
	var got any
	line := appendJSON(nil, fullRecord())
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	want := map[string]any{
		"time": "2026-11-21T10:00:00.123456Z", "request_id": "id-1",
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"client":      "192.0.2.1:5000", "method": "GET", "host": "shop.example.com", "path": `/a"b`, "protocol": "HTTP/1.1",
		"status": 502.0, "flag": "UC", "blame": "upstream", "route": "shop/cart/0", "cluster": "backend/shop/cart",
		"upstream": "[2001:db8::1]:80",
		"attempts": []any{
			map[string]any{"duration_ms": 0.25, "host": "10.0.0.1:80", "flag": "UF", "error": "connection refused"},
			map[string]any{"duration_ms": 2000.0, "host": "[2001:db8::1]:80", "status": 200.0, "flag": "UC"},
		},
		"timings":  map[string]any{"head_ms": 0.01, "policies_ms": 1.0, "connect_ms": 1.234, "first_byte_ms": 0.0, "total_ms": 3000.0},
		"bytes_in": 100.0, "bytes_out": 2000.0, "user_agent": "curl/8 \x1b[31m", "detail": `connection "reset"`, "referer": "http://x/",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestStatusOfWhatWasAsked: a request that got no answer has status 0; a connection that is
// carried as it is has none.
func TestStatusOfWhatWasAsked(t *testing.T) {
	stream := &Record{Request: RequestPart{Protocol: "TCP", Host: []byte("db.test")}, Flag: model.FlagPT}
	unanswered := &Record{Request: RequestPart{Protocol: "HTTP/1.1", Method: []byte("GET")}, Flag: model.FlagDC}
	for _, test := range []struct {
		r          *Record
		json, text string
	}{{stream, `"protocol":"TCP","flag":"PT"`, " - PT/policy - db.test - TCP "}, {unanswered, `"protocol":"HTTP/1.1","status":0,"flag":"DC"`, " 0 DC/client GET "}} {
		if got := string(appendJSON(nil, test.r)); !strings.Contains(got, test.json) {
			t.Errorf("%s, want %s in it", got, test.json)
		}
		if got := string(appendText(nil, test.r)); !strings.Contains(got, test.text) {
			t.Errorf("%s, want %s in it", got, test.text)
		}
	}
}

func TestTextLine(t *testing.T) {
	got := string(appendText(nil, fullRecord()))
	want := `2026-11-21T10:00:00.123456Z 502 UC/upstream GET shop.example.com /a\"b HTTP/1.1 3000.000ms 100 2000 ` +
		`shop/cart/0 [2001:db8::1]:80 192.0.2.1:5000 id-1 "curl/8 \u001b[31m" "connection \"reset\""` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	unknownPort := netip.MustParseAddrPort("[2001:db8::2]:0")
	got = string(appendText(nil, &Record{Client: unknownPort, Request: RequestPart{Path: []byte("/a b\n")}}))
	want = `0001-01-01T00:00:00.000000Z - - - - /a_b\u000a - 0.000ms 0 0 - - 2001:db8::2 - "" ""` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestLineIsBounded(t *testing.T) {
	r := fullRecord()
	r.Request.Path = bytes.Repeat([]byte("ä"), 100_000)
	r.Attempts = make([]Attempt, 1000)
	var got struct {
		Path          string
		Attempts      []any
		AttemptsTotal int `json:"attempts_total"`
	}
	line := appendJSON(nil, r)
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("ä", MaxField/2) + "…"; got.Path != want {
		t.Errorf("path of %d bytes, want %d", len(got.Path), len(want))
	}
	if len(got.Attempts) != MaxAttempts || got.AttemptsTotal != 1000 {
		t.Errorf("%d attempts of %d", len(got.Attempts), got.AttemptsTotal)
	}
}

// FuzzJSONEscaping checks that any bytes give one line of JSON that says what they said.
func FuzzJSONEscaping(f *testing.F) {
	for _, seed := range []string{
		"", "plain", `"\`, "\x00\x1f\x7f", "\xff\xfe", "ä€😀", "\xed\xa0\x80", "\u2028\u2029", "\u0085", "\n\r\t",
		strings.Repeat("€", MaxField), "\xf0\x9f\x98", strings.Repeat("a", MaxField-1) + "😀",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		r := &Record{ID: value, TraceParent: value, Route: string(value)}
		r.Request = RequestPart{Method: value, Host: value, Path: value, Protocol: string(value), UserAgent: value, Referer: value}
		r.Attempts = []Attempt{{Err: string(value)}}
		line := appendJSON(nil, r)
		if i := bytes.IndexFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }); i != len(line)-1 {
			t.Fatalf("control at %d of %q", i, line)
		}
		var got struct {
			Path      string
			Route     string
			UserAgent string `json:"user_agent"`
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if text := appendText(nil, r); bytes.Count(text, []byte("\n")) != 1 {
			t.Fatalf("not one line: %q", text)
		}
		if got.Path != got.Route || got.Path != got.UserAgent {
			t.Fatalf("string and bytes differ: %q %q", got.Path, got.Route)
		}
		if len(value) <= MaxField {
			if want := replaceInvalid(value); got.Path != want {
				t.Fatalf("got %q, want %q", got.Path, want)
			}
		}
	})
}

// replaceInvalid replaces every byte that is not part of valid UTF-8, as encoding/json does.
func replaceInvalid(b []byte) string {
	var out []rune
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		out, b = append(out, r), b[size:]
	}
	return string(out)
}

// slowWriter hands every write to the test, which says when and how it ends.
type slowWriter struct {
	writes  chan []byte
	results chan error
}

func newSlowWriter() *slowWriter { return &slowWriter{make(chan []byte), make(chan error)} }

func (w *slowWriter) Write(p []byte) (int, error) {
	w.writes <- bytes.Clone(p)
	return len(p), <-w.results
}

func TestAccessLogWritesInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWriter()
		l := NewAccessLog(AccessLogConfig{Writer: w, Shards: 2})
		for shard := range 2 {
			l.Write(shard, fullRecord())
			l.Write(shard, fullRecord())
		}
		for range 2 { // one batch a shard
			if n := bytes.Count(<-w.writes, []byte("\n")); n != 2 {
				t.Errorf("%d lines in a write, want 2", n)
			}
			w.results <- nil
		}
		synctest.Wait()
		if l.Written() != 4 || l.Dropped() != 0 {
			t.Errorf("written %d, dropped %d", l.Written(), l.Dropped())
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAccessLogNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWriter()
		size := len(appendJSON(nil, fullRecord()))
		l := NewAccessLog(AccessLogConfig{Writer: w, Queue: 3 * size})
		l.Write(0, fullRecord())
		<-w.writes // the writer is stuck in this one
		for range 10 {
			l.Write(0, fullRecord())
		}
		if l.Dropped() != 7 {
			t.Errorf("dropped %d, want 7", l.Dropped())
		}
		w.results <- nil
		if n := bytes.Count(<-w.writes, []byte("\n")); n != 3 {
			t.Errorf("%d lines waited, want 3", n)
		}
		w.results <- nil
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if l.Written() != 4 {
			t.Errorf("written %d, want 4", l.Written())
		}
	})
}

func TestAccessLogCloseFlushes(t *testing.T) {
	var out bytes.Buffer
	l := NewAccessLog(AccessLogConfig{Writer: &out, Format: FormatText, Shards: 3})
	var wg sync.WaitGroup
	for shard := range 3 {
		wg.Go(func() {
			for range 100 {
				l.Write(shard, fullRecord())
			}
		})
	}
	wg.Wait()
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Write(0, fullRecord())
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 300 || l.Written() != 300 || l.Dropped() != 1 {
		t.Errorf("%d lines, written %d, dropped %d", n, l.Written(), l.Dropped())
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error("a second close:", err)
	}
}

func TestAccessLogCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWriter()
		l := NewAccessLog(AccessLogConfig{Writer: w})
		l.Write(0, fullRecord())
		<-w.writes
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		w.results <- errors.New("disk full")
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if l.Dropped() != 1 || l.Written() != 0 {
			t.Errorf("a failed write: dropped %d, written %d", l.Dropped(), l.Written())
		}
	})
}

type countingWriter struct{ n int }

func (w *countingWriter) Write(p []byte) (int, error) { w.n += len(p); return len(p), nil }

func TestAccessLogDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops at random under the race detector")
	}
	l := NewAccessLog(AccessLogConfig{Writer: &countingWriter{}, Queue: 1 << 20})
	defer l.Close(t.Context())
	full := fullRecord()
	for range 3000 { // the queue's two buffers grow to what they need
		l.Write(0, full)
	}
	n := testing.AllocsPerRun(1000, func() {
		r := *full // the caller's record does not escape to its heap
		l.Write(0, &r)
	})
	if n >= 1 {
		t.Errorf("%v allocations a record", n)
	}
}

func BenchmarkAccessLog(b *testing.B) {
	for _, format := range []Format{FormatJSON, FormatText} {
		b.Run(string(format), func(b *testing.B) {
			l := NewAccessLog(AccessLogConfig{Writer: &countingWriter{}, Format: format, Queue: 1 << 20})
			defer l.Close(b.Context())
			r := fullRecord()
			b.ReportAllocs()
			for b.Loop() {
				l.Write(0, r)
			}
			b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
		})
	}
}
