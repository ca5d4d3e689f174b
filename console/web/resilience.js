// Resilience: what protects backends, routes and the process, and what it holds back now.
import { ask, History } from "./api.js";
import { Chart } from "./chart.js";
import * as dom from "./dom.js";
import { List } from "./table.js";

const { cell, element, keep, kept, link } = dom;

const perSecond = (n) => (n && n < 0.1 ? String(Number(n.toPrecision(2))) : String(Number(n.toFixed(n < 10 ? 2 : 1))));

const chart = {
  title: "Held back/s", format: perSecond, stacked: true,
  lines: [
    { name: "retries denied", kind: "policy", of: (c) => c.retriesDeniedPerSecond },
    { name: "tries by breakers", kind: "upstream", of: (c) => c.brokenPerSecond },
    { name: "requests shed", kind: "client", of: (c) => c.shedPerSecond },
    { name: "given less", kind: "proxy", of: (c) => c.degradedPerSecond },
  ],
};
const wouldBe = { title: "Would be held back/s", format: perSecond, lines: [{ name: "only observed", kind: "requests", of: (c) => c.wouldHavePerSecond }] };

const states = { acting: "bad", observing: "warn", idle: "good" };
const time = (text) => new Date(text).toLocaleTimeString("en-GB");
const observes = (mode) => (mode === "Observe" ? [" ", dom.badge("warn", "only observes")] : null);

// share is a part of a whole as a bar and in words; it stands out from nine tenths.
function share(name, part, text) {
  const bar = element("i");
  bar.style.width = `${100 * Math.min(1, part)}%`;
  return element("div", { class: part >= 0.9 ? "use bad" : "use" }, element("span", {}, name), element("span", { class: "n" }, text), element("span", { class: "bar" }, bar));
}

const use = (name, used, most, more = "") => share(name, most ? used / most : 0, (most ? `${dom.count(used)} of ${dom.count(most)}` : dom.count(used)) + more);
const whole = (part) => `${Math.round(100 * part)} %`;

function breaker(b) {
  const t = b.trip;
  const trip = t && {
    closed: () => [dom.badge("good", "closed"), ` ${dom.count(t.failures)} of the last ${dom.count(t.of)} tries failed; ${dom.count(t.needed)} open it`],
    open: () => [dom.badge("bad", "open"), ` probes in ${dom.span(t.probesInSeconds || 0)}`],
    "half-open": () => [dom.badge("warn", "half open"), ` ${dom.plural(t.probesPassed || 0, "probe has", "probes have")} passed`],
  }[t.state]();
  return part(["Breaker", observes(b.mode)], trip ? element("p", { title: t.since ? `since ${time(t.since)}` : "" }, ...trip) : null,
    ...(b.bounds || []).map((x) => use(x.name, x.used, x.most)));
}

const part = (title, ...content) => element("div", { class: "part" }, element("h4", {}, title), ...content);

function budget(b) {
  const left = b.remaining === undefined ? "any number left" : dom.plural(b.remaining, "left now", "left now");
  return part(["Retry budget", observes(b.mode)], element("p", { class: b.remaining === 0 ? "bad" : "" },
    `${dom.plural(b.retries, "retry", "retries")} beside ${dom.plural(b.firstTries, "first try", "first tries")} in 10 s; ${left}`));
}

function ejections(e, cluster) {
  const rest = e.count - (e.ejected || []).length;
  return part(["Ejection", observes(e.mode)],
    e.count ? null : element("p", { class: "quiet" }, `none of ${dom.plural(e.hosts, "host", "hosts")}`),
    ...(e.ejected || []).slice(0, 8).map((o) => element("p", { class: o.would ? "warn" : "bad" },
      element("a", { href: link("backend", { name: cluster }) }, element("code", {}, o.address)), ` ${o.would ? "would be out" : "out"} by ${o.rule} until ${time(o.until)}`)),
    rest + Math.max(0, (e.ejected || []).length - 8) > 0 ? element("p", {}, `and ${dom.count(e.count - Math.min(8, (e.ejected || []).length))} more of ${dom.count(e.hosts)}`) : null);
}

function overload(o) {
  const steps = (o.steps || []).map((s) => dom.badge(s.active ? "bad" : "unknown", `step at ${dom.percent(s.at)}${s.active ? " acts" : ""}`));
  return part([o.adaptive ? "Adaptive limit" : "Limit", observes(o.mode)],
    use("in flight", o.inFlight, o.limit, o.queued ? `, ${dom.count(o.queued)} wait` : undefined), share("busy", o.heat, whole(o.heat)),
    steps.length ? element("p", {}, ...steps.flatMap((s) => [s, " "])) : null,
    o.classes?.length ? element("table", { class: "facts" },
      element("thead", {}, element("tr", {}, ...["Class", "Let in", "Shed"].map((h, i) => element("th", { scope: "col", class: i ? "n" : "" }, h)))),
      element("tbody", {}, ...o.classes.map((c) => element("tr", {}, cell("Class", c.name), cell("Let in", dom.count(c.admitted), "n"), cell("Shed", dom.count(c.shed), c.shed ? "n bad" : "n"))))) : null,
    ...(o.tenants || []).slice(0, 3).map((t) => element("p", { class: "quiet" }, `${t.tenant}: ${dom.count(t.refused)} refused`)));
}

