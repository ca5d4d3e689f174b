package peer

import (
	"fmt"
	"strings"
)

const haproxyMain = `global
  nbthread %[1]d
  maxconn 9000
  %[2]s
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 300s
  timeout server 60s
  timeout http-keep-alive 300s
frontend bench
  bind 127.0.0.1:%[3]d backlog 4096
  maxconn 9000
  %[4]s
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Request-Id %%[uuid()]
  %[5]s
backend ports
  balance leastconn
  %[6]s
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
	text := fmt.Sprintf(haproxyMain, max(s.Workers, 1), log, s.Port, format, target,
		s.each("server up%[1]d 127.0.0.1:%[1]d", "\n  "))
	path, err := s.write("haproxy.cfg", text)
	start.Args = []string{"-db", "-f", path}
	return start, err
}
