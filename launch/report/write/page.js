"use strict";
// Charts by BokehJS; tables that sort and filter; two cells side by side; a part for each run; light and dark.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);

function make(tag, attributes = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.append(...children); // names become text nodes, never markup
  return found;
}

const number = (value, digits = 2) => (value === null || value === undefined ? "-" : value.toFixed(digits));
const signed = (value) => (value < 0 ? "" : "+") + number(value);

function table(title, heads, rows, numeric) {
  const cells = ([name, ...values]) => [make("th", { scope: "row" }, name),
    ...values.map((value) => make("td", { class: numeric ? "number" : "long" }, value))];
  return make("div", {}, make("h4", {}, title), make("div", { class: "scroll" }, make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(row)))))));
}

// ---- charts: the library is started when the first one comes near, so that the page opens at once
const phone = matchMedia("(pointer: coarse)").matches; // there a finger on a chart moves the page
const live = new Map();

function addSeries(figure, panel, one, [colour, marker], ink) {
  const color = colour === "#000000" ? ink : colour;
  const flip = panel.rows.length > 0;
  const gaps = (values) => (values ?? []).map((value) => value ?? NaN); // a null would be drawn at 0
  const y = gaps(one.y), low = gaps(one.low), high = gaps(one.high);
  const at = one.x.map((x) => (flip ? panel.rows[Math.round(x)] : x.toLocaleString("en")));
  const digits = one.y.every((value) => Math.abs(value) <= 1) ? 3 : 2; // shares; points
  const ends = (i) => (Number.isFinite(low[i]) ? ` [${number(low[i], digits)}, ${number(high[i], digits)}]` : "");
  const columns = { x: flip ? y : one.x, y: flip ? one.x : y, place: one.x, low, high, at,
    name: one.x.map(() => [one.name, one.part].filter(Boolean).join(", ")),
    value: one.y.map((y, i) => number(y, digits) + ends(i)) };
  if (!one.low) { delete columns.low; delete columns.high; }
  const source = new Bokeh.ColumnDataSource({ data: columns });
  const field = (name) => ({ field: name });
  const glyphs = [];
  if (one.low && one.band) glyphs.push(figure.varea(
    { x: field("place"), y1: field("low"), y2: field("high"), source, fill_color: color, fill_alpha: 0.15 }));
  else if (one.low) glyphs.push(figure.segment({ source, line_color: color, line_width: 2, ...(flip
    ? { x0: field("low"), x1: field("high"), y0: field("place"), y1: field("place") }
    : { x0: field("place"), x1: field("place"), y0: field("low"), y1: field("high") }) }));
  if (one.line !== "none") glyphs.push(figure.line({ x: field("x"), y: field("y"), source, line_color: color,
    line_width: 2, line_dash: one.line }));
  // Points have a source of their own: what is under the mouse would vanish from the lines of a shared one.
  const points = figure.scatter({ x: field("x"), y: field("y"), marker,
    source: new Bokeh.ColumnDataSource({ data: columns }), size: one.band ? 5 : 8, fill_color: color, line_color: color });
  return { glyphs: [...glyphs, points], points };
}

function drawPanel(panel, styles, place) {
  const ink = getComputedStyle(document.body).color;
  const rows = panel.rows.length, text = (words) => new Bokeh.PlainText({ text: words });
  const figure = Bokeh.Plotting.figure({ height: rows ? 130 + 26 * rows : 350, sizing_mode: "stretch_width",
    toolbar_location: "above", tools: "pan,box_zoom,wheel_zoom,zoom_in,zoom_out,reset,save",
    x_axis_type: panel.log ? "log" : "linear" });
  figure.toolbar.active_drag = phone ? null : figure.toolbar.tools.find((tool) => tool instanceof Bokeh.BoxZoomTool);
  figure.toolbar.active_scroll = null;
  figure.toolbar.logo = null;
  for (const part of ["background_fill_color", "border_fill_color", "outline_line_color"]) figure[part] = null;
  for (const [axis, words] of [[figure.xaxis, panel.x], [figure.yaxis, panel.y]]) {
    axis.axis_label = text(innerWidth < 600 ? words.replace(" (", "\n(") : words);
    for (const part of ["axis_label_text_color", "major_label_text_color", "axis_line_color", "major_tick_line_color",
      "minor_tick_line_color"]) axis[part] = ink;
    axis.axis_label_text_font_style = "normal";
  }
  for (const grid of [figure.xgrid, figure.ygrid]) { grid.grid_line_color = ink; grid.grid_line_alpha = 0.12; }
  if (rows) {
    const places = panel.rows.map((_, i) => i);
    figure.y_range = new Bokeh.Range1d({ start: rows - 0.4, end: -0.6 });
    figure.yaxis.ticker = new Bokeh.FixedTicker({ ticks: places });
    const most = innerWidth < 600 ? 16 : 36, short = (name) => (name.length > most ? `${name.slice(0, most)}\u2026` : name);
    figure.yaxis.major_label_overrides = new Map(places.map((i) => [i, text(short(panel.rows[i]))]));
  }
  if (panel.log) {
    const ticks = [...new Set(panel.series.flatMap((one) => one.x))];
    figure.xaxis.ticker = new Bokeh.FixedTicker({ ticks });
    figure.xaxis.major_label_overrides = new Map(ticks.map((x) => [x, text(x.toLocaleString("en"))]));
  }
  if (panel.at !== null) figure.add_layout(new Bokeh.Span({ location: panel.at, dimension: rows ? "height" : "width",
    line_color: ink }));
  const found = panel.series.map((one) => ({ ...addSeries(figure, panel, one, styles[one.name], ink), one }));
  figure.add_tools(new Bokeh.HoverTool({ renderers: found.map(({ points }) => points), point_policy: "snap_to_data",
    tooltips: [["series", "@name"], ["at", "@at"], ["value", "@value"]] }));
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", `${panel.title}: ${panel.y || panel.x}`);
  return { figure, found, shown: Bokeh.Plotting.show(figure, place) };
}

