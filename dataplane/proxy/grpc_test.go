package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// aCall is the head and the whole of a call of gRPC with one message, in HTTP/1.1. more is
// field lines.
func aCall(more string) string {
	return "POST /pkg.Shop/Buy HTTP/1.1\nHost: h\nContent-Type: application/grpc+proto\nTE: trailers\n" + more +
		"Transfer-Encoding: chunked\n\n7\n\x00\x00\x00\x00\x02hi\n0\n\n"
}

// answers to calls: one message and trailers, or trailers only.
const (
	messageAnd  = "HTTP/1.1 200 OK\nContent-Type: application/grpc\nTransfer-Encoding: chunked\n\n7\n\x00\x00\x00\x00\x02yo\n0\n"
	trailerOnly = "HTTP/1.1 200 OK\nContent-Type: application/grpc\nContent-Length: 0\n"
)

// wantCall reads an answer and checks how the call ended: by a trailer, or if alone by the head.
func (c *client) wantCall(code, flag string, alone bool) *http.Response {
	c.t.Helper()
	resp, body := c.answer("POST")
	status := resp.Trailer.Get("Grpc-Status")
	if alone {
		status = resp.Header.Get("Grpc-Status")
	}
	if resp.StatusCode != 200 || status != code || resp.Header.Get("X-Weir-Flag") != flag || alone != (body == "") ||
		!strings.HasPrefix(resp.Header.Get("Content-Type"), "application/grpc") {
		c.t.Fatalf("got %d %v %q trailers %v, want grpc-status %s flag %q", resp.StatusCode, resp.Header, body, resp.Trailer, code, flag)
	}
	return resp
}

// calls counts how the calls of a route or cluster ended.
func calls(s telemetry.Stats) map[string]uint64 {
	got := map[string]uint64{}
	for end, n := range s.Calls {
		if n > 0 {
			got[telemetry.GRPCEnd(end).String()] = n
		}
	}
	return got
}

// recorder keeps the heads of calls.
type recorder struct {
	mu    sync.Mutex
	heads []http.Header
}

func (n *network) recorder(t testing.TB, at string, answer func(i int, req *http.Request) string) *recorder {
	rec := &recorder{}
	n.upstream(t, at, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			rec.mu.Lock()
			rec.heads = append(rec.heads, req.Header)
			i := len(rec.heads)
			rec.mu.Unlock()
			fmt.Fprint(c, lines(answer(i, req)))
		}
	})
	return rec
}

// asked returns the heads of the tries so far.
func (r *recorder) asked() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.heads)
}

func TestRefusalsOfCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, silent)
		routes := []*model.Route{to("dead"), to("none"), to("mute"), to("mute"), to("mute"), to("up")}
		for i, path := range []string{"/dead", "/none", "/mute", "/slow", "/nowhere", "/pkg.Shop"} {
			routes[i].Name, routes[i].Matches = "ns/r/"+path, prefix(path)
		}
		routes[2].Timeouts.Request = time.Second
		routes[3].Timeouts.PerTry = time.Second
		routes[4].Refusal = &model.Refusal{Status: 500, Flag: "NC", Reason: "secret/ns/key is not there"}
		s := snapshotOf(map[string]string{"dead": upB, "none": "", "mute": upA, "up": upA}, routes...)
		r := n.rig(t, s, Config{})
		for _, test := range []struct {
			path, more, code string
			flag             model.Flag
			detail           string
		}{
			{"/dead", "", "14", model.FlagUF, ""},
			{"/none", "", "14", model.FlagUH, ""},
			{"/mute", "", "4", model.FlagPT, ""},
			{"/slow", "", "4", model.FlagUT, ""},
			{"/other", "", "12", model.FlagNR, ""},
			{"/nowhere", "", "14", model.FlagNC, ""},
			{"/pkg.Shop/Buy", "Grpc-Timeout: 0n\n", "4", model.FlagPT, ""},
			{"/pkg.Shop/Buy", "Grpc-Timeout: 1\n", "13", model.FlagDPE, ": malformed grpc-timeout"},
			{"/pkg.Shop/Buy", "Grpc-Timeout: 1S\nGrpc-Timeout: 2S\n", "13", model.FlagDPE, ": malformed grpc-timeout"},
		} {
			info := model.FlagInfos[test.flag]
			want := info.Meaning + test.detail + " (" + info.Name + ")"
			c := r.patient().send(strings.Replace(aCall(test.more), "/pkg.Shop/Buy", test.path, 1))
			if got := c.wantCall(test.code, info.Name, true).Header.Get("Grpc-Message"); got != want {
				t.Errorf("%s: message %q, want %q", test.path, got, want)
			}
		}
		stats, _ := r.metrics.RouteStats("ns/r//dead")
		if got := calls(stats); got["UNAVAILABLE"] != 1 || len(got) != 1 || stats.Flags[model.FlagUF] != 1 {
			t.Errorf("counted %v, flags %v", got, stats.Flags)
		}
		s.Listeners[0].Client.FlagHeaders = false
		if err := r.proxy.Apply(s); err != nil {
			t.Fatal(err)
		}
		c := r.patient().send(strings.Replace(aCall(""), "/pkg.Shop/Buy", "/nowhere", 1))
		if got := c.wantCall("14", "", true).Header.Get("Grpc-Message"); got != "Internal Server Error" {
			t.Errorf("the public is told %q", got)
		}
		r.patient().send(get("/none")).want(503, "", "Service Unavailable") // whoever calls not gets HTTP
	})
}

