package translate

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

var update = flag.Bool("update", false, "rewrite the want/ files of testdata")

// TestGolden translates the manifests of each archive in testdata and compares snapshot,
// statuses and diagnostics with its want/ files. Hashes, zero values and what is the same
// everywhere are left out of them, so that they can be read.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := results(t, Translate(Input{Set: archiveSet(archive)}))
			if *update {
				rewrite(t, file, archive, got)
				return
			}
			for name, text := range got {
				if diff := cmp.Diff(section(archive, name), text); diff != "" {
					t.Errorf("%s (-want +got; -update rewrites):\n%s", name, diff)
				}
			}
		})
	}
}

// archiveSet decodes an archive's manifests.
func archiveSet(archive *txtar.Archive) *resource.Set {
	var decoder resource.Decoder
	var objects []*resource.Object
	var diagnostics []resource.Diagnostic
	for _, f := range archive.Files {
		if strings.HasPrefix(f.Name, "want/") {
			continue
		}
		o, d := decoder.Decode(f.Name, fillPEM(f.Data))
		objects, diagnostics = append(objects, o...), append(diagnostics, d...)
	}
	return resource.NewSet(objects, diagnostics)
}

func section(archive *txtar.Archive, name string) string {
	for _, f := range archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func results(t *testing.T, out Output) map[string]string {
	t.Helper()
	statuses := map[string]any{}
	for _, s := range out.Statuses {
		statuses[s.Key.String()] = readableStatus(plain(t, s.Value))
	}
	var lines strings.Builder
	for _, d := range out.Diagnostics {
		lines.WriteString("[" + d.Rule + "] " + d.String() + "\n")
	}
	got := map[string]string{
		"want/snapshot":    text(t, readableSnapshot(plain(t, out.Snapshot))),
		"want/status":      text(t, statuses),
		"want/diagnostics": lines.String(),
	}
	if len(out.Rollouts)+len(out.Objectives) > 0 {
		got["want/plans"] = text(t, readableSnapshot(plain(t, map[string]any{"rollouts": out.Rollouts, "objectives": out.Objectives})))
	}
	return got
}

func plain(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// readableSnapshot leaves out zero values and hashes, and writes durations as text.
func readableSnapshot(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v["HeadTimeout"] != nil && plainClient(v) {
			return "defaults"
		}
		if object, ok := v["object"].(string); ok {
			return fmt.Sprintf("%v:%v:%v %s", v["file"], v["line"], v["column"], object)
		}
		if arms, ok := v["Arms"]; ok && v["Release"] == nil {
			return readableSnapshot(arms)
		}
		out := map[string]any{}
		for name, value := range v {
			if _, list := value.([]any); slices.Contains(leftOut, name) && !list || name == "PanicThreshold" && value == defaultPanicThreshold || defaultProtection(name, value) {
				continue
			}
			if text, ok := value.(string); ok && (name == "Chain" || name == "cas") {
				value = pemSubjects(text)
			}
			if d, ok := value.(float64); ok && slices.Contains(durationFields, name) {
				value = time.Duration(d).String()
				if value == "0s" {
					value = nil
				}
			}
			if r := readableSnapshot(value); !isZero(r) {
				out[name] = r
			}
		}
		return out
	case []any:
		for i := range v {
			v[i] = readableSnapshot(v[i])
		}
	}
	return v
}

// defaultProtection reports whether a breaker or an outlier detection is what the defaults
// make it.
func defaultProtection(name string, value any) bool {
	var c model.Cluster
	fillBackend(&c, backendSide{})
	b, _ := json.Marshal(map[string]any{"Breaker": c.Breaker, "Outlier": c.Outlier})
	var want map[string]any
	return json.Unmarshal(b, &want) == nil && want[name] != nil && cmp.Equal(want[name], value)
}

// A Key is the hash of a private one.
var leftOut = []string{"Hash", "Version", "Policy", "Subject", "Created", "Kind", "Namespace", "Object", "Rule", "Key"}

var durationFields = []string{"HeadTimeout", "BodyTimeout", "KeepAlive", "ConnectTimeout", "Request", "PerTry", "Idle", "Backoff", "BackoffBase", "BackoffMax", "MaxAge", "SlowStart", "AbsoluteTimeout", "Handshake", "Interval", "Timeout", "BaseEjection", "MaxEjection", "OpenFor", "After", "ServeStale", "For", "Latency", "Delay"}

// plainClient reports whether a client side is what the defaults make it.
func plainClient(v map[string]any) bool {
	var c model.Client
	fillClient(&c, clientSide{})
	b, _ := json.Marshal(c)
	got, _ := json.Marshal(v)
	var want, have any
	return json.Unmarshal(b, &want) == nil && json.Unmarshal(got, &have) == nil && cmp.Equal(want, have)
}

// readableStatus writes conditions in one line each: "Accepted=True Accepted: message".
func readableStatus(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v["observedGeneration"] != nil || v["lastTransitionTime"] == nil && v["status"] != nil && v["reason"] != nil {
			line := v["type"].(string) + "=" + v["status"].(string) + " " + v["reason"].(string)
			if m := v["message"].(string); m != "" {
				line += ": " + m
			}
			return line
		}
		delete(v, "controllerName")
		if v["kind"] != nil && v["name"] == nil && v["group"] == groupGateway {
			return v["kind"] // of a route
		}
		if v["group"] == groupGateway && (v["kind"] == kindGateway || v["kind"] == kindListenerSet) {
			delete(v, "group")
		}
		if v["supportedFeatures"] != nil {
			v["supportedFeatures"] = "..."
		}
		for name := range maps.Clone(v) {
			v[name] = readableStatus(v[name])
		}
	case []any:
		for i := range v {
			v[i] = readableStatus(v[i])
		}
	}
	return v
}

func isZero(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case float64:
		return v == 0
	case bool:
		return !v
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

func rewrite(t *testing.T, file string, archive *txtar.Archive, got map[string]string) {
	t.Helper()
	archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return strings.HasPrefix(f.Name, "want/") })
	for _, name := range slices.Sorted(maps.Keys(got)) {
		archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(got[name])})
	}
	if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}
