package app

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"weir.dev/weir/console"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// face is one address of the admin server and what it answers there.
type face struct {
	name     string
	listener net.Listener
	handler  http.Handler
}

// openAdmin binds the admin addresses, so that a taken one is known before anything runs.
func (a *App) openAdmin(ctx context.Context, c *console.Console) ([]face, error) {
	var faces []face
	for _, f := range []struct {
		name, flag, address string
		handler             func() http.Handler
	}{
		{"admin", "--admin", a.cfg.Admin, c.Admin},
		{"probes", "--probe-address", a.cfg.Probe, c.Probe},
	} {
		if f.address == "" {
			continue
		}
		l, err := a.listenOn(ctx, f.address)
		if err != nil {
			closeAll(faces)
			return nil, fmt.Errorf("%s %s: %w; choose another address with %s", f.flag, f.address, err, f.flag)
		}
		faces = append(faces, face{f.name, l, f.handler()})
	}
	return faces, nil
}

// adminFile, in the state folder, says where the admin API is, for commands that need its token.
const adminFile = "admin"

// announceAdmin leaves word of the admin address beside the token, so that commands of the same user
// find the one for the other.
func (a *App) announceAdmin(address string) {
	if a.cfg.StateDir == "" || a.cfg.TokenFile == "" {
		return
	}
	where := address + "\n" + a.cfg.TokenFile + "\n"
	if err := os.WriteFile(filepath.Join(a.cfg.StateDir, adminFile), []byte(where), 0o600); err != nil {
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "commands will want --token-file: the admin address cannot be noted", slog.Any("error", err))
	}
}

// AdminToken returns the token of the admin API at an address, as a process with a state folder below
// root has left word of it; fs.ErrNotExist: none has. Of several the last is right: only one can
// have the address, and those before have ended.
func AdminToken(root, address string) (string, error) {
	notes, err := filepath.Glob(filepath.Join(root, "*", adminFile))
	if err != nil {
		return "", err
	}
	token, last := "", time.Time{}
	for _, note := range notes {
		info, err := os.Stat(note)
		if err != nil || !info.ModTime().After(last) {
			continue
		}
		b, err := os.ReadFile(note)
		if err != nil {
			continue
		}
		if at, file, _ := strings.Cut(strings.TrimSpace(string(b)), "\n"); at == address {
			token, last = file, info.ModTime()
		}
	}
	if token == "" {
		return "", fs.ErrNotExist
	}
	return console.ReadToken(token)
}

func closeAll(faces []face) {
	for _, f := range faces {
		_ = f.listener.Close() // nobody was served
	}
}

