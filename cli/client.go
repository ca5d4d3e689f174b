package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"weir.dev/weir/app"
	"weir.dev/weir/console"
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

// adminFlag adds the flag that names the admin API to ask.
func adminFlag(fs *pflag.FlagSet, admin *string) {
	fs.StringVar(admin, "admin", cmp.Or(os.Getenv("WEIR_ADMIN"), defaultAdmin), "address of the admin API, or its URL; without a port: "+defaultPort)
	fs.Lookup("admin").DefValue = defaultAdmin // pages of help are the same on every machine
}

// client asks an admin API.
type client struct {
	admin string
	token string // for what changes something
}

// authorised is newClient of somebody who may change something.
func authorised(admin, tokenFile string) (client, error) {
	c, err := newClient(admin)
	if err == nil {
		err = c.authorise(tokenFile)
	}
	return c, err
}

// authorise finds the token: in a file that was named, in the variable WEIR_TOKEN, or where a
// process of this user that serves the address has left word of it.
func (c *client) authorise(file string) error {
	if file != "" {
		token, err := console.ReadToken(file)
		c.token = token
		return err
	}
	if c.token = os.Getenv("WEIR_TOKEN"); c.token != "" {
		return nil
	}
	root, err := stateRoot()
	if err == nil {
		c.token, err = app.AdminToken(root, c.admin)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no token for the admin API at %s: name its file with --token-file, or set WEIR_TOKEN", c.admin)
	}
	return err
}

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
	return client{admin: net.JoinHostPort(host, port)}, nil
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

// raw asks for a path of Prometheus's API, whose answers say themselves whether all is well.
func (c client) raw(ctx context.Context, path string, into any) error {
	resp, data, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("admin API at %s: %s for %s: %w", c.admin, resp.Status, path, err)
	}
	return nil
}

// send sends a request and reads what comes back.
func (c client) send(ctx context.Context, method, path string, body []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.admin+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, usagef("--admin %q: want HOST:PORT, like %s", c.admin, defaultAdmin)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	direct := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := direct.Do(req)
	if err != nil {
		cause := err
		if u, ok := errors.AsType[*url.Error](err); ok {
			cause = u.Err
		}
		return nil, nil, fmt.Errorf("no answer from the admin API at %s: %w; is `weir run` running, and is its --admin address this one?", c.admin, cause)
	}
	defer resp.Body.Close() //nolint:errcheck // everything was read
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("admin API at %s: %w", c.admin, err)
	}
	return resp, data, nil
}

func (c client) ask(ctx context.Context, method, path string, body []byte, into any) error {
	resp, data, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	ours := strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json")
	fine := resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusAccepted
	if fine {
		var mark struct {
			Revision *uint64
			Done     string
		}
		ours = json.Unmarshal(data, &mark) == nil && (mark.Revision != nil || mark.Done != "")
	}
	switch {
	case !ours:
		return fmt.Errorf("%s answers (%s), but is not Weir's admin API; is this the port of a listener? "+
			"`weir run` has --admin, %s if not given", c.admin, resp.Status, defaultAdmin)
	case !fine:
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
