package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weir.dev/weir/app"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// runFlags are the flags of `weir run`.
type runFlags struct {
	files                []string
	listen               string
	to                   []string
	admin, probe         string
	adminNames           []string
	accessLog, logLevel  string
	stateDir, tokenFile  string
	tokensFile           string
	drainDelay, drainFor time.Duration
	upgradeTimeout       time.Duration
	allowMassDelete      bool
	zone                 string
	maxMemory            string
	series               seriesFlags
}

func runCommand(std Streams) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run {-f PATH... | --listen ADDRESS --to URL...}",
		Short: "Serve HTTP as resources say",
		Long: "Run serves what the resources in files and folders say, and follows every change to them.\n" +
			"With --listen and --to it needs no file: every request goes to the URLs in turn.\n\n" +
			"SIGHUP reads everything again. SIGTERM and Ctrl-C drain; a second one ends at once. SIGUSR2 starts the\n" +
			"program anew, gives it the sockets, and drains once it serves: an upgrade that drops no request.",
		Example: "  weir run -f ./routes\n  weir run --listen :8080 --to http://127.0.0.1:3000",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), std, f) },
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.files, "file", "f", nil, "file or folder with resources, - for standard input; repeatable")
	fs.StringVar(&f.listen, "listen", "", "address to listen on instead of files, like :8080")
	fs.StringArrayVar(&f.to, "to", nil, "with --listen, where requests go, like http://127.0.0.1:3000; repeatable")
	fs.StringVar(&f.admin, "admin", defaultAdmin, "address of the admin API and page; empty: none")
	fs.StringArrayVar(&f.adminNames, "admin-name", nil, "host name under which the admin API and page may be asked, beside IP addresses and localhost; repeatable")
	fs.StringVar(&f.probe, "probe-address", "", "address that serves only health and metrics; empty: none")
	fs.StringVar(&f.accessLog, "access-log", "off", "json, text or off; with :PATH to a file instead of standard output")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.DurationVar(&f.drainDelay, "drain-delay", 0, "how long to accept connections after readiness failed")
	fs.DurationVar(&f.drainFor, "drain-timeout", 10*time.Second, "how long requests may go on after that")
	fs.StringVar(&f.stateDir, "state-dir", "", "folder for what survives a restart (default: one for these paths in the user's state folder)")
	fs.StringVar(&f.tokenFile, "token-file", "", "file with the admin token, made if absent (default: token in the state folder)")
	fs.StringVar(&f.tokensFile, "tokens", "", "file with further tokens: a YAML list of name, groups and sha256; empty: none")
	fs.DurationVar(&f.upgradeTimeout, "upgrade-timeout", time.Minute, "how long a new process may take to serve after SIGUSR2")
	fs.StringVar(&f.zone, "zone", "", "zone that this process runs in, for backends with zoneAware")
	fs.StringVar(&f.maxMemory, "max-memory", "", "memory that this process may take, like 512Mi; 0: no limit (default: 90% of its control group's limit, else 80% of the machine's)")
	fs.BoolVar(&f.allowMassDelete, "allow-mass-delete", false, "let a change remove more than half of the routes")
	f.series.add(fs)
	completeFlag(cmd, "log-level", "debug", "info", "warn", "error")
	completeFlag(cmd, "access-log", "off", string(telemetry.FormatJSON), string(telemetry.FormatText))
	return cmd
}

// config turns flags into what the app needs. close ends what was opened for it.
func (f *runFlags) config(std Streams) (cfg app.Config, closeLog func() error, err error) {
	cfg = app.Config{
		Version: version, Stdin: std.In, Paths: f.files,
		Admin: f.admin, AdminNames: f.adminNames, Probe: f.probe, AllowMassDelete: f.allowMassDelete,
		DrainDelay: f.drainDelay, DrainTimeout: f.drainFor, UpgradeTimeout: f.upgradeTimeout, LogLevel: new(slog.LevelVar),
		Zone: f.zone,
	}
	closeLog = func() error { return nil }
	switch {
	case len(f.files) > 0 && (f.listen != "" || len(f.to) > 0):
		return cfg, closeLog, usagef("-f and --listen do not go together: write a Gateway, or leave out -f")
	case len(f.files) == 0 && f.listen == "" && len(f.to) == 0:
		return cfg, closeLog, usagef("nothing to serve: give files with -f, or --listen and --to")
	case len(f.files) == 0 && f.listen == "":
		return cfg, closeLog, usagef("--to needs --listen: where should requests come in? Like --listen :8080")
	case len(f.files) == 0 && len(f.to) == 0:
		return cfg, closeLog, usagef("--listen needs --to: where should requests go? Like --to http://127.0.0.1:3000")
	}
	for _, a := range []struct{ name, address string }{{"--admin", f.admin}, {"--probe-address", f.probe}} {
		if _, _, err := net.SplitHostPort(a.address); a.address != "" && err != nil {
			return cfg, closeLog, usagef("%s %q: want [ADDRESS]:PORT, like %s", a.name, a.address, defaultAdmin)
		}
	}
	if f.drainFor <= 0 || f.drainDelay < 0 {
		return cfg, closeLog, usagef("--drain-timeout must be above zero and --drain-delay not below")
	}
	if err := f.memory(&cfg); err != nil {
		return cfg, closeLog, err
	}
	if cfg.Series, err = f.series.read(); err != nil {
		return cfg, closeLog, err
	}
	if f.upgradeTimeout <= 0 {
		return cfg, closeLog, usagef("--upgrade-timeout must be above zero")
	}
	if err := cfg.LogLevel.UnmarshalText([]byte(f.logLevel)); err != nil {
		return cfg, closeLog, usagef("--log-level %q: want debug, info, warn or error", f.logLevel)
	}
	cfg.Log = slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: cfg.LogLevel}))
	slog.SetDefault(cfg.Log) // for what libraries have to say
	if terminal(std.Err) {
		cfg.Greet = std.Err
	}
	if f.listen != "" {
		if cfg.Inline, err = direct(f.listen, f.to); err != nil {
			return cfg, closeLog, err
		}
		cfg.InlineName = "--listen"
	} else if err := present(f.files); err != nil {
		return cfg, closeLog, err
	}
	if err := f.stateFolder(&cfg); err != nil {
		return cfg, closeLog, err
	}
	cfg.AccessLog, cfg.AccessLogFormat, closeLog, err = openAccessLog(f.accessLog, std.Out)
	return cfg, closeLog, err
}

