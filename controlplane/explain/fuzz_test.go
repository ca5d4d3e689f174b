package explain

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzExplain: whatever is asked, there is an answer or an error, never both nor neither; an
// answer that forwards has a path in its normal form.
func FuzzExplain(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/explain-shop.txtar")
	if err != nil {
		f.Fatal(err)
	}
	e := New(snapshotOf(f, archive, ""))
	for _, line := range questions(archive) {
		q := requestOf(line)
		name, value := "", ""
		if len(q.Headers) > 0 {
			name, value = q.Headers[0].Name, q.Headers[0].Value
		}
		f.Add(q.Method, q.URL, name, value)
	}
	f.Add("GET", "[::1]:8080/%2e%2e?#", "host", "A.:1")
	f.Fuzz(func(t *testing.T, method, url, name, value string) {
		x, err := e.Explain(Request{Method: method, URL: url, Headers: []Header{{name, value}}})
		if err != nil {
			if x.Listener != "" {
				t.Errorf("an error and an answer: %v, %+v", err, x)
			}
			return
		}
		if x.Route == "" && x.Reason == "" {
			t.Errorf("neither a route nor a reason: %+v", x)
		}
		path, _, _ := strings.Cut(x.ForwardedPath, "?")
		if x.ForwardedPath != "" && (!strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.Contains(path+"/", "/../")) {
			t.Errorf("forwards %q", x.ForwardedPath)
		}
	})
}
