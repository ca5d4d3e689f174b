package console

import (
	"fmt"
	"net/http"
	"strings"

	"weir.dev/weir/model"
)

func (c *Console) serveHosts(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	text := strings.ToLower(q.Get("q"))
	var items []keyed[Host]
	for _, h := range c.cfg.Hosts.Hosts() {
		if q.Has("cluster") && q.Get("cluster") != h.Cluster || q.Has("name") && q.Get("name") != h.Address ||
			!strings.Contains(strings.ToLower(h.Cluster+" "+h.Address+" "+h.Zone), text) {
			continue
		}
		items = append(items, keyed[Host]{h.Cluster + "\x00" + h.Address, h})
	}
	series := func(h Host) seriesKey { return seriesKey{ofHost, h.Cluster, h.Address} }
	ordered[Host, hostView]{
		items: sorted(items), series: series,
		lately: func(v *hostView) *lately { return &v.Traffic.Lately },
		show: func(h Host) hostView {
			stats, _ := c.cfg.Metrics.HostStats(h.Cluster, h.Address)
			return hostView{
				Cluster: h.Cluster, Address: h.Address, Zone: h.Zone, Weight: h.Weight, Priority: h.Priority,
				Healthy: h.Healthy, Draining: h.Draining, Warmth: h.Warmth, InFlight: h.InFlight,
				Open: h.Open, Idle: h.Idle, EWMA: milliseconds(h.EWMA), Traffic: c.trafficOf(series(h), stats),
				TLS: h.TLS, LastError: h.LastError, LastErrorAt: h.LastErrorAt, Check: showCheck(h), Outlier: showOutlier(h),
			}
		},
	}.serve(c, w, q)
}

func showCheck(h Host) *checkView {
	if !h.Checked {
		return nil
	}
	return &checkView{h.Check, h.CheckSince, h.CheckError}
}

func showOutlier(h Host) *outlierView {
	if !h.Judged {
		return nil
	}
	return &outlierView{h.Ejected, h.EjectedBy, h.EjectedUntil, h.Ejections, h.WouldEject}
}

func (c *Console) serveClusters(w http.ResponseWriter, r *http.Request) {
	s, _ := c.cfg.Live.Snapshot()
	ix := c.index.of(s)
	q := r.URL.Query()
	var items []keyed[*model.Cluster]
	if s != nil {
		for _, cluster := range s.Clusters {
			if named(q, cluster.Name) {
				items = append(items, keyed[*model.Cluster]{cluster.Name, cluster})
			}
		}
	}
	hosts := map[string][]Host{}
	for _, h := range c.cfg.Hosts.Hosts() {
		if h.Draining {
			continue
		}
		hosts[h.Cluster] = append(hosts[h.Cluster], h)
	}
	ordered[*model.Cluster, clusterView]{
		items:  sorted(items),
		series: func(m *model.Cluster) seriesKey { return seriesKey{ofCluster, m.Name, ""} },
		lately: func(v *clusterView) *lately { return &v.Traffic.Lately },
		show:   func(m *model.Cluster) clusterView { return c.showCluster(m, hosts[m.Name], ix.users[m.Name]) },
	}.serve(c, w, q)
}

func (c *Console) showCluster(m *model.Cluster, hosts []Host, routes int) clusterView {
	v := clusterView{
		Name: m.Name, Algorithm: string(m.Balancing.Algorithm), Hosts: len(hosts), Routes: routes,
		Policy: model.EffectivePolicy(nil, nil, m),
	}
	if m.DNS != nil {
		v.DNS = fmt.Sprintf("%s:%d", m.DNS.Hostname, m.DNS.Port)
	}
	for _, h := range hosts {
		v.Open += h.Open
		if h.Healthy {
			v.Healthy++
		}
	}
	stats, _ := c.cfg.Metrics.ClusterStats(m.Name)
	v.Traffic = c.trafficOf(seriesKey{ofCluster, m.Name, ""}, stats)
	return v
}
