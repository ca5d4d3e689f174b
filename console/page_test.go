package console

import (
	"context"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

var screenshots = flag.String("screenshots", "", "folder that pictures of the page are written to")

// TestPageAsksOnlyForWhatIsServed keeps the page free of other servers and of what the
// content policy would refuse.
func TestPageAsksOnlyForWhatIsServed(t *testing.T) {
	h := newHarness(1)
	paths := regexp.MustCompile("[\"'`](/[a-z][a-zA-Z0-9/._-]*)")
	served := map[string]bool{"/api/v1/": true} // with the name of a list behind it
	for _, e := range h.console.endpoints {
		served[e.path] = true
	}
	for _, f := range files {
		text := h.do("GET", f.path, "").Body.String()
		for _, forbidden := range []string{"https://", "innerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", " onclick="} {
			if strings.Contains(text, forbidden) {
				t.Errorf("%s contains %s", f.path, forbidden)
			}
		}
		for _, match := range paths.FindAllStringSubmatch(text, -1) {
			if !served[match[1]] {
				t.Errorf("%s asks for %s, which nobody serves", f.path, match[1])
			}
		}
	}
}

// findBrowser fails the test where CI is set and there is no browser; elsewhere it skips it.
func findBrowser(t *testing.T) string {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no chromium here")
	}
	return browser
}

// browse runs a browser for nine seconds of its own time, which pass as quickly as they can.
func browse(t *testing.T, browser string, extra ...string) (dom, log string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, browser, append([]string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + t.TempDir(),
		"--enable-logging=stderr", "--virtual-time-budget=9000",
	}, extra...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &errs)
	}
	return out.String(), errs.String()
}

// TestPageSaysThatItIsStale lets the server die while the page is open.
func TestPageSaysThatItIsStale(t *testing.T) {
	browser := findBrowser(t)
	h := newHarness(1)
	admin := h.console.Admin()
	var asked atomic.Int32
	address, _ := serving(t, h, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/status" && asked.Add(1) > 2 {
			panic(http.ErrAbortHandler) // cuts the connection
		}
		admin.ServeHTTP(w, r)
	}))
	dom, _ := browse(t, browser, "--dump-dom", "http://"+address+"/")
	for _, want := range []string{
		`<body class="stale">`, "The admin server does not answer.", ">unknown<", "revision 7",
	} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if age := regexp.MustCompile(`last update (\d+) s ago`).FindStringSubmatch(dom); age == nil || age[1] == "0" {
		t.Errorf("the page does not say its age: %v", age)
	}
	if t.Failed() {
		t.Log(dom)
	}
}

// TestPageInABrowser opens the page in a real browser and reads what it made of the API's
// answers.
func TestPageInABrowser(t *testing.T) {
	browser := findBrowser(t)
	h := newHarness(6)
	h.now = h.metrics.Started().Add(10 * time.Second)
	h.snapshot.RouteTables[0].Entries[0].Route.Object = "<img src=x onerror=alert(1)>"
	for i, o := range []telemetry.Outcome{
		{Code: 200, Duration: 3 * time.Millisecond}, {Code: 502, Flag: model.FlagUC, Duration: 90 * time.Millisecond}, {Code: 404, Flag: model.FlagNR},
	} {
		for _, s := range []*telemetry.Series{h.metrics.Route("shop/r0/0"), h.metrics.Host("backend/shop/v1", "10.0.0.1:80")} {
			for range 300 >> (2 * i) {
				s.Begin(0)
				s.End(0, &o)
			}
		}
	}
	address, stop := serving(t, h, h.console.Admin())
	dom, log := browse(t, browser, "--dump-dom", "http://"+address+"/#token="+testToken)
	if i := strings.Index(log, ":CONSOLE"); i >= 0 {
		t.Errorf("the page complains: %s", log[i:])
	}
	for _, want := range []string{
		"revision 7", "version 0123456789ab", ">ready<", "shop/r0/0", "shop/r5/0", "h1.example.com", "90 %", "Service shop/gone does not exist",
		"sessionPersistence is not supported yet", "10.0.0.2:80", "unhealthy", "r.yaml:5:3", "unknown field; did you mean",
		"last update", ">39.3<", "Requests/s as above; highest here 39.3<", ">~96 ms<", `title="r.yaml:5:3"`,
	} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(dom, testToken) || strings.Contains(dom, "<img src=x") {
		t.Error("the page shows the token, or took text for HTML")
	}
	if strings.Contains(dom, `id="reload" type="button" hidden`) {
		t.Error("the link's token does not open the mutations")
	}
	if t.Failed() {
		t.Log(dom)
	}
	if *screenshots != "" {
		for name, args := range map[string][]string{
			"wide": {"--window-size=1400,1100"}, "phone": {"--window-size=400,1600"},
			"dark": {"--window-size=1400,1100", "--blink-settings=preferredColorScheme=0"},
		} {
			browse(t, browser, append(args, "--screenshot="+filepath.Join(*screenshots, name+".png"), "http://"+address+"/")...)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
