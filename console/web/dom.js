// Elements, and the words that figures are shown in. Every text comes in as a text node:
// nothing that a configuration or a client wrote is ever read as HTML.

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(e, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) e.setAttribute(key, value);
  }
  e.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== "" && c !== false));
  return e;
}

// keep stands for an element with a life of its own: make fills it when it first comes into
// the page, and later versions of the page leave it as it is.
export function keep(key, make, name = "div", attributes = {}) {
  const e = element(name, { ...attributes, "data-keep": key });
  e.make = make;
  return e;
}

export const kept = (key) => document.querySelector(`[data-keep="${CSS.escape(key)}"]`);

// morph makes the children of an element equal to next and changes as little as it can, so
// that focus, selection and scrolling stay.
export function morph(parent, next) {
  const keyed = new Map();
  for (const e of parent.children) if (keyOf(e)) keyed.set(keyOf(e), e);
  let cursor = parent.firstChild;
  for (const child of next) {
    const key = keyOf(child);
    const same = key ? keyed.get(key) : cursor && !keyOf(cursor) ? cursor : null;
    if (!same || same.nodeName !== child.nodeName) {
      parent.insertBefore(child, cursor);
      mount(child);
      continue;
    }
    if (same === cursor) cursor = cursor.nextSibling;
    else if (parent.moveBefore) parent.moveBefore(same, cursor);
    else parent.insertBefore(same, cursor);
    update(same, child);
  }
  while (cursor) {
    const gone = cursor;
    cursor = cursor.nextSibling;
    gone.remove();
  }
}

const keyOf = (node) => node.dataset?.keep || node.dataset?.key || "";

function update(now, next) {
  if (now.nodeType === Node.TEXT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  for (const { name } of [...now.attributes]) {
    if (!next.hasAttribute(name) && name !== "open" && name !== "style" && !now.dataset.keep) now.removeAttribute(name);
  }
  if (now.dataset.keep) return;
  // A style is set by its properties below: the policy for content forbids the attribute.
  for (const { name, value } of next.attributes) if (name !== "style" && now.getAttribute(name) !== value) now.setAttribute(name, value);
  if (next.style?.width) now.style.width = next.style.width;
  morph(now, [...next.childNodes]);
}

function mount(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return;
  for (const e of [node, ...node.querySelectorAll("[data-keep]")]) {
    e.make?.(e);
    delete e.make;
  }
}

// Figures.

export function rate(n) {
  if (!n) return "0";
  return n < 10 ? n.toFixed(n < 0.1 ? 3 : 2) : n < 1000 ? n.toFixed(1) : Math.round(n).toLocaleString("en");
}

export const count = (n) => n.toLocaleString("en");

// latency shows a duration that is only known to lie in a bucket of a histogram: about, and
// with two significant digits.
export function latency(ms) {
  if (!ms) return "–";
  const digits = (n) => String(Number(n.toPrecision(2)));
  if (ms < 1) return `~${digits(ms * 1000)} µs`;
  return ms >= 10000 ? `~${digits(ms / 1000)} s` : `~${digits(ms)} ms`;
}

export function percent(share) {
  if (!share) return "0 %";
  if (share < 0.0001) return "< 0.01 %";
  return `${Number((100 * share).toPrecision(2))} %`;
}

export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return s + " s";
  if (s < 7200) return Math.round(s / 60) + " min";
  return s < 172800 ? Math.round(s / 3600) + " h" : Math.round(s / 86400) + " days";
}

export const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;

export const sum = (map) => Object.values(map || {}).reduce((a, b) => a + b, 0);

// Pieces that every view has.

// link is the address of a view with its parameters.
export function link(view, parameters = {}) {
  const q = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) if (value) q.set(key, value);
  return `#/${view}${q.size ? "?" + q : ""}`;
}

export const badge = (kind, text) => element("span", { class: "badge " + kind }, text);

// place is "file:line:column" as far as it is known, on one line; of a long file name only
// the end is shown, and the whole on demand.
export function place(at) {
  if (!at?.file) return null;
  const spot = [at.line, at.column].filter(Boolean).map((n) => ":" + n).join("");
  const parts = at.file.split("/");
  const short = at.file.length > 28 && parts.length > 2 ? "…/" + parts.slice(-2).join("/") : at.file;
  return element("span", { class: "place", title: at.file + spot }, element("span", {}, short), spot);
}

// path is a name like namespace/name, which wraps only behind its slashes.
export function path(text) {
  const parts = text.split("/");
  return parts.flatMap((p, i) => [i < parts.length - 1 ? p + "/" : p, element("wbr")]);
}

export const note = (...text) => element("p", { class: "quiet note" }, ...text);

// absent is the page of what is not there, with the way to a view that lists what is.
export const absent = (what, view, all) => [note(what, " ", element("a", { href: link(view) }, all), view === "overview" ? null : [" ", element("a", { href: link("overview") }, "Overview")])];

export function card(title, extra, ...children) {
  return element("section", { class: "card", "data-key": "card " + title },
    element("h3", {}, title, extra ? element("small", { class: "quiet" }, " ", extra) : null), ...children);
}

// more shows the first few of a list and counts the rest.
export function more(list, limit, show) {
  const out = list.slice(0, limit).map(show);
  if (list.length > limit) out.push(element("span", { class: "sub" }, `and ${list.length - limit} more`));
  return out;
}

// policy is the table of an effective policy: each field with who set it.
export function policy(fields) {
  if (!fields?.length) return note("Nothing.");
  const set = (f) => (f.default
    ? element("span", { class: "quiet" }, "default")
    : [f.origin?.object ? element("span", {}, f.origin.object, " ") : null, place(f.origin) || (f.origin?.object ? null : "set")]);
  return element("table", { class: "facts" },
    element("thead", {}, element("tr", {}, ...["Field", "Value", "Set by"].map((h) => element("th", { scope: "col" }, h)))),
    element("tbody", {}, ...fields.map((f) => element("tr", { class: f.default ? "default" : "" },
      cell("Field", element("code", {}, f.field)), cell("Value", f.value || "–"), cell("Set by", set(f))))));
}

export function cell(name, content, kind = "") {
  return element("td", { "data-name": name, class: kind }, element("div", {}, content));
}

// state is how a route is, as a badge that says it in words.
export function state(s) {
  const kinds = { serving: "good", partial: "warn", refused: "bad" };
  return badge(kinds[s] || "unknown", s);
}

// arms are the destinations of a route with their shares.
export function arms(backends) {
  return backends.map((b) => {
    const bar = element("i");
    bar.style.width = b.percent + "%";
    return element("div", { class: "arm" },
      element("span", { class: "share", title: `weight ${b.weight}` }, `${Number(b.percent.toFixed(1))} %`, element("span", { class: "bar" }, bar)),
      element("span", {}, b.cluster ? element("a", { href: link("backend", { name: b.cluster }) }, path(b.name)) : path(b.name),
        b.refused ? element("span", { class: "sub bad" }, b.refused) : null));
  });
}
