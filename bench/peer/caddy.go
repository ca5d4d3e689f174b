package peer

import (
	"encoding/json"
	"fmt"
	"strconv"
)

func caddy(s Setup) (Start, error) {
	server := object{
		"listen":          list{fmt.Sprintf("127.0.0.1:%d", s.Port)},
		"protocols":       list{"h1"},
		"automatic_https": object{"disable": true},
		"routes":          caddyRoutes(s),
	}
	apps := object{"http": object{"servers": object{"bench": server}}}
	switch s.Front {
	case Bytes:
		return Start{}, ErrCannot
	case H2C:
		server["protocols"] = list{"h1", "h2c"}
	case TLS, HTTP3:
		server["protocols"] = list{"h1", "h2", "h3"}
		server["tls_connection_policies"] = list{object{"protocol_min": "tls1.3"}}
		apps["tls"] = object{"certificates": object{"load_files": list{object{"certificate": s.Cert, "key": s.Key}}}}
	}
	logs := object{"default": object{"writer": object{"output": "stderr"}, "level": "ERROR"}}
	if s.Log != "" {
		server["logs"] = object{"default_logger_name": "access"}
		logs["access"] = object{
			"writer":  object{"output": "file", "filename": s.Log, "roll": false},
			"encoder": object{"format": "json"}, "include": list{"http.log.access.access"},
		}
	}
	config := object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": logs},
		"apps":    apps,
	}
	text, err := json.MarshalIndent(config, "", " ")
	if err != nil {
		return Start{}, err
	}
	path, err := s.write("caddy.json", string(text))
	return Start{
		Args: []string{"run", "--config", path},
		Env: []string{
			"GOMAXPROCS=" + strconv.Itoa(max(s.Workers, 1)), "HOME=" + s.Dir, "XDG_DATA_HOME=" + s.Dir, "XDG_CONFIG_HOME=" + s.Dir,
		},
	}, err
}

// caddyRoutes is one route per host, as its configuration language makes them.
func caddyRoutes(s Setup) list {
	var upstreams list
	for _, port := range s.Upstream {
		upstreams = append(upstreams, object{"dial": fmt.Sprintf("127.0.0.1:%d", port)})
	}
	version := "1.1"
	if s.Back == H2C || s.Back == GRPC {
		version = "h2c"
	}
	handle := list{object{
		"handler":        "reverse_proxy",
		"upstreams":      upstreams,
		"load_balancing": object{"selection_policy": object{"policy": "least_conn"}},
		"headers":        object{"request": object{"set": object{"X-Request-Id": list{"{http.request.uuid}"}}}},
		"transport": object{
			"protocol": "http", "compression": false, "versions": list{version},
			"keep_alive": object{"enabled": true, "max_idle_conns": 8192, "max_idle_conns_per_host": 2048, "idle_timeout": "300s"},
		},
	}}
	if s.Routes == 0 {
		return list{object{"handle": handle}}
	}
	var all list
	for _, host := range s.hosts() {
		all = append(all, object{"match": list{object{"host": list{host}}}, "handle": handle, "terminal": true})
	}
	return all
}