// leastMemory is below what the program takes with little to do.
const leastMemory = 32 << 20

// memory reads how much memory the process may take.
func (f *runFlags) memory(cfg *app.Config) error {
	if f.maxMemory == "" {
		return nil
	}
	size, ok := parseSize(f.maxMemory)
	switch {
	case !ok:
		return usagef("--max-memory %q: want a size such as 512Mi or 2Gi, or 0", f.maxMemory)
	case size == 0:
		cfg.MaxMemory = -1
	case size < leastMemory:
		return usagef("--max-memory %s: want 32Mi or more, or 0 for no limit", f.maxMemory)
	default:
		cfg.MaxMemory = size
	}
	return nil
}

// terminal tells whether a person reads what is written to w.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// present catches a mistyped path at the start. Later a path may vanish and come back.
func present(paths []string) error {
	for _, p := range paths {
		if p == "-" {
			continue
		}
		if _, err := os.Stat(p); err != nil {
			return fmt.Errorf("-f %s: %w; want a file or folder with resources", p, errors.Unwrap(err))
		}
	}
	return nil
}

// stateFolder chooses the folder for what survives a restart: one for each set of paths.
func (f *runFlags) stateFolder(cfg *app.Config) error {
	cfg.StateDir, cfg.TokenFile, cfg.TokensFile = f.stateDir, f.tokenFile, f.tokensFile
	if cfg.StateDir == "" {
		root, err := stateRoot()
		if err != nil {
			return fmt.Errorf("no home folder to keep state in: %w; name one with --state-dir", err)
		}
		key := []string{f.listen}
		for _, p := range f.files {
			if abs, err := filepath.Abs(p); err == nil {
				p = abs
			}
			key = append(key, p)
		}
		cfg.StateDir = filepath.Join(root, string(model.HashOf(key)))
	}
	if cfg.TokenFile == "" {
		cfg.TokenFile = filepath.Join(cfg.StateDir, "token")
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("state folder: %w; name another with --state-dir", err)
	}
	return nil
}

// stateRoot is the user's folder for the states of all processes.
func stateRoot() (string, error) {
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "weir"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".local", "state", "weir"), nil
}

// openAccessLog reads FORMAT[:PATH].
func openAccessLog(value string, out io.Writer) (io.Writer, telemetry.Format, func() error, error) {
	nothing := func() error { return nil }
	name, path, file := strings.Cut(value, ":")
	switch {
	case name == "off" && !file:
		return nil, "", nothing, nil
	case name != string(telemetry.FormatJSON) && name != string(telemetry.FormatText), file && path == "":
		return nil, "", nothing, usagef("--access-log %q: want json, text or off, or json:PATH", value)
	case !file:
		return out, telemetry.Format(name), nothing, nil
	}
	w, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, "", nothing, fmt.Errorf("--access-log: %w", err)
	}
	return w, telemetry.Format(name), w.Close, nil
}

func run(ctx context.Context, std Streams, f runFlags) (err error) {
	// First, because they end a process that does not expect them; what comes early waits.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR2)
	defer signal.Stop(signals)

	handover, err := app.TakeHandover()
	if err != nil {
		return err
	}
	cfg, closeLog, err := f.config(std)
	if err != nil {
		return err
	}
	cfg.Handover, cfg.Program = handover, startedAs()
	defer func() { err = errors.Join(err, closeLog()) }()
	a, err := app.New(cfg)
	if err != nil {
		return err
	}

	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	go func() {
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGHUP {
					a.Reload()
				} else {
					a.Upgrade()
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return a.Run(ctx)
}

// startedAs is how this process was started. The path is the one that was asked for, not
// what its links lead to: that is where a new version is put.
func startedAs() *app.Program {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return nil
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil
	}
	return &app.Program{Path: path, Args: os.Args, Env: os.Environ()}
}
