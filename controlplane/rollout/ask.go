package rollout

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// Bounds of asking.
const (
	askedAtOnce  = 16 // gates, of all Rollouts
	queryTimeout = 20 * time.Second
	mostTimeout  = time.Minute // of a webhook, and for all gates of a round; below answerWithin
	maxAnswer    = 1 << 20     // bytes of a Prometheus
	maxVerdict   = 64 << 10    // bytes of a webhook
	maxMessage   = 500         // characters that are kept of what others say
)

// gatekeeper asks gates.
type gatekeeper struct {
	objectives Objectives
	queries    Querier
	client     *http.Client
	room       chan struct{}
}

func newGatekeeper(c Config) *gatekeeper {
	client := *c.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &gatekeeper{c.Objectives, c.Queries, &client, make(chan struct{}, askedAtOnce)}
}

// ask asks all gates of a round at the same time. Each has an answer, in their order, after a minute at
// most.
func (k *gatekeeper) ask(ctx context.Context, round *Round) []GateResult {
	ctx, cancel := context.WithTimeout(ctx, mostTimeout)
	defer cancel()
	results := make([]GateResult, len(round.Gates))
	var all sync.WaitGroup
	for i := range round.Gates {
		all.Go(func() { results[i] = k.one(ctx, &round.Gates[i], &round.Ask) })
	}
	all.Wait()
	return results
}

func (k *gatekeeper) one(ctx context.Context, g *translate.PlannedGate, q *Question) GateResult {
	verdict, message := Error, ""
	select {
	case k.room <- struct{}{}:
		defer func() { <-k.room }()
		switch {
		case g.SLO != "":
			verdict, message = k.objective(g.SLO)
		case g.Query != nil:
			verdict, message = k.query(ctx, g.Query)
			message = g.Query.Access.Redact(message)
		case g.Webhook != nil:
			verdict, message = k.webhook(ctx, g, q)
			message = g.Webhook.Access.Redact(message)
		default:
			message = "this kind of gate is not known"
		}
	case <-ctx.Done():
		message = "too many other gates were being asked"
	}
	return GateResult{Gate: g.Name, Verdict: verdict, Message: tidy(message)}
}

func (k *gatekeeper) objective(name string) (Verdict, string) {
	if k.objectives == nil {
		return Error, "objectives are not followed"
	}
	return k.objectives.Judge(name)
}

func (k *gatekeeper) query(ctx context.Context, g *translate.QueryGate) (Verdict, string) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	querier := k.queries
	if g.Address != "" {
		asked, err := k.server(&g.Access)
		if err != nil {
			return Error, err.Error()
		}
		querier = prometheus{asked, g.Address}
	}
	if querier == nil {
		return Error, "no time series are kept here"
	}
	answer, err := querier.Query(ctx, g.Query, time.Now())
	if err != nil {
		return Error, "the query: " + err.Error()
	}
	return weigh(answer, g.Min, g.Max)
}

// weigh judges what a query found. Only one number is an answer.
func weigh(answer []model.Sample, least, most *float64) (Verdict, string) {
	if len(answer) == 0 {
		return Inconclusive, "the query finds no series"
	}
	if len(answer) > 1 {
		return Inconclusive, sentence("the query finds %d series, where one number is wanted: aggregate them", len(answer))
	}
	value := answer[0].Value
	said := strconv.FormatFloat(value, 'g', 6, 64)
	switch {
	case math.IsNaN(value), math.IsInf(value, 0):
		return Inconclusive, "the query finds " + said + ", which is no number"
	case least != nil && value < *least:
		return Fail, sentence("%s, want at least %g", said, *least)
	case most != nil && value > *most:
		return Fail, sentence("%s, want at most %g", said, *most)
	}
	return Pass, said
}

// webhookQuestion is what a webhook gets, as JSON.
type webhookQuestion struct {
	Gate string `json:"gate"`
	Question
}

// webhookAnswer is what a webhook says, as JSON, with the status 200.
type webhookAnswer struct {
	Verdict Verdict `json:"verdict"` // Pass, Fail or Inconclusive
	Message string  `json:"message"`
}

