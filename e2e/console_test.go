package e2e_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	screenshots = flag.String("screenshots", "", "folder that pictures of the console are written to; without it there are none")
	warmUp      = flag.Duration("warm-up", 10*time.Minute, "how long traffic runs before the pictures")
)

// shop is a configuration with a little of everything that the console shows, made with the
// port of the front door, those of three upstreams, and the value of a header.
const shop = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: weir
  listeners:
  - {name: web, protocol: HTTP, port: %[1]d}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: edge, namespace: shop}
spec:
  targetRefs:
  - {group: gateway.networking.k8s.io, kind: Gateway, name: edge}
  timeouts: {request: 10s, connect: 1s}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: checkout, namespace: shop}
spec:
  targetRefs:
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, name: checkout}
  timeouts: {request: 3s, perTry: 1s}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: catalog, namespace: shop}
spec:
  endpoints: [{address: 127.0.0.1, port: %[2]d}, {address: 127.0.0.1, port: %[3]d}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: checkout-v1, namespace: shop}
spec:
  endpoints: [{address: 127.0.0.1, port: %[3]d}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: checkout-v2, namespace: shop}
spec:
  endpoints: [{address: 127.0.0.1, port: %[4]d}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: catalog, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [shop.example.com]
  rules:
  - name: browse
    backendRefs: [{group: weir.dev, kind: Backend, name: catalog}]
  - name: search
    matches: [{path: {value: /search}, method: GET}]
    backendRefs: [{group: weir.dev, kind: Backend, name: catalog}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: checkout, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [shop.example.com]
  rules:
  - name: pay
    matches: [{path: {value: /checkout}}]
    backendRefs:
    - {group: weir.dev, kind: Backend, name: checkout-v1, weight: 90}
    - {group: weir.dev, kind: Backend, name: checkout-v2, weight: 10}
  - name: preview
    matches: [{path: {value: /checkout}, headers: [{name: x-preview, value: %[5]q}]}]
    backendRefs: [{group: weir.dev, kind: Backend, name: checkout-v2}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: old-site, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [old.example.com]
  rules:
  - filters:
    - type: RequestRedirect
      requestRedirect: {hostname: shop.example.com, statusCode: 301}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wishlist, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [shop.example.com]
  rules:
  - matches: [{path: {value: /wishlist}}]
    backendRefs:
    - {group: weir.dev, kind: Backend, name: catalog, weight: 9}
    - {group: weir.dev, kind: Backend, name: wishlist, weight: 1}
`

// store runs a shop behind a real Weir, with light traffic. It returns the Weir, the folder
// of its configuration and the link that opens its console.
func store(t *testing.T, preview string, more map[string]string) (p *process, dir, link string) {
	begin := time.Now()
	upstream := func(usual time.Duration, failing int) int {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			wait := time.NewTimer(time.Duration(rand.ExpFloat64() * float64(usual)))
			defer wait.Stop()
			select {
			case <-wait.C:
			case <-r.Context().Done():
				return
			}
			// For the pictures: a bad time in the middle of the warm-up.
			bad := 1
			if part := float64(time.Since(begin)) / float64(*warmUp); part > 0.4 && part < 0.55 {
				bad = 6
			}
			if rand.IntN(1000) < failing*bad {
				w.WriteHeader(http.StatusBadGateway)
			}
			_, _ = io.WriteString(w, "ok")
		}))
		t.Cleanup(s.Close)
		return portOf(s.URL)
	}
	front := freePort(t)
	dir = filepath.Join(t.TempDir(), "config")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	more["shop.yaml"] = fmt.Sprintf(shop, portOf("http://"+front), upstream(2*time.Millisecond, 0), upstream(8*time.Millisecond, 0), upstream(20*time.Millisecond, 120), preview)
	for name, text := range more {
		put(t, filepath.Join(dir, name), text)
	}
	token := filepath.Join(t.TempDir(), "token")
	p = launch(t, "-f", dir, "--token-file", token)
	key, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	customers(t, front)
	return p, dir, "http://" + p.admin + "/#token=" + strings.TrimSpace(string(key))
}

func portOf(address string) int {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	port := 0
	fmt.Sscan(u.Port(), &port)
	return port
}

// customers send about a hundred requests a second until the test ends.
func customers(t *testing.T, front string) {
	paths := []string{"/", "/", "/", "/", "/search?q=tea", "/search?q=cup", "/checkout/pay", "/wishlist", "/img/1.png"}
	begin := time.Now()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: patience}
	done := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			tick := time.NewTicker(40 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-done:
					return
				case <-tick.C:
				}
				if rand.Float64() > 0.8+0.2*math.Sin(time.Since(begin).Minutes()) {
					continue // there are quieter minutes
				}
				req, err := http.NewRequest(http.MethodGet, "http://"+front+paths[rand.IntN(len(paths))], nil)
				if err != nil {
					return
				}
				if req.Host = "shop.example.com"; rand.IntN(200) == 0 {
					req.Host = "nobody.example.com"
				}
				if resp, err := client.Do(req); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}
		})
	}
	t.Cleanup(func() {
		close(done)
		all.Wait()
		client.CloseIdleConnections()
	})
}

// faults are what a page must not do: complain, throw, or ask other servers.
type faults struct {
	mu    sync.Mutex
	admin string
	list  []string
	off   bool
}

func (f *faults) heard(method string, params json.RawMessage) {
	var p struct {
		Type    string
		Entry   struct{ Level, Text, URL string }
		Request struct{ URL string }
	}
	_ = json.Unmarshal(params, &p)
	bad := false
	switch method {
	case "Runtime.exceptionThrown":
		bad = true
	case "Runtime.consoleAPICalled":
		bad = p.Type == "error" || p.Type == "warning"
	case "Log.entryAdded":
		bad = p.Entry.Level == "error" && !strings.HasSuffix(p.Entry.URL, "=shop%2Fnone") // what is not there is not found
	case "Network.requestWillBeSent":
		bad = !strings.HasPrefix(p.Request.URL, f.admin) && !strings.HasPrefix(p.Request.URL, "data:") && p.Request.URL != "about:blank"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if bad && !f.off {
		f.list = append(f.list, method+" "+string(params))
	}
}

// stop returns what was found, and finds nothing more.
func (f *faults) stop() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
	return f.list
}

// views are what the navigation leads to, and something that only each of them shows.
var views = []struct{ name, shows string }{
	{"overview", "Worst routes"},
	{"routes", "shop/catalog/browse"},
	{"backends", "backend/shop/checkout-v2"},
	{"hosts", "127.0.0.1:"},
	{"resilience", "Nothing is configured to protect routes or backends"},
	{"releases", "No Rollout yet"},
	{"objectives", "Nothing is promised yet"},
	{"shadows", "No Shadow yet"},
	{"faults", "Nothing is broken on purpose"},
	{"listeners", "listening"},
	{"explain", "Headers, one a line"},
	{"diagnostics", "shop/wishlist"},
	{"resources", "HTTPRoute shop/checkout"},
}

// TestConsole clicks through the console of a real Weir with 10,000 routes and light traffic,
// as people do: with the mouse, with the keyboard, on a telephone.
func TestConsole(t *testing.T) {
	t.Parallel()
	more := map[string]string{}
	for file := range 100 {
		text := routeFile(file, 100, "one")
		text = strings.ReplaceAll(text, "metadata: {name: r-", "metadata: {namespace: shop, name: r-")
		more[fmt.Sprintf("routes-%03d.yaml", file)] = strings.ReplaceAll(text, "name: v1}", "name: catalog}")
	}
	p, dir, link := store(t, "<img src=x onerror=pwned=1>", more)
	f := &faults{admin: "http://" + p.admin + "/"}
	b := newChromium(t, f.heard)
	step := func(name string, f func(t *testing.T)) { // the next one needs what it leads to
		if !t.Run(name, func(t *testing.T) { b.t = t; f(t) }) {
			t.FailNow()
		}
	}
	b.look(1280, 900, "light")
	step("links that are no links", func(*testing.T) {
		for _, token := range []string{"abc%", "%E2%82%AC", "%"} {
			b.call("Page.navigate", map[string]any{"url": f.admin + "#token=" + token}, nil)
			b.sees("Worst routes", "read only")
			b.call("Page.navigate", map[string]any{"url": "about:blank"}, nil)
		}
	})
	b.call("Page.navigate", map[string]any{"url": link}, nil)

	step("overview", func(t *testing.T) {
		b.sees("Overview", "Requests/s", "Worst routes", "revision 1", "ready")
		b.until(`document.querySelectorAll(".chart svg polyline.line.requests").length > 0`)
		b.until(`document.querySelectorAll(".chart svg polyline.line.p99").length > 0`)
		b.until(`/^\d{2,}/.test(document.querySelector(".tiles dd").innerText)`)
		if at := b.eval("location.href"); strings.Contains(at, "token") {
			t.Errorf("the token stays in the address: %s", at)
		}
		if b.eval(`document.getElementById("reload").hidden`) != "false" {
			t.Error("the link's token does not open the mutations")
		}
	})
	step("mouse", func(t *testing.T) {
		for _, v := range views {
			if v.name == "hosts" {
				b.click(`a[href="#/hosts"]`)
			} else {
				b.click(`nav a[data-view="` + v.name + `"]`)
			}
			b.sees(v.shows)
		}
		for address, says := range map[string]string{
			"nothing": "There is no page at #/nothing.", "releases/x": "There is no page at #/releases/x.", "route": "There is no page at #/route.",
			"backend": "There is no page at #/backend.", "toString": "There is no page at #/toString.", "%%": "There is no page at #/%%.",
			"route?name=shop/none": "No live route is named shop/none.", "backend?name=shop/none": "No live backend is named shop/none.",
			"release?name=shop/none": "No live Rollout is named shop/none.", "objective?name=shop/none": "No live objective is named shop/none.",
			"shadow?name=shop/none": "No live Shadow is named shop/none.",
		} {
			b.eval(`location.hash = "#/` + address + `"`)
			b.sees(says)
			b.click(`#view a[href="#/overview"]`)
			b.sees("Worst routes")
		}
		b.click(`nav a[data-view="routes"]`)
		b.sees("10,006 in all")
		b.click(`th a[title="sort by Errors/s"]`)
		b.until(`document.querySelector('th[aria-sort="descending"]').innerText.startsWith("Errors/s")`)
		b.click(`a[rel="next"]`)
		b.sees("First page")
		b.click(`.choices a:nth-child(3)`) // partial
		b.sees("1 found", "shop/wishlist/0", "partial")
		b.click(`a.name`)
		b.sees("Route shop/wishlist/0", "Effective policy", "timeouts.request", "Since the start")
	})
	step("keyboard", func(t *testing.T) { byKeyboard(t, b) })
	step("policy", func(t *testing.T) {
		b.eval(`location.hash = "#/route?name=shop%2Fcheckout%2Fpreview"`)
		// Text of a configuration is shown as what it is, and its secrets not at all.
		b.sees("<img src=x onerror=pwned=1>", "timeouts.perTry", "1s", "shop.yaml:23", "default")
		if b.eval("window.pwned") != "" || b.eval(`document.querySelectorAll("img").length`) != "0" {
			t.Error("text was taken for HTML")
		}
	})
	step("explain", func(t *testing.T) {
		b.click(`nav a[data-view="explain"]`)
		b.until(`document.getElementById("url")`)
		b.click("#url")
		b.write("http://shop.example.com/checkout/pay") // there is one listener
		b.press("Enter")
		b.sees("shop/checkout/pay", "Routes that lost", "shop/catalog/browse", "Backend/shop/checkout-v1", "90 %", "Effective policy")
		b.eval(`location.hash = "#/route?name=shop%2Fcatalog%2Fsearch"`)
		b.click(`a[href^="#/explain"].button`) // a route's own example finds that route
		b.sees("GET http://shop.example.com/search/", "prefix /search")
		b.until(`document.querySelector(".answer a").innerText === "shop/catalog/search"`)
	})
	step("colours", func(t *testing.T) { inColours(t, b) })
	step("telephone", func(t *testing.T) {
		b.look(390, 844, "dark")
		for _, v := range views {
			b.eval(`location.hash = "#/` + v.name + `"`)
			b.sees(v.shows)
			if wide := b.eval("document.documentElement.scrollWidth"); wide != "390" {
				t.Errorf("%s is %s wide", v.name, wide)
			}
		}
		b.eval(`location.hash = "#/route?name=shop%2Fcheckout%2Fpay"`)
		b.sees("Effective policy", "timeouts.perTry")
		if wide := b.eval("document.documentElement.scrollWidth"); wide != "390" {
			t.Errorf("a route is %s wide", wide)
		}
	})
	step("an object runs an older version", func(t *testing.T) {
		b.look(1280, 900, "light")
		spoil(t, filepath.Join(dir, "routes-007.yaml"), "hostnames: [h-7-3.", "hostnam: [h-7-3.")
		b.sees("1 object runs an older version, or none")
		b.click("#apart a")
		b.sees("quarantined", "HTTPRoute", "shop/r-7-3", "routes-007.yaml:", "hostnam")
	})
	step("a listener that cannot listen", func(t *testing.T) {
		more := strings.Replace(fmt.Sprintf(shop, portOf(f.admin), 1, 2, 3, "x"), "metadata: {name: edge,", "metadata: {name: taken,", 1)
		gateway, _, _ := strings.Cut(more, "---")
		put(t, filepath.Join(dir, "taken.yaml"), gateway)
		b.sees("is not in effect", "address already in use")
		b.click("#apart a")
		b.sees("not listening")
		b.press("g", "o")
		b.sees("Something is wrong")
	})
	for _, fault := range f.stop() {
		t.Errorf("the page: %s", fault)
	}
	step("nobody answers", func(t *testing.T) {
		_ = p.cmd.Process.Kill()
		<-p.exited
		b.sees("The admin server does not answer.", "the figures below are old", "unknown")
		b.until(`document.body.classList.contains("stale")`)
	})
}

