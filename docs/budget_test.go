package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir.dev/weir/cli"
	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/controlplane/simulate"
)

var update = flag.Bool("update", false, "rewrite what commands print in budget.md")

// TestBudget runs the commands of budget.md on its resources.
func TestBudget(t *testing.T) {
	page, err := os.ReadFile("budget.md")
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	blocks := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatch(page, -1)
	names := []string{"shop.yaml", "naive.yaml", "good.yaml"}
	if len(blocks) != len(names) {
		t.Fatalf("%d examples, want %d", len(blocks), len(names))
	}
	for i, name := range names {
		if err := os.WriteFile(filepath.Join(folder, name), blocks[i][1], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(folder)
	consoles := regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
	got := consoles.ReplaceAllFunc(page, func(block []byte) []byte {
		var out bytes.Buffer
		out.WriteString("```console\n")
		for line := range strings.Lines(string(consoles.FindSubmatch(block)[1])) {
			if command, ok := strings.CutPrefix(line, "$ weir "); ok {
				out.WriteString(line)
				if code := cli.Main(strings.Fields(command), cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out}); code != 0 {
					t.Errorf("%s: exit code %d", line, code)
				}
			}
		}
		out.WriteString("```")
		return out.Bytes()
	})
	if bytes.Equal(got, page) {
		return
	}
	if !*update {
		t.Fatalf("budget.md has something else than the commands print; -update rewrites:\n%s", got)
	}
	if err := os.WriteFile(filepath.Join(home, "budget.md"), got, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestBudgetHolds plays an outage of the payments against the policies of budget.md, and compares
// the load that comes of it with what `weir budget` says is the worst.
func TestBudgetHolds(t *testing.T) {
	page, err := os.ReadFile("budget.md")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	blocks := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatch(page, -1)
	with := func(retries string) []byte {
		return bytes.Replace(blocks[1][1], []byte("attempts: 5}"), []byte("attempts: 5, "+retries+"}"), 1)
	}
	const unbounded = "budget: {percent: 100%, minPerSecond: 100000}"
	for name, text := range map[string][]byte{
		"shop.yaml": blocks[0][1], "naive.yaml": blocks[1][1], "good.yaml": blocks[2][1],
		"unbounded.yaml": with(unbounded), "answers.yaml": with(`retryOn: [ConnectFailure, "500"], ` + unbounded),
		"outage.yaml": []byte(`apiVersion: weir.dev/v1alpha1
kind: Scenario
metadata: {name: outage}
spec:
  duration: 30s
  callers: [{name: buyers, request: {url: "http://shop.example.com:8080/"}, rate: "50"}]
  services:
  - {backend: shop, concurrency: 1000, serviceTime: {fixed: 1ms}}
  - {backend: pay, concurrency: 1000, serviceTime: {fixed: 1ms}}
  events: [{at: 0s, backend: pay, outage: true}]
`),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(folder)
	weir := func(into any, args string) {
		t.Helper()
		var out bytes.Buffer
		if code := cli.Main(strings.Fields(args), cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out}); code != 0 {
			t.Fatalf("weir %s: exit code %d\n%s", args, code, &out)
		}
		if err := json.Unmarshal(out.Bytes(), into); err != nil {
			t.Fatalf("weir %s: %v\n%s", args, err, &out)
		}
	}
	for policy, want := range map[string]struct{ least, worst float64 }{
		"good.yaml": {1.1, 1.59}, "naive.yaml": {1.1, 1.26}, "unbounded.yaml": {5.5, 6}, "answers.yaml": {30, 36},
	} {
		var budgets []explain.Budget
		weir(&budgets, "budget -f shop.yaml -f "+policy+" shop --rate 50 -o json")
		var reports []simulate.Report
		weir(&reports, "simulate -f shop.yaml -f "+policy+" --scenario outage.yaml -q -o json")
		worst := budgets[0].Amplification.Worst
		if math.Abs(worst-want.worst) > 0.01 {
			t.Errorf("%s: ×%v at worst, want ×%v", policy, worst, want.worst)
		}
		// A budget counts over ten seconds, in which one rate is not quite the other.
		if got := reports[0].Amplification; got < want.least || got > worst*1.05 {
			t.Errorf("%s: ×%v, want at least ×%v, and no more than the budget says, ×%v", policy, got, want.least, worst)
		}
	}
}
