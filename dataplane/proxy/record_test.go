package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// record is a line of the access log, as far as tests look.
type record struct {
	ID       string `json:"request_id"`
	Method   string
	Host     string
	Path     string
	Status   int
	Flag     string
	Blame    string
	Route    string
	Cluster  string
	Upstream string
	Attempts []struct {
		Host     string
		Status   int
		Flag     string
		Error    string
		Duration float64 `json:"duration_ms"`
	}
	Timings struct {
		Head      float64 `json:"head_ms"`
		Policies  float64 `json:"policies_ms"`
		Connect   float64 `json:"connect_ms"`
		FirstByte float64 `json:"first_byte_ms"`
		Total     float64 `json:"total_ms"`
	}
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
}

// TestAccessLog looks at the records of requests on one connection, one after the other.
func TestAccessLog(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		tries := 0
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				time.Sleep(30 * time.Millisecond)
				switch req.URL.Path {
				case "/retry":
					if tries++; tries == 1 {
						fmt.Fprint(c, lines("HTTP/1.1 503 Busy\nContent-Length: 0\n\n"))
						continue
					}
				case "/tunnel":
					fmt.Fprint(c, lines("HTTP/1.1 101 Go\nConnection: upgrade\nUpgrade: x\n\n"))
					_, _ = io.CopyN(io.Discard, r, 1000)
					_, _ = c.Write(make([]byte, 2000))
					return
				}
				fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Length: 5\n\n"))
				time.Sleep(20 * time.Millisecond)
				fmt.Fprint(c, "hello")
			}
		})
		var out bytes.Buffer
		log := telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: &out, Shards: 2})
		route, dead := to("up"), to("dead")
		route.Matches, dead.Matches = prefix("/"), prefix("/dead")
		route.Retry = &model.Retry{Attempts: 2, Codes: []int{503}}
		s := snapshotOf(map[string]string{"up": upA, "dead": upB}, dead, route)
		s.Listeners[0].Tables[0].Hostname = "h"
		r := n.rig(t, s, Config{AccessLog: log})
		c := r.patient()
		c.send("GET /slow HTTP/1.1\n")
		time.Sleep(10 * time.Millisecond)
		c.send("Host: h\nX-Request-Id: mine\n\n").want(200, "", "hello")
		c.send("GET / HTTP/1.1\nHost: elsewhere\n\n").want(404, "NR", "")
		c.send(get("/retry")).want(200, "", "hello")
		c.send(get("/dead")).want(503, "UF", "")
		c.send("GET /tunnel HTTP/1.1\nHost: h\nX-Request-Id: tunnel\nConnection: upgrade\nUpgrade: x\n\n")
		if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		_, _ = c.Write(bytes.Repeat([]byte("#"), 1000))
		_, _ = c.r.WriteTo(discard{})
		bad := r.patient().send("nonsense\n\n")
		bad.want(400, "DPE", "")
		bad.Close()
		synctest.Wait()
		r.stop()
		if err := log.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []record{
			{ID: "mine", Method: "GET", Host: "h", Path: "/slow", Status: 200, Route: route.Name, Cluster: "up", Upstream: upA},
			{Method: "GET", Host: "elsewhere", Path: "/", Status: 404, Flag: "NR", Blame: "policy"},
			{Method: "GET", Host: "h", Path: "/retry", Status: 200, Route: route.Name, Cluster: "up", Upstream: upA},
			{Method: "GET", Host: "h", Path: "/dead", Status: 503, Flag: "UF", Blame: "upstream", Route: dead.Name, Cluster: "dead", Upstream: upB},
			{ID: "tunnel", Method: "GET", Host: "h", Path: "/tunnel", Status: 101, Route: route.Name, Cluster: "up", Upstream: upA},
			{Status: 400, Flag: "DPE", Blame: "client"},
		}
		got := map[string]record{}
		for _, line := range bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n")) {
			var rec record
			if err := json.Unmarshal(line, &rec); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			got[rec.Path+rec.Host] = rec
			for _, phase := range []float64{rec.Timings.Head, rec.Timings.Policies, rec.Timings.Connect, rec.Timings.FirstByte} {
				if phase < 0 || phase > rec.Timings.Total {
					t.Errorf("phases of %s: %+v", rec.Path, rec.Timings)
				}
			}
		}
		for _, w := range want {
			g := got[w.Path+w.Host]
			full := g
			g.Attempts, g.Timings, g.BytesIn, g.BytesOut = nil, w.Timings, 0, 0
			if w.ID == "" {
				g.ID = ""
			}
			if fmt.Sprint(g) != fmt.Sprint(w) {
				t.Errorf("got  %+v\nwant %+v", g, w)
			}
			switch w.Path {
			case "/slow":
				if tm := full.Timings; tm.Head != 10 || tm.FirstByte != 30 || tm.Total != 60 {
					t.Errorf("timings %+v", tm)
				}
			case "/retry":
				if len(full.Attempts) != 2 || full.Attempts[0].Status != 503 || full.Attempts[0].Flag != "U5" ||
					full.Attempts[0].Duration != 30 || full.Attempts[1].Status != 200 || full.Attempts[1].Flag != "" {
					t.Errorf("attempts %+v", full.Attempts)
				}
			case "/dead":
				if len(full.Attempts) != 1 || full.Attempts[0].Flag != "UF" || full.Attempts[0].Error == "" {
					t.Errorf("attempts %+v", full.Attempts)
				}
			case "/tunnel":
				if full.BytesIn < 1000 || full.BytesOut < 2000 {
					t.Errorf("bytes %d, %d", full.BytesIn, full.BytesOut)
				}
			}
		}
	})
}

// Telemetry hears of some requests whose they are and where they went, of none that went nowhere.
func TestCallersAreSampled(t *testing.T) {
	nowhere := to("")
	nowhere.Matches = []model.Match{{Path: model.PathMatch{Type: model.MatchPrefix, Value: "/nowhere"}}}
	nowhere.Split.Arms[0].Refusal = &model.Refusal{Status: 500, Flag: "NC"}
	r := newRig(t, map[string]string{"up": serveHTTP(t, echo)}, to("up"), nowhere)
	ask := func(path string) {
		c := r.dial().send(strings.Repeat("GET "+path+" HTTP/1.1\nHost: h\n\n", 128)) // in one piece: one exchange serves them
		for range 128 {
			c.answer("GET")
		}
	}
	ask("/nowhere")
	if got := r.metrics.Callers.Seen(time.Now()); len(got) > 0 {
		t.Errorf("of refused requests: %v", got)
	}
	ask("/")
	want := []telemetry.ObservedCall{{Client: netip.MustParseAddr("127.0.0.1"), Cluster: "up"}}
	if got := r.metrics.Callers.Seen(time.Now()); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
