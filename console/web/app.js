// The frame: which view is shown, what every view has around it, and the keys.
import { admit, ask, contact } from "./api.js";
import { backend, backends, hosts } from "./backends.js";
import * as dom from "./dom.js";
import { explain } from "./explain.js";
import { listeners } from "./listeners.js";
import { objective, objectives } from "./objectives.js";
import { diagnostics, resources } from "./objects.js";
import { findings, overview } from "./overview.js";
import { faults } from "./faults.js";
import { release, releases } from "./releases.js";
import { resilience } from "./resilience.js";
import { route, routes } from "./routes.js";
import { shadow, shadows } from "./shadows.js";

const views = { overview, routes, backends, hosts, resources, diagnostics, explain, listeners, resilience, releases, objectives, shadows, faults };
const pages = { route, backend, release, objective, shadow }; // of one thing, by its name
const jumps = { o: "overview", r: "routes", b: "backends", h: "hosts", s: "resources", d: "diagnostics", e: "explain", l: "listeners", p: "resilience", c: "releases", j: "objectives", w: "shadows", f: "faults" };
const every = 2000; // milliseconds between two questions
const find = (id) => document.getElementById(id);

let view = null; // what is shown
let address = ""; // and under which
let asked = 0;
let wrong = ""; // what the view's last question came to
let status = null;
let jumping = 0;

// here reads the address: #/routes?sort=rate.
function here() {
  const [name, query] = location.hash.replace(/^#\/?/, "").split("?");
  const parameters = Object.fromEntries(new URLSearchParams(query));
  const known = parameters.name && Object.hasOwn(pages, name) ? pages[name] : Object.hasOwn(views, name || "overview") ? views[name || "overview"] : nowhere;
  return { name: name || "overview", make: known, parameters };
}

// nowhere is what an address shows that is none of the console's.
function nowhere() {
  const { hash } = location;
  return { title: "Not found", load: async () => {}, show: () => dom.absent(`There is no page at ${hash}.`, "overview", "Overview") };
}

async function navigate(focus) {
  const { name, make, parameters } = here();
  const before = view?.name;
  address = location.hash;
  view = Object.assign(make(parameters), { name });
  for (const a of document.querySelectorAll("nav a")) {
    const at = a.dataset.view;
    if (at === name || at === view.parent) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  await refresh();
  if (focus && before !== name) {
    scrollTo(0, 0);
    find("title").focus();
  }
}

async function refresh() {
  const mine = ++asked;
  const current = view;
  const said = await Promise.allSettled([ask("/api/v1/status"), current.once && current.loaded ? null : current.load()]);
  if (mine !== asked || current !== view) return; // a newer question is on its way
  if (said[0].value) status = said[0].value;
  wrong = said[1].reason?.message || "";
  if (!wrong) {
    current.loaded = true;
    find("title").textContent = current.title;
    dom.morph(find("view"), current.show());
    current.drawn?.();
  } else if (!current.loaded) {
    find("title").textContent = current.title;
    dom.morph(find("view"), [dom.note(contact.failed ? "Nothing to show yet: the admin server does not answer." : wrong)]);
  }
  frame();
}

// frame shows what stands around every view.
function frame() {
  const age = contact.heard === null ? Infinity : (performance.now() - contact.heard) / 1000;
  const stale = contact.failed !== "" && age > 3;
  document.body.classList.toggle("stale", stale);
  find("stale").hidden = !stale;
  find("stale-age").textContent = contact.heard === null ? "There was no answer yet." : `No answer since ${dom.span(age)}: the figures below are old.`;
  find("stale").title = contact.failed;
  find("fresh").textContent = contact.heard === null ? "" : stale ? "" : "up to date";
  if (!status) return;
  const s = status;
  const level = stale ? "unknown" : findings(s)[0]?.level || "good";
  const word = stale ? "unknown" : s.state.draining ? "draining" : s.state.ready ? "ready" : "not ready";
  dom.morph(find("state"), [dom.badge(stale ? "unknown" : s.state.ready && !s.state.draining ? "good" : "bad", word)]);
  find("config").textContent = s.version ? `revision ${s.revision}, live for ${dom.span(s.ageSeconds + (stale ? age : 0))}` : "no configuration is live yet";
  document.title = `${{ good: "", warn: "! ", bad: "✕ ", unknown: "? " }[level]}${view.title} · Weir`;
  find("reload").hidden = !s.mutationsOpen;
  find("closed").hidden = s.mutationsOpen;
  const apart = [];
  const add = (to, text) => apart.push(dom.element("a", { href: to }, text));
  if (s.state.problem) add(dom.link("listeners"), `A part of revision ${s.revision} is not in effect: ${s.state.problem}`);
  if (s.counts.quarantined) add(dom.link("resources", { accepted: "false" }), dom.plural(s.counts.quarantined, "object runs an older version, or none", "objects run an older version, or none"));
  find("apart").hidden = !apart.length || view.name === "overview";
  dom.morph(find("apart"), apart);
}

async function loop() {
  for (;;) {
    await new Promise((done) => { setTimeout(done, every); });
    if (!document.hidden) await refresh();
  }
}

// narrow changes the parameters in the address without a step in the browser's history, but
// for a form that was sent.
addEventListener("narrow", (event) => {
  const { name, parameters } = here();
  const next = dom.link(name, { ...parameters, ...event.detail });
  if (next === location.hash || "q" in event.detail) history.replaceState(null, "", next);
  else history.pushState(null, "", next);
  navigate(false);
});
addEventListener("hashchange", () => {
  admit();
  if (location.hash !== address) navigate(true);
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
setInterval(frame, 1000);

// The colours: as the system has them, or as chosen.
const themes = ["auto", "light", "dark"];

function theme(next) {
  const name = themes.includes(next) ? next : "auto";
  localStorage.setItem("theme", name);
  document.documentElement.dataset.theme = name;
  find("theme").textContent = `Colours: ${name}`;
}

const nextTheme = () => theme(themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length]);
theme(localStorage.getItem("theme"));
find("theme").addEventListener("click", nextTheme);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names a view
  find("title").focus();
});
find("help").addEventListener("click", () => find("keys").showModal());
find("keys-close").addEventListener("click", () => find("keys").close());
find("reload").addEventListener("click", async () => {
  find("reload").disabled = true;
  await ask("/api/v1/reload", "POST").then(refresh, (err) => { find("fresh").textContent = err.message; });
  find("reload").disabled = false;
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || find("keys").open) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (performance.now() - jumping < 1500 && jumps[event.key]) {
    jumping = 0;
    location.hash = dom.link(jumps[event.key]);
    return;
  }
  jumping = event.key === "g" ? performance.now() : 0;
  if (event.key === "?") find("keys").showModal();
  if (event.key === "t") nextTheme();
  if (event.key === "/") search(event);
});

// search puts the cursor into the view's search box; where there is none, into that of the routes.
async function search(event) {
  event.preventDefault();
  if (!find("search")) {
    history.pushState(null, "", dom.link("routes"));
    await navigate(false);
  }
  find("search")?.focus();
}

await navigate(false);
loop();
