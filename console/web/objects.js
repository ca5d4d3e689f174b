// What the configuration is made of and what there is to say about it.
import { ask } from "./api.js";
import * as dom from "./dom.js";
import { List } from "./table.js";

const { cell, element, link } = dom;
const kinds = { error: "bad", warning: "warn", info: "unknown" };

export function diagnostic(d) {
  return element("li", {},
    element("p", {}, dom.badge(kinds[d.severity] || "unknown", d.severity), " ", d.message, d.rule ? element("span", { class: "quiet" }, ` (${d.rule})`) : null),
    element("p", { class: "sub" }, dom.place(d.at), " ", d.object ? element("a", { href: link("resources", { q: d.object }) }, d.object) : null, " ", d.field ? element("code", {}, d.field) : null));
}

export function diagnostics(parameters) {
  const list = new List({
    view: "diagnostics", path: "/api/v1/diagnostics", search: "file, object or message", key: (d) => JSON.stringify(d),
    filters: [{ name: "severity", label: "Severity", choices: [["error", "errors"], ["warning", "warnings"], ["info", "notes"]] }],
    columns: [{ name: "Severity" }, { name: "What" }, { name: "Where" }, { name: "Object" }],
    empty: "Nothing to say: every object is accepted.",
    row: (d) => element("tr", {},
      cell("Severity", dom.badge(kinds[d.severity] || "unknown", d.severity)),
      cell("What", [d.message, d.rule ? element("span", { class: "sub" }, d.rule) : null, d.rule === "mass-delete" ? consent() : null]),
      cell("Where", [dom.place(d.at), d.field ? element("code", { class: "sub" }, d.field) : null]),
      cell("Object", d.object ? element("a", { href: link("resources", { q: d.object }) }, dom.path(d.object)) : "–")),
  }, parameters);
  return { title: "Diagnostics", load: () => list.load(), show: () => list.show() };
}

// consent lets a change happen that removes most routes and is held back.
function consent() {
  return dom.keep("consent", (node) => {
    const button = element("button", { type: "button" }, "Allow this deletion");
    button.addEventListener("click", async () => {
      if (!confirm("More than half of the routes will be removed. Go on?")) return;
      button.disabled = true;
      button.textContent = await ask("/api/v1/mass-delete", "POST").then(() => "Allowed", (err) => err.message);
    });
    node.append(button);
  });
}

// whole is whether every condition of an object says what one hopes for.
const hoped = (c) => (/^(Conflicted|OverlappingTLSConfig|PartiallyInvalid)$/.test(c.type) ? c.status === "False" : c.status === "True");

function summary(o) {
  if (!o.accepted) return dom.badge("bad", "quarantined");
  const wrong = (o.conditions || []).filter((c) => !hoped(c));
  if (wrong.length) return dom.badge("warn", wrong.map((c) => `${c.type} ${c.status}`)[0] + (wrong.length > 1 ? ` and ${wrong.length - 1} more` : ""));
  return dom.badge("good", "accepted");
}

function conditions(o) {
  const list = o.conditions || [];
  if (!list.length) return element("span", { class: "quiet" }, "none");
  return element("details", {}, element("summary", {}, dom.plural(list.length, "condition", "conditions")),
    element("ul", { class: "plain" }, ...list.map((c) => element("li", {},
      element("span", { class: hoped(c) ? "good" : "warn" }, `${hoped(c) ? "✓" : "!"} ${c.type} ${c.status}`),
      c.reason && c.reason !== c.type ? `, ${c.reason}` : "", c.of ? element("span", { class: "sub" }, c.of) : null, c.message ? element("span", { class: "sub" }, c.message) : null))));
}

export function resources(parameters) {
  const list = new List({
    view: "resources", path: "/api/v1/resources", search: "kind, name or file", key: (o) => `${o.group} ${o.kind} ${o.namespace} ${o.name}`,
    filters: [{ name: "accepted", label: "Newest version", choices: [["true", "accepted"], ["false", "quarantined"]] }],
    columns: [{ name: "Object" }, { name: "Where" }, { name: "State" }, { name: "Conditions" }],
    empty: "No objects yet.",
    row: (o) => element("tr", {},
      cell("Object", [element("span", { class: "quiet" }, o.kind, " "), element("b", {}, dom.path(o.namespace ? `${o.namespace}/${o.name}` : o.name))]),
      cell("Where", dom.place(o.at)),
      cell("State", [summary(o), ...(o.problems || []).map((d) => element("span", { class: "sub" }, d.field ? element("code", {}, d.field) : null, " ", d.message, " ", dom.place(d.at)))]),
      cell("Conditions", conditions(o))),
  }, parameters);
  return { title: "Resources", load: () => list.load(), show: () => list.show() };
}
