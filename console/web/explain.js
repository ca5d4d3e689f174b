// A form that asks what would happen to a request, and why.
import { ask } from "./api.js";
import * as dom from "./dom.js";

const { element, link } = dom;
// typed are the headers of the last request: they may be secrets, so no address holds them.
let typed = "";
const methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

export function explain(parameters) {
  let shown = [];
  let listeners = [];
  const answer = async () => {
    const { url, method } = parameters;
    if (!url) return [dom.note("Nobody sends this request: the answer is what the live configuration says. On the command line: ", element("code", {}, "weir explain --admin ADDRESS URL"))];
    const body = { method: method || "GET", url, headers: {}, listener: parameters.listener || only(url, listeners) };
    for (const line of typed.split("\n").filter((l) => l.trim())) {
      const [name, ...value] = line.split(":");
      (body.headers[name.trim()] ||= []).push(value.join(":").trim());
    }
    return result(body, await ask("/api/v1/explain", "POST", body));
  };
  return {
    title: "Explain a request", once: true,
    load: async () => {
      listeners = (await ask("/api/v1/listeners?limit=500")).items.map((l) => l.name);
      shown = await answer().catch((err) => [element("p", { class: "bad", role: "alert" }, err.detail || err.message)]);
    },
    show: () => [form(parameters, listeners), ...shown],
  };
}

// only is the listener that gets a request whose URL names no port, where there is but one.
const only = (url, listeners) => (listeners.length === 1 && !/^https?:\/\/[^/]*:\d+(\/|$)/.test(url) ? listeners[0] : "");

const form = (parameters, listeners) => dom.keep(`explain ${parameters.method} ${parameters.url} ${parameters.listener}`, (node) => {
  const url = element("input", { id: "url", type: "text", name: "url", required: "", placeholder: "http://shop.example.com/cart", autocomplete: "off", spellcheck: "false", inputmode: "url" });
  url.value = parameters.url || "";
  const method = element("input", { id: "method", name: "method", list: "methods", autocomplete: "off", spellcheck: "false" });
  method.value = parameters.method || "GET";
  const listener = element("select", { id: "listener", name: "listener" }, element("option", { value: "" }, "as the URL's port says"),
    ...listeners.map((l) => element("option", { value: l, selected: l === parameters.listener ? "" : null }, l)));
  const headers = element("textarea", { id: "headers", name: "headers", rows: "2", placeholder: "x-user: 7", spellcheck: "false" });
  headers.value = typed;
  const f = element("form", { class: "ask card" },
    element("label", { for: "method" }, "Method"), method, element("datalist", { id: "methods" }, ...methods.map((m) => element("option", { value: m }))),
    element("label", { for: "url" }, "URL"), url,
    listeners.length > 1 ? [element("label", { for: "listener" }, "Listener"), listener] : null,
    element("label", { for: "headers" }, "Headers, one a line"), headers,
    element("button", { type: "submit", class: "main" }, "Explain"));
  f.addEventListener("submit", (event) => {
    event.preventDefault();
    typed = headers.value.trim();
    dispatchEvent(new CustomEvent("narrow", { detail: { method: method.value.trim(), url: url.value.trim(), listener: listener.value } }));
  });
  node.append(f);
});

const where = (origin) => dom.place(origin);

function result(asked, e) {
  const host = e.hosts?.length;
  return [
    dom.card(`${asked.method} ${asked.url}`, "",
      element("p", { class: "answer" }, ...(e.route
        ? [dom.badge("good", "route"), " ", element("a", { href: link("route", { name: e.route }) }, e.route), " ", where(e.origin)]
        : [dom.badge("bad", "no route"), " ", e.reason || "nothing matches"])),
      e.route && e.reason ? element("p", { class: "bad" }, e.reason) : null,
      element("ol", { class: "steps" },
        step("Listener", e.listener && element("a", { href: link("listeners") }, e.listener)),
        step("Host name", e.table ? [e.hostname || "any", " ", element("span", { class: "quiet" }, "in table ", e.table)] : null),
        step("Match", e.match && element("code", {}, e.match)),
        step("Backend", e.arms?.length ? e.arms.map(arm) : e.cluster && element("a", { href: link("backend", { name: e.cluster }) }, e.cluster)),
        step("Hosts", host ? e.hosts.map((h) => element("code", { class: "host" }, h)) : null),
        step("Forwards", !e.status && e.forwardedPath ? [element("code", {}, e.forwardedPath), " with Host ", element("code", {}, e.forwardedHost)] : null),
        step("Answer", e.status ? [String(e.status), e.flag ? [" with flag ", element("code", {}, e.flag)] : "", e.location ? [" to ", element("code", {}, e.location)] : ""] : null))),
    dom.card("Routes that lost", "the nearest first", lost(e)),
    e.policy?.length ? dom.card("Effective policy", "", dom.policy(e.policy)) : null,
    dom.note(`As of revision ${e.revision || "–"}.`),
  ].filter(Boolean);
}

const step = (name, content) => (content ? element("li", {}, element("span", { class: "quiet" }, name), element("div", {}, content)) : null);

function arm(a) {
  return dom.arms([{ name: a.name, cluster: a.cluster, weight: a.weight, percent: 100 * a.share, refused: a.cluster ? "" : "refused" }]);
}

function lost(e) {
  if (!e.lost?.length) return dom.note("No other route comes near.");
  const rest = e.lostMore || 0;
  return [element("table", { class: "facts" },
    element("thead", {}, element("tr", {}, ...["Route", "Why not", "Where"].map((h) => element("th", { scope: "col" }, h)))),
    element("tbody", {}, ...e.lost.map((l) => element("tr", {},
      dom.cell("Route", element("a", { href: link("route", { name: l.route }) }, dom.path(l.route))), dom.cell("Why not", l.why), dom.cell("Where", where(l.origin)))))),
  rest ? dom.note(`and ${dom.count(rest)} more`) : null];
}
