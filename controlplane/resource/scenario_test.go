package resource

import (
	"strings"
	"testing"
	"time"
)

const scenarioHead = "apiVersion: weir.dev/v1alpha1\nkind: Scenario\nmetadata: {name: storm}\nspec:\n  duration: 60s\n"

const scenarioRest = `  callers:
  - {name: shoppers, request: {url: "http://a/"}, count: 100, think: 1s}
  services:
  - {backend: cart, concurrency: 4, serviceTime: {mean: 20ms, p99: 100ms}}
`

func TestDecodeScenarios(t *testing.T) {
	objects, diagnostics := DecodeScenarios("s.yaml", []byte(scenarioHead+scenarioRest+`  events:
  - {at: 10s, for: 5s, backend: cart, hosts: 50%, slowDown: "4"}
  limits:
  - {minSuccess: 99.5%, maxAmplification: "1.3"}
---
apiVersion: v1
kind: Service
metadata: {nonsense: true}
`))
	if len(objects) != 1 || len(diagnostics) != 0 {
		t.Fatalf("%d objects, %v", len(objects), diagnostics)
	}
	s := objects[0].Value.(*Scenario).Spec
	if s.Duration.Duration() != time.Minute || s.Limits[0].MinSuccess.Of(0) != 0.995 || s.Events[0].SlowDown.Of(1) != 4 || s.Step.Duration() != 0 {
		t.Errorf("%+v", s)
	}
	if at := objects[0].Position("spec.limits[0].minSuccess").String(); at != "s.yaml:13:6" {
		t.Error(at)
	}
	var d Decoder
	if served, found := d.Decode("s.yaml", []byte(scenarioHead+scenarioRest)); len(served) != 0 || len(found) != 0 {
		t.Errorf("a Scenario is served: %v, %v", served, found)
	}
}

