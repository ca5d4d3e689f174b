package lint

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestIdentityUnknown writes the key otherwise, and for a rule that two listeners serve.
func TestIdentityUnknown(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/identity-unknown.txtar")
	if err != nil {
		t.Fatal(err)
	}
	bad, good := string(content(t, archive, "bad.yaml")), string(content(t, archive, "good.yaml"))
	const key, plain = "{identity: {}}", "  listeners:\n"
	for name, test := range map[string]struct {
		text  string
		found bool
	}{
		"expression":                  {strings.Replace(bad, key, `{expression: 'identity.split("/")[2]'}`, 1), true},
		"expression that is known":    {strings.Replace(good, key, `{expression: 'identity.split("/")[2]'}`, 1), false},
		"expression of another thing": {strings.Replace(bad, key, `{expression: 'request.headers.identity'}`, 1), false},
		"one listener of two":         {strings.Replace(good, plain, plain+"  - {name: http, port: 8080, protocol: HTTP}\n", 1), false},
		"no validation on the port":   {strings.Replace(good, "      default:", "      perPort: [{port: 8443, tls: {}}]\n      default:", 1), true},
	} {
		archive.Files = []txtar.File{{Name: "in.yaml", Data: []byte(test.text)}}
		if got := lines(lintFile(t, archive, "in.yaml"), "identity-unknown"); got != "" != test.found {
			t.Errorf("%s: %q, want a finding: %v", name, got, test.found)
		}
	}
}

// TestConstantKey writes the key otherwise.
func TestConstantKey(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/constant-key.txtar")
	if err != nil {
		t.Fatal(err)
	}
	bad := string(content(t, archive, "bad.yaml"))
	const written = `'route.namespace + "/" + route.name'`
	for source, found := range map[string]bool{
		`'"all"'`: true, `string(now)`: true, `route.rule`: true, `identity`: false, `request.host`: false,
	} {
		text := strings.Replace(bad, written, source, 1)
		archive.Files = []txtar.File{{Name: "in.yaml", Data: []byte(text)}}
		all := lines(lintFile(t, archive, "in.yaml"), "")
		if got := strings.Contains(all, "is the same for every request"); got != found || text == bad {
			t.Errorf("%s: %s, want a finding: %v", source, all, found)
		}
	}
}
