package peer

import (
	"encoding/json"
	"strconv"
)

// object and list are JSON, which Envoy and Caddy take as it is.
type (
	object = map[string]any
	list   = []any
)

const envoyType = "type.googleapis.com/envoy.extensions."

func envoy(s Setup) (Start, error) {
	limits := object{"max_connections": 65536, "max_pending_requests": 65536, "max_requests": 65536}
	var endpoints list
	for _, port := range s.Upstream {
		endpoints = append(endpoints, object{"endpoint": object{"address": envoyAddress(port)}})
	}
	manager := object{
		"@type":              envoyType + "filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix":        "bench",
		"codec_type":         "AUTO",
		"use_remote_address": true,
		"route_config":       object{"name": "bench", "virtual_hosts": envoyHosts(s)},
		"http_filters": list{object{"name": "router", "typed_config": object{
			"@type": envoyType + "filters.http.router.v3.Router",
		}}},
	}
	if s.Log != "" {
		manager["access_log"] = list{envoyLog(s.Log)}
	}
	filter := object{"name": "http", "typed_config": manager}
	if s.Front == Bytes {
		filter = object{"name": "tcp", "typed_config": object{
			"@type": envoyType + "filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "bench", "cluster": "ports",
		}}
	}
	chain := object{"filters": list{filter}}
	listener := object{"name": "bench", "address": envoyAddress(s.Port), "filter_chains": list{chain}}
	switch s.Front {
	case TLS:
		context := envoyTLS(s, "h2", "http/1.1")
		context["@type"] = envoyType + "transport_sockets.tls.v3.DownstreamTlsContext"
		chain["transport_socket"] = object{"name": "tls", "typed_config": context}
	case HTTP3:
		manager["codec_type"] = "HTTP3"
		listener["address"] = object{"socket_address": object{"protocol": "UDP", "address": "127.0.0.1", "port_value": s.Port}}
		listener["udp_listener_config"] = object{"quic_options": object{}}
		chain["transport_socket"] = object{"name": "quic", "typed_config": object{
			"@type":                  envoyType + "transport_sockets.quic.v3.QuicDownstreamTransport",
			"downstream_tls_context": envoyTLS(s, "h3"),
		}}
	}
	cluster := object{
		"name": "ports", "type": "STATIC", "lb_policy": "LEAST_REQUEST", "connect_timeout": "5s",
		"circuit_breakers": object{"thresholds": list{limits}},
		"load_assignment":  object{"cluster_name": "ports", "endpoints": list{object{"lb_endpoints": endpoints}}},
	}
	if s.Back == H2C || s.Back == GRPC {
		cluster["typed_extension_protocol_options"] = object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
			"@type":                envoyType + "upstreams.http.v3.HttpProtocolOptions",
			"explicit_http_config": object{"http2_protocol_options": object{}},
		}}
	}
	config := object{"static_resources": object{"listeners": list{listener}, "clusters": list{cluster}}}
	text, err := json.MarshalIndent(config, "", " ")
	if err != nil {
		return Start{}, err
	}
	path, err := s.write("envoy.json", string(text))
	return Start{Args: []string{
		"-c", path, "--concurrency", strconv.Itoa(max(s.Workers, 1)), "--disable-hot-restart", "-l", "error",
	}}, err
}

// envoyTLS is the context of a listener, of TLS 1.3 only.
func envoyTLS(s Setup, protocols ...string) object {
	file := func(path string) object { return object{"filename": path} }
	return object{
		"common_tls_context": object{
			"alpn_protocols":   protocols,
			"tls_params":       object{"tls_minimum_protocol_version": "TLSv1_3"},
			"tls_certificates": list{object{"certificate_chain": file(s.Cert), "private_key": file(s.Key)}},
		},
	}
}

func envoyAddress(port int) object {
	return object{"socket_address": object{"address": "127.0.0.1", "port_value": port}}
}

// envoyHosts is one virtual host per route.
func envoyHosts(s Setup) list {
	routes := list{object{"match": object{"prefix": "/"}, "route": object{"cluster": "ports"}}}
	if s.Routes == 0 {
		return list{object{"name": "all", "domains": list{"*"}, "routes": routes}}
	}
	var all list
	for _, host := range s.hosts() {
		all = append(all, object{"name": host, "domains": list{host}, "routes": routes})
	}
	return all
}

func envoyLog(path string) object {
	return object{"name": "file", "typed_config": object{
		"@type": envoyType + "access_loggers.file.v3.FileAccessLog",
		"path":  path,
		"log_format": object{"json_format": object{
			"time": "%START_TIME%", "id": "%REQ(X-REQUEST-ID)%", "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
			"method": "%REQ(:METHOD)%", "host": "%REQ(:AUTHORITY)%", "uri": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%",
			"bytes": "%BYTES_SENT%", "duration": "%DURATION%", "upstream": "%UPSTREAM_HOST%",
			"upstream_time": "%RESPONSE_DURATION%", "flags": "%RESPONSE_FLAGS%", "agent": "%REQ(USER-AGENT)%",
		}},
	}}
}
