package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// chromium is a browser without a window, driven over two pipes in the DevTools protocol:
// JSON messages that end with a zero byte.
type chromium struct {
	t    *testing.T
	send io.Writer

	mu      sync.Mutex
	next    int
	waiting map[int]chan devtoolsMessage
	session string
	heard   func(method string, params json.RawMessage)
	gone    error
}

type devtoolsMessage struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// newChromium starts a browser with one empty page. It fails the test where CI is set and
// there is no browser; elsewhere it skips it. Every event is told to heard.
func newChromium(t *testing.T, heard func(method string, params json.RawMessage), flags ...string) *chromium {
	t.Helper()
	program := need(t, "chromium")
	fromUs, toBrowser, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromBrowser, toUs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	flags = append(flags, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-background-networking", "--no-first-run", "--hide-scrollbars", "--force-color-profile=srgb",
		"--user-data-dir="+t.TempDir(), "--remote-debugging-pipe", "about:blank")
	cmd := exec.CommandContext(ctx, program, flags...)
	cmd.ExtraFiles = []*os.File{fromUs, toUs} // 3 and 4, as the protocol wants them
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fromUs.Close()
	toUs.Close()
	b := &chromium{t: t, send: toBrowser, waiting: map[int]chan devtoolsMessage{}, heard: heard}
	read := make(chan struct{})
	go func() { defer close(read); b.read(fromBrowser) }()
	t.Cleanup(func() {
		_, _ = b.ask("Browser.close", nil)
		toBrowser.Close()
		<-read
		stop()
		_ = cmd.Wait()
		fromBrowser.Close()
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// read carries answers to who waits for them, and events to heard, until the browser ends.
func (b *chromium) read(from io.Reader) {
	var kept []byte
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		kept = append(kept, buf[:n]...)
		for {
			message, rest, whole := bytes.Cut(kept, []byte{0})
			if !whole {
				break
			}
			kept = rest
			b.hear(message)
		}
		if err != nil {
			break
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = errors.New("the browser is gone")
	for _, c := range b.waiting {
		close(c)
	}
	b.waiting = nil
}

func (b *chromium) hear(message []byte) {
	var m devtoolsMessage
	if json.Unmarshal(message, &m) != nil {
		return
	}
	if m.Method != "" {
		b.heard(m.Method, m.Params)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.waiting[m.ID]; c != nil {
		delete(b.waiting, m.ID)
		c <- m
	}
}

func (b *chromium) ask(method string, params any) (json.RawMessage, error) {
	answer := make(chan devtoolsMessage, 1)
	b.mu.Lock()
	if b.gone != nil {
		b.mu.Unlock()
		return nil, b.gone
	}
	b.next++
	message := map[string]any{"id": b.next, "method": method}
	b.waiting[b.next] = answer
	b.mu.Unlock()
	if params != nil {
		message["params"] = params
	}
	if b.session != "" && !strings.HasPrefix(method, "Browser.") {
		message["sessionId"] = b.session
	}
	data, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	if _, err := b.send.Write(append(data, 0)); err != nil {
		return nil, err
	}
	select {
	case m, ok := <-answer:
		if !ok {
			return nil, errors.New("the browser is gone")
		}
		if m.Error != nil {
			return nil, fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		return m.Result, nil
	case <-time.After(patience):
		return nil, fmt.Errorf("%s: no answer", method)
	}
}

func (b *chromium) call(method string, params, result any) {
	b.t.Helper()
	data, err := b.ask(method, params)
	if err == nil && result != nil {
		err = json.Unmarshal(data, result)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// eval evaluates JavaScript in the page and returns its value as text.
func (b *chromium) eval(script string) string {
	b.t.Helper()
	text, err := b.evaluate(script)
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

func (b *chromium) evaluate(script string) (string, error) {
	var answer struct {
		Result           struct{ Value any }
		ExceptionDetails *struct {
			Exception struct{ Description string }
		}
	}
	data, err := b.ask("Runtime.evaluate", map[string]any{"expression": script, "returnByValue": true, "awaitPromise": true})
	if err == nil {
		err = json.Unmarshal(data, &answer)
	}
	switch {
	case err != nil:
		return "", err
	case answer.ExceptionDetails != nil:
		return "", fmt.Errorf("%s: %s", script, answer.ExceptionDetails.Exception.Description)
	case answer.Result.Value == nil:
		return "", nil
	}
	return fmt.Sprint(answer.Result.Value), nil
}

// sees waits until all the words stand in the page where people see them.
func (b *chromium) sees(words ...string) {
	b.t.Helper()
	for _, w := range words {
		b.until(`document.body.innerText.replaceAll("\n:", ":").includes(` + quote(w) + ")") // a position stands in two boxes
	}
}

// until waits for a condition in the page, which may be loading.
func (b *chromium) until(condition string) {
	b.t.Helper()
	eventually(b.t, func() (bool, string) {
		held, err := b.evaluate("!!(" + condition + ")")
		if held == "true" {
			return true, ""
		}
		shown, _ := b.evaluate("location.href + '; focus on ' + document.activeElement.cloneNode(false).outerHTML + '\\n' + document.body.innerText")
		return false, fmt.Sprint(condition, " ", err, " in ", shown)
	})
}

func quote(s string) string {
	data, _ := json.Marshal(s)
	return string(data)
}

// click presses the mouse in the middle of an element.
func (b *chromium) click(selector string) {
	b.t.Helper()
	b.until("document.querySelector(" + quote(selector) + ")")
	var at struct{ X, Y float64 }
	text := b.eval(`(() => { const e = document.querySelector(` + quote(selector) + `); e.scrollIntoView({block: "center"});
		const r = e.getClientRects()[0]; return JSON.stringify({x: r.x + r.width / 2, y: r.y + r.height / 2}); })()`)
	if err := json.Unmarshal([]byte(text), &at); err != nil {
		b.t.Fatal(err)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		b.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
	}
}

// press presses one key: a character, or a key by its name.
func (b *chromium) press(keys ...string) {
	b.t.Helper()
	codes := map[string]int{"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}
	for _, key := range keys {
		down := map[string]any{"type": "keyDown", "key": key, "windowsVirtualKeyCode": codes[key]}
		if codes[key] == 0 {
			down["text"] = key
		}
		if key == "Enter" {
			down["text"] = "\r"
		}
		b.call("Input.dispatchKeyEvent", down, nil)
		b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "windowsVirtualKeyCode": codes[key]}, nil)
	}
}

// write types text into what has the focus.
func (b *chromium) write(text string) {
	b.t.Helper()
	b.call("Input.insertText", map[string]any{"text": text}, nil)
}

// look chooses the size of the window and the colours that the system is said to have.
func (b *chromium) look(width, height int, colours string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": colours}}}, nil)
}

// picture is what the window shows, as PNG.
func (b *chromium) picture() []byte {
	b.t.Helper()
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}
