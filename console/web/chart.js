// Charts of the last minutes, drawn as SVG. What a colour says, a dash, a hatching and the
// legend's words say too; the arrow keys move through time, and a table has the same figures.
import { drawn, element } from "./dom.js";

const height = 168;
const pad = { top: 8, right: 10, bottom: 22, left: 50 };
let charts = 0;

export class Chart {
  // options: title, format (of a value), stacked, lines: [{name, kind (class), of: (columns) => values}],
  // marks: (columns) => [{at, name}], moments at which something happened. Columns with clock are of
  // a time that is over: the axis has the time of day.
  constructor(node, options) {
    Object.assign(this, options);
    this.node = node;
    this.id = `chart${++charts}`;
    this.columns = null;
    this.at = null; // index of the sample under the cursor; null: the newest
    this.build();
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  build() {
    this.time = element("span", { class: "quiet when" });
    this.legend = element("ul", { class: "legend" });
    this.plot = element("div", {
      class: "plot", tabindex: "0", role: "slider", "aria-label": `${this.title}, the last ten minutes; arrow keys move through time`,
      "aria-orientation": "horizontal", "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0",
    });
    this.rows = element("tbody");
    this.table = element("details", {}, element("summary", {}, "As a table"),
      element("table", { class: "figures" },
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Minute"), ...this.lines.map((l) => element("th", { scope: "col", class: "n" }, l.name)))),
        this.rows));
    this.items = this.lines.map((l) => element("li", {}, swatch(l.kind, this.stacked), element("span", {}, l.name), element("b", {}, "–")));
    this.legend.append(...this.items);
    this.node.classList.add("chart");
    this.node.append(element("h4", {}, this.title, " ", this.time), this.legend, this.plot, this.table);
    this.plot.addEventListener("pointermove", (e) => this.point(e));
    this.plot.addEventListener("pointerleave", () => { if (!this.keyed) this.move(null); });
    this.plot.addEventListener("blur", () => { this.keyed = false; this.move(null); });
    this.plot.addEventListener("keydown", (e) => this.key(e));
    this.table.addEventListener("toggle", () => this.fill());
  }

  update(columns) {
    if (!columns) return;
    const pointed = this.at === null ? null : this.columns.at[this.at];
    this.columns = columns;
    this.values = this.lines.map((l) => l.of(columns));
    if (pointed !== null) this.at = nearest(columns.at, pointed);
    this.draw();
    this.fill();
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!this.columns || !width) return;
    const { at, now, spanSeconds } = this.columns;
    const inner = { width: width - pad.left - pad.right, height: height - pad.top - pad.bottom };
    this.x = (t) => pad.left + inner.width * (1 - (now - t) / (1000 * spanSeconds));
    const tops = this.stacked ? stack(this.values) : this.values;
    const scale = steps(Math.max(0, ...tops.flat()));
    this.y = (v) => pad.top + inner.height * (1 - v / scale.top);
    const parts = [drawn("g", { class: "grid" }, ...scale.ticks.map((v) => this.tick(v, width)), ...this.minutes(spanSeconds, now, inner.width))];
    const runs = continuous(at, 1000 * this.columns.stepSeconds);
    const order = this.lines.map((_, i) => i);
    if (this.stacked) parts.push(hatchings(this.id, this.lines));
    for (const i of this.stacked ? order : order.toReversed()) {
      const kind = this.lines[i].kind;
      for (const run of runs) parts.push(...(this.stacked ? this.area(run, tops, i, kind) : this.line(run, this.values[i], kind)));
    }
    if (!at.length) parts.push(drawn("text", { class: "none", x: pad.left + inner.width / 2, y: pad.top + inner.height / 2 }, "No samples yet"));
    parts.push(...this.moments(inner.height), this.cursor(tops));
    this.plot.replaceChildren(drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" }, ...parts));
    this.read();
  }

  tick(v, width) {
    const y = this.y(v).toFixed(1);
    return [drawn("line", { x1: pad.left, x2: width - pad.right, y1: y, y2: y }), drawn("text", { class: "y", x: pad.left - 6, y }, this.format(v))];
  }

  minutes(spanSeconds, now, width) {
    const step = this.columns.clock ? spanSeconds / 4 : width < 330 ? 300 : 120;
    const out = [];
    for (let s = 0; s <= spanSeconds; s += step) {
      const x = this.x(now - 1000 * s).toFixed(1);
      const anchor = s === 0 ? "end" : s === spanSeconds ? "start" : "middle";
      out.push(drawn("text", { class: "x", x, y: height - 6, "text-anchor": anchor }, this.columns.clock ? clock(now - 1000 * s) : s === 0 ? "now" : `−${s / 60} min`));
    }
    return out;
  }

  // moments marks the times at which something happened.
  moments(high) {
    return (this.marks?.(this.columns) || []).filter((m) => this.x(m.at) >= pad.left).map((m) => {
      const x = this.x(m.at).toFixed(1);
      return drawn("g", { class: "moment" }, drawn("line", { x1: x, x2: x, y1: pad.top, y2: pad.top + high }),
        drawn("text", { x, y: pad.top + 10, dx: -4, "text-anchor": "end" }, m.name));
    });
  }

  // line draws what is there; where there is no value there is no line.
  line(run, values, kind) {
    const out = [];
    let points = [];
    const end = () => {
      if (points.length > 1) out.push(drawn("polyline", { class: `line ${kind}`, points: points.join(" ") }));
      else if (points.length) out.push(drawn("circle", { class: `dot ${kind}`, cx: points[0].split(",")[0], cy: points[0].split(",")[1], r: 1.5 }));
      points = [];
    };
    for (const i of run) {
      if (values[i] === null) end();
      else points.push(this.spot(i, values[i]));
    }
    end();
    return out;
  }

  area(run, tops, i, kind) {
    if (!run.some((k) => tops[i][k] > (tops[i - 1]?.[k] ?? 0))) return [];
    const upper = run.map((k) => this.spot(k, tops[i][k]));
    const lower = run.map((k) => this.spot(k, i ? tops[i - 1][k] : 0)).reverse();
    const points = [...upper, ...lower].join(" ");
    return [
      drawn("polygon", { class: `area ${kind}`, points }), drawn("polygon", { fill: `url(#${this.id}-${kind})`, points }),
      drawn("polyline", { class: `line edge ${kind}`, points: upper.join(" ") }),
    ];
  }

  spot(i, v) {
    return `${this.x(this.columns.at[i]).toFixed(1)},${this.y(v).toFixed(1)}`;
  }

  cursor(tops) {
    const { at } = this.columns;
    if (this.at === null || !at.length) return drawn("g");
    const x = this.x(at[this.at]).toFixed(1);
    const dots = this.lines.map((l, i) => tops[i][this.at] === null ? null
      : drawn("circle", { class: `dot ${l.kind}`, cx: x, cy: this.y(tops[i][this.at]).toFixed(1), r: 3.5 }));
    return drawn("g", {}, drawn("line", { class: "cursor", x1: x, x2: x, y1: pad.top, y2: height - pad.bottom }), ...dots);
  }

  // read says the values under the cursor, or the newest.
  read() {
    const { at, now } = this.columns;
    const i = this.at ?? at.length - 1;
    const said = this.lines.map((l, n) => (i < 0 || this.values[n][i] === null ? "–" : this.format(this.values[n][i])));
    this.items.forEach((item, n) => { item.lastChild.textContent = said[n]; });
    const when = i >= 0 && this.columns.clock ? `at ${clock(at[i])}` : this.at === null || i < 0 ? "now" : `${ago((now - at[i]) / 1000)}, ${clock(at[i])}`;
    this.time.textContent = when;
    this.plot.setAttribute("aria-valuemax", Math.max(0, at.length - 1));
    this.plot.setAttribute("aria-valuenow", Math.max(0, i));
    this.plot.setAttribute("aria-valuetext", `${when}: ${this.lines.map((l, n) => `${l.name} ${said[n]}`).join(", ")}`);
  }

  point(event) {
    if (!this.columns?.at.length || !this.x || (!event.movementX && !event.movementY)) return; // the page moved, not the pointer
    this.keyed = false;
    const { now, spanSeconds } = this.columns;
    const box = this.plot.getBoundingClientRect();
    const share = (event.clientX - box.left - pad.left) / (box.width - pad.left - pad.right);
    this.move(nearest(this.columns.at, now - 1000 * spanSeconds * (1 - share)));
  }

  key(event) {
    const last = (this.columns?.at.length ?? 0) - 1;
    const from = this.at ?? last;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - 15, PageDown: from + 15, Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.keyed = true; // the pointer may rest here
    this.move(Math.min(last, Math.max(0, to)));
  }

  move(to) {
    if (this.at === to || !this.columns) return;
    this.at = to;
    this.draw();
  }

  // fill writes the table, a row a minute, while somebody looks at it.
  fill() {
    if (!this.table.open || !this.columns) return;
    const { at, now, spanSeconds } = this.columns;
    const rows = [];
    for (let m = 0; m < spanSeconds / 60; m++) {
      const inside = at.map((t, i) => i).filter((i) => Math.floor((now - at[i]) / 60000) === m);
      const cells = this.values.map((v) => {
        const there = inside.map((i) => v[i]).filter((n) => n !== null);
        return element("td", { class: "n" }, there.length ? this.format(there.reduce((a, b) => a + b, 0) / there.length) : "–");
      });
      rows.push(element("tr", {}, element("th", { scope: "row" }, this.columns.clock ? clock(now - 60000 * m) : m ? `−${m} min` : "now"), ...cells));
    }
    this.rows.replaceChildren(...rows);
  }
}

const clock = (t) => new Date(t).toLocaleTimeString("en-GB");
const ago = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s ago` : `${(seconds / 60).toFixed(1)} min ago`);

function nearest(times, t) {
  let best = 0;
  times.forEach((other, i) => { if (Math.abs(other - t) < Math.abs(times[best] - t)) best = i; });
  return best;
}

// continuous cuts samples where some are missing.
function continuous(at, step) {
  const runs = [];
  at.forEach((t, i) => {
    if (i && t - at[i - 1] <= 2.5 * step) runs.at(-1).push(i);
    else runs.push([i]);
  });
  return runs;
}

function stack(values) {
  let below = values[0]?.map(() => 0) ?? [];
  return values.map((v) => (below = v.map((n, i) => n + below[i])));
}

// steps is a scale from zero with two to four round ticks.
function steps(highest) {
  if (!(highest > 0)) return { top: 1, ticks: [0, 1] };
  const power = 10 ** Math.floor(Math.log10(highest / 3));
  const step = power * [1, 2, 2.5, 5, 10].find((f) => highest / (f * power) <= 4);
  const ticks = [];
  for (let n = 0; ; n++) {
    ticks.push(n * step);
    if (n * step >= highest) return { top: n * step, ticks };
  }
}

// hatchings tell areas apart without colour: each has its own direction.
const angles = [45, -45, 0, 90];
const hatching = (id, i, kind) => drawn("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${angles[i % 4]})` },
  drawn("line", { class: `hatch ${kind}`, x1: 0, x2: 0, y1: 0, y2: 6 }));

const hatchings = (id, lines) => drawn("defs", {}, ...lines.map((l, i) => hatching(`${id}-${l.kind}`, i, l.kind)));

let swatches = 0;
const kinds = ["upstream", "policy", "client", "proxy"];

function swatch(kind, stacked) {
  const id = `swatch${++swatches}`;
  const inside = stacked
    ? [drawn("defs", {}, hatching(id, kinds.indexOf(kind), kind)), drawn("rect", { class: `area ${kind}`, width: 18, height: 12 }), drawn("rect", { fill: `url(#${id})`, width: 18, height: 12 })]
    : [drawn("line", { class: `line ${kind}`, x1: 0, x2: 18, y1: 6, y2: 6 })];
  return drawn("svg", { class: "swatch", width: 18, height: 12, "aria-hidden": "true" }, ...inside);
}