func (k *gatekeeper) webhook(ctx context.Context, g *translate.PlannedGate, q *Question) (Verdict, string) {
	timeout := g.Webhook.Timeout
	if timeout <= 0 || timeout > mostTimeout {
		timeout = mostTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	asked, err := k.server(&g.Webhook.Access)
	if err != nil {
		return Error, err.Error()
	}
	body, err := json.Marshal(webhookQuestion{g.Name, *q})
	if err != nil {
		return Error, err.Error()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.Webhook.URL, bytes.NewReader(body))
	if err != nil {
		return Error, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	status, said, err := asked.do(req, maxVerdict)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Error, sentence("the webhook did not answer within %v", timeout)
	case err != nil:
		return Error, "the webhook: " + err.Error()
	case status != http.StatusOK:
		return Error, sentence("the webhook answered %d, want 200 (redirects are not followed)", status)
	}
	var answer webhookAnswer
	if err := json.Unmarshal(said, &answer); err != nil {
		return Error, "the webhook's answer: " + err.Error()
	}
	switch answer.Verdict {
	case Pass, Fail, Inconclusive:
		if answer.Message == "" {
			answer.Message = "the webhook says so"
		}
		return answer.Verdict, answer.Message
	}
	return Error, sentence("the webhook's verdict is %q, want Pass, Fail or Inconclusive", answer.Verdict)
}

// server is one that a gate asks.
type server struct {
	client        *http.Client
	authorization string // empty: none
}

// server is who is known by what access says, and knows us by it.
func (k *gatekeeper) server(access *translate.GateAccess) (server, error) {
	s := server{k.client, access.Authorization()}
	if access.Problem != "" {
		return s, errors.New(access.Problem)
	}
	if access.CAs == "" {
		return s, nil
	}
	base, ok := k.client.Transport.(*http.Transport)
	if !ok {
		base = &http.Transport{}
	}
	transport := base.Clone()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(access.CAs))
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	transport.DisableKeepAlives = true // nobody has this transport the next time
	client := *k.client
	client.Transport = transport
	s.client = &client
	return s, nil
}

// do returns the answer to a request, if it is no longer than so many bytes.
func (s server) do(req *http.Request, most int64) (status int, body []byte, err error) {
	if s.authorization != "" {
		req.Header.Set("Authorization", s.authorization)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // the URL may have a password in it
			err = wrapped.Err
		}
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err == nil && int64(len(body)) > most {
		err = fmt.Errorf("the answer is longer than %d bytes", most)
	}
	return resp.StatusCode, body, err
}

// prometheus answers queries by the HTTP API of one at an address.
type prometheus struct {
	server
	address string
}

// prometheusAnswer is the form of an instant query's answer.
type prometheusAnswer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
	Data   struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	} `json:"data"`
}

// Query asks. Errors say what the other side said.
func (p prometheus) Query(ctx context.Context, query string, at time.Time) ([]model.Sample, error) {
	form := url.Values{"query": {query}, "time": {strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(p.address, "/")+"/api/v1/query", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, err := p.do(req, maxAnswer)
	if err != nil {
		return nil, err
	}
	var answer prometheusAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("the answer %d is not Prometheus' JSON: %w", status, err)
	}
	if status != http.StatusOK || answer.Status != "success" {
		return nil, fmt.Errorf("answer %d: %s", status, answer.Error)
	}
	switch answer.Data.ResultType {
	case "scalar":
		var value point
		err := json.Unmarshal(answer.Data.Result, &value)
		return []model.Sample{{Value: float64(value)}}, err
	case "vector":
		var series []struct {
			Metric map[string]string `json:"metric"`
			Value  *point            `json:"value"`
		}
		if err := json.Unmarshal(answer.Data.Result, &series); err != nil {
			return nil, err
		}
		list := make([]model.Sample, 0, len(series))
		for _, s := range series {
			if s.Value == nil {
				return nil, errors.New("the answer has a series without a value")
			}
			list = append(list, model.Sample{Labels: s.Metric, Value: float64(*s.Value)})
		}
		return list, nil
	}
	return nil, fmt.Errorf("the query's type is %q, want a scalar or an instant vector", answer.Data.ResultType)
}

// point is a value beside its time: [1435781451.781, "1"].
type point float64

func (p *point) UnmarshalJSON(b []byte) error {
	var pair []any
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("%s is no pair of time and value", b)
	}
	text, ok := pair[1].(string)
	if !ok {
		return fmt.Errorf("%s has a value that is no string", b)
	}
	value, err := strconv.ParseFloat(text, 64)
	*p = point(value)
	return err
}

// tidy makes what others say one short line.
func tidy(text string) string {
	text = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > maxMessage {
		text = string(runes[:maxMessage]) + "…"
	}
	return strings.TrimSpace(text)
}