func (a *App) listenOn(ctx context.Context, address string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	ap := tcp.AddrPort()
	if !ap.Addr().IsValid() {
		ap = netip.AddrPortFrom(netip.IPv6Unspecified(), ap.Port())
	}
	return a.sockets.Listen(ctx, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
}

// window is what the console sees of the app.
type window struct{ *App }

// Snapshot is what is live and since when.
func (w window) Snapshot() (*model.Snapshot, time.Time) {
	now := w.pipeline.now.Load()
	if now == nil {
		return nil, time.Time{}
	}
	return now.output.Snapshot, now.applied
}

// State is whether the process wants traffic.
func (w window) State() console.State {
	s := console.State{Draining: w.draining.Load(), Series: w.series.Problem()}
	now := w.pipeline.now.Load()
	switch {
	case s.Draining:
		s.Reason = "draining"
	case now == nil:
		s.Reason = "the first configuration is not live yet"
	case hopeless(now.set):
		s.Reason = hopelessText
	case now.problem != nil && len(w.proxy.Addresses()) == 0:
		s.Reason = now.problem.Error()
	default:
		s.Ready = true
	}
	if now != nil && now.problem != nil {
		s.Problem = now.problem.Error()
	}
	return s
}

// Sockets are where listeners listen, or why they do not.
func (w window) Sockets() map[string]console.Socket {
	sockets := map[string]console.Socket{}
	for name, address := range w.proxy.Addresses() {
		sockets[name] = console.Socket{Address: address.String()}
	}
	for name, err := range w.proxy.Closed() {
		sockets[name] = console.Socket{Problem: err.Error()}
	}
	return sockets
}

// Objects are the objects of the configuration with their statuses.
func (w window) Objects() []console.Object {
	told := w.pipeline.account()
	if told == nil {
		return nil
	}
	return told.objects()
}

// Diagnostics are what reading, translating and linting found.
func (w window) Diagnostics() []console.Diagnostic {
	told := w.pipeline.account()
	if told == nil {
		return nil
	}
	return diagnostics(told.diagnostics)
}

// Hosts are the upstream hosts as they are now.
func (w window) Hosts() []console.Host {
	var hosts []console.Host
	for _, h := range w.proxy.Hosts() {
		hosts = append(hosts, console.Host{
			Cluster: h.Cluster, Address: h.Address.String(), Zone: h.Zone, Weight: h.Weight, Priority: h.Priority,
			Healthy: h.Healthy, Draining: h.Draining, Warmth: h.Warmth, InFlight: h.InFlight, Open: int(h.Open), Idle: int(h.Idle), EWMA: h.Latency,
			TLS: h.TLS, LastError: h.LastError, LastErrorAt: h.LastErrorAt,
			Checked: h.Checked, Check: h.Check.String(), CheckSince: h.CheckSince, CheckError: h.CheckError,
			Judged: h.Judged, Ejected: h.Ejected, EjectedBy: h.EjectedBy, EjectedUntil: h.EjectedUntil,
			Ejections: h.Ejections, WouldEject: h.WouldEject,
		})
	}
	return hosts
}

// Reload has the source read everything again.
func (w window) Reload(context.Context) error {
	if w.files == nil {
		return fmt.Errorf("the configuration comes from flags and cannot change: %w", console.ErrConflict)
	}
	w.App.Reload()
	return nil
}

// AllowMassDelete consents to the deletion that waits.
func (w window) AllowMassDelete(context.Context) error {
	if w.files == nil || !w.deletionWaits() {
		return fmt.Errorf("no deletion waits for consent: %w", console.ErrConflict)
	}
	w.files.AllowMassDelete()
	return nil
}

// deletionWaits tells whether a change that removes most of the routes waits for consent.
func (a *App) deletionWaits() bool {
	now := a.pipeline.now.Load()
	return now != nil && slices.ContainsFunc(now.set.Diagnostics, func(d resource.Diagnostic) bool {
		return d.Rule == resource.RuleMassDelete
	})
}

// Drain begins to end the process, as SIGTERM does.
func (w window) Drain(context.Context) error {
	if !w.App.Drain() {
		return fmt.Errorf("a drain is under way: %w", console.ErrConflict)
	}
	return nil
}

func diagnostics(in []resource.Diagnostic) []console.Diagnostic {
	out := make([]console.Diagnostic, 0, len(in))
	for _, d := range in {
		object := ""
		if d.Object != (resource.Key{}) {
			object = d.Object.String()
		}
		out = append(out, console.Diagnostic{
			Severity: d.Severity.String(), Rule: d.Rule, At: console.Position(d.At),
			Object: object, Field: d.Field, Message: d.Message,
		})
	}
	return out
}

// objectsOf renders the objects of a set when they are first asked for.
func objectsOf(set *resource.Set, statuses dates) func() []console.Object {
	return sync.OnceValue(func() []console.Object {
		all := slices.Collect(set.Objects())
		out := make([]console.Object, 0, len(all))
		for _, o := range all {
			shown := console.Object{
				Group: o.Key.Group, Kind: o.Key.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name,
				At: console.Position(o.At), Accepted: len(o.Problems) == 0, Problems: diagnostics(o.Problems),
			}
			if s := statuses.of(o.Key); s != nil {
				shown.Status, shown.Conditions = s.render()
			}
			out = append(out, shown)
		}
		return out
	})
}

// hostStates is what the metrics show of hosts.
func (a *App) hostStates() []telemetry.HostState {
	var states []telemetry.HostState
	for _, h := range a.proxy.Hosts() {
		states = append(states, telemetry.HostState{
			Cluster: h.Cluster, Address: h.Address.String(), Healthy: h.Healthy, Judged: h.Judged, Ejected: h.Ejected, Open: int(h.Open), Idle: int(h.Idle),
			Opened: h.Opened, ConnectFailures: h.ConnectFailures, Races: h.Races, Checked: h.Checked, Checks: h.CheckResults,
		})
	}
	return states
}

// breakerStates is what the metrics show of breakers.
func (a *App) breakerStates() []telemetry.BreakerState {
	var states []telemetry.BreakerState
	for _, b := range a.proxy.Breakers() {
		states = append(states, b.State())
	}
	return states
}
