package release

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Rollout is a Rollout of a running Weir, seen and moved by the admin API.
type Rollout struct {
	Admin string // address
	Token string
	Name  string // namespace/name
}

// Status is the part of a Rollout's status that is of use here.
type Status struct {
	Phase      string
	Run        uint64
	Began      time.Time // the run
	Generation uint64
	Stage      int
	Share      Percent
	Elapsed    string
	Problem    string
	Notes      []string
	// Blocking is what blocks the next stage, or has ended the run.
	Blocking *struct{ Name, Message string }
	Trip     *Trip
	Gates    []struct{ Gate, Verdict, Message string }
	Figures  *struct {
		Stable, Canary Arm
		Sample         *Sample
	}
}

// Percent is a share as Weir says it: of "12.5%" it is 12.5.
type Percent float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Percent) UnmarshalText(text []byte) error {
	n, err := strconv.ParseFloat(strings.TrimSuffix(string(text), "%"), 64)
	*p = Percent(n)
	return err
}

// Arm is what Weir says of one arm.
type Arm struct {
	Requests, Failed, Users uint64
	InFlight                int64
}

// Sample is what Weir says of how users are divided.
type Sample struct {
	Wanted, Share, P float64
	Unfair           bool
}

// Trip is what Weir says about its taking a canary back.
type Trip struct {
	At             time.Time
	Test           struct{ Name string }
	Reason         string
	CanaryFailures int
	InFlight       int
}

var client = &http.Client{Timeout: 30 * time.Second}

// Status asks how far it is.
func (r Rollout) Status(ctx context.Context) (Status, error) {
	var list struct{ Items []json.RawMessage }
	if err := r.ask(ctx, http.MethodGet, "/api/v1/rollouts?name="+url.QueryEscape(r.Name), nil, &list); err != nil {
		return Status{}, err
	}
	var s Status
	if len(list.Items) != 1 {
		return s, errNotReady
	}
	return s, json.Unmarshal(list.Items[0], &s)
}

// Do starts, promotes, pauses, resumes, aborts or finishes it.
func (r Rollout) Do(ctx context.Context, verb string) error {
	var done struct{}
	return r.ask(ctx, http.MethodPost, "/api/v1/rollouts", map[string]string{"name": r.Name, "do": verb}, &done)
}

// Until asks until ok.
func (r Rollout) Until(ctx context.Context, ok func(Status) bool) (Status, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := r.Status(ctx)
		if err == nil && ok(s) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("%w; last seen: %+v, %w", context.Cause(ctx), s, err)
		case <-tick.C:
		}
	}
}

func (r Rollout) ask(ctx context.Context, method, path string, body, into any) error {
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.Admin+path, &sent)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+r.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return json.Unmarshal(text, into)
}
