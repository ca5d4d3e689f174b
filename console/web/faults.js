// Faults: what is broken on purpose, and the button that ends all of it.
import { ask } from "./api.js";
import * as dom from "./dom.js";
import { List } from "./table.js";

const { cell, element, keep, link } = dom;

const states = { active: "bad", stopped: "warn", expired: "unknown" };

function left(text) {
  const seconds = (new Date(text) - Date.now()) / 1000;
  return seconds > 0 ? `in ${dom.span(seconds)}` : `${dom.span(-seconds)} ago`;
}

// origin is where a fault is written: FILE:LINE.
function origin(text) {
  const [, file, line] = /^(.*):(\d+)$/.exec(text || "") || [];
  return file ? element("span", { class: "sub" }, dom.place({ file, line })) : element("span", { class: "sub" }, text || "");
}

function row(f) {
  return element("tr", {},
    cell("Fault", [element("span", { class: "name" }, dom.path(`${f.policy}/${f.name}`)), " ", dom.badge(states[f.state], f.state), element("span", { class: "sub" }, f.reason), origin(f.origin)]),
    cell("Does", [f.does, f.when ? element("code", { class: "sub" }, f.when) : null]),
    cell("Share", dom.percent(f.share), "n"), cell("Met", dom.count(f.injected), "n"),
    cell("Routes", dom.more(f.routes || [], 2, (r) => element("a", { class: "line", href: link("route", { name: r }) }, dom.path(r)))),
    cell("Ends", [left(f.expires), f.stop ? element("span", { class: "sub" }, `stopped by ${f.stop.by}${f.stop.reason ? `: ${f.stop.reason}` : ""}`) : null]));
}

function stop() {
  return keep("stop all faults", (node) => {
    const button = element("button", { type: "button", class: "danger" }, "Stop all faults");
    const said = element("span", { class: "quiet", role: "status" });
    button.addEventListener("click", async () => {
      button.disabled = true;
      await ask("/api/v1/faults/stop", "POST", { all: true, reason: "in the console" })
        .then((done) => { said.textContent = `${dom.plural(done.faults, "fault is", "faults are")} stopped`; }, (err) => { said.textContent = err.message; });
      button.disabled = false;
    });
    node.append(button, " ", said);
  }, "p", { class: "orders" });
}

export function faults(parameters) {
  const list = new List({
    view: "faults", path: "/api/v1/faults", key: (f) => `${f.policy}/${f.name}`, search: "policy", row,
    columns: [{ name: "Fault" }, { name: "Does" }, { name: "Share", number: true }, { name: "Met", number: true }, { name: "Routes" }, { name: "Ends" }],
    filters: [{ name: "state", label: "State", choices: [["active", "active"], ["stopped", "stopped"], ["expired", "expired"]] }],
    empty: "Nothing is broken on purpose. A FaultPolicy does that, for a share of requests and until it expires: docs/faults.md.",
  }, parameters);
  let active = 0, may = false;
  return {
    title: "Faults",
    async load() {
      const [, some, status] = await Promise.all([list.load(), ask("/api/v1/faults?limit=1&state=active"), ask("/api/v1/status")]);
      [active, may] = [some.total, status.mutationsOpen];
    },
    show: () => [active && may ? stop() : null, ...list.show()].filter(Boolean),
  };
}
