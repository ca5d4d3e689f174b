// Releases: how far each canary is, both arms, the evidence against it, and the moment of revert.
import { ask, History, query, Refusal } from "./api.js";
import { Chart } from "./chart.js";
import * as dom from "./dom.js";
import { missing } from "./routes.js";
import { List } from "./table.js";

const { cell, element, keep, kept, link } = dom;

const phases = { Progressing: "good", Holding: "warn", Paused: "warn", Aborted: "bad", Succeeded: "good", Finished: "good", Waiting: "unknown", Gone: "unknown" };
const figure = (n) => String(Number(n.toFixed(n < 1 ? 3 : 1)));
const time = (text) => new Date(text).toLocaleTimeString("en-GB");
const trips = (c) => (c.trip ? [{ at: c.trip, name: "reverted" }] : []);

// where is a column without the samples in which there was nothing to see: a canary that was taken
// back has no line.
const where = (column, there) => column.map((v, i) => (v || there[i] ? v : null));

// around is the part of a history that has something to see: the moment of revert, or what there is yet.
function around(columns, r) {
  if (!columns?.at.length) return columns;
  if (!r?.trip || !columns.trip || r.phase !== "Aborted") {
    const known = (columns.now - columns.at[0]) / 1000;
    return { ...columns, spanSeconds: [120, 240, 360].find((s) => known <= s) || columns.spanSeconds };
  }
  const now = Math.min(columns.now, columns.trip + 30000);
  const first = columns.at.findIndex((t) => t >= columns.trip - 90000);
  const last = columns.at.findLastIndex((t) => t <= now);
  if (first < 0 || last < first) return columns; // long ago
  const out = Object.fromEntries(Object.entries(columns).map(([k, v]) => [k, Array.isArray(v) ? v.slice(first, last + 1) : v]));
  return { ...out, now, spanSeconds: 120, clock: true };
}

const charts = {
  rates: {
    title: "Requests/s", format: dom.rate, marks: trips,
    lines: [{ name: "canary", kind: "upstream", of: (c) => where(c.canaryPerSecond, c.share) }, { name: "stable", kind: "requests", of: (c) => c.stablePerSecond }],
  },
  failed: {
    title: "Share that failed", format: dom.percent, marks: trips,
    lines: [{ name: "canary", kind: "upstream", of: (c) => where(c.canaryFailed, c.canaryPerSecond) }, { name: "stable", kind: "requests", of: (c) => where(c.stableFailed, c.stablePerSecond) }],
  },
  evidence: {
    title: "Evidence against the canary", format: figure, marks: trips,
    lines: [{ name: "of its boundary", kind: "upstream", of: (c) => where(c.evidence, c.share) }, { name: "boundary", kind: "p95", of: (c) => c.at.map(() => 1) }],
  },
  latency: {
    title: "p99", format: (ms) => dom.latency(ms).replace("~", ""), marks: trips,
    lines: [{ name: "canary", kind: "upstream", of: (c) => where(c.canaryP99Ms, []) }, { name: "stable", kind: "requests", of: (c) => where(c.stableP99Ms, []) }],
  },
};

function stages(r) {
  return element("ol", { class: "stages" }, ...(r.stages || []).map((s, i) => element("li", { class: i + 1 < r.stage ? "done" : i + 1 === r.stage ? "now" : "" },
    element("b", {}, s.share), s.for ? element("span", { class: "sub" }, i + 1 === r.stage && r.elapsed ? `${r.elapsed} of ${s.for}` : s.for) : null)));
}

const share = (arm) => (arm ? [dom.percent(arm.errorShare), element("span", { class: "sub" }, `${dom.count(arm.failed)} of ${dom.count(arm.requests)}`)] : "–");

// unwritten says what of a release is not on disk, or why nothing can be decided; empty: all is well.
const unwritten = (r) => (r.unsaved ? `not yet on disk: ${r.problem}` : r.decided ? `${r.decided} as soon as that is on disk: ${r.problem}` : r.problem);

