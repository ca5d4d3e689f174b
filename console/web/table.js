// Lists of any length, page by page: the API searches, sorts and cuts them, and what was
// asked for stands in the address.
import { ask, query } from "./api.js";
import { count, element, keep, link, note } from "./dom.js";

const rows = 50;

// List shows what one endpoint lists. of: view (in the address), path, columns, row, key,
// fixed (parameters always sent), filters, empty; a column: name, sort, number.
export class List {
  constructor(of, parameters) {
    Object.assign(this, of);
    this.parameters = parameters;
    this.answer = null;
  }

  async load() {
    const { q, sort, after } = this.parameters;
    const chosen = Object.fromEntries((this.filters || []).map((f) => [f.name, this.parameters[f.name]]));
    this.answer = await ask(query(this.path, { limit: rows, q, sort, continue: after, ...chosen, ...this.fixed }));
  }

  // here is the address of this list with other parameters, from its first page.
  here(changes) {
    return link(this.view, { ...this.parameters, after: "", ...changes });
  }

  show() {
    const { items, total } = this.answer;
    const narrowed = this.parameters.q || (this.filters || []).some((f) => this.parameters[f.name]);
    return [
      element("div", { class: "tools" }, this.search ? this.searchBox() : null, ...(this.filters || []).map((f) => this.filter(f)),
        this.search ? element("span", { class: "quiet", role: "status" }, narrowed ? `${count(total)} found` : `${count(total)} in all`) : null),
      items.length ? this.table(items) : note(narrowed ? "Nothing fits. " : this.empty, narrowed ? element("a", { href: link(this.view, {}) }, "Show all") : null),
      this.pager(items.length, total),
    ];
  }

  searchBox() {
    return keep(`search ${this.view}`, (label) => {
      const input = element("input", { type: "search", id: "search", placeholder: this.search, autocomplete: "off", spellcheck: "false", "aria-keyshortcuts": "/" });
      input.value = this.parameters.q || "";
      let wait = 0;
      input.addEventListener("input", () => {
        clearTimeout(wait);
        wait = setTimeout(() => dispatchEvent(new CustomEvent("narrow", { detail: { q: input.value.trim(), after: "" } })), 120);
      });
      label.append(element("span", {}, "Search "), input, element("kbd", { "aria-hidden": "true" }, "/"));
    }, "label", { class: "search" });
  }

  filter(f) {
    const choice = (value, text) => {
      const on = (this.parameters[f.name] || "") === value;
      return element("a", { href: this.here({ [f.name]: value }), class: "choice", "aria-current": on ? "true" : null }, text);
    };
    return element("span", { class: "choices", role: "group", "aria-label": f.label }, choice("", "all"), ...f.choices.map(([value, text]) => choice(value, text)));
  }

  table(items) {
    const sorted = this.parameters.sort || "name";
    const head = this.columns.map((c) => {
      const on = c.sort && c.sort === sorted;
      const name = c.sort && this.sortable !== false
        ? element("a", { href: this.here({ sort: c.sort === "name" ? "" : c.sort }), title: `sort by ${c.name}` }, c.name, on ? element("span", { "aria-hidden": "true" }, c.sort === "name" ? " ▲" : " ▼") : null)
        : c.name;
      return element("th", { scope: "col", class: c.number ? "n" : "", title: c.title, "aria-sort": on ? (c.sort === "name" ? "ascending" : "descending") : null }, name);
    });
    const row = (item) => {
      const tr = this.row(item);
      tr.dataset.key = this.key(item);
      return tr;
    };
    return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "table", "data-key": "table" },
      element("table", { class: "list" }, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...items.map(row))));
  }

  pager(shown, total) {
    const { after } = this.parameters;
    if (!after && !this.answer.continue) return element("p", { class: "pager" });
    return element("p", { class: "pager" },
      after ? element("a", { href: this.here({}), class: "button" }, "First page") : null, " ",
      this.answer.continue ? element("a", { href: this.here({ after: this.answer.continue }), class: "button", rel: "next" }, "Next page") : null, " ",
      element("span", { class: "quiet" }, `${count(shown)} of ${count(total)} on this page`));
  }
}
