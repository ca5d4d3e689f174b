// The first view: is everything all right, and if not, where to look.
import { ask } from "./api.js";
import * as dom from "./dom.js";
import { diagnostic } from "./objects.js";
import { Traffic } from "./traffic.js";

const { element, link, sum } = dom;

// noticed are shares of all requests from which errors are worth a word, and an alarm.
const noticed = 0.001;
const alarming = 0.02;

// findings is what needs a look, the worst first.
export function findings(s) {
  const { state, counts, traffic } = s;
  const { lately } = traffic;
  const out = [];
  const add = (level, text, to) => out.push({ level, text, to });
  const share = (n) => n / (lately.requestsPerSecond || 1);
  if (state.draining) add("bad", "Weir is draining: it takes no new work and will end.", link("listeners"));
  else if (!state.ready) add("bad", `Not ready${state.reason ? ": " + state.reason : ""}.`, link("diagnostics"));
  if (state.problem) add("bad", `A part of revision ${s.revision} is not in effect: ${state.problem}`, link("listeners"));
  for (const [blame, what] of [["upstream", "fail at backends"], ["proxy", "fail inside Weir"]]) {
    const failed = share(lately.blamePerSecond?.[blame] || 0);
    if (failed > noticed) add(failed > alarming ? "bad" : "warn", `${dom.percent(failed)} of requests ${what} (${dom.rate(lately.blamePerSecond[blame])}/s).`, link("routes", { sort: "errors" }));
  }
  const lost = s.unmatched.lately.requestsPerSecond;
  const refused = (lately.blamePerSecond?.policy || 0) - (s.unmatched.lately.blamePerSecond?.policy || 0);
  if (share(lost) > alarming) add("warn", `${dom.percent(share(lost))} of requests find no route (${dom.rate(lost)}/s).`, link("explain"));
  if (share(refused) > alarming) add("warn", `${dom.percent(share(refused))} of requests are refused by policy (${dom.rate(refused)}/s).`, link("routes", { sort: "errors" }));
  if (counts.pagingObjectives) add("bad", `${dom.plural(counts.pagingObjectives, "objective burns", "objectives burn")} so fast that somebody is to be called.`, link("objectives"));
  if (counts.burningObjectives > counts.pagingObjectives) add("warn", `${dom.plural(counts.burningObjectives - counts.pagingObjectives, "objective burns", "objectives burn")} too fast.`, link("objectives"));
  if (counts.exhaustedObjectives) add("warn", `${dom.plural(counts.exhaustedObjectives, "objective has", "objectives have")} no budget left.`, link("objectives", { state: "Exhausted" }));
  if (state.series) add("warn", `Time series are not kept, so objectives and gates that ask for them get no answer: ${state.series}.`, link("objectives"));
  if (counts.undecidedRollouts) add("warn", `${dom.plural(counts.undecidedRollouts, "release", "releases")} cannot be decided: the state is not on disk.`, link("releases"));
  if (counts.abortedRollouts) add("warn", `${dom.plural(counts.abortedRollouts, "release was", "releases were")} taken back in the last hour.`, link("releases", { phase: "Aborted" }));
  if (counts.holdingRollouts) add("warn", `${dom.plural(counts.holdingRollouts, "release waits", "releases wait")} for something.`, link("releases", { phase: "Holding" }));
  if (counts.activeFaults) add("warn", `${dom.plural(counts.activeFaults, "fault is", "faults are")} active, on purpose.`, link("faults", { state: "active" }));
  if (counts.acting) add("warn", `${dom.plural(counts.acting, "protection holds", "protections hold")} something back.`, link("resilience", { state: "acting" }));
  if (counts.unhealthyHosts) add("warn", `${dom.plural(counts.unhealthyHosts, "host is", "hosts are")} unhealthy.`, link("hosts", { sort: "errors" }));
  if (counts.quarantined) add("warn", `${dom.plural(counts.quarantined, "object runs an older version, or none", "objects run an older version, or none")}: the newest is wrong.`, link("resources", { accepted: "false" }));
  else if (counts.errors) add("warn", `${dom.plural(counts.errors, "error", "errors")} in the configuration.`, link("diagnostics", { severity: "error" }));
  return out.sort((a, b) => (a.level === b.level ? 0 : a.level === "bad" ? -1 : 1));
}

function verdict(s) {
  const found = findings(s);
  const level = found[0]?.level || "good";
  const { requestsPerSecond } = s.traffic.lately;
  const head = { bad: "Something is wrong", warn: "Serving, but look at this", good: requestsPerSecond ? "All is well" : "All is well, and quiet" }[level];
  return element("section", { class: `card verdict ${level}`, "data-key": "verdict" },
    element("h3", { class: level }, element("span", { "aria-hidden": "true" }, { bad: "✕ ", warn: "! ", good: "✓ " }[level]), head),
    found.length
      ? element("ul", { class: "plain" }, ...found.map((f) => element("li", {}, dom.badge(f.level, f.level === "bad" ? "now" : "look"), " ", element("a", { href: f.to }, f.text))))
      : element("p", { class: "quiet" }, `${dom.plural(s.counts.routes, "route", "routes")} to ${dom.plural(s.counts.clusters, "backend", "backends")} on ${dom.plural(s.counts.hosts, "host", "hosts")}; no errors by backends or by Weir, every object accepted.`));
}

