// Shadows: what copies of requests found: differences by field, what is noise, examples, latencies.
import { ask, query, Refusal } from "./api.js";
import * as dom from "./dom.js";
import { List } from "./table.js";

const { cell, element, keep, link } = dom;

const dropped = (s) => s.dropped.reduce((n, d) => n + d.count, 0);
const ratio = (n) => (n ? `× ${Number(n.toPrecision(2))}` : "–");

function verdict({ comparison: c }) {
  if (!c) return dom.badge("unknown", "not compared");
  if (!c.compared) return dom.badge("unknown", "nothing yet");
  return c.different ? dom.badge("warn", "different") : dom.badge("good", "the same");
}

function row(s) {
  const c = s.comparison;
  const lost = dropped(s);
  return element("tr", {},
    cell("Shadow", [element("a", { class: "name", href: link("shadow", { name: s.name }) }, dom.path(s.name)), " ", verdict(s), element("span", { class: "sub" }, `since ${new Date(s.since).toLocaleString("en-GB")}`)]),
    cell("Answered", dom.count(s.answered), "n"), cell("Failed", dom.count(s.failed), s.failed ? "n bad" : "n"), cell("Not sent", dom.count(lost), lost ? "n warn" : "n"),
    cell("Compared", c ? dom.count(c.compared) : "–", "n"),
    cell("Different", c ? [dom.percent(c.share), element("span", { class: "sub" }, dom.count(c.different))] : "–", "n"),
    cell("Noise", c ? dom.count(c.noise) : "–", "n"), cell("p99", ratio(s.latency?.ratio.p99), "n"));
}

export function shadows(parameters) {
  const list = new List({
    view: "shadows", path: "/api/v1/shadows", key: (s) => s.name, search: "name", row,
    columns: [{ name: "Shadow" }, ...["Answered", "Failed", "Not sent", "Compared", "Different", "Noise", "p99"].map((name) => ({ name, number: true, title: name === "p99" ? "the shadow's divided by the primary's" : undefined }))],
    empty: "No Shadow yet. One sends copies of requests to a new version, and says where its answers differ, which nobody notices: docs/shadow.md.",
  }, parameters);
  return { title: "Shadows", load: () => list.load(), show: () => list.show() };
}

export function shadow(parameters) {
  const { name } = parameters;
  let found, may = false;
  return {
    title: `Shadow ${name}`, parent: "shadows",
    async load() {
      const [list, status] = await Promise.all([ask(query("/api/v1/shadows", { name })), ask("/api/v1/status")]);
      found = list.items.find((s) => s.name === name);
      may = status.mutationsOpen;
    },
    show: () => (found ? page(found, may) : dom.absent(`No live Shadow is named ${name}.`, "shadows", "All Shadows")),
  };
}

function reset(s) {
  return keep(`reset ${s.name}`, (node) => {
    const button = element("button", { type: "button" }, "Begin anew");
    const said = element("span", { class: "quiet", role: "status" });
    button.addEventListener("click", async () => {
      button.disabled = true;
      await ask("/api/v1/shadows/reset", "POST", { shadow: s.name })
        .then(() => { said.textContent = "what was counted is forgotten"; }, (err) => { said.textContent = err instanceof Refusal ? err.detail || err.message : err.message; });
      button.disabled = false;
    });
    node.append(button, " ", said);
  }, "p", { class: "orders" });
}

// facts is a table of figures: each head with whether its cells are numbers.
function facts(heads, rows) {
  return element("div", { class: "scroll" }, element("table", { class: "facts" },
    element("thead", {}, element("tr", {}, ...heads.map(([text, number]) => element("th", { scope: "col", class: number ? "n" : "" }, text)))), element("tbody", {}, ...rows)));
}

const field = (text) => element("code", {}, text);

function fields(c) {
  const rows = c.fields.map((f) => element("tr", { class: f.noisy ? "default" : "" }, cell("Field", [field(f.field), f.noisy ? " noise" : ""]),
    cell("Differs", dom.count(f.different), "n"), cell("Of itself", dom.count(f.noise), "n"), cell("Remains", dom.count(f.net), f.net && !f.noisy ? "n warn" : "n")));
  return dom.card("Where answers differ", "remains: what the primary does not also differ in from itself",
    rows.length ? facts([["Field"], ["Differs", true], ["Of itself", true], ["Remains", true]], rows) : dom.note("Nowhere."),
    c.other ? dom.note(`${dom.plural(c.other, "difference", "differences")} in further places`) : null);
}

function examples(c) {
  const rows = c.examples.map((e) => element("tr", {}, cell("Request", [`${e.method} ${e.path}`, element("span", { class: "sub" }, new Date(e.at).toLocaleTimeString("en-GB"))]),
    cell("Field", field(e.field)), cell("Primary", field(e.primary)), cell("Shadow", field(e.shadow))));
  return dom.card("Examples", "one of each place", rows.length ? facts([["Request"], ["Field"], ["Primary"], ["Shadow"]], rows) : dom.note("None."));
}

function latency(l) {
  const rows = ["p50", "p95", "p99"].map((q) => element("tr", {}, cell("Latency", element("b", {}, q)), cell("Primary", dom.latency(l.primary[`${q}Ms`]), "n"),
    cell("Shadow", dom.latency(l.shadow[`${q}Ms`]), "n"), cell("Ratio", ratio(l.ratio[q]), "n")));
  return dom.card("Latency", "to the head of the answers that were compared", facts([[""], ["Primary", true], ["Shadow", true], ["Ratio", true]], rows));
}

function page(s, may) {
  const c = s.comparison;
  const pair = (name, value) => [element("dt", {}, name), element("dd", {}, value)];
  return [
    element("p", { class: "lead", "data-key": "lead" }, verdict(s), ` since ${new Date(s.since).toLocaleString("en-GB")}`),
    may ? reset(s) : null,
    element("div", { class: "columns", "data-key": "counts" },
      dom.card("Copies", "", element("dl", { class: "pairs" }, pair("Answered", dom.count(s.answered)), pair("Failed", dom.count(s.failed)), pair("Under way", dom.count(s.inFlight)),
        s.dropped.map((d) => pair(`Not sent: ${d.reason}`, dom.count(d.count))))),
      c ? dom.card("Answers", "", element("dl", { class: "pairs" }, pair("Compared", dom.count(c.compared)), pair("Equal", dom.count(c.equal)), pair("Noise", dom.count(c.noise)),
        pair("Different", `${dom.count(c.different)} (${dom.percent(c.share)})`), pair("Not comparable", dom.count(c.uncompared)))) : null,
      s.latency ? latency(s.latency) : null),
    c ? fields(c) : dom.note("The answers are not compared: the Shadow has no compare."),
    c ? examples(c) : null,
  ].filter(Boolean);
}
