// The picture of what the policies of a route add up to when everything goes wrong.
import { ask, Refusal } from "./api.js";
import * as dom from "./dom.js";

const { cell, element } = dom;

const time = (ms) => (ms === undefined || ms === null ? "no limit" : ms >= 1000 ? `${Number((ms / 1000).toFixed(2))} s` : `${Number(ms.toFixed(1))} ms`);
const times = (n) => `× ${Number(n.toFixed(2))}`;

// budgetOf asks for a route's budget; nothing for what is no route of requests.
export async function budgetOf(route) {
  try {
    return (await ask("/api/v1/budgets", "POST", { route })).budgets.find((b) => b.route === route) || null;
  } catch (err) {
    if (err instanceof Refusal) return null;
    throw err;
  }
}

function name(s) {
  if (s.kind === "queue") return "waits in the queue";
  return s.kind === "backoff" ? `waits before try ${s.try}` : `try ${s.try}`;
}

// step is one bar of the picture, from its beginning to its end at the latest.
function step(s, span) {
  const to = s.toMs ?? span;
  const before = element("i", { class: "before" });
  const bar = element("i", { class: s.kind + (s.never ? " never" : s.cut ? " cut" : "") });
  before.style.width = `${(100 * Math.min(s.fromMs, span)) / span}%`;
  bar.style.width = `${Math.max(0.5, (100 * (Math.min(to, span) - Math.min(s.fromMs, span))) / span)}%`;
  const said = s.never ? "can never start" : `${time(s.fromMs)} to ${time(s.toMs)}${s.cut ? ", cut short by the request's time" : ""}`;
  return element("li", { class: s.never ? "bad" : "" }, element("span", {}, name(s)), element("span", { class: "lane", "aria-hidden": "true" }, before, bar), element("span", { class: "quiet" }, said));
}

export function budget(b) {
  if (!b) return null;
  const { latency, amplification } = b;
  const span = Math.max(1, latency.worstMs ?? 0, latency.requestMs ?? 0, ...latency.steps.map((s) => s.toMs ?? s.fromMs * 1.25));
  const path = amplification.path || [];
  return dom.card("Budget", "when everything goes wrong, as weir budget tells",
    element("p", {}, "An answer after ", element("b", {}, time(latency.worstMs)), latency.worstMs === undefined ? "" : " at the latest", ". One request becomes ",
      element("b", {}, times(amplification.worst)), ` tries at worst, ${times(amplification.expected)} while ${dom.percent(amplification.failing)} of tries fail.`),
    element("ol", { class: "budget" }, ...latency.steps.map((s) => step(s, span))),
    path.length > 1 ? element("p", { class: "quiet" }, "Along the call graph: ", path.map((h) => `${h.service} ${times(h.total)}`).join(" → ")) : null,
    b.notes?.length ? element("ul", { class: "plain" }, ...b.notes.map((n) => element("li", { class: "quiet" }, n))) : null,
    element("details", {}, element("summary", {}, "What each field contributes"), element("table", { class: "facts" },
      element("thead", {}, element("tr", {}, ...["Field", "Value", "Effect", "Set by"].map((h) => element("th", { scope: "col" }, h)))),
      element("tbody", {}, ...b.contributions.map((c) => element("tr", { class: c.default ? "default" : "" },
        cell("Field", element("code", {}, c.field)), cell("Value", c.value || "–"), cell("Effect", c.effect), cell("Set by", c.default ? "default" : dom.place(c.origin) || "set")))))));
}
