package model_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/model"
)

func TestEffectiveProtections(t *testing.T) {
	route := model.Origin{Object: "TrafficPolicy/ns/route", File: "r.yaml"}
	backend := model.Origin{Object: "TrafficPolicy/ns/backend", File: "b.yaml"}
	got := map[string]string{}
	for _, f := range model.EffectivePolicy(
		&model.Client{TrustIdentities: []string{"spiffe://a/b", "spiffe://a/c"}},
		&model.Route{
			Origins: model.Origins{"overload.concurrency": route, "retries.hedge.max": route},
			Retry: &model.Retry{
				On: []model.RetryOn{}, IdempotencyHeader: "k", BodyReplay: 9, Nested: true,
				Budget: &model.RetryBudget{Share: 0.125, MinPerSecond: 4}, Hedge: &model.Hedge{Quantile: 0.999, Max: 2},
			},
			Overload: &model.Overload{
				Scope: "s", Adaptive: &model.Adaptive{Min: 1, Max: 2}, Mode: model.ModeObserve,
				Priorities: []model.Priority{{When: "a ==\nb", Class: model.ClassSheddable}, {Class: model.ClassCriticalPlus}},
				Queue:      &model.Queue{Size: 5, Timeout: time.Minute, FairBy: []model.Key{{Source: model.KeyIdentity}}},
				Throttle:   &model.Throttle{AcceptRatio: 1.5, Window: time.Second},
				Degrade: []model.Degrade{
					{At: 0.805, Shed: model.ClassSheddablePlus, NoRetries: true, Timeouts: &model.Timeouts{Request: time.Second, PerTry: time.Millisecond}},
					{At: 1, ServeStale: time.Hour, Answer: &model.FixedAnswer{Status: 503}},
				},
			},
		},
		&model.Cluster{
			Origins: model.Origins{"circuitBreaker.trip": backend, "outlierDetection.maxEjected": backend, "calls": backend},
			Breaker: model.Breaker{MaxRequests: 7, Trip: &model.Trip{Failures: 0.333, Of: 8, OpenFor: time.Second, Probes: 9}, Mode: model.ModeEnforce},
			Outlier: model.Outlier{
				ConsecutiveLocal: 5, SlowerThanMedian: 3, Interval: time.Second, MinRequests: 6, BaseEjection: time.Second, MaxEjection: time.Minute,
				MaxEjected: 0.1, Mode: model.ModeDisabled,
			},
			Calls: []string{"backend/a/b", "service/a/c/80"},
		},
	) {
		got[f.Field] = f.Value + " " + f.Origin.File
	}
	want := map[string]string{
		"client.trust.identities":           "spiffe://a/b, spiffe://a/c ",
		"retries.idempotencyHeader":         "k ",
		"retries.bodyReplay":                "9 ",
		"retries.budget.percent":            "12.5% ",
		"retries.budget.minPerSecond":       "4 ",
		"retries.hedge.afterQuantile":       "p99.9 ",
		"retries.hedge.max":                 "2 r.yaml",
		"retries.nested":                    "true ",
		"overload.concurrency.adaptive.min": "1 r.yaml",
		"overload.concurrency.adaptive.max": "2 r.yaml",
		"overload.priority":                 "Sheddable when a == b, CriticalPlus ",
		"overload.queue.size":               "5 ",
		"overload.queue.timeout":            "1m ",
		"overload.queue.order":              "FIFO ",
		"overload.queue.fairBy":             "identity ",
		"overload.throttle.acceptRatio":     "1.5 ",
		"overload.throttle.window":          "1s ",
		"overload.degrade":                  "80.5%: shed SheddablePlus and no retries and request 1s and perTry 1ms, 100%: serve stale up to 1h and answer 503 ",
		"overload.mode":                     "Observe ",
		"circuitBreaker.maxRequests":        "7 ",
		"circuitBreaker.trip.failures":      "33.3% b.yaml",
		"circuitBreaker.trip.of":            "8 b.yaml",
		"circuitBreaker.trip.openFor":       "1s b.yaml",
		"circuitBreaker.trip.probes":        "9 b.yaml",
		"circuitBreaker.mode":               "Enforce ",
		"outlierDetection.consecutiveLocal": "5 ",
		"outlierDetection.slowerThanMedian": "3 ",
		"outlierDetection.interval":         "1s ",
		"outlierDetection.minRequests":      "6 ",
		"outlierDetection.baseEjectionTime": "1s ",
		"outlierDetection.maxEjectionTime":  "1m ",
		"outlierDetection.maxEjected":       "10% b.yaml",
		"outlierDetection.mode":             "Disabled ",
		"calls":                             "backend/a/b, service/a/c/80 b.yaml",
	}
	for field, value := range want {
		if diff := cmp.Diff(value, got[field]); diff != "" {
			t.Errorf("%s: %s", field, diff)
		}
	}
	for _, absent := range []string{"overload.concurrency.limit", "circuitBreaker.maxRetries", "outlierDetection.consecutive5xx", "retries.hedge.after"} {
		if _, ok := got[absent]; ok {
			t.Errorf("%s is shown, which nobody has", absent)
		}
	}
}
