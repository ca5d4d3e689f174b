// Questions to the admin API, and when it last answered.

const patience = 4000; // milliseconds

// heard is when the last answer came, by performance.now; failed says why the last question
// has none.
export const contact = { heard: null, failed: "" };

// admit takes the token out of an address that has one, #token=… or #/releases?token=…: it opens the
// console for changes, and leaves the address bar at once.
export function admit() {
  const found = location.hash.match(/[#?&]token=([^&]*)/);
  if (!found) return;
  const token = new URLSearchParams("token=" + found[1].replaceAll("+", "%2B")).get("token");
  if (/^[!-~]+$/.test(token)) sessionStorage.setItem("token", token); // a header takes nothing else
  history.replaceState(null, "", location.pathname + location.hash.replace(found[0], ""));
}
admit();

// Refusal is an answer that is a problem document. Its detail is for people who have a form
// before them; its message also says how to ask the API.
export class Refusal extends Error {
  constructor(problem) {
    super([problem.title, problem.detail, problem.remedy].filter(Boolean).join(": "));
    this.detail = problem.detail;
  }
}

export async function ask(path, method = "GET", body) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = "Bearer " + token;
  if (body) headers["Content-Type"] = "application/json";
  let answer, content;
  try {
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store", signal: AbortSignal.timeout(patience) });
    content = await answer.json();
  } catch (err) {
    contact.failed = err.message;
    throw err;
  }
  contact.heard = performance.now();
  contact.failed = "";
  if (!answer.ok) throw new Refusal(content);
  return content;
}

// query is a path with parameters; empty ones are left out.
export function query(path, parameters) {
  const q = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) if (value) q.set(key, value);
  return q.size ? `${path}?${q}` : path;
}

// History follows one history of the server: it asks only for what is new.
export class History {
  constructor(of = {}, path = "/api/v1/history") {
    this.path = path;
    this.of = of; // {route: name}, {cluster: name} or nothing
    this.columns = null;
  }

  async load() {
    const last = this.columns?.at.at(-1);
    const next = await ask(query(this.path, { ...this.of, after: last }));
    if (!this.columns) {
      this.columns = next;
      return;
    }
    const oldest = next.now - 1000 * next.spanSeconds;
    const drop = this.columns.at.findIndex((t) => t >= oldest);
    for (const [key, value] of Object.entries(next)) {
      this.columns[key] = Array.isArray(value) ? [...this.columns[key].slice(drop < 0 ? this.columns.at.length : drop), ...value] : value;
    }
  }
}
