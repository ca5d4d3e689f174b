package proxy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/model"
)

// explained reads an answer and its explanation, which must be the last of its name.
func (c *client) explained() (*http.Response, *model.Explanation) {
	c.t.Helper()
	resp, _ := c.answer("GET")
	lines := resp.Header["X-Weir-Explain"]
	if len(lines) == 0 {
		c.t.Fatalf("no explanation in %v", resp.Header)
	}
	e := new(model.Explanation)
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), e); err != nil {
		c.t.Fatalf("%v: %s", err, lines)
	}
	return resp, e
}

const explainMe = "Host: h\nX-Weir-Explain: 1\n\n"

func TestExplain(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.script(t, []string{"HTTP/1.1 503 Busy\nContent-Length: 0\n\n"}, upA, upB)
		written := model.Origin{Object: "HTTPRoute/ns/r", File: "routes.yaml", Line: 12, Column: 3}
		route := to("up")
		route.Rule, route.Origin, route.Matches = "0", written, prefix("/shop")
		route.Retry = &model.Retry{Attempts: 3, Codes: []int{503}}
		route.Origins = model.Origins{"timeouts.idle": written}
		away := to("up")
		away.Name, away.Matches, away.Redirect = "ns/away/0", prefix("/away"), &model.Redirect{Status: 302, Hostname: "to"}
		broken := to("up")
		broken.Name, broken.Matches, broken.Refusal = "ns/broken/0", prefix("/broken"), &model.Refusal{Status: 500, Flag: "NC", Reason: "no such Service"}
		s := snapshotOf(map[string]string{"up": upA + "," + upB}, route, away, broken)
		s.Listeners[0].Client.TrustHops = 1
		s.Listeners[0].Tables[0].Hostname = "*.h"
		s.Listeners[0].Tables = append(s.Listeners[0].Tables, model.TableBinding{Hostname: "h", Table: "table"})
		c := n.rig(t, s, Config{}).patient()
		base := model.Explanation{Listener: "front", Hostname: "h", Table: "table", Version: "test", Revision: 1}
		for _, test := range []struct {
			request string
			want    func(e *model.Explanation)
		}{
			{"GET /shop/cart", func(e *model.Explanation) {
				e.Route, e.Rule, e.Origin, e.Match, e.Status = route.Name, "0", written, "prefix /shop", 200
				e.Arm, e.Cluster, e.Arms = "up", "up", []model.ArmShare{{Name: "up", Cluster: "up", Weight: 1, Share: 1}}
				e.Hosts = []string{upA, upB}
			}},
			{"GET /none", func(e *model.Explanation) {
				e.Status, e.Flag = 404, "NR"
				e.Reason = `no route of the table matches GET "h" with path "/none" and its headers and query`
			}},
			{"GET /away", func(e *model.Explanation) {
				e.Route, e.Match, e.Status = away.Name, "prefix /away", 302
				e.Arms = []model.ArmShare{{Name: "up", Cluster: "up", Weight: 1, Share: 1}}
			}},
			{"GET /broken", func(e *model.Explanation) {
				e.Route, e.Match, e.Status, e.Flag, e.Reason = broken.Name, "prefix /broken", 500, "NC", "no such Service"
				e.Arms = []model.ArmShare{{Name: "up", Cluster: "up", Weight: 1, Share: 1}}
			}},
		} {
			resp, got := c.send(test.request + " HTTP/1.1\n" + explainMe).explained()
			want := base
			test.want(&want)
			attempts, policy := got.Attempts, map[string]model.PolicyField{}
			for _, f := range got.Policy {
				policy[f.Field] = f
			}
			got.Attempts, got.Policy = nil, nil
			if diff := cmp.Diff(&want, got); diff != "" || resp.StatusCode != want.Status {
				t.Errorf("%s: status %d, %s", test.request, resp.StatusCode, diff)
			}
			if want.Cluster == "" {
				continue
			}
			// Who is asked first is a draw.
			if len(attempts) != 2 || attempts[0].Host == attempts[1].Host ||
				attempts[0].Outcome != "503" || attempts[1].Outcome != "200" {
				t.Errorf("attempts %+v", attempts)
			}
			idle := model.PolicyField{Field: "timeouts.idle", Value: "10s", Origin: written}
			algorithm := model.PolicyField{Field: "loadBalancing.algorithm", Value: "LeastRequest", Default: true}
			hops := model.PolicyField{Field: "client.trust.hops", Value: "1", Default: true}
			for _, f := range []model.PolicyField{idle, algorithm, hops} {
				if policy[f.Field] != f {
					t.Errorf("%+v, want %+v", policy[f.Field], f)
				}
			}
		}
		_, got := c.send("GET / HTTP/1.1\nHost: elsewhere\nX-Weir-Explain: 1\n\n").explained()
		if want := `none of the listener's 2 hostnames covers "elsewhere"`; got.Reason != want || got.Table != "" || got.Flag != "NR" {
			t.Errorf("got %+v, want the reason %s", got, want)
		}
	})
}

