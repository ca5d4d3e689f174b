package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestStormOfEdits replaces fifty files a second, for three seconds, among them some that are
// not YAML and some with a route that is refused, all of which are mended later, while
// requests for many hosts are sent. None fails, and in the end the last edits are live.
func TestStormOfEdits(t *testing.T) {
	const files, routes, edits = 100, 10, 150
	w, ask := hundredFiles(t, routes)
	steady := steadyTraffic(t, w, files, routes)
	tick := time.NewTicker(time.Second / 50)
	defer tick.Stop()
	for i := range edits {
		<-tick.C
		file, text := i%7, routeFile(i%7, routes, fmt.Sprint("edit-", i))
		switch i % 4 { // of seven files: each is broken, and mended, in its turn
		case 1:
			text += "---\nkind: [\n"
		case 2:
			text = strings.Replace(text, "hostnames: ", "hostname: ", 1)
		}
		w.write(t, fmt.Sprintf("routes-%03d.yaml", file), text)
	}
	for file := range 7 {
		w.write(t, fmt.Sprintf("routes-%03d.yaml", file), routeFile(file, routes, "end"))
	}
	for file := range 7 {
		eventually(t, func() (bool, string) { got := ask(fmt.Sprintf("h-%d-0", file)); return got == "end", got })
	}
	answered, failed := steady()
	if failed != "" {
		t.Errorf("in the storm: %s", failed)
	}
	if answered == 0 {
		t.Error("no request was answered in the storm")
	}
	eventually(t, func() (bool, string) { got := w.problems(t); return len(got) == 0, fmt.Sprint(got) })
}

// steadyTraffic asks for the hosts in turn that no edit changes, until the function that it
// returns is called: that tells how many answers there were, and the first failure.
func steadyTraffic(t *testing.T, w *weir, files, routes int) (end func() (answered int64, failed string)) {
	client := w.client(t)
	quit := make(chan struct{})
	var (
		callers  sync.WaitGroup
		answered atomic.Int64
		first    atomic.Pointer[string]
	)
	for caller := range 4 {
		callers.Go(func() {
			for i := caller; ; i += 4 {
				select {
				case <-quit:
					return
				default:
				}
				host := fmt.Sprintf("h-%d-%d", i%files, 1+i%(routes-1))
				resp, err := client.Get("http://" + host + ".example.com/")
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if mark := resp.Header.Get("X-Mark"); err == nil && (resp.StatusCode != http.StatusOK || mark != "rest") {
						err = fmt.Errorf("%s, mark %q", resp.Status, mark)
					}
				}
				if err != nil {
					text := host + ": " + err.Error()
					first.CompareAndSwap(nil, &text)
					continue
				}
				answered.Add(1)
			}
		})
	}
	stop := sync.OnceFunc(func() { close(quit); callers.Wait() })
	t.Cleanup(stop)
	return func() (int64, string) {
		stop()
		if why := first.Load(); why != nil {
			return answered.Load(), *why
		}
		return answered.Load(), ""
	}
}

// TestManyRoutesSomeBroken starts with 2,000 routes, of which every 97th is refused: all of
// those are named at once, each with its place, and the rest is live.
func TestManyRoutesSomeBroken(t *testing.T) {
	const routes = 20
	files := map[string]string{"gateway.yaml": gateway}
	broken := map[string]string{} // the file by name of the route
	for file := range 100 {
		name, text := fmt.Sprintf("routes-%03d.yaml", file), routeFile(file, routes, "one")
		for i := range routes {
			if (file*routes+i)%97 == 0 {
				old := fmt.Sprintf("hostnames: [h-%d-%d.example.com]", file, i)
				text = strings.Replace(text, old, strings.Replace(old, "hostnames", "hostname", 1), 1)
				broken[fmt.Sprintf("HTTPRoute default/r-%d-%d", file, i)] = name
			}
		}
		files[name] = text
	}
	w := start(t, files)
	named := w.problems(t)
	for route, file := range broken {
		if at := named[route]; !strings.HasSuffix(at, file) {
			t.Errorf("%s in %s is not named (%q)", route, file, at)
		}
	}
	if len(named) != len(broken) {
		t.Errorf("%d objects are named, want %d", len(named), len(broken))
	}
	client := w.client(t)
	for file := range 100 {
		for i := range routes {
			want := http.StatusOK
			if broken[fmt.Sprintf("HTTPRoute default/r-%d-%d", file, i)] != "" {
				want = http.StatusNotFound
			}
			resp, err := client.Get(fmt.Sprintf("http://h-%d-%d.example.com/", file, i))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("h-%d-%d: %s, want %d", file, i, resp.Status, want)
			}
		}
	}
}

// problems asks the API for the errors, by object: the file of the last.
func (w *weir) problems(t *testing.T) map[string]string {
	t.Helper()
	admin, _ := w.real(9901)
	status, body := fetch("http://" + admin + "/api/v1/diagnostics?severity=error&limit=500")
	if status != http.StatusOK {
		t.Fatal(status, body)
	}
	var list struct {
		Items []struct {
			Object string
			At     struct{ File string }
		}
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err, body)
	}
	found := map[string]string{}
	for _, d := range list.Items {
		found[d.Object] = d.At.File
	}
	return found
}
