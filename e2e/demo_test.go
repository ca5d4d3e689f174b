package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// demoPorts is how many ports in a row the demo wants; admin and its switch are these of them.
const (
	demoPorts  = 12
	demoAdmin  = 3
	demoSwitch = 9
)

// startDemo runs the demo with ports of its own and returns the first.
func startDemo(t *testing.T) int {
	t.Helper()
	weir, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	program, dir := filepath.Join(t.TempDir(), "demo"), filepath.Join(t.TempDir(), "files")
	if out, err := exec.Command("go", "build", "-o", program, "weir.dev/weir/examples/demo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../examples/demo/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	port := 20000 + demoPorts*rand.IntN(1000) // below those that the kernel gives away
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, "--weir", weir, "--dir", dir, "--port", fmt.Sprint(port), "--rate", "20")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is told to end
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-exited
		if t.Failed() {
			t.Logf("log of the demo:\n%s", logFile(log.Name()))
		}
	})
	eventually(t, func() (bool, string) {
		select {
		case <-exited:
			t.Fatalf("the demo ended:\n%s", logFile(log.Name()))
		default:
		}
		return strings.Contains(logFile(log.Name()).String(), "Break the shop"), logFile(log.Name()).String()
	})
	return port
}

// TestDemoMisbehaves breaks the demo's shop in each way that it offers and looks at the
// console's page for what acts. With -screenshots it makes the pictures of that page.
func TestDemoMisbehaves(t *testing.T) {
	t.Parallel()
	port := startDemo(t)
	admin := fmt.Sprintf("127.0.0.1:%d", port+demoAdmin)
	f := &faults{admin: "http://" + admin + "/"}
	b := newChromium(t, f.heard)
	b.look(1280, 1000, "light")
	b.call("Page.navigate", map[string]any{"url": f.admin + "#/resilience"}, nil)
	turn := func(mood string) {
		t.Helper()
		status, body := fetch(fmt.Sprintf("http://127.0.0.1:%d/%s", port+demoSwitch, mood))
		if status != 200 {
			t.Fatalf("%s: %d %s", mood, status, body)
		}
	}
	acting := func(target string) {
		t.Helper()
		b.until(`[...document.querySelectorAll("tr.acting")].some((tr) => tr.innerText.includes(` + quote(target) + `))`)
	}
	hold := func() {
		if *screenshots != "" {
			time.Sleep(*warmUp / 15) // the pictures show some minutes, which nothing makes shorter
		}
	}
	b.sees("nothing acts", "HTTPRoute/default/shop", "backend/default/shop@default/edge", "Retry budget", " of 12", "Pressure")

	hold()
	turn("surge")
	acting("HTTPRoute/default/shop")
	b.sees("step at 90 % acts", "Sheddable", "degrade/shed")
	hold()
	turn("slow")
	b.sees("out by ", "outlier/")
	acting("backend/default/shop")
	turn("surge") // while the host is still out
	b.sees("step at 90 % acts")
	shoot(t, b, "resilience")
	turn("down")
	b.until(`[...document.querySelectorAll(".part .badge.bad")].some((e) => e.innerText === "open")`)
	b.sees("trip")
	weir, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(weir, "get", "resilience", "--admin", admin).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "breaker ") || !strings.Contains(string(out), "trip ") || !strings.Contains(string(out), "of 12, queued") {
		t.Errorf("weir get resilience: %v\n%s", err, out)
	}
	hold()
	b.look(1280, 1000, "dark")
	shoot(t, b, "resilience-dark")
	b.look(390, 844, "light")
	b.until("document.documentElement.scrollWidth === 390")
	shoot(t, b, "phone-resilience")
	b.look(1280, 1000, "light")
	turn("heal")

	b.click(`a.name[href^="#/backend"]`) // every row leads to what it is about
	b.sees("Backend default/shop@default/edge", "Effective policy", "circuitBreaker.trip.failures")
	b.eval(`location.hash = "#/route?name=default%2Fshop%2Fall"`)
	b.sees("Budget", "when everything goes wrong", "try 3", "at the latest", "× 1.2 tries at worst")
	b.eval(`document.querySelector(".budget").closest("section").scrollIntoView()`)
	shoot(t, b, "budget")
	b.press("g", "p")
	b.sees("breaker", "nothing acts")
	b.until(`!document.querySelector("tr.acting")`)
	for _, fault := range f.stop() {
		t.Errorf("the page: %s", fault)
	}
}

// shoot keeps a picture of what the browser shows, if any are wanted.
func shoot(t *testing.T, b *chromium, name string) {
	t.Helper()
	if *screenshots == "" {
		return
	}
	b.until("!document.querySelector('.chart') || document.querySelector('.chart polyline')")
	b.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), smaller(t, b.picture()), 0o644); err != nil {
		t.Fatal(err)
	}
}
