package e2e_test

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestScenarios runs every testdata/*.txtar: its *.yaml files are the configuration, and its
// file "requests" holds stanzas, each a request and what must come of it:
//
//	> POST /path?query          the request line
//	> host: shop.example.com    header lines; the host may carry a port, 80 otherwise
//	> | hello                   a body
//	< 200                       the status
//	< x-upstream: 10.0.0.1:80   a header of the answer; an empty value means absent
//	~ POST /path?query          a line that the upstream saw
//	! cookie:                   the start of a line that the upstream must not have seen
func TestScenarios(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{}
			requests := ""
			for _, f := range archive.Files {
				if f.Name == "requests" {
					requests = string(f.Data)
					continue
				}
				files[f.Name] = string(f.Data)
			}
			w := start(t, files)
			client := w.client(t)
			n := 0
			for stanza := range strings.SplitSeq(requests, "\n\n") {
				if strings.TrimSpace(stanza) == "" {
					continue
				}
				n++
				play(t, client, stanza)
			}
			if n == 0 {
				t.Error("the scenario asks for nothing")
			}
		})
	}
}

// play sends one stanza's request and checks the answer.
func play(t *testing.T, client *http.Client, stanza string) {
	t.Helper()
	var request, answer, saw, unseen []string
	for line := range strings.Lines(stanza) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		mark, rest, _ := strings.Cut(line, " ")
		switch mark {
		case ">":
			request = append(request, rest)
		case "<":
			answer = append(answer, rest)
		case "~":
			saw = append(saw, rest)
		case "!":
			unseen = append(unseen, rest)
		default:
			t.Fatalf("stanza line %q: want >, <, ~ or ! in front", line)
		}
	}
	if len(request) == 0 || len(answer) == 0 {
		t.Fatalf("a stanza needs a request and a status:\n%s", stanza)
	}
	resp, err := client.Do(build(t, request))
	if err != nil {
		t.Errorf("%s: %v", request[0], err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s: %v", request[0], err)
	}
	bad := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: "+format, append([]any{strings.Join(request, ", ")}, args...)...)
	}
	if !strings.HasPrefix(resp.Status, answer[0]) {
		bad("status %s (flag %q), want %s", resp.Status, resp.Header.Get("X-Weir-Flag"), answer[0])
	}
	for _, want := range answer[1:] {
		name, value, _ := strings.Cut(want, ":")
		if got := strings.Join(resp.Header.Values(name), ", "); got != strings.TrimSpace(value) {
			bad("answer has %s: %s; want %s", name, got, strings.TrimSpace(value))
		}
	}
	lines := strings.Split(strings.TrimRight(string(body), "\n"), "\n")
	for _, want := range saw {
		if !contains(lines, func(l string) bool { return l == want }) {
			bad("the upstream did not see %q but:\n%s", want, body)
		}
	}
	for _, start := range unseen {
		if contains(lines, func(l string) bool { return strings.HasPrefix(l, start) }) {
			bad("the upstream saw %q:\n%s", start, body)
		}
	}
}

func contains(lines []string, is func(string) bool) bool {
	for _, l := range lines {
		if is(l) {
			return true
		}
	}
	return false
}

func build(t *testing.T, lines []string) *http.Request {
	t.Helper()
	method, target, _ := strings.Cut(lines[0], " ")
	host, body := "example.com", ""
	header := http.Header{}
	for _, line := range lines[1:] {
		if text, ok := strings.CutPrefix(line, "| "); ok {
			body += text
			continue
		}
		name, value, _ := strings.Cut(line, ": ")
		if strings.EqualFold(name, "host") {
			host = value
			continue
		}
		header.Add(name, value)
	}
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+host+target, content)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	return req
}