// byKeyboard does everything without a mouse.
func byKeyboard(t *testing.T, b *chromium) {
	b.press("g", "o")
	b.sees("Worst routes")
	b.until(`document.activeElement.id === "title"`)
	b.press("/")
	b.until(`document.activeElement.id === "search"`)
	b.write("h-42-7.")
	b.sees("1 found", "h-42-7.example.com", "shop/r-42-7/0")
	b.until(`document.querySelectorAll("tbody tr").length === 1 && document.activeElement.id === "search"`)
	b.until(`location.hash.includes("q=h-42-7.")`)
	for range 12 { // over the filters to the row's link
		b.press("Tab")
		if b.eval(`document.activeElement.className`) == "name" {
			break
		}
	}
	b.press("Enter")
	b.sees("Route shop/r-42-7/0", "routes-042.yaml:")
	b.press("g", "o")
	b.sees("Worst routes")
	b.until(`document.activeElement.id === "title" && document.querySelectorAll(".plot svg polyline").length > 2`)
	b.eval(`document.querySelector(".plot").focus()`)
	b.press("Home")
	b.until(`/ago.*requests [\d.]+/.test(document.activeElement.getAttribute("aria-valuetext"))`)
	before := b.eval(`document.activeElement.getAttribute("aria-valuenow")`)
	b.press("ArrowRight")
	if after := b.eval(`document.activeElement.getAttribute("aria-valuenow")`); before != "0" || after != "1" {
		t.Errorf("the arrow moved from %s to %s", before, after)
	}
	b.press("Escape", "?")
	b.until(`document.getElementById("keys").open`)
	b.press("Escape")
	b.until(`!document.getElementById("keys").open`)
	b.eval("document.activeElement.blur(), history.replaceState(null, '', '#/overview')")
	b.call("Page.reload", nil, nil)
	b.sees("Worst routes")
	b.press("Tab")
	b.until(`document.activeElement.className === "skip"`)
	b.press("Enter")
	b.until(`document.activeElement.id === "title" && location.hash === "#/overview"`)
}