// TestRefusalOfCallOverHTTP2 ends in the frame that begins it.
func TestRefusalOfCallOverHTTP2(t *testing.T) {
	r := newRig(t, map[string]string{"none": ""}, to("none"))
	req := r.request("POST", "/pkg.Shop/Buy", strings.NewReader("\x00\x00\x00\x00\x02hi"))
	req.Header.Set("Content-Type", "application/grpc")
	resp, body := ask(t, r.h2(), req)
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 || body != "" || len(resp.Trailer) != 0 || resp.Header.Get("Grpc-Status") != "14" ||
		resp.Header.Get("Content-Type") != "application/grpc" {
		t.Errorf("got %s %d %v %q, trailers %v", resp.Proto, resp.StatusCode, resp.Header, body, resp.Trailer)
	}
}

// TestDeadlinesShrink reads what is left of a call's time when it reaches its host.
func TestDeadlinesShrink(t *testing.T) {
	for _, test := range []struct {
		name, sent string
		timeouts   model.Timeouts
		pause      time.Duration // between head and body, and so before the first try of a mirrored call
		want       time.Duration // 0: none
	}{
		{"none", "", model.Timeouts{}, 0, 0},
		{"the caller's", "2S", model.Timeouts{}, 0, 2 * time.Second},
		{"the caller's is the smaller", "2S", model.Timeouts{Request: time.Minute, PerTry: time.Hour}, 0, 2 * time.Second},
		{"the route's is the smaller", "2H", model.Timeouts{Request: time.Minute}, 0, time.Minute},
		{"the route's alone", "", model.Timeouts{Request: 3 * time.Second}, 0, 3 * time.Second},
		{"the try's is the smallest", "2S", model.Timeouts{Request: 5 * time.Second, PerTry: time.Second}, 0, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				rec := n.recorder(t, upA, func(int, *http.Request) string { return messageAnd + "Grpc-Status: 0\n\n" })
				route := to("up")
				route.Timeouts = test.timeouts
				r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
				more := ""
				if test.sent != "" {
					more = "Grpc-Timeout: " + test.sent + "\n"
				}
				r.patient().send(aCall(more)).wantCall("0", "", false)
				heads := rec.asked()
				got := heads[0].Values("Grpc-Timeout")
				if test.want == 0 {
					if len(got) != 0 {
						t.Fatalf("got %q", got)
					}
					return
				}
				if d, ok := policy.ParseGRPCTimeout([]byte(strings.Join(got, ","))); !ok || d != test.want {
					t.Errorf("got %q, want %v", got, test.want)
				}
				if te := heads[0].Values("Te"); len(te) != 1 || te[0] != "trailers" {
					t.Errorf("TE is %q", te)
				}
			})
		})
	}
}

// TestDeadlineEndsACall: the time of a call runs through its tries, and what is over is not
// begun again.
func TestDeadlineEndsACall(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		rec := n.recorder(t, upA, func(int, *http.Request) string {
			time.Sleep(300 * time.Millisecond)
			return trailerOnly + "Grpc-Status: 14\n\n"
		})
		route := to("up")
		route.Retry = &model.Retry{Attempts: 9, GRPCCodes: []model.GRPCCode{model.GRPCUnavailable}, Backoff: 10 * time.Millisecond}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{Random: func() uint64 { return 0 }})
		began := time.Now()
		r.patient().send(aCall("Grpc-Timeout: 1S\n")).wantCall("4", "PT", true)
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v", took)
		}
		heads := rec.asked()
		if len(heads) != 4 {
			t.Fatalf("%d tries", len(heads))
		}
		for i, head := range heads {
			left, _ := policy.ParseGRPCTimeout([]byte(head.Get("Grpc-Timeout")))
			if want := time.Second - time.Duration(i)*310*time.Millisecond; left > want || left < want-time.Microsecond*10 {
				t.Errorf("try %d has %v left, want %v", i, left, want)
			}
			if want := strings.TrimPrefix(fmt.Sprint(i), "0"); head.Get("Grpc-Previous-Rpc-Attempts") != want {
				t.Errorf("try %d says %q", i, head.Get("Grpc-Previous-Rpc-Attempts"))
			}
		}
		time.Sleep(time.Second) // the host notices
	})
}

