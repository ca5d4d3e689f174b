package model_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// TestGRPCCodeOf has the rows of gRPC's http-grpc-status-mapping.
func TestGRPCCodeOf(t *testing.T) {
	for status, want := range map[int]model.GRPCCode{
		400: model.GRPCInternal, 401: model.GRPCUnauthenticated, 403: model.GRPCPermissionDenied, 404: model.GRPCUnimplemented,
		429: model.GRPCUnavailable, 502: model.GRPCUnavailable, 503: model.GRPCUnavailable, 504: model.GRPCUnavailable,
		200: model.GRPCUnknown, 302: model.GRPCUnknown, 418: model.GRPCUnknown, 500: model.GRPCUnknown,
	} {
		if got := model.GRPCCodeOf(status); got != want {
			t.Errorf("%d: %v, want %v", status, got, want)
		}
	}
}

func TestEffectiveRetries(t *testing.T) {
	gateway := model.Origin{Object: "TrafficPolicy/ns/gateway", File: "a.yaml", Line: 7}
	rule := model.Origin{Object: "GRPCRoute/ns/r", File: "r.yaml", Line: 4}
	policy := &model.Retry{
		Attempts: 2, On: []model.RetryOn{model.RetryReset}, Codes: []int{503}, GRPCCodes: []model.GRPCCode{model.GRPCUnavailable},
		Methods: []string{"GET", "PUT"}, BackoffMax: 250 * time.Millisecond,
	}
	own := &model.Retry{Attempts: 1, Codes: []int{500}, Backoff: time.Second}
	for retry, want := range map[*model.Retry]string{
		policy: "retries.attempts=2 (a.yaml) retries.retryOn=Reset, 503, UNAVAILABLE () retries.methods=GET, PUT () retries.backoff.base=0s () retries.backoff.max=250ms () retries.bodyReplay=0 () retries.nested=false ()",
		own:    "retry.attempts=1 (r.yaml) retry.codes=500 (r.yaml) retry.backoff=1s (r.yaml) retries.bodyReplay=0 () retries.nested=false ()",
	} {
		route := &model.Route{Origin: rule, Retry: retry, Origins: model.Origins{"retries.attempts": gateway}}
		var got []string
		for _, f := range model.EffectivePolicy(nil, route, nil) {
			if strings.HasPrefix(f.Field, "retr") {
				got = append(got, f.Field+"="+f.Value+" ("+f.Origin.File+")")
			}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("got  %s\nwant %s", text, want)
		}
	}
}

// TestRetrySurvivesJSON: whether On is nil or empty says whose a policy is.
func TestRetrySurvivesJSON(t *testing.T) {
	for _, on := range [][]model.RetryOn{nil, {}, {model.RetryReset}} {
		text, err := json.Marshal(model.Retry{On: on, GRPCCodes: []model.GRPCCode{14}})
		var back model.Retry
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || (back.On == nil) != (on == nil) || len(back.On) != len(on) || len(back.GRPCCodes) != 1 {
			t.Errorf("%s: %+v, %v", text, back, err)
		}
	}
}