// TestExplainIsForTrustedCallers checks who is answered, and what goes on to the upstream.
func TestExplainIsForTrustedCallers(t *testing.T) {
	for _, test := range []struct {
		name      string
		trust     func(c *model.Client)
		value     string
		want      bool
		forwarded string
	}{
		{"nobody is trusted", func(*model.Client) {}, "1", false, ""},
		{"others are", func(c *model.Client) { c.TrustAddresses = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")} }, "1", false, ""},
		{"by hops", func(c *model.Client) { c.TrustHops = 1 }, "1", true, "1"},
		{"a stranger behind a trusted proxy", func(c *model.Client) { c.TrustHops = 1 }, "1\nX-Forwarded-For: 203.0.113.7", false, "1"},
		{"another value", func(c *model.Client) { c.TrustHops = 1 }, "0", false, "0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
					for {
						req, err := http.ReadRequest(r)
						if err != nil {
							return
						}
						fmt.Fprintf(c, lines("HTTP/1.1 200 OK\nContent-Length: 0\nGot: %s\n\n"), req.Header.Get("X-Weir-Explain"))
					}
				})
				s := snapshotOf(map[string]string{"up": upA}, to("up"))
				test.trust(&s.Listeners[0].Client)
				c := n.rig(t, s, Config{}).patient()
				for range 2 {
					resp := c.send("GET / HTTP/1.1\nHost: h\nX-Weir-Explain: "+test.value+"\n\n").want(200, "", "")
					if _, got := resp.Header["X-Weir-Explain"]; got != test.want || resp.Header.Get("Got") != test.forwarded {
						t.Errorf("explained %v, forwarded %q", got, resp.Header.Get("Got"))
					}
				}
				if resp := c.send(get("/")).want(200, "", ""); resp.Header["X-Weir-Explain"] != nil {
					t.Error("explained unasked")
				}
				c.send("GET / HTTP/1.1\nHost: h\nX-Weir-Explain: "+test.value+"\n\n").want(200, "", "")
				if resp := c.send("nonsense\n\n").want(400, "DPE", ""); resp.Header["X-Weir-Explain"] != nil {
					t.Error("explained what the request before asked for")
				}
			})
		})
	}
}