const afterPaint = (work) => requestAnimationFrame(() => setTimeout(work)); // what was clicked is answered first

async function drawChart(chart, place) {
  if (window.Bokeh === undefined) document.body.append(make("script", {}, byId("library").textContent));
  Bokeh.set_log_level("off");
  const off = new Set(), panels = [];
  const update = () => panels.forEach(({ found }) => found.forEach(({ glyphs, one }) => glyphs.forEach((glyph) => {
    glyph.visible = !off.has(`name ${one.name}`) && !off.has(`part ${one.part}`);
  })));
  const toggle = (key, words, colour) => {
    const button = make("button", { type: "button", class: "plain", "aria-pressed": "true" },
      ...(colour ? [make("span", { class: "swatch" })] : []), words);
    if (colour) button.firstChild.style.background = colour === "#000000" ? "currentColor" : colour;
    button.addEventListener("click", () => {
      if (!off.delete(key)) off.add(key);
      button.setAttribute("aria-pressed", String(!off.has(key)));
      update();
    });
    return button;
  };
  const all = chart.panels.flatMap((panel) => panel.series), parts = [...new Set(all.map((one) => one.part))];
  const switches = make("div", { class: "switches", role: "group", "aria-label": "Series" },
    ...Object.entries(chart.styles).map(([name, [colour]]) => toggle(`name ${name}`, name, colour)),
    ...parts.filter(Boolean).map((part) => toggle(`part ${part}`, part)));
  const grid = make("div", { class: "panels" });
  place.replaceChildren(switches, grid);
  live.set(place, chart);
  for (const panel of chart.panels) {
    const box = make("div");
    grid.append(make("div", {}, make("h4", {}, panel.title), box));
    panels.push(drawPanel(panel, chart.styles, box));
    await panels.at(-1).shown; // one after the other: a click in between is answered
    await new Promise((done) => setTimeout(done));
  }
  place.figures = panels.map(({ figure }) => figure);
}

const near = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
  near.unobserve(target);
  target.classList.add("drawn");
  drawChart(data.charts[target.dataset.chart], target.querySelector(".live")).catch((error) => {
    target.classList.remove("drawn"); // the picture stays
    throw error;
  });
}), { rootMargin: "300px" });
document.querySelectorAll("figure[data-chart]").forEach((figure) => near.observe(figure));

// ---- light and dark: the system's until the reader says otherwise
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "Light page" : "Dark page";
  afterPaint(() => [...live].filter(([place]) => place.isConnected).forEach(([place, chart]) => drawChart(chart, place)));
}
let kept = null;
try { kept = localStorage.getItem("cxr-theme"); } catch { /* where a file may keep nothing */ }
setTheme(kept ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
byId("theme").hidden = false;
byId("theme").addEventListener("click", () => {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  try { localStorage.setItem("cxr-theme", document.documentElement.dataset.theme); } catch { /* the same */ }
});

// ---- tables
const MANY_ROWS = 6;
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[i].dataset.sort;
    const numeric = (text) => text !== "" && Number.isFinite(Number(text));
    const compare = (a, b) => numeric(a) && numeric(b) ? a - b : a.localeCompare(b, "en", { numeric: true });
    const rows = [...body.rows];
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      return down ? compare(y, x) : compare(x, y);
    });
    body.append(...rows);
  }));
  if (body.rows.length < MANY_ROWS) continue;
  const box = table.closest(".scroll"), title = box.previousElementSibling.textContent;
  const input = make("input", { type: "search", placeholder: "Filter the rows", "aria-label": `Filter: ${title}` });
  const count = make("span", { class: "small", role: "status" });
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...body.rows];
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    count.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
  });
  box.before(make("div", { class: "filter" }, input, count));
}