// TestStatusOfCalls looks at what the log and the metrics make of how calls end.
func TestStatusOfCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		const gone = "cut"
		tests := []struct{ answer, end, flag string }{
			{messageAnd + "Grpc-Status: 0\n\n", "OK", ""},
			{messageAnd + "x-my_key: 1\nGrpc-Status: 14\n\n", "UNAVAILABLE", "U5"},
			{messageAnd + "grpc-status: 13\nGrpc-Message: no\n\n", "INTERNAL", "U5"},
			{messageAnd + "Grpc-Status: 4\n\n", "DEADLINE_EXCEEDED", "U5"},
			{messageAnd + "Grpc-Status: 5\n\n", "NOT_FOUND", ""},
			{messageAnd + "Grpc-Status: 12\n\n", "UNIMPLEMENTED", ""},
			{messageAnd + "Grpc-Status: 99\n\n", "other", ""},
			{messageAnd + "Grpc-Status: oops\n\n", "UNKNOWN", "U5"},
			{messageAnd + "\n", "none", "UPE"},
			{trailerOnly + "Grpc-Status: 7\n\n", "PERMISSION_DENIED", ""},
			{trailerOnly + "Grpc-Status: 15\n\n", "DATA_LOSS", "U5"},
			{trailerOnly + "\n", "none", "UPE"},
			{"HTTP/1.1 503 Busy\nContent-Length: 0\n\n", "UNAVAILABLE", "U5"},
			{"HTTP/1.1 404 No\nContent-Length: 0\n\n", "UNIMPLEMENTED", ""},
			{"HTTP/1.1 200 OK\nContent-Type: text/html\nContent-Length: 0\n\n", "UNKNOWN", "U5"},
			{strings.TrimSuffix(messageAnd, "0\n") + gone, "none", "UC"},
		}
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				var at int
				_, _ = fmt.Sscan(req.Header.Get("X-Test"), &at)
				answer, cut := strings.CutSuffix(tests[at].answer, gone)
				fmt.Fprint(c, lines(answer))
				if cut {
					return
				}
			}
		})
		var out bytes.Buffer
		log := telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: &out, Shards: 2})
		route := to("up")
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{AccessLog: log})
		ends, flags := map[string]uint64{}, map[string]uint64{}
		for i, test := range tests {
			c := r.patient().send(aCall(fmt.Sprintf("X-Test: %d\n", i)))
			_, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatalf("%q: %v", test.answer, err)
			}
			synctest.Wait()
			c.Close()
			ends[test.end]++
			flags[test.flag]++
		}
		synctest.Wait()
		r.stop()
		if err := log.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		records := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
		if len(records) != len(tests) {
			t.Fatalf("%d records of %d calls", len(records), len(tests))
		}
		got := map[string]int{}
		for _, line := range records {
			var rec struct {
				Flag       string
				GRPCStatus string `json:"grpc_status"`
			}
			if err := json.Unmarshal(line, &rec); err != nil {
				t.Fatal(err)
			}
			got[rec.GRPCStatus+" "+rec.Flag]++
		}
		for _, test := range tests {
			got[test.end+" "+test.flag]--
		}
		for what, n := range got {
			if n != 0 {
				t.Errorf("%q was logged %d times more than it happened", what, n)
			}
		}
		stats, _ := r.metrics.RouteStats(route.Name)
		for name, s := range map[string]telemetry.Stats{"route": stats, "cluster": r.metrics.Cluster("up").Snapshot()} {
			counted := calls(s)
			for end, n := range ends {
				if counted[end] != n {
					t.Errorf("%s counted %v, want %v", name, counted, ends)
					break
				}
			}
			if s.Flags[model.FlagU5] != flags["U5"] || s.Flags[model.FlagUPE] != flags["UPE"] || s.Flags[model.FlagUC] != 1 {
				t.Errorf("%s counted flags %v, want %v", name, s.Flags, flags)
			}
		}
	})
}