// TestExplanationIsBounded cuts what is long, the least missed first.
func TestExplanationIsBounded(t *testing.T) {
	long := strings.Repeat("ä\x7f\"", 3000)
	origin := model.Origin{Object: long, File: long, Line: 1}
	var policy []model.PolicyField
	for range 100 {
		policy = append(policy, model.PolicyField{Field: "some.field", Value: "some value", Default: true})
	}
	policy = append(policy, model.PolicyField{Field: "set", Value: long, Origin: origin})
	hosts := slices.Repeat([]string{"192.0.2.1:8080"}, 600)
	attempts := []model.ExplainedAttempt{{Host: upA, Outcome: "UF", Error: long}, {Host: upB, Outcome: "200"}}
	for _, test := range []struct {
		name string
		e    model.Explanation
		cut  bool
		keep func(e *model.Explanation) bool
	}{
		{"short", model.Explanation{Route: "r", Policy: policy[:3]}, false, func(e *model.Explanation) bool { return len(e.Policy) == 3 }},
		{"hosts", model.Explanation{Route: "r", Hosts: append([]string{strings.Repeat("h", 9000)}, hosts...)}, true, func(e *model.Explanation) bool { return e.Route == "r" }},
		{"many hosts", model.Explanation{Route: "r", Hosts: hosts}, true, func(e *model.Explanation) bool { return len(e.Hosts) == 3 }},
		{"long texts", model.Explanation{Route: "r", Origin: origin, Attempts: attempts, Policy: policy}, true, func(e *model.Explanation) bool {
			return len(e.Attempts) == 2 && strings.HasSuffix(e.Attempts[0].Error, cutMark) && strings.HasSuffix(e.Origin.File, cutMark)
		}},
		{"everything", model.Explanation{
			Listener: long, Hostname: long, Table: long, Route: long, Rule: long, Match: long, Reason: long, Arm: long,
			Cluster: long, Version: long, Origin: origin, Attempts: append(attempts, attempts...), Policy: policy,
		}, true, func(e *model.Explanation) bool { return strings.HasPrefix(e.Route, "ä\x7f\"") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			line := boundedJSON(&test.e)
			if len(line) > maxExplanation {
				t.Errorf("%d bytes", len(line))
			}
			for _, b := range line {
				if b < ' ' || b > '~' {
					t.Fatalf("byte %#x in %s", b, line)
				}
			}
			var got model.Explanation
			if err := json.Unmarshal(line, &got); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if got.Cut != test.cut || !test.keep(&got) {
				t.Errorf("got %s", line)
			}
		})
	}
}

func TestASCIIKeepsWhatJSONSays(t *testing.T) {
	want := model.Explanation{Reason: "😀 \u2028 ä \x00\x1f\x7f \ufffd <&>\\"}
	var got model.Explanation
	if err := json.Unmarshal(asciiJSON(&want), &got); err != nil || got.Reason != want.Reason {
		t.Errorf("got %q, %v", got.Reason, err)
	}
}

// TestExplanationHidesSecrets that a match or an edit holds.
func TestExplanationHidesSecrets(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.script(t, []string{"HTTP/1.1 200 OK\nContent-Length: 0\n\n"}, upA)
		route := to("up")
		route.Matches = prefix("/")
		route.Matches[0].Headers = []model.ValueMatch{{Name: "authorization", Type: model.MatchExact, Value: "hush"}}
		route.RequestHeaders = &model.HeaderEdit{Set: []model.Header{{Name: "x-upstream", Value: "hush"}}}
		s := snapshotOf(map[string]string{"up": upA}, route)
		s.Listeners[0].Client.TrustHops = 1
		resp, got := n.rig(t, s, Config{}).patient().send("GET / HTTP/1.1\nAuthorization: hush\n" + explainMe).explained()
		if got.Route != route.Name || strings.Contains(resp.Header.Get("X-Weir-Explain"), "hush") {
			t.Errorf("got %+v", got)
		}
	})
}

// TestExplainedTryThatTimesOut has no status but a flag.
func TestExplainedTryThatTimesOut(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, silent)
		route := to("up")
		route.Timeouts.Request = time.Second
		s := snapshotOf(map[string]string{"up": upA}, route)
		s.Listeners[0].Client.TrustHops = 1
		_, got := n.rig(t, s, Config{}).patient().send("GET / HTTP/1.1\n" + explainMe).explained()
		if len(got.Attempts) != 1 || got.Attempts[0].Outcome != "PT" || got.Flag != "PT" || got.Status != 504 {
			t.Errorf("got %+v", got)
		}
	})
}