func TestDecodeScenariosRefuses(t *testing.T) {
	events := func(list string) string { return scenarioHead + scenarioRest + "  events: [" + list + "]\n" }
	limits := func(list string) string { return scenarioHead + scenarioRest + "  limits: [" + list + "]\n" }
	callers := func(list string) string {
		return scenarioHead + "  callers: [" + list + "]\n  services: [{backend: a, concurrency: 1, serviceTime: {fixed: 1s}}]\n"
	}
	services := func(list string) string {
		return scenarioHead + "  callers: [{name: a, request: {url: x}, rate: \"1\"}]\n  services: [" + list + "]\n"
	}
	for text, want := range map[string]string{
		strings.Replace(scenarioHead+scenarioRest, "v1alpha1", "v2", 1): "apiVersion: unknown version of Scenario",
		strings.Replace(scenarioHead+scenarioRest, "60s", "1d", 1):      `spec.duration: "1d": expected a duration`,
		strings.Replace(scenarioHead+scenarioRest, "60s", "25h", 1):     "spec.duration: 25h0m0s: expected 1ms to 24h0m0s",
		strings.Replace(scenarioHead+scenarioRest, "60s", "10h", 1):     "spec.step: duration ÷ step is more than 10000 rows",
		scenarioHead: "spec.callers: required: at least one caller",
		scenarioHead + scenarioRest + "  caller: []\n":                                                         `spec.caller: unknown field; did you mean "callers"?`,
		callers(`{name: a, request: {url: x}}`):                                                                "spec.callers[0]: required: rate (requests per second) or count",
		callers(`{name: a, request: {url: x}, rate: "1", count: 1}`):                                           "rate and count do not go together",
		callers(`{name: a, request: {url: x}, rate: "1", think: 1s}`):                                          "only callers that are counted think",
		callers(`{name: a, request: {url: x}, rate: "-1"}`):                                                    "spec.callers[0].rate: -1: expected 0 to 1e+06",
		callers(`{name: a, request: {url: x}, rate: "NaN"}`):                                                   `spec.callers[0].rate: "NaN": expected a number`,
		callers(`{name: a, request: {}, rate: "1"}`):                                                           "spec.callers[0].request.url: required",
		callers(`{name: a, request: {url: x}, count: 1}, {name: a, request: {url: x}, count: 1}`):              `"a" is the name of two callers`,
		services(`{backend: a, serviceTime: {fixed: 1s}}`):                                                     "spec.services[0].concurrency: 0: expected 1 to 100000",
		services(`{backend: a, concurrency: 1, serviceTime: {}}`):                                              "spec.services[0].serviceTime: required: fixed, or mean",
		services(`{backend: a, concurrency: 1, serviceTime: {fixed: 1s, mean: 1s}}`):                           "fixed leaves nothing to mean and p99",
		services(`{backend: a, concurrency: 1, serviceTime: {mean: 1s, p99: 20s}}`):                            "spec.services[0].serviceTime.p99: 20s: expected 1.01 to 14.9 times the mean",
		services(`{backend: a, concurrency: 1, hosts: 1001, serviceTime: {mean: 1s}}`):                         "spec.services[0].hosts: 1001: expected 0 to 1000",
		services(`{backend: a, concurrency: 1, queue: -1, serviceTime: {mean: 1s}}`):                           "spec.services[0].queue: -1: expected 0 to",
		services(`{backend: a, concurrency: 1, serviceTime: {mean: 1s}, calls: [{request: {}, share: 200%}]}`): "spec.services[0].calls[0].share",
		events(`{at: 1s, backend: cart}`):                                                                      "expected one of outage, hang, slowDown, errors and surge",
		events(`{at: 1s, backend: cart, outage: true, errors: 5%}`):                                            "write an event for each",
		events(`{at: 1s, outage: true}`):                                                                       "spec.events[0].backend: required",
		events(`{at: 1s, surge: "2", backend: cart}`):                                                          "is of callers, not of a backend",
		events(`{at: 1s, surge: "2", caller: nobody}`):                                                         `"nobody" is none of the callers`,
		events(`{at: 1s, backend: cart, outage: true, hosts: "0"}`):                                            "spec.events[0].hosts: \"0\": expected a number in quotes",
		events(`{at: 1s, backend: cart, outage: true, fast: true}`):                                            "spec.events[0].fast: is of errors",
		limits(`{from: 1s}`):                            "a limit of nothing cannot be exceeded",
		limits(`{from: 2s, until: 1s, minSuccess: 1%}`): "spec.limits[0].until: expected a moment after from",
		limits(`{maxAmplification: "0.5"}`):             "spec.limits[0].maxAmplification: 0.5: expected 1 to",
		limits(`{recoveryWithin: 1s, from: 2s}`):        "is of the whole run",
		limits(`{backend: a, minSuccess: 5%}`):          "spec.limits[0].backend: is of maxAmplification",
	} {
		objects, diagnostics := DecodeScenarios("s.yaml", []byte(text))
		var all []string
		for _, d := range diagnostics {
			all = append(all, d.String())
		}
		if !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("%s\n got: %s\nwant: %s", text, strings.Join(all, "\n"), want)
		}
		for _, o := range objects {
			if o.Value != nil {
				t.Errorf("%s\nis accepted", text)
			}
		}
	}
}

// FuzzDecodeScenarios: whatever a file holds, a Scenario that is accepted is within its bounds.
func FuzzDecodeScenarios(f *testing.F) {
	f.Add([]byte(scenarioHead + scenarioRest))
	f.Add([]byte(scenarioHead + scenarioRest + "  events: [{at: 1s, surge: \"1e3\"}]\n  step: 1ms\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, _ := DecodeScenarios("s.yaml", data)
		for _, o := range objects {
			s, ok := o.Value.(*Scenario)
			if !ok {
				continue
			}
			if d := s.Spec.Duration.Duration(); d <= 0 || d > maxScenarioDuration || len(s.Spec.Callers) == 0 {
				t.Errorf("accepted: %+v", s.Spec)
			}
			for _, c := range s.Spec.Callers {
				if n := c.Rate.Of(1); !(n >= 0 && n <= maxScenarioRate) {
					t.Errorf("rate %v of %q", n, c.Rate)
				}
			}
		}
	})
}
