// Objectives: what users are promised, what is left of the budget, how fast it burns, and who waits.
import { ask, query } from "./api.js";
import * as dom from "./dom.js";
import { List } from "./table.js";

const { cell, element, link } = dom;

const states = { Healthy: "good", Burning: "bad", Exhausted: "bad", NoData: "unknown" };
const words = { Healthy: "healthy", Burning: "burning", Exhausted: "exhausted", NoData: "no data" };

// share shows what is near to one: 99.95 %.
const share = (n) => (n === undefined ? "–" : `${Number((100 * n).toFixed(3))} %`);
const times = (n) => (n === undefined ? "–" : `× ${Number(n.toPrecision(3))}`);
const promise = (o) => `${share(o.objective)} ${o.below ? `within ${o.below}` : "available"}`;
const severity = (o) => dom.badge(o.state === "Burning" && o.severity === "ticket" ? "warn" : states[o.state], words[o.state] + (o.severity ? `: ${o.severity}` : ""));

// worst is the window that is nearest to its factor, or furthest above.
function worst(o) {
  const near = (b) => Math.min(b.longBurn ?? 0, b.shortBurn ?? 0) / b.factor;
  return o.burns?.reduce((a, b) => (near(b) > near(a) ? b : a));
}

// left draws what remains of the budget.
function left(o) {
  if (!o.budget) return "–";
  const bar = element("i");
  bar.style.width = `${100 * Math.min(1, Math.max(0, o.budget.remaining))}%`;
  return [`${Number((100 * o.budget.remaining).toFixed(1)).toLocaleString("en")} %`, element("span", { class: "bar" }, bar)];
}

function waits(o) {
  if (!o.freezes) return element("span", { class: "quiet", title: "it has no onBurn.freezeRollouts" }, "never wait");
  const list = (o.rollouts || []).map((r) => element("a", { class: "line", href: link("release", { name: r }) }, dom.path(r)));
  return [o.frozen ? dom.badge("warn", "frozen") : element("span", { class: "quiet" }, "go on"), ...list];
}

function row(o) {
  const burn = worst(o);
  return element("tr", {},
    cell("Objective", [element("a", { class: "name", href: link("objective", { name: o.name }) }, dom.path(o.name)), " ", severity(o), element("span", { class: "sub" }, o.reason)]),
    cell("Promised", [promise(o), element("span", { class: "sub" }, `over ${o.window}`)]),
    cell("Now", share(o.ratio), "n"), cell("Budget left", left(o), "n"),
    cell("Burns", burn ? [times(burn.longBurn), element("span", { class: "sub" }, `of ${times(burn.factor)} in ${burn.long}`)] : "–", "n"),
    cell("Rollouts", waits(o)));
}

export function objectives(parameters) {
  const list = new List({
    view: "objectives", path: "/api/v1/slos", key: (o) => o.name, search: "name", row,
    columns: [{ name: "Objective" }, { name: "Promised" }, { name: "Now", number: true }, { name: "Budget left", number: true }, { name: "Burns", number: true }, { name: "Rollouts" }],
    filters: [{ name: "state", label: "State", choices: Object.entries(words) }],
    empty: "Nothing is promised yet. A ServiceLevelObjective says which share of requests is to be good: docs/slo.md.",
  }, parameters);
  return { title: "Objectives", load: () => list.load(), show: () => list.show() };
}

export function objective(parameters) {
  const { name } = parameters;
  let found;
  return {
    title: `Objective ${name}`, parent: "objectives",
    async load() { found = (await ask(query("/api/v1/slos", { name }))).items.find((o) => o.name === name); },
    show: () => (found ? page(found) : dom.absent(`No live objective is named ${name}.`, "objectives", "All objectives")),
  };
}

const pair = (term, ...said) => [element("dt", {}, term), element("dd", {}, ...said)];

function page(o) {
  const names = (list, view) => (list || []).map((n) => element("a", { class: "line", href: link(view, { name: n }) }, dom.path(n)));
  return [
    element("p", { class: "lead", "data-key": "lead" }, severity(o), ` since ${new Date(o.since).toLocaleString("en-GB")}: ${o.reason} `, dom.place(o.at)),
    o.problem ? element("p", { class: "warn", "data-key": "problem" }, o.problem) : null,
    element("div", { class: "columns", "data-key": "facts" },
      dom.card("Budget", `over ${o.window}`, element("dl", { class: "pairs" },
        pair("Promised", promise(o), o.estimated ? element("span", { class: "sub" }, "estimated: the bound is inside a bucket of durations") : null),
        pair("Now", share(o.ratio)), pair("Requests", `${dom.count(Math.round(o.good + o.bad))}, ${dom.count(Math.round(o.bad))} of them bad`),
        o.budget ? pair("May be bad", dom.count(Number(o.budget.allowed.toPrecision(3)))) : null,
        pair("Budget left", left(o)))),
      dom.card("Counted", "", element("dl", { class: "pairs" }, pair("Targets", (o.targets || []).join(", ")), o.routes ? pair("Routes", names(o.routes, "route")) : null,
        o.clusters ? pair("Backends", names(o.clusters, "backend")) : null, pair("Rollouts", waits(o))))),
    dom.card("How fast it burns", "× 1 spends the budget just at the end of its window; above the limit in both times an alert is raised", burns(o)),
  ].filter(Boolean);
}

function burns(o) {
  const heads = ["Alert", "Long", "Burns", "Short", "Burns", "Limit", "State"];
  return element("div", { class: "scroll" }, element("table", { class: "facts" },
    element("thead", {}, element("tr", {}, ...heads.map((h) => element("th", { scope: "col" }, h)))),
    element("tbody", {}, ...(o.burns || []).map((b) => element("tr", {}, cell("Alert", b.severity),
      cell("Long", b.long), cell("Burns", times(b.longBurn)), cell("Short", b.short), cell("Burns", times(b.shortBurn)), cell("Limit", times(b.factor)),
      cell("State", b.longBurn === undefined ? dom.badge("unknown", "no data") : b.burning ? dom.badge(b.severity === "page" ? "bad" : "warn", b.until ? `until ${new Date(b.until).toLocaleTimeString("en-GB")}` : "burns") : dom.badge("good", "quiet")))))));
}