// ---- two cells
const SOLID = "validation split (solid)", DASHED = "training split (dashed)";
function curves(runs, name) {
  const one = (run, part, line, y) => ({ name: name(run), part, line, band: false, x: run.steps, y });
  const series = runs.flatMap((run) => [one(run, SOLID, "solid", run.validation), one(run, DASHED, "dashed", run.train)])
    .filter((found) => found.y.some((y) => y !== null));
  return { title: "", x: "Optimiser steps", y: "Mean AUROC (points)", rows: [], log: false, at: null, series };
}

function compare() {
  const chosen = ["first", "second"].map((id) => Number(byId(id).value)), [a, b] = chosen.map((i) => data.cells[i]);
  const keys = [...new Set([...Object.keys(a.fields), ...Object.keys(b.fields)])];
  const fields = keys.filter((key) => a.fields[key] !== b.fields[key])
    .map((key) => [key, a.fields[key] ?? "-", b.fields[key] ?? "-"]);
  const straight = data.pairs.find((pair) => pair.base === chosen[0] && pair.other === chosen[1]);
  const turned = data.pairs.find((pair) => pair.base === chosen[1] && pair.other === chosen[0]);
  const interval = (label) => {
    const [, low, high, holm] = (straight ?? turned)?.rows[label] ?? [];
    if (low === null || low === undefined) return "-";
    const ends = straight ? [low, high] : [-high, -low];
    return `[${ends.map(signed).join(", ")}]${holm === null ? "" : `, Holm p ${holm.toFixed(3)}`}`;
  };
  const row = (label, x, y, key) => [label, number(x), number(y), x == null || y == null ? "-" : signed(y - x), interval(key)];
  const labels = [...new Set([...Object.keys(a.labels), ...Object.keys(b.labels)])];
  const scores = [...labels.map((label) => row(label, a.labels[label], b.labels[label], label)),
    row("Mean (comparable labels)", a.mean, b.mean, "Mean of the labels")];
  const place = make("div");
  byId("compared").replaceChildren(
    table("Where the configs differ (seeds apart)", ["Field", "First", "Second"],
      fields.length ? fields : [["nothing", "-", "-"]], false),
    table("AUROC by label (points)", ["Label", "First", "Second", "Second minus first", "Paired 95 % interval"], scores, true),
    make("h4", {}, "Learning curves, a line for each repetition"), place);
  const names = a === b ? ["First"] : ["First", "Second"];
  const panel = curves(data.runs.filter((run) => chosen.includes(run.cell)), (run) => names[Math.max(0, chosen.indexOf(run.cell))]);
  const styles = { First: ["#0072B2", "circle"], Second: ["#D55E00", "square"] };
  if (panel.series.length) afterPaint(() => drawChart({ panels: [panel], styles }, place));
}

if (byId("compare")) {
  for (const [id, preset] of [["first", 0], ["second", 1]]) {
    byId(id).append(...data.cells.map((cell, i) => make("option", { value: i }, cell.name)));
    byId(id).value = Math.min(preset, data.cells.length - 1);
    byId(id).addEventListener("change", compare);
  }
  byId("compare").addEventListener("toggle", () => { if (byId("compare").open) compare(); });
}

// ---- each run
function fillRun(part) {
  const run = data.runs.find(({ id }) => `run-${id}` === part.id), place = part.querySelector(".filled");
  if (!part.open || place.childElementCount) return;
  const config = [["seed", String(run.seed)], ...Object.entries(data.cells[run.cell].fields)], chart = make("div");
  place.append(table("Result and provenance", ["What", "Value"], Object.entries(run.facts), false),
    table("Test AUROC by label (points)", ["Label", "AUROC"],
      Object.entries(run.labels).map(([label, value]) => [label, number(value)]), true),
    table("Config", ["Field", "Value"], config, false), chart);
  const panel = { ...curves([run], () => "This run"), title: "Learning curve" };
  if (panel.series.length) afterPaint(() => drawChart({ panels: [panel], styles: { "This run": ["#0072B2", "circle"] } }, chart));
}
document.querySelectorAll("details.run").forEach((part) => part.addEventListener("toggle", () => fillRun(part)));

// ---- links into what is folded, and paper
function unfold() {
  const target = location.hash.length > 1 ? byId(decodeURIComponent(location.hash.slice(1))) : null;
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
}
addEventListener("hashchange", unfold);
unfold();
addEventListener("beforeprint", () => document.querySelectorAll("details.tables").forEach((part) => { part.open = true; }));
