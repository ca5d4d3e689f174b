// The three charts of whatever counts requests.
import { History } from "./api.js";
import { Chart } from "./chart.js";
import { element, keep, kept } from "./dom.js";

const short = (n) => (n >= 1000 ? `${Number((n / 1000).toPrecision(3))} k` : n && n < 0.1 ? String(Number(n.toPrecision(2))) : String(Number(n.toFixed(n < 10 ? 2 : 1))));
const time = (ms) => (ms >= 1000 ? `${Number((ms / 1000).toPrecision(2))} s` : ms && ms < 1 ? `${Number((ms * 1000).toPrecision(2))} µs` : `${Number(ms.toPrecision(2))} ms`);
const there = (values) => values.map((v) => v || null);

const all = (word) => [
  { name: "rate", title: `${word}/s`, format: short, lines: [{ name: word.toLowerCase(), kind: "requests", of: (c) => c.requestsPerSecond }] },
  {
    name: "errors", title: "Errors/s by whose doing", format: short, stacked: true,
    lines: ["upstream", "policy", "client", "proxy"].map((b) => ({ name: b, kind: b, of: (c) => c[b + "ErrorsPerSecond"] })),
  },
  {
    name: "latency", title: "Latency", format: time,
    lines: [{ name: "p50", kind: "p50", of: (c) => there(c.p50Ms) }, { name: "p95", kind: "p95", of: (c) => there(c.p95Ms) }, { name: "p99", kind: "p99", of: (c) => there(c.p99Ms) }],
  },
];

// Traffic loads one history and shows it.
export class Traffic {
  constructor(of = {}, word = "Requests") {
    this.history = new History(of);
    this.name = of.route || of.cluster || "";
    this.charts = all(word);
  }

  load() {
    return this.history.load();
  }

  key(chart) {
    return `${chart.name} of ${this.name}`;
  }

  show() {
    return element("div", { class: "charts" }, ...this.charts.map((chart) => keep(this.key(chart), (node) => {
      node.chart = new Chart(node, chart);
    }, "section", { class: "card" })));
  }

  // draw is called once what show returned is in the page.
  draw() {
    for (const chart of this.charts) kept(this.key(chart))?.chart?.update(this.history.columns);
  }
}

