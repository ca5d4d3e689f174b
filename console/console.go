// Package console is the admin server: health, metrics, a JSON API that an OpenAPI document
// describes, and the embedded web console. It shows what the other rooms know through the
// small interfaces below and decides nothing; changing anything needs a token. It runs on
// net/http, apart from the request path.
package console

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// ErrConflict is wrapped by a Control's errors when the wish does not fit the present
// state: there is nothing to consent to, or a drain is under way. It is answered with 409.
var ErrConflict = errors.New("not possible in the present state")

// Live tells what is being served.
type Live interface {
	// Snapshot returns what is live and since when; nil before the first.
	Snapshot() (*model.Snapshot, time.Time)
	State() State
	// Sockets returns where listeners listen, or why they do not, by their names.
	Sockets() map[string]Socket
}

// Objects tells what the configuration's objects have come to.
type Objects interface {
	Objects() []Object
	Diagnostics() []Diagnostic
}

// Hosts tells what the upstream hosts are like now.
type Hosts interface {
	Hosts() []Host
}

// Control changes things. Errors are shown to the caller; see ErrConflict.
type Control interface {
	Reload(ctx context.Context) error
	AllowMassDelete(ctx context.Context) error
	Drain(ctx context.Context) error
}

// Config is what a console needs. Only Token, Names and Now may be left out.
type Config struct {
	Version string // of the program
	Token   string // the bearer token of mutations; if empty they are all refused
	// TokensFile names a file with further tokens, each with a name and groups; empty: there are none.
	TokensFile string

	Names   []string // host names under which the server may be asked, beside IP addresses and localhost
	Log     *slog.Logger
	Level   *slog.LevelVar
	Metrics *telemetry.Metrics
	Live    Live
	Objects Objects
	Hosts   Hosts
	Control Control
	Now     func() time.Time

	Resilience Resilience
	Shadows    Shadows
	Faults     Faults
	Drills     Drills
	Releases   Releases
	Objectives Objectives

	// Series answers below /prometheus/ as a Prometheus does; nil: nothing is there.
	Series http.Handler
}

// Console answers the admin API. It has two faces: Admin and Probe.
type Console struct {
	cfg        Config
	started    time.Time
	endpoints  []endpoint
	document   []byte
	explaining sync.Mutex
	recorder   *recorder
	index      indexCache
	evidence   evidence
}

// New returns a console.
func New(cfg Config) *Console {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Console{cfg: cfg, started: cfg.Now(), recorder: newRecorder(cfg.Metrics)}
	c.endpoints = c.table()
	c.document = document(cfg.Version, c.endpoints)
	if cfg.TokensFile != "" {
		if _, err := readTokens(cfg.TokensFile); err != nil { // a file that comes later will do
			cfg.Log.Error("only the admin token counts until the file of --tokens is in order", slog.Any("error", err))
		}
	}
	return c
}

// Admin returns the whole API and the page, guarded: for an address that only
// administrators reach.
func (c *Console) Admin() http.Handler {
	return c.contain(harden(c.checkHost(c.mux(func(endpoint) bool { return true }))))
}

// Probe returns health and metrics only, for kubelets and scrapers, under any host name.
func (c *Console) Probe() http.Handler {
	return c.contain(harden(c.mux(func(e endpoint) bool { return e.probe })))
}
