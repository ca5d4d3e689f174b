package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// routeFile is one of 100 files with n routes each, all with hosts of their own. The routes
// put a mark in a header of their answers; only the first of a file changes it.
func routeFile(file, n int, mark string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r-%[1]d-%[2]d}
spec:
  parentRefs: [{name: edge}]
  hostnames: [h-%[1]d-%[2]d.example.com]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: x-mark, value: %[3]q}]}
    backendRefs: [{group: weir.dev, kind: Backend, name: v1}]
`, file, i, mark)
		if i == 0 {
			mark = "rest"
		}
	}
	return b.String()
}

// TestManyRoutes starts with 1,000 routes and changes one of them.
func TestManyRoutes(t *testing.T) {
	w, ask := hundredFiles(t, 10)
	for _, mark := range []string{"two", "three"} {
		w.write(t, "routes-042.yaml", routeFile(42, 10, mark))
		eventually(t, func() (bool, string) { got := ask("h-42-0"); return got == mark, got })
		if got := ask("h-42-1"); got != "rest" {
			t.Errorf("the neighbour changed to %q", got)
		}
	}
}

// hundredFiles starts a Weir with n routes in each of 100 files; ask returns the mark of a
// host's answer.
func hundredFiles(tb testing.TB, n int) (w *weir, ask func(host string) string) {
	files := map[string]string{"gateway.yaml": gateway}
	for i := range 100 {
		files[fmt.Sprintf("routes-%03d.yaml", i)] = routeFile(i, n, "one")
	}
	w = start(tb, files)
	client := w.client(tb)
	return w, func(host string) string {
		resp, err := client.Get("http://" + host + ".example.com/")
		if err != nil {
			tb.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return resp.Status
		}
		return resp.Header.Get("X-Mark")
	}
}

// BenchmarkChangeAmong10000 measures from the moment at which a file with one changed route
// is in place until a request sees the change.
func BenchmarkChangeAmong10000(b *testing.B) {
	w, ask := hundredFiles(b, 100)
	ask("h-42-0")
	mark := 0
	for b.Loop() {
		mark++
		want := fmt.Sprint(mark)
		w.write(b, "routes-042.yaml", routeFile(42, 100, want))
		for ask("h-42-0") != want {
			time.Sleep(time.Millisecond) // the asking itself must not take the processors
		}
		b.StopTimer()
		time.Sleep(200 * time.Millisecond) // quiet, as between edits of a person
		b.StartTimer()
	}
}

// BenchmarkStart10000 measures the time to ready with 10,000 routes.
func BenchmarkStart10000(b *testing.B) {
	for b.Loop() {
		w, _ := hundredFiles(b, 100)
		b.StopTimer()
		if err := w.stop(); err != nil {
			b.Fatal(err)
		}
		_ = os.RemoveAll(w.dir)
		b.StartTimer()
	}
}
