package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Where the admin API is if nothing else is said.
const (
	defaultHost  = "127.0.0.1"
	defaultPort  = "9901"
	defaultAdmin = defaultHost + ":" + defaultPort
)

const (
	maxAnswer      = 64 << 20 // the most that is read of one page of an answer, in bytes
	completeWithin = time.Second
)

// client asks an admin API.
type client struct{ admin string }

// newClient takes --admin as people have it at hand: HOST:PORT, with either left out, or the
// page's URL.
func newClient(admin string) (client, error) {
	wrong := usagef("--admin %q: want HOST:PORT, like %s", admin, defaultAdmin)
	text := strings.TrimSpace(admin)
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if !strings.EqualFold(scheme, "http") {
			return client{}, usagef("--admin %q: the admin API is asked over http", admin)
		}
		text = rest
	}
	if i := strings.IndexAny(text, "/?#"); i >= 0 {
		text = text[:i]
	}
	if text == "" || strings.ContainsAny(text, "@ ") {
		return client{}, wrong
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil { // no port, or an IPv6 address without brackets
		host, port = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"), defaultPort
		_, notIP := netip.ParseAddr(host)
		if strings.HasPrefix(text, "[") != strings.HasSuffix(text, "]") || notIP != nil && strings.ContainsAny(text, ":[]") {
			return client{}, wrong
		}
		if _, err := portNumber(host); err == nil { // only a port
			host, port = defaultHost, host
		}
	}
	if host == "" {
		host = defaultHost
	}
	if _, err := portNumber(port); err != nil {
		return client{}, usagef("--admin %q: %w", admin, err)
	}
	return client{net.JoinHostPort(host, port)}, nil
}

// get asks for a path and reads the answer's JSON.
func (c client) get(ctx context.Context, path string, into any) error {
	return c.ask(ctx, http.MethodGet, path, nil, into)
}

// post sends JSON to a path and reads the answer's JSON.
func (c client) post(ctx context.Context, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.ask(ctx, http.MethodPost, path, data, into)
}

func (c client) ask(ctx context.Context, method, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.admin+path, bytes.NewReader(body))
	if err != nil {
		return usagef("--admin %q: want HOST:PORT, like %s", c.admin, defaultAdmin)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	direct := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := direct.Do(req)
	if err != nil {
		cause := err
		if u, ok := errors.AsType[*url.Error](err); ok {
			cause = u.Err
		}
		return fmt.Errorf("no answer from the admin API at %s: %w; is `weir run` running, and is its --admin address this one?", c.admin, cause)
	}
	defer resp.Body.Close() //nolint:errcheck // everything was read
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("admin API at %s: %w", c.admin, err)
	}
	ours := strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json")
	if resp.StatusCode == http.StatusOK {
		var mark struct{ Revision *uint64 }
		ours = json.Unmarshal(data, &mark) == nil && mark.Revision != nil
	}
	switch {
	case !ours:
		return fmt.Errorf("%s answers (%s), but is not Weir's admin API; is this the port of a listener? "+
			"`weir run` has --admin, %s if not given", c.admin, resp.Status, defaultAdmin)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("admin API at %s: %s: %s", c.admin, resp.Status, problem(data))
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("admin API at %s: %w", c.admin, err)
	}
	return nil
}

// problem reads what the API says about an error (RFC 9457).
func problem(data []byte) string {
	var p struct {
		Title, Detail, Remedy string
	}
	if json.Unmarshal(data, &p) != nil || p.Title == "" {
		return "no explanation"
	}
	parts := []string{p.Title}
	for _, more := range []string{p.Detail, p.Remedy} {
		if more != "" {
			parts = append(parts, more)
		}
	}
	return strings.Join(parts, "; ")
}
