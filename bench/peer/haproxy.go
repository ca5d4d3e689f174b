package peer

import (
	"fmt"
	"strings"
)

const haproxyMain = `global
  nbthread %[1]d
  maxconn %[9]d
  %[2]s
defaults
  %[7]s
  timeout connect 5s
  timeout client 300s
  timeout server 60s
  timeout http-keep-alive 300s
frontend bench
  bind 127.0.0.1:%[3]d backlog 4096%[8]s
  maxconn %[9]d
  %[4]s
  %[5]s
backend ports
  balance leastconn
  %[6]s
`

const haproxyHTTP = `mode http
  option http-keep-alive
  http-reuse always`

const haproxyFields = `option forwardfor
  http-request set-header X-Forwarded-Proto %s
  http-request set-header X-Request-Id %%[uuid()]
  `

const haproxyLog = `log global
  log-format '{"time":"%tr","id":"%[capture.req.hdr(0)]","client":"%ci","method":"%HM","uri":"%HU",` +
	`"status":%ST,"bytes":%B,"duration_ms":%Ta,"upstream":"%s","upstream_ms":%Tr,"state":"%tsc"}'`

// haproxyCapture keeps for the log what the rules before it have set.
const haproxyCapture = "http-request capture req.hdr(x-request-id) len 36\n  "

func haproxy(s Setup) (Start, error) {
	target, log, format := "default_backend ports", "", "no log"
	var start Start
	if s.Routes > 0 {
		var hosts strings.Builder
		for _, host := range s.hosts() {
			fmt.Fprintf(&hosts, "%s ports\n", host)
		}
		path, err := s.write("hosts.map", hosts.String())
		if err != nil {
			return Start{}, err
		}
		target = fmt.Sprintf("use_backend %%[req.hdr(host),lower,map_str(%s)]", path)
	}
	if s.Log != "" {
		log, format, start.Stdout = "log stdout format raw local0", haproxyLog, s.Log
		target = haproxyCapture + target
	}
	mode, bind, server, scheme := haproxyHTTP, "", "server up%[1]d 127.0.0.1:%[1]d", "http"
	limit := 9000
	switch s.Front {
	case HTTP3:
		return Start{}, ErrCannot
	case TLS:
		// It wants certificate and key in one file, or beside each other with the suffix .key.
		bind, scheme = " ssl crt "+s.Cert+" alpn h2,http/1.1 ssl-min-ver TLSv1.3", "https"
	case H2C:
		bind = " proto h2"
	case Bytes:
		limit = 4000 // of descriptors there are 20,000 here, and pipes need some
		mode = "mode tcp\n  option splice-auto"
	}
	if s.Front != Bytes {
		target = fmt.Sprintf(haproxyFields, scheme) + target
	}
	if s.Back == H2C || s.Back == GRPC {
		server += " proto h2"
	}
	text := fmt.Sprintf(haproxyMain, max(s.Workers, 1), log, s.Port, format, target, s.each(server, "\n  "), mode, bind, limit)
	path, err := s.write("haproxy.cfg", text)
	start.Args = []string{"-db", "-f", path}
	return start, err
}
