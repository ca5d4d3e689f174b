package rollout

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

func TestWeigh(t *testing.T) {
	one := func(v float64) []model.Sample { return []model.Sample{{Value: v}} }
	least, most := 0.9, 2.0
	for _, c := range []struct {
		answer      []model.Sample
		least, most *float64
		want        Verdict
		says        string
	}{
		{one(1), &least, &most, Pass, "1"},
		{one(0.9), &least, nil, Pass, "0.9"},
		{one(2), nil, &most, Pass, "2"},
		{one(0.89), &least, &most, Fail, "0.89, want at least 0.9"},
		{one(2.5), &least, &most, Fail, "2.5, want at most 2"},
		{one(math.NaN()), &least, nil, Inconclusive, "NaN"},
		{one(math.Inf(1)), &least, nil, Inconclusive, "Inf"},
		{one(math.Inf(-1)), nil, &most, Inconclusive, "Inf"},
		{nil, &least, nil, Inconclusive, "no series"},
		{append(one(1), one(1)...), &least, nil, Inconclusive, "2 series"},
	} {
		if got, says := weigh(c.answer, c.least, c.most); got != c.want || !strings.Contains(says, c.says) {
			t.Errorf("%v: %s (%s), want %s (%s)", c.answer, got, says, c.want, c.says)
		}
	}
}

// TestWebhook: only a plain answer of one of three verdicts is one.
func TestWebhook(t *testing.T) {
	var asked webhookQuestion
	var hits atomic.Int32
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
		case "/hang":
			select {
			case <-r.Context().Done():
			case <-release:
			}
		case "/drip":
			for range 20 {
				io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-release:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		case "/huge":
			io.WriteString(w, `{"verdict": "Pass", "message": "`+strings.Repeat("x", maxVerdict)+`"}`)
		case "/long":
			io.WriteString(w, `{"verdict": "Fail", "message": "no\nno\u0000 `+strings.Repeat("é", 1000)+`"}`)
		case "/503":
			w.WriteHeader(503)
			io.WriteString(w, `{"verdict": "Pass"}`)
		default:
			if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
				t.Error(err)
			}
			io.WriteString(w, r.URL.Query().Get("say"))
		}
	}))
	defer server.Close()
	defer close(release)
	k := newGatekeeper(Config{Client: server.Client()})
	ask := func(url string) (Verdict, string) {
		round := &Round{
			Gates: []translate.PlannedGate{{Name: "hook", Webhook: &translate.WebhookGate{URL: url, Timeout: 200 * time.Millisecond}}},
			Ask:   Question{Rollout: "shop/checkout", Run: 3, Stage: 2, Share: 10, NextShare: 50, Stable: "a", Canary: "b"},
		}
		results := k.ask(t.Context(), round)
		if len(results) != 1 || results[0].Gate != "hook" {
			t.Fatalf("results %+v", results)
		}
		return results[0].Verdict, results[0].Message
	}
	say := func(text string) string {
		return "/?say=" + strings.NewReplacer(" ", "%20", `"`, "%22", ";", "%3B").Replace(text)
	}
	for _, c := range []struct {
		path string
		want Verdict
		says string
	}{
		{say(`{"verdict": "Pass", "message": "orders are fine"}`), Pass, "orders are fine"},
		{say(`{"verdict": "Fail", "message": "12 orders"}`), Fail, "12 orders"},
		{say(`{"verdict": "Inconclusive"}`), Inconclusive, "says so"},
		{say(`{"verdict": "Error"}`), Error, "want Pass, Fail or Inconclusive"},
		{say(`{"verdict": "pass"}`), Error, "want Pass, Fail or Inconclusive"},
		{say(`{}`), Error, "want Pass, Fail or Inconclusive"},
		{say(`{"verdict": true}`), Error, "answer"},
		{say(`{"verdict": "Pass"} {"verdict": "Fail"}`), Error, "answer"},
		{say(``), Error, "answer"},
		{say(`<html>ok`), Error, "answer"},
		{"/503", Error, "503"},
		{"/loop", Error, "307"},
		{"/huge", Error, "longer than"},
		{"/hang", Error, "did not answer within 200ms"},
		{"/drip", Error, "did not answer within 200ms"},
		{"/long", Fail, "no no"},
	} {
		hits.Store(0)
		got, says := ask(server.URL + c.path)
		if got != c.want || !strings.Contains(says, c.says) || strings.ContainsAny(says, "\n\x00") || len([]rune(says)) > maxMessage+1 {
			t.Errorf("%s: %s (%s), want %s (%s)", c.path, got, says, c.want, c.says)
		}
		if n := hits.Load(); n != 1 {
			t.Errorf("%s: %d requests, want 1", c.path, n)
		}
	}
	if want := (webhookQuestion{"hook", Question{Rollout: "shop/checkout", Run: 3, Stage: 2, Share: 10, NextShare: 50, Stable: "a", Canary: "b"}}); asked != want {
		t.Errorf("it was asked %+v", asked)
	}
	if got, says := ask("http://user:secret@127.0.0.1:1/"); got != Error || strings.Contains(says, "secret") {
		t.Errorf("nobody there: %s (%s)", got, says)
	}
}

