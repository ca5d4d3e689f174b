package app

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/console"
)

// TestDrillOrders: what is wrong with a drill is said before anything else, and a process that ends begins none.
func TestDrillOrders(t *testing.T) {
	order := console.DrillOrder{
		Name: "late", Reason: "a rehearsal", Seconds: 3660,
		TargetRefs: json.RawMessage(`[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"shop"}]`),
		Faults:     json.RawMessage(`[{"name":"late","share":"10%","delay":{"fixed":"1s"}}]`),
	}
	for part, edit := range map[string]func(o *console.DrillOrder){
		"seconds: 0.5":         func(o *console.DrillOrder) { o.Seconds = 0.5 },
		"seconds: 3661":        func(o *console.DrillOrder) { o.Seconds = 3661 },
		"seconds: 1e+300":      func(o *console.DrillOrder) { o.Seconds = 1e300 },
		"metadata.name":        func(o *console.DrillOrder) { o.Name = "../late" },
		"spec.reason":          func(o *console.DrillOrder) { o.Reason = "" },
		"spec.targetRefs":      func(o *console.DrillOrder) { o.TargetRefs = nil },
		"spec.faults[0].share": func(o *console.DrillOrder) { o.Faults = json.RawMessage(`[{"name":"late","delay":{"fixed":"1s"}}]`) },
	} {
		o := order
		edit(&o)
		var wrong *console.WrongDrill
		if err := new(App).StartDrill(t.Context(), o); !errors.As(err, &wrong) || !strings.Contains(err.Error(), part) {
			t.Errorf("%v, want %s", err, part)
		}
	}
	a := new(App)
	if err := a.StartDrill(t.Context(), order); !errors.Is(err, console.ErrConflict) || !strings.Contains(err.Error(), drillNoSource) {
		t.Errorf("before anything is configured: %v", err)
	}
	a.upgrading.Store(true)
	if err := a.StartDrill(t.Context(), order); !errors.Is(err, console.ErrConflict) || !strings.Contains(err.Error(), "a new process") {
		t.Errorf("in an upgrade: %v", err)
	}
	a.endDrills()
	if err := a.StartDrill(t.Context(), order); !errors.Is(err, console.ErrConflict) || !strings.Contains(err.Error(), "ends") {
		t.Errorf("at the end: %v", err)
	}
	if err := a.StopDrill(t.Context(), "", "late"); !errors.Is(err, console.ErrConflict) || !strings.Contains(err.Error(), "default/late") {
		t.Errorf("one that does not run: %v", err)
	}
}

// TestAdminToken: of the notes of several processes, most of which have ended, that of the last one at
// the address counts.
func TestAdminToken(t *testing.T) {
	root, now := t.TempDir(), time.Now()
	note := func(folder, address, token string, age time.Duration) {
		t.Helper()
		dir := filepath.Join(root, folder)
		file := filepath.Join(dir, "token")
		err := errors.Join(
			os.MkdirAll(dir, 0o700), os.WriteFile(file, []byte(token), 0o600),
			os.WriteFile(filepath.Join(dir, adminFile), []byte(address+"\n"+file+"\n"), 0o600),
			os.Chtimes(filepath.Join(dir, adminFile), now.Add(-age), now.Add(-age)),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	const address = "127.0.0.1:9901"
	if _, err := AdminToken(root, address); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody has left word: %v", err)
	}
	note("a", address, strings.Repeat("a", 32), time.Hour)
	note("b", address, strings.Repeat("b", 32), time.Minute)
	note("c", address, strings.Repeat("c", 32), 2*time.Hour)
	note("d", "127.0.0.1:9902", strings.Repeat("d", 32), 0)
	if err := os.MkdirAll(filepath.Join(root, "e", adminFile), 0o700); err != nil { // no file
		t.Fatal(err)
	}
	if token, err := AdminToken(root, address); err != nil || token != strings.Repeat("b", 32) {
		t.Errorf("token %q, %v", token, err)
	}
	if err := os.Remove(filepath.Join(root, "b", "token")); err != nil {
		t.Fatal(err)
	}
	if token, err := AdminToken(root, address); err == nil {
		t.Errorf("an older process's token %q is taken", token)
	}
}
