package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// releasedShop is a rule with everything of releases, made with the port of the front door and those
// of both versions.
const releasedShop = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: web, port: %[1]d, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{name: pay, backendRefs: [{group: weir.dev, kind: Backend, name: checkout}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: checkout}
spec: {endpoints: [{address: 127.0.0.1, port: %[2]d}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: checkout-next}
spec: {endpoints: [{address: 127.0.0.1, port: %[3]d}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: checkout-after}
spec: {endpoints: [{address: 127.0.0.1, port: %[3]d}]}
---
apiVersion: weir.dev/v1alpha1
kind: Rollout
metadata: {name: checkout}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: pay}
  stable: {group: weir.dev, kind: Backend, name: checkout}
  canary: {group: weir.dev, kind: Backend, name: checkout-next}
  sampling: {unit: User, key: [{cookie: uid}]}
  stages: [{share: 5%%, for: 1h}, {share: 100%%}]
  guard: {errors: {maxDifference: 1%%, confidence: 99.9%%}, consecutiveFailures: 0}
---
apiVersion: weir.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: checkout}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  indicator: {availability: {}}
  objective: 99.999%%
  onBurn: {freezeRollouts: true}
---
apiVersion: weir.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: checkout-fast}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  indicator: {latency: {below: 5s}}
  objective: 99%%
---
apiVersion: weir.dev/v1alpha1
kind: Shadow
metadata: {name: after}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  backendRef: {group: weir.dev, kind: Backend, name: checkout-after}
  share: 50%%
  compare: {headers: [x-app-version], latency: true}
---
apiVersion: weir.dev/v1alpha1
kind: FaultPolicy
metadata: {name: slow}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  reason: does it bear a delay
  expires: 2096-01-01T00:00:00Z
  faults: [{name: delay, share: 10%%, delay: {fixed: 5ms}}]
`

// TestConsoleReleases watches a release go bad in the console, and what else is told of releases there:
// objectives, Shadows and faults.
func TestConsoleReleases(t *testing.T) {
	t.Parallel()
	var bad atomic.Bool
	version := func(name string, fails *atomic.Bool) int {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-App-Version", name)
			if fails != nil && fails.Load() {
				w.WriteHeader(http.StatusInternalServerError)
			}
			_, _ = io.WriteString(w, "sold")
		}))
		t.Cleanup(s.Close)
		return portOf(s.URL)
	}
	front, file, token := freePort(t), filepath.Join(t.TempDir(), "shop.yaml"), filepath.Join(t.TempDir(), "token")
	text := fmt.Sprintf(releasedShop, portOf("http://"+front), version("v1", nil), version("v2", &bad))
	put(t, file, text)
	p := launch(t, "-f", file, "--token-file", token)
	key, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	buyers(t, front)

	hold := func() {
		if *screenshots != "" {
			time.Sleep(*warmUp / 20) // the pictures show a minute, which nothing makes shorter
		}
	}
	f := &faults{admin: "http://" + p.admin + "/"}
	b := newChromium(t, f.heard)
	b.look(1280, 1000, "light")
	b.call("Page.navigate", map[string]any{"url": f.admin}, nil)
	b.sees("Overview", "1 fault is active, on purpose", "read only")
	b.call("Page.navigate", map[string]any{"url": f.admin + "#/faults?token=" + strings.TrimSpace(string(key))}, nil)
	b.until(`location.hash === "#/faults" && document.getElementById("closed").hidden`)
	b.sees("Faults", "default/slow/delay", "active", "does it bear a delay")
	buttons(b, "Stop all faults")
	b.sees("stopped by admin")
	b.press("g", "c")
	b.sees("Releases", "default/checkout", "progressing", "stage 1 of 2")
	b.click("a.name")
	b.sees("Release default/checkout", "canary has 5%", "errors/first", "users are on the canary", "fair")
	b.until(`[...document.querySelectorAll("tbody td[data-name=p99]")].some((td) => td.innerText.includes("s"))`)
	buttons(b, "pause")
	b.sees("paused by admin")
	buttons(b, "resume")
	b.sees("progressing")

	hold()
	bad.Store(true)
	b.sees("Reverted at", "aborted", "of the canary's, but 0 of", "tripped")
	b.until(`[...document.querySelectorAll(".moment text")].filter((e) => e.textContent === "reverted").length === 4`)
	b.sees("Frozen by default/checkout")
	hold()
	shoot(t, b, "release")
	buttons(b, "start")
	b.sees("to do it all the same say why")
	b.press("g", "o")
	b.sees("1 release was taken back in the last hour.", "no budget left")

	objectivesAndShadows(t, b)
	telephone(t, b)
	for _, fault := range f.stop() {
		if !strings.Contains(fault, "409") { // the start that was refused
			t.Errorf("the page: %s", fault)
		}
	}
}

// buttons presses the button with a text.
func buttons(b *chromium, text string) {
	b.t.Helper()
	b.until(`[...document.querySelectorAll("button")].some((e) => e.innerText === ` + quote(text) + `)`)
	b.eval(`[...document.querySelectorAll("button")].find((e) => e.innerText === ` + quote(text) + `).click()`)
}

func objectivesAndShadows(t *testing.T, b *chromium) {
	b.press("g", "j")
	b.sees("Objectives", "99.999 % available", "exhausted", "frozen", "99 % within 5s", "healthy")
	shoot(t, b, "objectives")
	b.click("a.name")
	b.sees("Objective default/checkout", "How fast it burns", "HTTPRoute default/shop", "page", "× 14.4", "burns")

	b.press("g", "w")
	b.sees("Shadows", "default/after", "different")
	b.click("a.name")
	b.sees("Shadow default/after", "Where answers differ", "header x-app-version", `"v1"`, `"v2"`, "Latency")
	shoot(t, b, "shadow")
	buttons(b, "Begin anew")
	b.sees("what was counted is forgotten")
}

// telephone looks whether the pages of releases fit a small window.
func telephone(t *testing.T, b *chromium) {
	b.look(390, 844, "dark")
	for hash, shows := range map[string]string{
		"releases": "What blocks it", "release?name=default/checkout": "What happened", "objectives": "default/checkout",
		"objective?name=default/checkout": "How fast it burns", "shadows": "default/after", "shadow?name=default/after": "Answers", "faults": "stopped",
	} {
		b.eval(`location.hash = "#/` + hash + `"`)
		b.until(`document.getElementById("title").innerText && document.body.textContent.includes(` + quote(shows) + `)`)
		if wide := b.eval("document.documentElement.scrollWidth"); wide != "390" {
			t.Errorf("%s is %s wide", hash, wide)
		}
	}
}