type querier func(context.Context) ([]model.Sample, error)

func (q querier) Query(ctx context.Context, _ string, _ time.Time) ([]model.Sample, error) {
	return q(ctx)
}

func TestQueries(t *testing.T) {
	var body string
	status := 200
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/prefix/api/v1/query" || r.FormValue("query") != "up" || r.FormValue("time") == "" {
			t.Errorf("asked for %s with %v", r.URL, r.Form)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	defer server.Close()
	least := 0.9
	gate := translate.PlannedGate{Name: "q", Query: &translate.QueryGate{Query: "up", Min: &least, Address: server.URL + "/prefix/"}}
	k := newGatekeeper(Config{Client: server.Client()})
	data := func(kind, result string) string {
		return fmt.Sprintf(`{"status":"success","data":{"resultType":%q,"result":%s}}`, kind, result)
	}
	for _, c := range []struct {
		status int
		body   string
		want   Verdict
		says   string
	}{
		{200, data("scalar", `[1,"1.5"]`), Pass, "1.5"},
		{200, data("vector", `[{"metric":{"a":"b"},"value":[1,"0.5"]}]`), Fail, "0.5, want at least 0.9"},
		{200, data("vector", `[]`), Inconclusive, "no series"},
		{200, data("vector", `[{"metric":{},"value":[1,"NaN"]}]`), Inconclusive, "NaN"},
		{200, data("vector", `[{"metric":{}}]`), Error, "without a value"},
		{200, data("vector", `[{"metric":{},"value":[1,"x"]}]`), Error, "x"},
		{200, data("vector", `[{"metric":{},"value":[1]}]`), Error, "pair"},
		{200, data("matrix", `[]`), Error, "matrix"},
		{200, data("string", `[1,"1"]`), Error, "string"},
		{400, `{"status":"error","errorType":"bad_data","error":"parse error"}`, Error, "parse error"},
		{200, `{"status":"error","error":"too many samples"}`, Error, "too many samples"},
		{502, "bad gateway", Error, "502"},
		{200, `{"status":"success"}`, Error, "want a scalar"},
	} {
		status, body = c.status, c.body
		got := k.one(t.Context(), &gate, &Question{})
		if got.Verdict != c.want || !strings.Contains(got.Message, c.says) {
			t.Errorf("%d %s: %s (%s), want %s (%s)", c.status, c.body, got.Verdict, got.Message, c.want, c.says)
		}
	}

	gate.Query.Address = ""
	if got := k.one(t.Context(), &gate, &Question{}); got.Verdict != Error {
		t.Errorf("without series: %+v", got)
	}
	k.queries = querier(func(context.Context) ([]model.Sample, error) { return nil, errors.New("not open yet") })
	if got := k.one(t.Context(), &gate, &Question{}); got.Verdict != Error || !strings.Contains(got.Message, "not open yet") {
		t.Errorf("an error: %+v", got)
	}
	k.queries = querier(func(ctx context.Context) ([]model.Sample, error) {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("a query without a deadline")
		}
		return []model.Sample{{Value: 1}}, nil
	})
	if got := k.one(t.Context(), &gate, &Question{}); got.Verdict != Pass {
		t.Errorf("our own: %+v", got)
	}
	unknown := translate.PlannedGate{Name: "new"}
	if got := k.one(t.Context(), &unknown, &Question{}); got.Verdict != Error {
		t.Errorf("a kind that nobody knows: %+v", got)
	}
	slo := translate.PlannedGate{Name: "slo", SLO: "shop/a"}
	if got := k.one(t.Context(), &slo, &Question{}); got.Verdict != Error {
		t.Errorf("without objectives: %+v", got)
	}
}