const throttle = (t) => part("Throttle", element("p", {}, `${dom.count(t.accepted)} of ${dom.plural(t.requests, "request", "requests")} of its window accepted`));

function pressure(list) {
  return part("Pressure", element("div", { class: "parts" }, ...list.map((r) => element("div", {}, share(r.resource, r.share, whole(r.share)),
    r.layer === "none" ? null : element("p", { class: "bad" }, { trim: "idle connections go", hold: "no new connections, nothing sheddable", refuse: "requests are refused" }[r.layer])))));
}

function actions(list) {
  if (!list?.length) return null;
  return element("ul", { class: "plain" }, ...list.map((a) => {
    const now = a.actedPerSecond > 0 ? "bad" : a.wouldHavePerSecond > 0 ? "warn" : "quiet";
    const rates = [a.actedPerSecond ? `${dom.rate(a.actedPerSecond)}/s` : "", a.wouldHavePerSecond ? `would be ${dom.rate(a.wouldHavePerSecond)}/s` : ""].filter(Boolean).join(", ");
    const totals = [a.acted || !a.wouldHave ? dom.count(a.acted) : "", a.wouldHave ? `would have ${dom.count(a.wouldHave)}` : ""].filter(Boolean).join(", ");
    return element("li", { class: now }, element("code", {}, a.protection), ` ${totals} ×`, rates ? element("b", {}, ` (${rates})`) : null);
  }));
}

const places = { backend: "backend", route: "route" };

function target(p) {
  const to = places[p.kind] ? link(places[p.kind], { name: p.target }) : scope(p.target);
  return to ? element("a", { class: "name", href: to }, dom.path(p.target)) : element("span", { class: "name" }, dom.path(p.target));
}

// scope is where a scope of requests is seen: the routes of its object.
function scope(name) {
  const [kind, ...rest] = name.split("/");
  if (kind === "Gateway") return link("routes");
  return /Route$/.test(kind) ? link("routes", { q: rest.slice(0, 3).join("/") }) : "";
}

function row(p) {
  const kinds = { backend: "backend", scope: "requests counted together", route: "route", process: "the whole process" };
  return element("tr", { class: p.state },
    cell("What", [target(p), element("span", { class: "sub" }, kinds[p.kind]), dom.badge(states[p.state], p.state)]),
    cell("How it stands", element("div", { class: "parts" },
      p.overload ? overload(p.overload) : null, p.breaker ? breaker(p.breaker) : null, p.retryBudget ? budget(p.retryBudget) : null,
      p.ejections ? ejections(p.ejections, p.target) : null, p.throttle ? throttle(p.throttle) : null, p.pressure ? pressure(p.pressure) : null), "stands"),
    cell("What it did", actions(p.actions) || element("span", { class: "quiet" }, "nothing yet")));
}

const begin = () => dom.card("Nothing is configured to protect routes or backends", "", element("p", {},
  "Failing hosts are left alone by default (5 failures in a row without an answer). More is said in a TrafficPolicy: ",
  element("code", {}, "retries.budget"), ", ", element("code", {}, "circuitBreaker"), ", ", element("code", {}, "outlierDetection"), " and ", element("code", {}, "overload"),
  ". Begin with ", element("code", {}, "mode: Observe"), ": it counts what it would have done and does nothing. docs/resilience.md tells the story."));

export function resilience(parameters) {
  const list = new List({
    view: "resilience", path: "/api/v1/resilience", key: (p) => `${p.kind} ${p.target}`, search: "backend, route or scope", empty: "Nothing.",
    columns: [{ name: "What" }, { name: "How it stands" }, { name: "What it did" }], row,
    filters: [{ name: "state", label: "State", choices: [["acting", "acting"], ["observing", "observing"], ["idle", "idle"]] }],
  }, parameters);
  const history = new History({}, "/api/v1/resilience/history");
  const charts = () => (history.columns?.wouldHavePerSecond.some(Boolean) ? { acted: chart, would: wouldBe } : { acted: chart });
  let some = 0;
  let acting = 0;
  return {
    title: "Resilience",
    async load() {
      const count = (state) => ask(`/api/v1/resilience?limit=1${state}`).then((l) => l.total);
      [, , some, acting] = await Promise.all([list.load(), history.load(), Promise.all(["backend", "scope"].map((kind) => count(`&kind=${kind}`))).then((n) => n[0] + n[1]), count("&state=acting")]);
    },
    show: () => [
      element("p", { class: "lead", "data-key": "lead" }, acting ? dom.badge("bad", `${dom.count(acting)} acting`) : dom.badge("good", "nothing acts"), " ",
        acting ? "Protections hold something back now, so that the rest goes well." : "Everything that is asked for is done."),
      some ? null : begin(),
      element("div", { class: "charts after", "data-key": "charts" }, ...Object.entries(charts()).map(([name, options]) => keep(`resilience ${name}`, (node) => { node.chart = new Chart(node, options); }, "section", { class: "card" }))),
      ...list.show(),
    ].filter(Boolean),
    drawn: () => { for (const name of Object.keys(charts())) kept(`resilience ${name}`)?.chart?.update(history.columns); },
  };
}
