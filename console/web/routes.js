// Routes: the table of all, and the page of one.
import { ask, query, Refusal } from "./api.js";
import { budget, budgetOf } from "./budget.js";
import * as dom from "./dom.js";
import { List } from "./table.js";
import { Traffic } from "./traffic.js";

const { cell, element, link, sum } = dom;

export const columns = [
  { name: "Route", sort: "name" }, { name: "Takes" }, { name: "Sends to" },
  { name: "Requests/s", sort: "rate", number: true }, { name: "Errors/s", sort: "errors", number: true },
  { name: "p50", number: true }, { name: "p99", sort: "p99", number: true }, { name: "In flight", number: true },
];

export function row(r) {
  const { lately, inFlight } = r.traffic;
  const errors = sum(lately.blamePerSecond);
  return element("tr", {},
    cell("Route", [
      element("a", { href: link("route", { name: r.name }), class: "name" }, dom.path(r.name)), " ",
      r.state === "serving" ? null : dom.state(r.state), element("span", { class: "sub" }, dom.place(r.at)),
    ]),
    cell("Takes", [
      dom.more(r.hostnames.length ? r.hostnames : ["any host"], 2, (h) => element("span", { class: "line" }, h)),
      dom.more(r.matches, 2, (m) => element("code", { class: "sub" }, m)),
    ]),
    cell("Sends to", r.backends.length ? dom.more(dom.arms(r.backends), 3, (a) => a) : element("span", { class: "quiet" }, "answers itself")),
    cell("Requests/s", [dom.rate(lately.requestsPerSecond), r.matches.length === 0 ? element("span", { class: "sub" }, "connections") : null], "n"),
    cell("Errors/s", dom.rate(errors), errors ? "n bad" : "n"),
    cell("p50", dom.latency(lately.p50Ms), "n"), cell("p99", dom.latency(lately.p99Ms), "n"), cell("In flight", dom.count(inFlight), "n"));
}

export function routes(parameters) {
  const list = new List({
    view: "routes", path: "/api/v1/routes", columns, row, key: (r) => r.name, search: "name, host, path or backend",
    filters: [{ name: "state", label: "State", choices: [["serving", "serving"], ["partial", "partial"], ["refused", "refused"]] }],
    empty: "No routes yet.",
  }, parameters);
  return { title: "Routes", load: () => list.load(), show: () => list.show() };
}

const wildcard = (host) => host.replace(/^\*\./, "any.");

// example is a request that a route takes, as far as its matches say one.
function example(r) {
  const [method, target] = / \//.test(r.matches[0]) ? r.matches[0].split(" ") : ["GET", r.matches[0].split(" ")[0]];
  const path = target.startsWith("/") ? target.replace(/\/\*$/, "/") : "/";
  return { method, url: `http://${wildcard(r.hostnames[0] || "example.com")}${path}` };
}

export function route(parameters) {
  const { name } = parameters;
  const traffic = new Traffic({ route: name });
  let found, adds, revision;
  return {
    title: `Route ${name}`, parent: "routes",
    async load() {
      const [list] = await Promise.all([ask(query("/api/v1/routes", { name, policy: "true" })), traffic.load().catch(missing)]);
      found = list.items[0];
      if (list.revision !== revision) adds = found?.matches.length ? await budgetOf(name) : null; // none of a TCPRoute, TLSRoute or UDPRoute
      revision = list.revision;
    },
    show: () => (found ? page(found, adds, traffic) : dom.absent(`No live route is named ${name}.`, "routes", "All routes")),
    drawn: () => traffic.draw(),
  };
}

// missing lets a page of something that is gone say so itself.
export function missing(err) {
  if (!(err instanceof Refusal)) throw err;
}

function page(r, adds, traffic) {
  const { flags, retries, requests } = r.traffic;
  const flagged = Object.entries(flags || {}).sort((a, b) => b[1] - a[1]);
  const carried = r.matches.length === 0; // of a TCPRoute, TLSRoute or UDPRoute
  return [
    element("p", { class: "lead" }, dom.state(r.state), " ", r.object, r.rule ? `, rule ${r.rule}` : "", " ", dom.place(r.at)),
    ...(r.reasons || []).map((reason) => element("p", { class: "bad" }, reason)),
    traffic.show(),
    element("div", { class: "columns" },
      dom.card(`Takes ${carried ? "connections" : "requests"} for`, "", element("ul", { class: "plain" },
        ...(r.hostnames.length ? r.hostnames : ["any host"]).map((h) => element("li", {}, h)), ...r.matches.map((m) => element("li", {}, element("code", {}, m)))),
      dom.note("served by ", r.tables.join(", ")),
      carried ? null : element("p", {}, element("a", { class: "button", href: link("explain", example(r)) }, "Explain a request like this"))),
      dom.card("Sends them to", "", ...(r.backends.length ? dom.arms(r.backends) : [dom.note("It answers itself.")])),
      dom.card("Since the start", "", element("dl", { class: "pairs" },
        element("dt", {}, carried ? "Connections" : "Requests"), element("dd", {}, dom.count(requests)), element("dt", {}, "Retries"), element("dd", {}, dom.count(retries)),
        ...flagged.flatMap(([flag, n]) => [element("dt", {}, "Flag ", element("code", {}, flag)), element("dd", {}, dom.count(n))])))),
    budget(adds),
    dom.card("Effective policy", "of the rule; that of its backends is on their pages", dom.policy(r.policy)),
  ].filter(Boolean);
}