// TestWhatCountsAgainstHosts: a caller's own deadline does not.
func TestWhatCountsAgainstHosts(t *testing.T) {
	for _, test := range []struct {
		name, sent, answer string
		timeouts           model.Timeouts
		fails              uint64
	}{
		{"success", "1S", "Grpc-Status: 0\n\n", model.Timeouts{}, 0},
		{"unavailable", "1S", "Grpc-Status: 14\n\n", model.Timeouts{}, 1},
		{"not found", "1S", "Grpc-Status: 5\n\n", model.Timeouts{}, 0},
		{"a code for the caller's deadline", "1S", "Grpc-Status: 4\n\n", model.Timeouts{}, 0},
		{"a code for the host's own deadline", "", "Grpc-Status: 4\n\n", model.Timeouts{}, 1},
		{"the caller's deadline", "1S", "", model.Timeouts{Request: time.Minute}, 0},
		{"the route's", "1M", "", model.Timeouts{Request: time.Second}, 1},
		{"the try's", "1M", "", model.Timeouts{PerTry: time.Second}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				if test.answer == "" {
					n.upstream(t, upA, silent)
				} else {
					n.recorder(t, upA, func(int, *http.Request) string { return messageAnd + test.answer })
				}
				route := to("up")
				route.Timeouts = test.timeouts
				r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
				more := ""
				if test.sent != "" {
					more = "Grpc-Timeout: " + test.sent + "\n"
				}
				r.patient().send(aCall(more)).answer("POST")
				synctest.Wait()
				if got := r.proxy.Hosts()[0].Failures; got != test.fails {
					t.Errorf("%d failures, want %d", got, test.fails)
				}
			})
		})
	}
}

// TestCallsAreMirrored: once their request is whole.
func TestCallsAreMirrored(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		answer := func(int, *http.Request) string { return messageAnd + "Grpc-Status: 0\n\n" }
		n.recorder(t, upA, answer)
		copies := n.recorder(t, upB, answer)
		route := to("up")
		route.Mirrors = []model.Mirror{{Name: "m", Cluster: "mirror", Numerator: 1, Denominator: 1}}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA, "mirror": upB}, route), Config{})
		head, body, _ := strings.Cut(aCall("Grpc-Timeout: 1S\n"), "\n\n")
		c := r.patient().send(head + "\n\n")
		time.Sleep(5 * time.Millisecond) // nobody waits for the rest, and the copy has it all the same
		c.send(body).wantCall("0", "", false)
		synctest.Wait()
		heads := copies.asked()
		if len(heads) != 1 || heads[0].Get("X-Weir-Shadow") != "1" || heads[0].Get("Grpc-Timeout") != "1000000u" {
			t.Errorf("copies %v", heads)
		}
	})
}

// TestCallsAreNeverEncoded: whatever types a policy names.
func TestCallsAreNeverEncoded(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.recorder(t, upA, func(int, *http.Request) string { return messageAnd + "Grpc-Status: 0\n\n" })
		route := compressing()
		route.Compression.Types, route.Compression.MinSize = []string{"*/*"}, 0
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
		resp := r.patient().send(aCall("Accept-Encoding: gzip, br, zstd\n")).wantCall("0", "", false)
		if resp.Header.Get("Content-Encoding") != "" || resp.Header.Get("Vary") != "" {
			t.Errorf("got %v", resp.Header)
		}
	})
}

// TestHostsKeepDeadlines: a host that resets a call because the time that it was told is over has
// not failed, whichever of the two timers is the first.
func TestHostsKeepDeadlines(t *testing.T) {
	up := serveH2C(t, func(w http.ResponseWriter, r *http.Request) {
		if d, err := time.ParseDuration(strings.NewReplacer("n", "ns", "u", "us", "m", "ms", "S", "s").Replace(r.Header.Get("Grpc-Timeout"))); err != nil || d <= 0 {
			t.Errorf("told %q", r.Header.Get("Grpc-Timeout"))
		} else {
			timer := time.NewTimer(d)
			defer timer.Stop()
			<-timer.C
		}
		panic(http.ErrAbortHandler) // resets the stream
	})
	r := startRig(t, speaking(snapshotOf(map[string]string{"up": up}, to("up")), model.ProtocolH2C), Config{})
	for range 10 {
		r.dial().send(aCall("Grpc-Timeout: 20m\n")).wantCall("4", "PT", true)
	}
}
