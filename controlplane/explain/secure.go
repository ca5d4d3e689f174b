package explain

import (
	"fmt"
	"net/http"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
)

// handshake takes a request through the handshake with a listener that speaks TLS: by the
// name that the client asks for, which is the URL's host. It reports whether the request is
// heard at all, and belongs to that name (GEP-3567). Whether the client has a certificate is
// not known here.
func (f *finding) handshake(p *parsed) bool {
	if f.listener.TLS == nil {
		return true
	}
	var hosts match.Hosts[string]
	names := make([]string, 0, len(f.listener.TLS.Names))
	for _, n := range f.listener.TLS.Names {
		hosts.Set(n.Hostname, n.Hostname)
		names = append(names, n.Hostname)
	}
	own, ok := hosts.Find([]byte(p.serverName))
	switch wanted, known := hosts.Find([]byte(p.host)); {
	case !ok && p.serverName == "":
		f.reason = fmt.Sprintf("the handshake fails: an address is no name, and the listener has certificates for %s only", some(names))
	case !ok:
		f.reason = fmt.Sprintf("the handshake fails: the listener has no certificate for %s, but for %s", p.serverName, some(names))
	case known && wanted != own:
		f.refused(model.FlagDPE, "the connection is made for another name than the request's host")
		f.status = http.StatusMisdirectedRequest
	default:
		return true
	}
	return false
}
