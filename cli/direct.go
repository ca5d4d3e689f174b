package cli

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// direct writes the resources that --listen and --to stand for, so that they take the same
// way as files: a Gateway, an HTTPRoute, and Backends. Destinations that are addresses
// share one Backend; each host name has its own and the same share of requests per --to.
func direct(listen string, to []string) ([]byte, error) {
	address, port, err := listenAddress(listen)
	if err != nil {
		return nil, err
	}
	var endpoints []netip.AddrPort
	var names []hostPort
	for _, raw := range to {
		d, err := destination(raw)
		if err != nil {
			return nil, err
		}
		if ip, err := netip.ParseAddr(d.host); err == nil {
			endpoints = append(endpoints, netip.AddrPortFrom(ip, d.port))
			continue
		}
		names = append(names, d)
	}

	var b bytes.Buffer
	b.WriteString("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: weir}\nspec:\n  gatewayClassName: weir\n")
	if address != "" {
		fmt.Fprintf(&b, "  addresses: [{type: IPAddress, value: %q}]\n", address)
	}
	fmt.Fprintf(&b, "  listeners: [{name: http, protocol: HTTP, port: %d}]\n---\n", port)
	b.WriteString("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: weir}\nspec:\n" +
		"  parentRefs: [{name: weir}]\n  rules:\n  - name: all\n    backendRefs:\n")
	if len(endpoints) > 0 {
		fmt.Fprintf(&b, "    - {group: weir.dev, kind: Backend, name: to, weight: %d}\n", len(endpoints))
	}
	for i := range names {
		fmt.Fprintf(&b, "    - {group: weir.dev, kind: Backend, name: to-%d, weight: 1}\n", i+1)
	}
	if len(endpoints) > 0 {
		b.WriteString("---\napiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: to}\nspec:\n  endpoints:\n")
		for _, e := range endpoints {
			fmt.Fprintf(&b, "  - {address: %q, port: %d}\n", e.Addr(), e.Port())
		}
	}
	for i, d := range names {
		fmt.Fprintf(&b, "---\napiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: to-%d}\n"+
			"spec:\n  dns: {hostname: %q, port: %d}\n", i+1, d.host, d.port)
	}
	return b.Bytes(), nil
}

type hostPort struct {
	host string
	port uint16
}

// listenAddress splits ":8080", "127.0.0.1:8080" or "[::1]:8080".
func listenAddress(listen string) (address string, port uint16, err error) {
	host, service, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, usagef("--listen %q: want [ADDRESS]:PORT, like :8080 or 127.0.0.1:8080", listen)
	}
	if port, err = portNumber(service); err != nil {
		return "", 0, usagef("--listen %q: %w", listen, err)
	}
	if host == "" {
		return "", port, nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "", 0, usagef("--listen %q: %q is not an IP address; leave it out to listen on every one", listen, host)
	}
	return ip.String(), port, nil
}

// destination splits "http://127.0.0.1:3000" or "http://app.internal:3000".
func destination(raw string) (hostPort, error) {
	var d hostPort
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "":
		return d, usagef("--to %q: want http://HOST:PORT, like http://127.0.0.1:3000", raw)
	case u.Scheme == "https":
		return d, usagef("--to %q: only http://; for TLS to hosts write a Backend with spec.tls and use -f", raw)
	case u.Scheme != "http":
		return d, usagef("--to %q: want the scheme http, not %q", raw, u.Scheme)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "":
		return d, usagef("--to %q: only http://HOST:PORT; to change paths write an HTTPRoute and use -f", raw)
	}
	d.host, d.port = u.Hostname(), 80
	if p := u.Port(); p != "" {
		if d.port, err = portNumber(p); err != nil {
			return d, usagef("--to %q: %w", raw, err)
		}
	}
	return d, nil
}

func portNumber(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q: want a number from 1 to 65535", s)
	}
	return uint16(n), nil
}
