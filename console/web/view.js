// What the API answered, as elements. Every text comes in by textContent: nothing that a
// configuration or a client wrote is ever read as HTML.

export function element(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return e;
}

export function rate(n) {
  if (!n) return "0";
  return n < 10 ? n.toFixed(2) : n < 1000 ? n.toFixed(1) : Math.round(n).toLocaleString("en");
}

// quantile shows a duration that is only known to lie in a bucket of a histogram: about, and
// with two significant digits.
export function quantile(ms) {
  if (!ms) return "–";
  const digits = (n) => String(Number(n.toPrecision(2)));
  return ms >= 10000 ? `~${digits(ms / 1000)} s` : `~${digits(ms)} ms`;
}

export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return s + " s";
  if (s < 7200) return Math.round(s / 60) + " min";
  return s < 172800 ? Math.round(s / 3600) + " h" : Math.round(s / 86400) + " days";
}

const sum = (map) => Object.values(map || {}).reduce((a, b) => a + b, 0);

// place is "file:line:column" as far as it is known, on one line; only a long file name is
// cut short.
function place(at, kind) {
  const spot = [at.line, at.column].filter(Boolean).map((n) => ":" + n).join("");
  return at.file ? element("span", { class: "place " + kind, title: at.file + spot }, element("span", {}, at.file), spot) : null;
}

// path is a name like namespace/name, which wraps only behind its slashes.
function path(text) {
  const parts = text.split("/");
  return parts.flatMap((p, i) => [element("span", { class: "part", title: text }, i < parts.length - 1 ? p + "/" : p), element("wbr")]);
}

const badge = (kind, text) => element("span", { class: "badge " + kind }, text);

export function state(s) {
  if (s.draining) return [badge("warn", "draining"), reason(s)];
  return s.ready ? [badge("good", "ready")] : [badge("bad", "not ready"), reason(s)];
}

const reason = (s) => (s.reason && s.reason !== "draining" ? " " + s.reason : "");

export function config(s) {
  if (!s.version) return "no configuration is live yet · Weir " + s.program;
  return `revision ${s.revision} · version ${s.version.slice(0, 12)} · live for ${span(s.ageSeconds)} · Weir ${s.program}`;
}

export function tiles(status) {
  const t = status.traffic;
  const blame = t.lately.blamePerSecond || {};
  const tile = (name, value, kind = "") => element("div", {}, element("dt", {}, name), element("dd", { class: kind }, value));
  const errors = ["upstream", "policy", "client", "proxy"].map((b) =>
    tile(`Errors/s, ${b}`, rate(blame[b]), blame[b] ? (b === "client" ? "warn" : "bad") : ""));
  return [
    tile("Requests/s", rate(t.lately.requestsPerSecond)), tile("In flight", String(t.inFlight)), ...errors,
    tile("p50", quantile(t.lately.p50Ms)), tile("p95", quantile(t.lately.p95Ms)), tile("p99", quantile(t.lately.p99Ms)),
    tile("Requests so far", t.requests.toLocaleString("en")),
  ];
}

const cell = (name, content, kind = "") => element("td", { "data-name": name, class: kind }, element("div", {}, ...[content].flat().filter(Boolean)));
const sub = (text) => (text ? element("span", { class: "sub" }, text) : null);

function arm(b) {
  const bar = element("i");
  bar.style.width = b.percent + "%";
  return element("div", { class: "arm" },
    element("span", { class: "share", title: `weight ${b.weight}` }, b.percent.toFixed(b.percent % 1 ? 1 : 0) + " %", element("span", { class: "bar" }, bar)),
    element("span", {}, ...path(b.name), b.refused ? element("span", { class: "sub bad" }, b.refused) : null));
}

export function route(r, troubled) {
  const kinds = { serving: "good", partial: "warn", refused: "bad" };
  const wrong = troubled.has(r.object);
  const states = [badge(kinds[r.state], r.state)];
  if (r.state === "refused") states.push(...(r.reasons || []).map(sub)); // a share's reason stands beside it
  if (wrong) states.push(sub("see diagnostics"));
  const t = r.traffic;
  return element("tr", {},
    cell("Route", [...path(r.name), place(r.at, "sub"), sub(r.tables.join(", "))]),
    cell("Matches", [element("span", {}, r.hostnames.join(", ") || "any host"), ...r.matches.map((m) => element("span", { class: "sub code" }, m))]),
    cell("Backends", r.backends.length ? r.backends.map(arm) : ["–"]),
    cell("State", states),
    cell("Requests/s", rate(t.lately.requestsPerSecond), "n"),
    cell("Errors/s", rate(sum(t.lately.blamePerSecond)), sum(t.lately.blamePerSecond) ? "n bad" : "n"),
    cell("p50", quantile(t.lately.p50Ms), "n"), cell("p95", quantile(t.lately.p95Ms), "n"), cell("p99", quantile(t.lately.p99Ms), "n"),
    cell("In flight", String(t.inFlight), "n"));
}

export function host(h) {
  const t = h.traffic;
  return element("tr", {},
    cell("Host", [element("span", { class: "code part" }, h.address), sub(h.zone)]), cell("Cluster", path(h.cluster)),
    cell("Health", h.healthy ? badge("good", "healthy") : badge("bad", "unhealthy")),
    cell("Weight", String(h.weight), "n"), cell("Tries/s", rate(t.lately.requestsPerSecond), "n"),
    cell("Errors/s", rate(sum(t.lately.blamePerSecond)), sum(t.lately.blamePerSecond) ? "n bad" : "n"),
    cell("p95", quantile(t.lately.p95Ms), "n"), cell("In flight", String(h.inFlight), "n"),
    cell("Connections", `${h.openConnections} (${h.idleConnections} idle)`, "n"));
}

export function diagnostic(d) {
  const kinds = { error: "bad", warning: "warn", info: "unknown" };
  return element("li", {}, badge(kinds[d.severity] || "unknown", d.severity), " ",
    place(d.at, "code"), " ",
    d.object ? element("strong", {}, d.object + (d.field ? " " : "")) : null, d.field ? element("span", { class: "code" }, d.field) : null,
    d.object || d.field ? ": " : "", d.message, d.rule ? element("span", { class: "quiet" }, ` (${d.rule})`) : null);
}

export const nothing = (columns, text) => element("tr", {}, element("td", { colspan: columns, class: "quiet" }, text));

// sparkline draws points, newest last, over a fixed number of places, and returns the highest.
export function sparkline(svg, points, places) {
  const highest = Math.max(...points);
  const top = Math.max(1, highest);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  const x = (i) => (240 * (places - points.length + i)) / (places - 1);
  line.setAttribute("points", points.map((p, i) => `${x(i).toFixed(1)},${(46 - (44 * p) / top).toFixed(1)}`).join(" "));
  svg.replaceChildren(line);
  return highest;
}