function row(r) {
  return element("tr", {},
    cell("Rollout", [element("a", { class: "name", href: link("release", { name: r.name }) }, dom.path(r.name)), " ", dom.badge(phases[r.phase], r.phase.toLowerCase()), element("span", { class: "sub" }, dom.place(r.origin))]),
    cell("Canary has", [r.share, element("span", { class: "sub" }, r.stage ? `stage ${r.stage} of ${r.stages?.length || 0}` : "no stage")], "n"),
    cell("Canary fails", share(r.figures?.canary), "n"), cell("Stable fails", share(r.figures?.stable), "n"),
    cell("What blocks it", r.problem ? [element("b", {}, "state"), " ", unwritten(r)] : r.blocking ? [element("b", {}, r.blocking.name), " ", r.blocking.message] : element("span", { class: "quiet" }, "nothing")));
}

export function releases(parameters) {
  const list = new List({
    view: "releases", path: "/api/v1/rollouts", key: (r) => r.name, search: "name", row,
    columns: [{ name: "Rollout" }, { name: "Canary has", number: true }, { name: "Canary fails", number: true }, { name: "Stable fails", number: true }, { name: "What blocks it" }],
    filters: [{ name: "phase", label: "Phase", choices: ["Progressing", "Holding", "Paused", "Aborted", "Succeeded"].map((p) => [p, p.toLowerCase()]) }],
    empty: "No Rollout yet. One on a rule moves users to a new backend in stages, and takes them back on the response that proves a regression: docs/release.md.",
  }, parameters);
  return { title: "Releases", load: () => list.load(), show: () => list.show() };
}

export function release(parameters) {
  const { name } = parameters;
  const history = new History({ name }, "/api/v1/rollouts/evidence");
  let found, events = [], may = false;
  return {
    title: `Release ${name}`, parent: "releases",
    async load() {
      const [list, , past, status] = await Promise.all([
        ask(query("/api/v1/rollouts", { name })), history.load().catch(missing),
        ask(query("/api/v1/rollouts/history", { name })).catch(missing), ask("/api/v1/status"),
      ]);
      found = list.items.find((r) => r.name === name);
      events = past?.items || [];
      may = status.mutationsOpen;
    },
    show: () => (found ? page(found, events, may) : dom.absent(`No live Rollout is named ${name}.`, "releases", "All releases")),
    drawn: () => { for (const key of Object.keys(charts)) kept(`release ${key}`)?.chart?.update(around(history.columns, found)); },
  };
}

const orders = {
  Waiting: ["start"], Progressing: ["promote", "pause", "abort"], Holding: ["promote", "pause", "abort"], Paused: ["resume", "promote", "abort"],
  Aborted: ["start"], Succeeded: ["finish", "abort"], Finished: [], Gone: [],
};

function buttons(r) {
  return keep(`orders ${r.name} ${r.phase}`, (node) => {
    const said = element("span", { class: "quiet", role: "status" });
    const give = (order) => {
      const button = element("button", { type: "button", class: order === "abort" ? "danger" : "" }, order);
      button.addEventListener("click", async () => {
        button.disabled = true;
        try {
          const done = await ask("/api/v1/rollouts", "POST", { name: r.name, do: order, reason: "in the console" });
          said.textContent = done.patch ? "finished; weir rollout finish prints what to write down" : [`${order}: done`, unwritten(done.status)].filter(Boolean).join("; ");
        } catch (err) {
          said.textContent = err instanceof Refusal ? err.detail || err.message : err.message;
        }
        button.disabled = false;
      });
      return button;
    };
    node.append(...orders[r.phase].flatMap((o) => [give(o), " "]), said);
  }, "p", { class: "orders" });
}

function arms(f) {
  const arm = (name, a) => element("tr", {}, cell("Arm", [element("b", {}, name), element("span", { class: "sub" }, dom.path(a.arm))]),
    cell("Users", dom.count(a.users), "n"), cell("Requests", dom.count(a.requests), "n"),
    cell("First tries failed", dom.count(a.firstFailed), "n"), cell("Failed", dom.count(a.failed), a.failed ? "n bad" : "n"),
    cell("Share", [dom.percent(a.errorShare), element("span", { class: "sub" }, `${dom.percent(a.low)} to ${dom.percent(a.high)}`)], "n"),
    cell("p50", dom.latency(a.p50Ms), "n"), cell("p95", dom.latency(a.p95Ms), "n"), cell("p99", dom.latency(a.p99Ms), "n"));
  const cohort = (c) => element("tr", {}, cell("Arm", [element("b", {}, "cohort"), element("span", { class: "sub" }, c.name)]), cell("Users", "–", "n"), cell("Requests", dom.count(c.requests), "n"),
    cell("First tries failed", "–", "n"), cell("Failed", dom.count(c.failed), c.failed ? "n bad" : "n"), cell("Share", dom.percent(c.requests ? c.failed / c.requests : 0), "n"),
    ...["p50", "p95", "p99"].map((q) => cell(q, "–", "n")));
  return element("table", { class: "facts" },
    element("thead", {}, element("tr", {}, ...["Arm", "Users", "Requests", "First tries failed", "Failed", "Share", "p50", "p95", "p99"].map((h, i) => element("th", { scope: "col", class: i ? "n" : "" }, h)))),
    element("tbody", {}, arm("canary", f.canary), arm("stable", f.stable), ...(f.cohorts || []).filter((c) => c.requests).map(cohort)));
}

