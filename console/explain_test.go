package console

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"weir.dev/weir/model"
)

func TestExplain(t *testing.T) {
	h := newHarness(4)
	ask := func(body string) (int, string) {
		w := h.do("POST", "/api/v1/explain", body)
		return w.Code, w.Body.String()
	}
	code, text := ask(`{"url":"http://h1.example.com:8080/cart/7?api_key=hunter2","headers":{"Authorization":["Bearer hunter2"],"x-user":["7"]}}`)
	var x model.Explanation
	if err := json.Unmarshal([]byte(text), &x); err != nil || code != http.StatusOK {
		t.Fatalf("%d %s: %v", code, text, err)
	}
	if x.Route != "shop/r1/0" || x.Origin.File != "r.yaml" || x.Revision != 7 || x.Listener != "0.0.0.0:8080" {
		t.Errorf("%+v", x)
	}
	// What the configuration wants stays secret, whatever is asked.
	for _, question := range []string{
		`{"url":"http://h1.example.com:8080/cart/7"}`,
		`{"url":"http://h1.example.com:8080/cart/7","headers":{"authorization":["mine"]}}`,
	} {
		if code, text := ask(question); code != http.StatusOK || strings.Contains(text, "hunter2") || !strings.Contains(text, model.Redacted) {
			t.Errorf("%s: %d %s", question, code, text)
		}
	}
	for question, want := range map[string]int{
		`{"url":"http://nobody:8080/"}`:    http.StatusOK,
		`{"url":"http://h1.example.com/"}`: http.StatusOK,
		`{"url":""}`:                       http.StatusBadRequest,
		`{"url":"ftp://a/"}`:               http.StatusBadRequest,
		`{"uri":"http://a/"}`:              http.StatusBadRequest,
		`nonsense`:                         http.StatusBadRequest,
		`{"url":"http://a/` + strings.Repeat("a", maxBody) + `"}`:     http.StatusRequestEntityTooLarge,
		`{"url":"http://a/` + strings.Repeat("a", maxBody*2/3) + `"}`: http.StatusBadRequest,
	} {
		if code, text := ask(question); code != want {
			t.Errorf("%.60s: %d %s", question, code, text)
		}
	}
	h.mu.Lock()
	h.snapshot = nil
	h.mu.Unlock()
	if code, text := ask(`{"url":"http://a/"}`); code != http.StatusServiceUnavailable {
		t.Errorf("without a snapshot: %d %s", code, text)
	}
}
