package peer

import (
	"fmt"
	"path/filepath"
	"strings"
)

const nginxMain = `daemon off;
%[1]s
pid %[2]s/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 20000;
events { worker_connections 16000; }
http {
  %[3]s
  server_tokens off;
  sendfile off;
  tcp_nodelay on;
  gzip off;
  keepalive_timeout 300s;
  keepalive_requests 100000000;
  server_names_hash_max_size 65536;
  server_names_hash_bucket_size 128;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
  client_max_body_size 0;
  client_body_buffer_size 16k;
  upstream backend {
    least_conn;
    %[4]s
    keepalive 2048;
    keepalive_requests 100000000;
    keepalive_timeout 300s;
  }
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Request-Id $request_id;
  proxy_request_buffering off;
  proxy_buffer_size 16k;
  proxy_buffers 8 16k;
  proxy_busy_buffers_size 64k;
  proxy_max_temp_file_size 0;
  ssl_protocols TLSv1.3;
  http2_max_requests 100000000;
  grpc_buffer_size 16k;
%[5]s}
`

// nginxBytes is for streams, whose module is one to load.
const nginxBytes = `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
%[1]s
pid %[2]s/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 20000;
events { worker_connections 16000; }
stream {
  tcp_nodelay on;
  upstream backend {
    least_conn;
    %[4]s
  }
  server { %[3]s; proxy_pass backend; proxy_timeout 300s; proxy_buffer_size 16k; }
}
`

const nginxLog = `log_format json escape=json '{"time":"$time_iso8601","id":"$request_id","client":"$remote_addr","method":"$request_method",'
    '"host":"$host","uri":"$request_uri","status":$status,"bytes":$body_bytes_sent,"duration":$request_time,'
    '"upstream":"$upstream_addr","upstream_time":"$upstream_response_time","agent":"$http_user_agent"}';
  access_log %s json buffer=64k flush=1s;`

func nginx(s Setup) (Start, error) {
	process, listen := "master_process off;", fmt.Sprintf("listen 127.0.0.1:%d backlog=4096", s.Port)
	if s.Workers > 1 {
		process = fmt.Sprintf("worker_processes %d;", s.Workers)
		listen += " reuseport"
	}
	switch {
	case s.Front == HTTP3 || s.Back == H2C:
		return Start{}, ErrCannot
	case s.Front == TLS:
		listen += fmt.Sprintf(" ssl http2; ssl_certificate %s; ssl_certificate_key %s", s.Cert, s.Key)
	case s.Front == H2C:
		listen += " http2"
	}
	if s.Front == Bytes {
		text := fmt.Sprintf(nginxBytes, process, s.Dir, listen, s.each("server 127.0.0.1:%d max_fails=0;", "\n    "))
		path, err := s.write("nginx.conf", text)
		return Start{Args: []string{"-p", filepath.Clean(s.Dir), "-c", path, "-e", "stderr"}}, err
	}
	log := "access_log off;"
	if s.Log != "" {
		log = fmt.Sprintf(nginxLog, s.Log)
	}
	var servers strings.Builder
	location := "location / { proxy_pass http://backend; }"
	if s.Back == GRPC {
		location = "location / { grpc_pass grpc://backend; }"
	}
	if s.Routes == 0 {
		fmt.Fprintf(&servers, "  server { %s; %s }\n", listen, location)
	} else {
		fmt.Fprintf(&servers, "  server { %s default_server; return 404; }\n", listen)
		for _, host := range s.hosts() {
			fmt.Fprintf(&servers, "  server { listen 127.0.0.1:%d; server_name %s; %s }\n", s.Port, host, location)
		}
	}
	text := fmt.Sprintf(nginxMain, process, s.Dir, log, s.each("server 127.0.0.1:%d max_fails=0;", "\n    "), servers.String())
	path, err := s.write("nginx.conf", text)
	return Start{Args: []string{"-p", filepath.Clean(s.Dir), "-c", path, "-e", "stderr"}}, err
}
