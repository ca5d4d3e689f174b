// Asks the API every second and shows the answers. A page that gets none says how old what
// it shows is, instead of looking alive.
import * as view from "./view.js";

const every = 1000;
const patience = 4000;
const rows = 50;
const places = 120; // points of the sparkline
const recent = 30; // seconds; figures of a longer window are not of now

const find = (id) => document.getElementById(id);
const lists = { routes: { columns: 10, token: "" }, hosts: { columns: 9, token: "" } };
const points = [];
let filter = "";
let asked = 0;
let updated = null; // when the last answer came
let failure = "";

// A link with the token opens the console; the token leaves the address bar at once.
const link = new URLSearchParams(location.hash.slice(1));
if (link.has("token")) {
  sessionStorage.setItem("token", link.get("token"));
  history.replaceState(null, "", location.pathname);
}

function headers() {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: "Bearer " + token } : {};
}

async function ask(path, method = "GET") {
  const answer = await fetch(path, { method, headers: headers(), cache: "no-store", signal: AbortSignal.timeout(patience) });
  const body = await answer.json();
  if (!answer.ok) throw new Error([body.title, body.detail, body.remedy].filter(Boolean).join(": "));
  return body;
}

function query(name) {
  const q = new URLSearchParams({ limit: rows });
  if (lists[name].token) q.set("continue", lists[name].token);
  if (name === "routes" && filter) q.set("q", filter);
  return `/api/v1/${name}?${q}`;
}

function showStatus(s) {
  find("config").textContent = view.config(s);
  find("state").replaceChildren(...view.state(s.state).filter(Boolean));
  find("traffic").replaceChildren(...view.tiles(s));
  find("window").textContent = `over the last ${view.span(s.traffic.lately.seconds)}`;
  find("reload").hidden = !s.mutationsOpen;
  document.title = `${s.state.ready ? "" : "⚠ "}Weir · revision ${s.revision}`;
  if (s.traffic.lately.seconds > recent) return; // an average since the start says nothing of now
  points.push(s.traffic.lately.requestsPerSecond);
  if (points.length > places) points.shift();
  find("spark-note").textContent = `Requests/s as above; highest here ${view.rate(view.sparkline(find("spark"), points, places))}`;
}

function showList(name, answer, row, empty) {
  const { columns, token } = lists[name];
  find(name + "-count").textContent = answer.total > answer.items.length ? `${answer.items.length} of ${answer.total}` : String(answer.total);
  find(name + "-rows").replaceChildren(...(answer.items.length ? answer.items.map(row) : [view.nothing(columns, empty)]));
  find(name + "-next").hidden = !answer.continue;
  find(name + "-first").hidden = !token;
  lists[name].next = answer.continue || "";
}

function showDiagnostics(answer) {
  find("diagnostics-count").textContent = String(answer.total);
  const items = answer.items.map(view.diagnostic);
  find("diagnostics-list").replaceChildren(...(items.length ? items : [view.element("li", { class: "quiet" }, "Nothing to say: every object is accepted.")]));
  const more = answer.total - answer.items.length;
  find("diagnostics-more").textContent = more > 0 ? `and ${more} more: /api/v1/diagnostics` : "";
}

async function refresh() {
  const mine = ++asked;
  const [status, diagnostics, routes, hosts] = await Promise.all([
    ask("/api/v1/status"), ask(`/api/v1/diagnostics?limit=${rows}`), ask(query("routes")), ask(query("hosts")),
  ]);
  if (mine !== asked) return; // a newer question is on its way
  updated = performance.now();
  failure = "";
  showStatus(status);
  showAge();
  if (!getSelection().isCollapsed) { // new rows would take the selection away
    find("fresh").textContent = "tables wait while text is selected";
    return;
  }
  showDiagnostics(diagnostics);
  const troubled = new Set(diagnostics.items.map((d) => d.object));
  showList("routes", routes, (r) => view.route(r, troubled), filter ? "No route fits the filter." : "No routes.");
  showList("hosts", hosts, view.host, "No hosts.");
}

function showAge() {
  const age = updated === null ? Infinity : (performance.now() - updated) / 1000;
  const stale = age > 3 && failure !== "";
  document.body.classList.toggle("stale", stale);
  const when = updated === null ? "no update yet" : `last update ${view.span(age)} ago`;
  find("fresh").textContent = when;
  find("stale").hidden = !stale;
  if (!stale) return;
  // The age is hidden from screen readers: the alert is read once, not every second.
  const since = view.element("span", { "aria-hidden": "true" }, when + ".");
  find("stale").replaceChildren("The admin server does not answer. ", since);
  find("stale").title = failure;
  find("state").replaceChildren(view.element("span", { class: "badge unknown" }, "unknown"));
}

async function loop() {
  for (;;) {
    if (!document.hidden) {
      await refresh().catch((err) => { failure = err.message; });
      showAge();
    }
    await new Promise((done) => setTimeout(done, every));
  }
}

const again = () => refresh().catch((err) => { failure = err.message; showAge(); });

for (const name of Object.keys(lists)) {
  find(name + "-next").addEventListener("click", () => { lists[name].token = lists[name].next; again(); });
  find(name + "-first").addEventListener("click", () => { lists[name].token = ""; again(); });
}
find("filter").addEventListener("input", (event) => {
  filter = event.target.value.trim();
  lists.routes.token = "";
  again();
});
find("reload").addEventListener("click", async () => {
  find("reload").disabled = true;
  await ask("/api/v1/reload", "POST").catch((err) => { find("fresh").textContent = err.message; });
  find("reload").disabled = false;
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) again(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && event.target.tagName !== "INPUT") {
    event.preventDefault();
    find("filter").focus();
  }
});

loop();
