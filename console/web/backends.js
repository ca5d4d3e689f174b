// Backends: the table of all, the page of one, and the hosts of them.
import { ask, query } from "./api.js";
import * as dom from "./dom.js";
import { missing } from "./routes.js";
import { List } from "./table.js";
import { Traffic } from "./traffic.js";

const { cell, element, link, sum } = dom;

const health = (c) => (c.hosts === 0 ? dom.badge("bad", "no hosts")
  : c.healthy === c.hosts ? dom.badge("good", `${c.hosts} healthy`)
    : dom.badge(c.healthy ? "warn" : "bad", `${c.healthy} of ${c.hosts} healthy`));

const figures = (t) => {
  const errors = sum(t.lately.blamePerSecond);
  return [
    cell("Tries/s", dom.rate(t.lately.requestsPerSecond), "n"), cell("Errors/s", dom.rate(errors), errors ? "n bad" : "n"),
    cell("p50", dom.latency(t.lately.p50Ms), "n"), cell("p99", dom.latency(t.lately.p99Ms), "n"),
  ];
};

const counted = [
  { name: "Tries/s", sort: "rate", number: true }, { name: "Errors/s", sort: "errors", number: true },
  { name: "p50", number: true }, { name: "p99", sort: "p99", number: true },
];

const tabs = (at) => element("p", { class: "choices", role: "group", "aria-label": "What to list" },
  ...[["backends", "Backends"], ["hosts", "All hosts"]].map(([view, text]) => element("a", { href: link(view), class: "choice", "aria-current": at === view ? "true" : null }, text)));

export function backends(parameters) {
  const list = new List({
    view: "backends", path: "/api/v1/clusters", key: (c) => c.name, search: "name", empty: "No backends yet.",
    columns: [{ name: "Backend", sort: "name" }, { name: "Hosts" }, { name: "Balancing" }, { name: "Routes", number: true }, ...counted, { name: "Connections", number: true }],
    row: (c) => element("tr", {},
      cell("Backend", [element("a", { href: link("backend", { name: c.name }), class: "name" }, dom.path(c.name)), c.dns ? element("span", { class: "sub" }, c.dns) : null]),
      cell("Hosts", health(c)), cell("Balancing", c.algorithm), cell("Routes", dom.count(c.routes), "n"),
      ...figures(c.traffic), cell("Connections", dom.count(c.openConnections), "n")),
  }, parameters);
  return { title: "Backends", load: () => list.load(), show: () => [tabs("backends"), ...list.show()] };
}

// fitness is what a host may be given.
function fitness(h) {
  if (h.draining) return dom.badge("unknown", "draining");
  if (h.outlier?.ejected) return dom.badge("bad", `ejected: ${h.outlier.rule}`);
  if (!h.healthy) return h.check && h.check.state === "unknown" ? dom.badge("warn", "waits for its first check") : dom.badge("bad", "unhealthy");
  return h.warmth < 1 ? dom.badge("warn", `warming up, ${dom.percent(h.warmth)}`) : dom.badge("good", "healthy");
}

// outlying is what a host is held to be as an outlier.
function outlying(o) {
  if (!o || !o.rule && !o.ejections && !o.wouldEject) return null;
  const until = o.rule ? `${o.ejected ? "returns" : `would be ejected by ${o.rule}, and return`} at ${new Date(o.until).toLocaleTimeString()}; ` : "";
  const times = [o.ejections ? `ejected ${dom.count(o.ejections)} ×` : "", o.wouldEject ? `would have been ${dom.count(o.wouldEject)} ×` : ""];
  return element("span", { class: "sub", title: o.until || "" }, until + times.filter(Boolean).join(", "));
}

// hostList is the table of hosts, of one backend or of all.
function hostList(view, parameters, fixed) {
  return new List({
    view, path: "/api/v1/hosts", fixed, key: (h) => `${h.cluster} ${h.address}`, search: fixed ? null : "address, backend or zone", empty: "No hosts.",
    columns: [{ name: "Host", sort: "name" }, { name: "Health" }, { name: "Zone" }, { name: "Weight", number: true }, { name: "In flight", number: true }, ...counted,
      { name: "Balancing sees", number: true, title: "average latency in which peaks and failures weigh more" }, { name: "Connections", number: true }],
    row: (h) => element("tr", {},
      cell("Host", [element("code", {}, h.address), fixed ? null : element("a", { class: "sub", href: link("backend", { name: h.cluster }) }, dom.path(h.cluster))]),
      cell("Health", [fitness(h), outlying(h.outlier), h.check && h.check.error ? element("span", { class: "sub", title: h.check.since }, `check: ${h.check.error}`) : null,
        h.lastError ? element("span", { class: "sub", title: h.lastErrorAt }, h.lastError) : null]), cell("Zone", h.zone || "–"),
      cell("Weight", h.priority ? `${dom.count(h.weight)}, priority ${h.priority}` : dom.count(h.weight), "n"), cell("In flight", dom.count(h.inFlight), "n"), ...figures(h.traffic),
      cell("Balancing sees", h.latencyAverageMs ? dom.latency(h.latencyAverageMs) : "–", "n"), cell("Connections", `${h.openConnections} (${h.idleConnections} idle)`, "n")),
  }, parameters);
}

export function hosts(parameters) {
  const list = hostList("hosts", parameters);
  return { title: "Hosts", parent: "backends", load: () => list.load(), show: () => [tabs("hosts"), ...list.show()] };
}

export function backend(parameters) {
  const { name } = parameters;
  const traffic = new Traffic({ cluster: name }, "Tries");
  const list = hostList("backend", parameters, { cluster: name });
  let found, users;
  return {
    title: `Backend ${name.replace(/^backend\//, "")}`, parent: "backends",
    async load() {
      const [clusters, routes] = await Promise.all([
        ask(query("/api/v1/clusters", { name })), ask(query("/api/v1/routes", { cluster: name, sort: "rate", limit: 5 })), list.load(), traffic.load().catch(missing),
      ]);
      found = clusters.items[0];
      users = routes;
    },
    show: () => (found ? page(found, users, list, traffic) : dom.absent(`No live backend is named ${name}.`, "backends", "All backends")),
    drawn: () => traffic.draw(),
  };
}

function page(c, users, list, traffic) {
  const others = users.total - users.items.length;
  return [
    element("p", { class: "lead" }, health(c), " ", `${c.algorithm}, ${dom.plural(c.openConnections, "connection", "connections")} open`, c.dns ? `, hosts from DNS: ${c.dns}` : ""),
    traffic.show(),
    dom.card("Hosts", "", ...list.show()),
    dom.card("Routes that send to it", "the busiest first", users.items.length ? element("ul", { class: "plain" },
      ...users.items.map((r) => element("li", {}, element("a", { href: link("route", { name: r.name }) }, dom.path(r.name)), " ",
        element("span", { class: "quiet" }, `${dom.rate(r.traffic.lately.requestsPerSecond)} requests/s`))),
      others > 0 ? element("li", { class: "quiet" }, `and ${dom.count(others)} more`) : null) : dom.note("None: only mirrors, or nothing.")),
    dom.card("Effective policy", "of the backend", dom.policy(c.policy)),
  ];
}