// inColours compares what the system, and then the switch, want.
func inColours(t *testing.T, b *chromium) {
	ground := func() string { return b.eval("getComputedStyle(document.querySelector('header')).backgroundColor") }
	b.press("g", "o")
	b.look(1280, 900, "light")
	light := ground()
	b.look(1280, 900, "dark")
	dark := ground()
	if light == dark {
		t.Errorf("dark and light are both %s", dark)
	}
	b.eval(`document.getElementById("title").focus()`)
	for _, want := range []string{light, dark, dark} { // light, dark, and again as the system
		b.press("t")
		if got := ground(); got != want {
			t.Errorf("%s: %s, want %s", b.eval(`document.getElementById("theme").innerText`), got, want)
		}
	}
}

// spoil replaces text in a file.
func spoil(t *testing.T, name, from, to string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(data), from) {
		t.Fatalf("%s has no %s: %v", name, from, err)
	}
	put(t, name, strings.Replace(string(data), from, to, 1))
}

// TestConsoleScreenshots makes the pictures of docs/console.md. It runs only when it is told
// where to.
func TestConsoleScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("no -screenshots")
	}
	p, _, link := store(t, "yes", map[string]string{})
	f := &faults{admin: "http://" + p.admin + "/"}
	b := newChromium(t, f.heard)
	b.look(1280, 1000, "light")
	b.call("Page.navigate", map[string]any{"url": link}, nil)
	t.Logf("traffic runs for %s", *warmUp)
	time.Sleep(*warmUp) // the pictures show ten minutes, which nothing makes shorter
	port := b.eval(`fetch("/api/v1/listeners").then(r => r.json()).then(l => l.items[0].name.split(":").at(-1))`)
	example := "#/explain?" + url.Values{"method": {"GET"}, "url": {"http://shop.example.com:" + port + "/checkout/pay"}}.Encode()
	for _, shot := range []struct {
		name          string
		width, height int
		colours, hash string
		shows         string
	}{
		{"overview-light", 1280, 1000, "light", "#/overview", "Worst routes"},
		{"overview-dark", 1280, 1000, "dark", "#/overview", "Worst routes"},
		{"routes", 1280, 800, "light", "#/routes?sort=errors", "shop/checkout/pay"},
		{"route", 1280, 1000, "light", "#/route?name=shop/checkout/pay", "Effective policy"},
		{"backend", 1280, 1000, "dark", "#/backend?name=backend/shop/checkout-v2@shop/edge", "Effective policy"},
		{"explain", 1280, 1000, "light", example, "Routes that lost"},
		{"phone", 390, 844, "dark", "#/overview", "Worst routes"},
		{"phone-routes", 390, 844, "light", "#/routes?sort=rate", "shop/checkout/pay"},
	} {
		b.look(shot.width, shot.height, shot.colours)
		b.eval("location.hash = " + quote(shot.hash))
		b.sees(shot.shows)
		shoot(t, b, shot.name)
	}
}

// smaller makes a PNG of a page small: of its colours the 256 most frequent stay.
func smaller(t *testing.T, data []byte) []byte {
	t.Helper()
	from, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	area := from.Bounds()
	seen := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(from.At(x, y)).(color.RGBA) }
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			seen[at(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(seen), func(a, b color.RGBA) int { return cmp.Compare(seen[b], seen[a]) })
	var palette color.Palette
	for _, c := range colours[:min(len(colours), 256)] {
		palette = append(palette, c)
	}
	nearest := map[color.RGBA]uint8{}
	for _, c := range colours {
		nearest[c] = uint8(palette.Index(c))
	}
	to := image.NewPaletted(area, palette)
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			to.SetColorIndex(x, y, nearest[at(x, y)])
		}
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