function test(t) {
  const bar = element("i");
  const part = t.boundary ? t.evidence / t.boundary : 0;
  bar.style.width = `${100 * Math.min(1, Math.max(0, part))}%`;
  return element("div", { class: part >= 1 ? "use bad" : "use" }, element("span", {}, t.name),
    element("span", { class: "n" }, `${figure(Math.max(0, t.evidence))} of ${figure(t.boundary)}`), element("span", { class: "bar" }, bar),
    t.detail ? element("span", { class: "sub" }, t.detail) : null);
}

function sample(s) {
  const words = `${dom.percent(s.share)} of users are on the canary, ${dom.percent(s.wanted)} are meant to be`;
  return element("p", {}, s.unfair ? dom.badge("bad", "unfair") : dom.badge("good", "fair"), " ", words, s.unfair ? ": the comparison is not to be trusted" : "");
}

const verdicts = { Pass: "good", Fail: "bad", Inconclusive: "warn", Error: "bad" };

function page(r, events, may) {
  const f = r.figures;
  return [
    element("p", { class: "lead", "data-key": "lead" }, dom.badge(phases[r.phase], r.phase.toLowerCase()), ` run ${r.run}, canary has ${r.share} `, dom.place(r.origin)),
    r.trip ? element("p", { class: "bad", "data-key": "trip" }, `Reverted at ${time(r.trip.at)}: ${r.trip.reason}`) : null,
    r.blocking && !r.trip ? element("p", { class: r.phase === "Aborted" ? "bad" : "warn", "data-key": "blocking" }, element("b", {}, r.blocking.name), ` ${r.blocking.message}`) : null,
    unwritten(r) ? element("p", { class: "warn", "data-key": "problem" }, element("b", {}, "state"), " ", unwritten(r)) : null,
    r.freeze ? element("p", { class: "warn", "data-key": "freeze" }, `Frozen by ${r.freeze.owner}: ${r.freeze.reason}`) : null,
    may ? buttons(r) : null,
    r.stages?.length ? stages(r) : null,
    element("div", { class: "charts after two", "data-key": "charts" }, ...Object.entries(charts).map(([key, options]) => keep(`release ${key}`, (node) => { node.chart = new Chart(node, options); }, "section", { class: "card" }))),
    f ? dom.card("Both arms", "in this stage", element("div", { class: "scroll" }, arms(f)), f.sample ? sample(f.sample) : null) : null,
    f?.tests?.length ? dom.card("The guard", "in the proxy, on every outcome: at the boundary everything goes back to stable", ...f.tests.map(test)) : null,
    r.gates?.length ? dom.card("Gates", "all must pass to enter the next stage", element("ul", { class: "plain" },
      ...r.gates.map((g) => element("li", {}, dom.badge(verdicts[g.verdict], g.verdict.toLowerCase()), ` ${g.gate}: ${g.message}`)))) : null,
    r.notes?.length ? dom.card("To be borne in mind", "", element("ul", { class: "plain" }, ...r.notes.map((n) => element("li", {}, n)))) : null,
    dom.card("What happened", "", events.length ? element("table", { class: "facts" },
      element("thead", {}, element("tr", {}, ...["When", "What", "Who", "Why", "Numbers"].map((h) => element("th", { scope: "col" }, h)))),
      element("tbody", {}, ...events.slice(-20).toReversed().map((e) => element("tr", {},
        cell("When", time(e.at)), cell("What", [e.what, element("span", { class: "sub" }, `canary ${e.share}`)]), cell("Who", e.who), cell("Why", e.why || "–"), cell("Numbers", e.numbers || "–"))))) : dom.note("Nothing yet.")),
  ].filter(Boolean);
}
