package console

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
)

// maxBody is the longest request body in bytes.
const maxBody = 16 << 10

// contentPolicy lets the page load its own files and talk to its own server, nothing else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// contain turns a panic into a 500 and a log line.
func (c *Console) contain(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(cause)
			}
			c.cfg.Log.LogAttrs(r.Context(), slog.LevelError, "admin request panicked", slog.String("method", r.Method),
				slog.String("path", r.URL.Path), slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
			problem{Status: http.StatusInternalServerError, Remedy: "the log has the details; please report it"}.write(w)
		}()
		next.ServeHTTP(w, r)
	})
}

// harden bounds the body and sets the headers that browsers heed.
func harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// checkHost refuses what a page of a foreign site could have sent. DNS rebinding needs a
// name of the attacker's, so only addresses, localhost and configured names are served;
// a browser names the page that asks in Origin, and it must be one of ours.
func (c *Console) checkHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !c.ours(r.Host) {
			problem{
				Status: http.StatusMisdirectedRequest, Title: "unknown host name", Where: "header Host",
				Detail: "the admin server is asked by IP address, as localhost, or by a name that it was started with",
				Remedy: "use the address, or start it with --admin-name",
			}.write(w)
			return
		}
		origin, given := r.Header["Origin"]
		foreign := given && (len(origin) != 1 || !sameOrigin(origin[0], r.Host))
		site := r.Header.Get("Sec-Fetch-Site")
		if foreign || site == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			problem{
				Status: http.StatusForbidden, Title: "foreign origin", Where: "header Origin",
				Detail: "only pages of this server may use it from a browser",
				Remedy: "open the console at this server's own address",
			}.write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ours says whether a Host header names this server and cannot have been rebound.
func (c *Console) ours(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if _, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")); err == nil {
		return true
	}
	return name == "localhost" || slices.ContainsFunc(c.cfg.Names, func(n string) bool { return strings.EqualFold(n, name) })
}

func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && strings.EqualFold(u.Host, host)
}

// authorised says whether a request may change something.
func (c *Console) authorised(r *http.Request) bool {
	_, known, _ := c.principal(r)
	return known
}

// withToken guards a mutation, lets the handler know who makes it, and notes that in the log before it is done, and how
// it ended after: a handler that panics with 500.
func (c *Console) withToken(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, known, err := c.principal(r)
		if err != nil {
			problem{
				Status: http.StatusServiceUnavailable, Title: "tokens cannot be read", Where: "--tokens", Detail: err.Error(),
				Remedy: "mend the file, or use the admin token",
			}.write(w)
			return
		}
		if !known {
			w.Header().Set("WWW-Authenticate", `Bearer realm="weir admin"`)
			title := "token needed"
			if r.Header.Get("Authorization") != "" {
				title = "token not known"
			}
			problem{
				Status: http.StatusUnauthorized, Title: title, Where: "header Authorization",
				Detail: "what changes something needs the admin token, or a named one",
				Remedy: "send Authorization: Bearer and the contents of the token file, or open the link that weir run prints",
			}.write(w)
			return
		}
		ctx, status := context.WithoutCancel(r.Context()), http.StatusInternalServerError
		log := c.cfg.Log.With(slog.String("by", who.Name), slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.String("client", r.RemoteAddr))
		log.LogAttrs(ctx, slog.LevelInfo, "admin mutation begins")
		defer func() { log.LogAttrs(ctx, slog.LevelInfo, "admin mutation", slog.Int("status", status)) }()
		answered := &outcome{ResponseWriter: w, status: http.StatusOK}
		next(answered, r.WithContext(context.WithValue(r.Context(), principalKey{}, who)))
		status = answered.status
	}
}

// outcome remembers how a mutation ended.
type outcome struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the status.
func (o *outcome) WriteHeader(status int) {
	o.status = status
	o.ResponseWriter.WriteHeader(status)
}
