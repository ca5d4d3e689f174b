package resource

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

// inUTF16 encodes text, the low byte first.
func inUTF16(text string) (data string) {
	for _, unit := range utf16.Encode([]rune(text)) {
		data += string([]byte{byte(unit), byte(unit >> 8)})
	}
	return data
}

// What editors, transfers and generators make of manifests is named as what it is.
func TestDecodeHostile(t *testing.T) {
	const ns = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
	for name, tt := range map[string]struct {
		file string
		want []string
	}{
		"UTF-16":                       {"\xff\xfe" + inUTF16(ns), []string{"f.yaml:1:1: not UTF-8 but UTF-16; save the file as UTF-8"}},
		"UTF-16 without a mark":        {inUTF16(ns), []string{"f.yaml:1:1: not UTF-8 but UTF-16; save the file as UTF-8"}},
		"UTF-32":                       {"\xff\xfe\x00\x00a\x00\x00\x00", []string{"f.yaml:1:1: not UTF-8 but UTF-32; save the file as UTF-8"}},
		"gzip":                         {"\x1f\x8b\x08\x00\x00", []string{"f.yaml:1:1: not UTF-8 but gzip; unpack the file"}},
		"Latin-1":                      {ns + "# caf\xe9\n", []string{"f.yaml:4:6: not UTF-8"}},
		"a zero byte":                  {ns + "a: \"\x00\"\n", []string{"f.yaml:4:1: control characters are not allowed"}},
		"zeros, after a crash":         {strings.Repeat("\x00", 4096), []string{"f.yaml:1:1: control characters are not allowed"}},
		"lines that end in CR":         {strings.ReplaceAll(ns, "\n", "\r"), nil},
		"a mark at the second line":    {ns + "---\n\ufeff" + strings.ReplaceAll(ns, "name: a", "name: b"), nil},
		"a mark before the dashes":     {ns + "\ufeff---\n" + strings.ReplaceAll(ns, "name: a", "name: b"), nil},
		"a conflict":                   {"<<<<<<< HEAD\n" + ns + "=======\n" + ns + ">>>>>>> theirs\n", []string{"f.yaml:2:1: mapping values are not allowed in this context; there is a merge conflict to resolve"}},
		"a template":                   {"{{- if .x }}\n" + ns + "{{- end }}\n", []string{"f.yaml:1:1: did not find expected node content; is it a template that must be rendered first?"}},
		"a web page":                   {"<!DOCTYPE html>\n<p>hi: there: you</p>\n", []string{"f.yaml:2:1: mapping values are not allowed in this context; is it a web page?"}},
		"the directive of YAML 1.1":    {"%YAML 1.1\n---\n" + ns + "...\n%YAML 1.1\n---\n" + strings.ReplaceAll(ns, "name: a", "name: b"), nil},
		"the directive of YAML 1.3":    {"%YAML 1.3\n---\n" + ns, []string{"f.yaml:1:1: unknown version of YAML; expected %YAML 1.2 or 1.1, or no such line"}},
		"an anchor of another file":    {strings.ReplaceAll(ns, "metadata: ", "metadata: &m ") + "---\napiVersion: v1\nkind: Namespace\nmetadata: *m\n", []string{"f.yaml:7:1: an alias (*name) of no anchor; quote the value if a string is meant"}},
		"numbers as YAML writes them":  {route("a", "    backendRefs: [{name: s, port: 0o120, weight: 1e3}]\n"), nil},
		"a number where a name is":     {route("a", "    backendRefs: [{name: 1e3, port: 80}]\n"), []string{"f.yaml:8:20: HTTPRoute shop/a: spec.rules[0].backendRefs[0].name: expected a string, got the number 1000; quote it if a string is meant"}},
		"a date is a string":           {strings.ReplaceAll(ns, "name: a", "name: 2024-01-01"), nil},
		"a version is a number":        {strings.ReplaceAll(ns, "name: a", "name: a, labels: {v: 1.10}"), []string{"f.yaml:3:30: Namespace a: metadata.labels.v: expected a string, got the number 1.1; quote it if a string is meant"}},
		"a key twice in JSON":          {`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a","name":"b"}}`, []string{"f.yaml:1:62: Namespace a: metadata.name: duplicate key"}},
		"a line of a mebibyte":         {ns + "# " + strings.Repeat("y", 1<<20) + "\n", nil},
		"a name of any length":         {strings.ReplaceAll(ns, "name: a", "name: "+strings.Repeat("x", 100_000)), []string{"f.yaml:3:12: metadata.name: longer than 253 characters"}},
		"values written into messages": {"apiVersion: " + strings.Repeat("x", 5000) + "\nkind: A\n", []string{"f.yaml:2:1: warning: kind: A of " + strings.Repeat("x", 795) + " ... " + strings.Repeat("x", 149) + " is not for Weir: it is ignored"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, diagnostics := new(Decoder).Decode("f.yaml", []byte(tt.file))
			var got []string
			for _, d := range diagnostics {
				got = append(got, d.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("diagnostics (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever a file holds, decoding it allocates a bounded multiple of its size, most of it for
// no longer than a document takes. Before there were bounds, each of these took gigabytes.
func TestDecodeIsBounded(t *testing.T) {
	lines := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, tt := range map[string]struct {
		file, want string
		allocated  uint64 // mebibytes
	}{
		"values in brackets":    {"a: [" + strings.Repeat("a,", MaxFile/2-8) + "]", "more than 500000 values, commas, colons and lines in one document; split it", 64},
		"values in lines":       {"a:\n" + strings.Repeat("-\n", MaxFile/2-8), "more than 500000 values", 64},
		"documents":             {strings.Repeat("---\n", MaxFile/4-1), "the file has more than 50000 documents; split it", 64},
		"objects on a line":     {strings.Repeat("{}", MaxFile/2), "the file has more than 50000 documents; split it", 64},
		"some objects a line":   {strings.Repeat("{}", 40_000), "30000 more problems in this file are not listed", 512},
		"documents of no use":   {lines(20_000, "- %d\n---\n"), "10000 more problems in this file are not listed", 1024},
		"unknown fields":        {route("a", "") + lines(20_000, "    f%d: 1\n"), "19900 more problems of this object are not listed", 512},
		"wrong documents":       {strings.Repeat("---\n"+strings.Repeat("a: {b: c}\n", 190)+"a: [\n", 400), "did not find expected node content", 1024},
		"brackets in brackets":  {strings.Repeat("[", 400_000), "exceeded max depth of 10000", 64},
		"as deep as it is long": {lines(400, "%d: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: "), "did not find expected", 512},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			objects, diagnostics := new(Decoder).Decode("f.yaml", []byte(tt.file))
			runtime.ReadMemStats(&after)
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > tt.allocated {
				t.Errorf("%d MiB allocated for %d KiB, want at most %d MiB", used, len(tt.file)>>10, tt.allocated)
			}
			if !slices.ContainsFunc(diagnostics, func(d Diagnostic) bool { return strings.Contains(d.Message, tt.want) }) {
				t.Errorf("none of %d diagnostics says %q", len(diagnostics), tt.want)
			}
			if len(objects) == 0 && !MustRetain(diagnostics) {
				t.Error("what is in the file is not known, yet its objects are not to be retained")
			}
		})
	}
}
