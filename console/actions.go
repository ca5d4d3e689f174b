package console

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

func (c *Console) serveHealth(w http.ResponseWriter, _ *http.Request) {
	answer(w, healthView{Status: "ok"})
}

func (c *Console) serveReady(w http.ResponseWriter, _ *http.Request) {
	state := c.cfg.Live.State()
	if state.Ready && !state.Draining {
		answer(w, state)
		return
	}
	title, detail := "not ready", state.Reason
	if state.Draining {
		title = "draining"
		if detail == "" {
			detail = "the process is on its way out"
		}
	}
	problem{Status: http.StatusServiceUnavailable, Title: title, Detail: detail, Remedy: "send traffic elsewhere for now"}.write(w)
}

// act performs a mutation that has no answer of its own. It goes on if the caller leaves.
func (c *Console) act(done string, do func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 30*time.Second)
		defer cancel()
		if err := do(ctx); err != nil {
			p := problem{Status: http.StatusInternalServerError, Title: "it did not work", Where: r.URL.Path, Detail: err.Error(), Remedy: "look at /api/v1/diagnostics and the log"}
			if errors.Is(err, ErrConflict) {
				p.Status, p.Title = http.StatusConflict, "not possible now"
			}
			p.write(w)
			return
		}
		write(w, http.StatusAccepted, "application/json", doneView{done})
	}
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func (c *Console) serveLevel(w http.ResponseWriter, _ *http.Request) {
	answer(w, levelView{c.levelName()})
}

// levelName is the highest named level that lets through what the present one does.
func (c *Console) levelName() string {
	now, best := c.cfg.Level.Level(), "debug"
	for name, level := range levels {
		if level <= now && level > levels[best] {
			best = name
		}
	}
	return best
}

func (c *Console) setLevel(w http.ResponseWriter, r *http.Request) {
	wrong := problem{
		Status: http.StatusBadRequest, Title: "wrong log level", Where: "request body",
		Remedy: `send {"level": "debug"}, or info, warn, error`,
	}
	var body levelView
	if !readBody(w, r, &body, wrong) {
		return
	}
	level, known := levels[body.Level]
	if !known {
		wrong.Detail = "no such level"
		wrong.write(w)
		return
	}
	c.cfg.Level.Set(level)
	answer(w, body)
}