// TestCrowd: more gates than are asked at once wait, and those whose turn never comes say so.
func TestCrowd(t *testing.T) {
	k := newGatekeeper(Config{Client: &http.Client{}})
	for range askedAtOnce {
		k.room <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results := k.ask(ctx, &Round{Gates: []translate.PlannedGate{{Name: "slo", SLO: "shop/a"}}})
	if results[0].Verdict != Error || !strings.Contains(results[0].Message, "too many") {
		t.Errorf("%+v", results)
	}
}

func TestInterval(t *testing.T) {
	for _, c := range []struct {
		k, n      uint64
		low, high float64
	}{
		{5, 100, 0.0215, 0.1118}, // the example of the comment
		{0, 10, 0, 0.2775},
		{10, 10, 0.7225, 1},
		{1, 1, 0.2065, 1},
	} {
		low, high := interval(c.k, c.n)
		if math.Abs(low-c.low) > 1e-4 || math.Abs(high-c.high) > 1e-4 {
			t.Errorf("%d of %d: %.4f to %.4f, want %.4f to %.4f", c.k, c.n, low, high, c.low, c.high)
		}
	}
}

// TestGateAccess asks servers that want to be shown a token or a password, and whose certificate nobody but an
// authority of the gate's own vouches for. What is secret is never in what the gate says.
func TestGateAccess(t *testing.T) {
	var shown atomic.Value
	shown.Store("")
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown.Store(r.Header.Get("Authorization"))
		if r.URL.Path == "/hook" {
			fmt.Fprintf(w, `{"verdict": "Pass", "message": "you are %s"}`, r.Header.Get("Authorization"))
			return
		}
		w.WriteHeader(401)
		fmt.Fprintf(w, `{"status": "error", "error": "nobody knows %s"}`, r.Header.Get("Authorization"))
	})
	server := httptest.NewTLSServer(handler)
	defer server.Close()
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	least := 0.0
	for _, c := range []struct {
		access  string // a gate's, of the webhook and of the query
		secrets string // the entries of Secret s
		header  string
		says    []string
	}{
		{"", "", "", []string{"certificate", "certificate"}},
		{"caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]", "", "", []string{"you are", "nobody knows"}},
		{
			"caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}], secretRef: {name: s}", "token: \"geheim-17\\n\"", "Bearer geheim-17",
			[]string{"you are Bearer (redacted)", "nobody knows Bearer (redacted)"},
		},
		{
			"caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}], secretRef: {name: s}", "username: weir, password: geheim-17", "Basic d2VpcjpnZWhlaW0tMTc=",
			[]string{"you are Basic (redacted)", "nobody knows Basic (redacted)"},
		},
		{"secretRef: {name: none}", "", "", []string{"secretRef: ", "secretRef: "}},
		{"secretRef: {name: s}", "password: geheim-17", "", []string{"has neither the entry token", "has neither the entry token"}},
		{"caCertificateRefs: [{group: '', kind: ConfigMap, name: none}]", "", "", []string{"caCertificateRefs[0]: ", "caCertificateRefs[0]: "}},
	} {
		plan := plannedGates(t, server.URL, c.access, c.secrets, authority)
		k := newGatekeeper(Config{Client: &http.Client{}})
		for i, g := range plan {
			shown.Store("")
			if g.Query != nil {
				g.Query.Min = &least
			}
			result := k.ask(t.Context(), &Round{Gates: []translate.PlannedGate{g}})[0]
			if !strings.Contains(result.Message, c.says[i]) || strings.Contains(result.Message, "geheim") || strings.Contains(result.Message, "d2Vpcj") {
				t.Errorf("%q: %+v, want that it says %q", c.access, result, c.says[i])
			}
			if shown.Load() != c.header {
				t.Errorf("%q: the server is shown %q, want %q", c.access, shown.Load(), c.header)
			}
		}
		if text, err := json.Marshal(plan); err != nil || strings.Contains(string(text)+fmt.Sprintf("%+v %#v", *plan[0].Webhook, *plan[1].Query), "geheim") {
			t.Errorf("%q: the plan shows the secret: %s %v", c.access, text, err)
		}
	}
}

// plannedGates are a webhook and a query of a Rollout with this access.
func plannedGates(t *testing.T, url, access, secrets, authority string) []translate.PlannedGate {
	t.Helper()
	if access != "" {
		access = ", " + access
	}
	text := fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: Rollout
metadata: {name: cart}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: cart}
  stable: {group: weir.dev, kind: Backend, name: stable}
  canary: {group: weir.dev, kind: Backend, name: next}
  stages: [{share: 100%%}]
  gates:
  - {name: hook, webhook: {url: "%[1]s/hook"%[2]s}}
  - {name: query, promql: {query: up, min: "0", address: "%[1]s"%[2]s}}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {%[3]s}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ca}
data: {ca.crt: %[4]q}
`, url, access, secrets, authority)
	var decoder resource.Decoder
	objects, problems := decoder.Decode("gates.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return translate.Translate(translate.Input{Set: resource.NewSet(objects, nil)}).Rollouts[0].Gates
}