function tiles(s) {
  const { lately, inFlight, requests } = s.traffic;
  const carried = s.streams;
  const errors = sum(lately.blamePerSecond);
  const tile = (name, value, sub, kind = "") => element("div", {}, element("dt", {}, name), element("dd", { class: kind }, value), element("dd", { class: "quiet" }, sub));
  return element("dl", { class: "tiles", "data-key": "tiles", "aria-label": `the last ${dom.span(lately.seconds)}` },
    tile("Requests/s", dom.rate(lately.requestsPerSecond), `${dom.count(requests)} so far`),
    tile("Errors/s", dom.rate(errors), `${dom.percent(errors / (lately.requestsPerSecond || 1))} of requests`, errors ? "bad" : ""),
    tile("p50", dom.latency(lately.p50Ms), "half are quicker"),
    tile("p95", dom.latency(lately.p95Ms), "1 of 20 is slower"),
    tile("p99", dom.latency(lately.p99Ms), "1 of 100 is slower"),
    tile("In flight", dom.count(inFlight), "being answered"),
    carried.requests || carried.inFlight ? tile("Connections/s", dom.rate(carried.lately.requestsPerSecond), `${dom.count(carried.inFlight)} carried, TCP, TLS, UDP`) : null);
}

export function overview() {
  const traffic = new Traffic();
  let status, worst, found;
  return {
    title: "Overview",
    async load() {
      [status, worst, found] = await Promise.all([
        ask("/api/v1/status"), ask("/api/v1/routes?sort=errors&limit=6"), ask("/api/v1/diagnostics?limit=5"), traffic.load(),
      ]);
    },
    show: () => [verdict(status), tiles(status), traffic.show(), element("div", { class: "columns", "data-key": "lists" }, routes(worst, status.unmatched), diagnostics(found)), configuration(status)],
    drawn: () => traffic.draw(),
  };
}

function routes(worst, unmatched) {
  const busy = worst.items.some((r) => sum(r.traffic.lately.blamePerSecond) > 0);
  const row = (key, name, { lately }, carried) => {
    const errors = sum(lately.blamePerSecond);
    return element("tr", { "data-key": key },
      dom.cell("Route", name), dom.cell("Requests/s", [dom.rate(lately.requestsPerSecond), carried ? element("span", { class: "sub" }, "connections") : null], "n"),
      dom.cell("Errors/s", dom.rate(errors), errors ? "n bad" : "n"), dom.cell("p99", dom.latency(lately.p99Ms), "n"));
  };
  return dom.card("Worst routes", "by errors per second", worst.items.length ? element("table", { class: "facts" },
    element("thead", {}, element("tr", {}, ...["Route", "Requests/s", "Errors/s", "p99"].map((h, i) => element("th", { scope: "col", class: i ? "n" : "" }, h)))),
    element("tbody", {}, ...worst.items.map((r) => row(r.name, element("a", { href: link("route", { name: r.name }) }, dom.path(r.name)), r.traffic, r.matches.length === 0)),
      unmatched.lately.requestsPerSecond ? row("unmatched", element("em", {}, "no route takes them"), unmatched) : null)) : dom.note("No routes yet."),
  element("p", {}, busy || !worst.items.length ? null : element("span", { class: "quiet" }, "None has errors now. "), element("a", { href: link("routes", { sort: "errors" }) }, "All routes")));
}

function diagnostics(found) {
  const rest = found.total - found.items.length;
  return dom.card("Diagnostics", found.total ? dom.count(found.total) : "",
    found.items.length ? element("ul", { class: "plain diagnostics" }, ...found.items.map(diagnostic)) : dom.note("Nothing to say: every object is accepted."),
    rest > 0 ? element("p", {}, element("a", { href: link("diagnostics") }, `and ${dom.count(rest)} more`)) : null);
}

function configuration(s) {
  const pair = (name, ...value) => [element("dt", {}, name), element("dd", {}, ...value)];
  return dom.card("What is live", "", element("dl", { class: "pairs" },
    pair("Revision", String(s.revision), s.applied ? `, live for ${dom.span(s.ageSeconds)}` : ""),
    pair("Version", element("code", {}, s.version ? s.version.slice(0, 12) : "–")),
    pair("Objects", element("a", { href: link("resources") }, dom.count(s.counts.objects)), `, ${dom.count(s.counts.quarantined)} quarantined`),
    pair("Routes", element("a", { href: link("routes") }, dom.count(s.counts.routes))),
    pair("Listeners", element("a", { href: link("listeners") }, dom.count(s.counts.listeners))),
    pair("Hosts", element("a", { href: link("hosts") }, dom.count(s.counts.hosts))),
    pair("Weir", s.program, `, up for ${dom.span((Date.now() - Date.parse(s.started)) / 1000)}`)));
}
