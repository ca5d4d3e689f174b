// Listeners: where Weir listens, what is served there, and how clients are treated.
import { ask } from "./api.js";
import * as dom from "./dom.js";

const { element, link } = dom;

export function listeners() {
  let answer;
  return {
    title: "Listeners",
    load: async () => { answer = await ask("/api/v1/listeners?limit=200"); },
    show: () => (answer.items.length ? answer.items.map(one) : [dom.note("No listeners: nothing is served.")]),
  };
}

function one(l) {
  const open = l.address ? dom.badge("good", "listening") : dom.badge("bad", "not listening");
  return dom.card(l.name, "",
    element("p", {}, open, " ", l.protocols.length ? `for ${l.protocols.join(", ")}${l.certificates ? " with TLS" : ""}, ` : "", l.address && l.address !== l.name ? `at ${l.address}, ` : "", dom.plural(l.openConnections, "connection", "connections"),
      l.refusedConnections ? element("span", { class: "warn" }, `, ${dom.count(l.refusedConnections)} refused since the start`) : null),
    l.problem ? element("p", { class: "bad" }, l.problem) : null,
    element("table", { class: "facts" },
      element("thead", {}, element("tr", {}, ...["Host name", "Route table", "Routes"].map((h) => element("th", { scope: "col" }, h)))),
      element("tbody", {}, ...l.bindings.map((b) => element("tr", {},
        dom.cell("Host name", b.hostname || "any"), dom.cell("Route table", dom.path(b.table)), dom.cell("Routes", b.stream ? dom.path(b.stream) : element("a", { href: link("routes") }, dom.count(b.routes))))))),
    l.certificates ? element("p", {}, "Certificates: ", ...l.certificates.flatMap((c, i) => [i ? ", " : "", element("code", {}, c.certificates.join(", ") || "none"), ` for ${c.hostname || "any host"}`])) : null,
    element("details", {}, element("summary", {}, "How clients are treated"), dom.policy(l.policy)));
}
