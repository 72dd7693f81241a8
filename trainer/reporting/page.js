"use strict";
// The page is whole without this script, but for the curves. It draws them, shows one sample at a time and tells of the
// token that is pointed at. Texts from the data only ever enter as text nodes.

const root = document.documentElement;
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function element(name, className, ...children) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...children);
  return made;
}

async function unpack(selector) {
  const bytes = Uint8Array.from(atob(one(selector).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// ---- curves

const RUN_COLOURS = 6;
const DASHES = ["solid", "dot", "dashdot", "longdash"];
const HALF_LIVES = [0, 0.002, 0.005, 0.01, 0.02, 0.05]; // share of the run's steps, by position of the slider
const PRINTED_WIDTH = 330; // pixels: two charts beside each other on a sheet
const charts = JSON.parse(one("#chart-data").textContent);
const runs = 1 + Math.max(-1, ...charts.flatMap((chart) => (chart.curves || [chart]).map((curve) => curve.run)));
const hiddenRuns = new Set();
const AREA_OPACITY = 0.6;
const finger = matchMedia("(pointer: coarse)").matches;

function colour(name) {
  const probe = one("#token-card");
  probe.style.color = `var(--${name})`;
  const value = getComputedStyle(probe).color;
  probe.style.color = "";
  return value;
}

// One run: a colour for each line. Several: a colour for each run, a dash for each line.
function look(chart, line, run) {
  const place = chart.lines.indexOf(line);
  const number = chart.colours ? chart.colours[place] : place;
  return runs > 1 && !chart.stages
    ? { color: colour(`run-${run % RUN_COLOURS}`), dash: DASHES[number % DASHES.length] }
    : { color: colour(`run-${number % RUN_COLOURS}`), dash: "solid" };
}

// Sums of the values so far, each weighed by half for every `half` steps that it lies back.
function fadingSums(steps, values, half) {
  let sum = 0;
  return values.map((value, i) => {
    const kept = i ? 2 ** (-Math.abs(steps[i] - steps[i - 1]) / half) : 0;
    return (sum = sum * kept + value);
  });
}

// Both neighbourhoods weigh alike, so that a smoothed curve does not lag behind; uneven steps weigh what they should.
function smoothed([steps, values], half) {
  const bothWays = (numbers) => {
    const back = fadingSums(steps, numbers, half);
    const on = fadingSums([...steps].reverse(), [...numbers].reverse(), half).reverse();
    return numbers.map((value, i) => back[i] + on[i] - value);
  };
  const weights = bothWays(values.map(() => 1));
  return bothWays(values).map((sum, i) => sum / weights[i]);
}

function halfLife(steps) {
  return HALF_LIVES[one("#smoothing").value] * (steps[steps.length - 1] - steps[0]);
}

function curveTraces(chart, curve) {
  const line = { ...look(chart, curve.line, curve.run), width: 2 };
  const name = [
    ...(runs > 1 ? [names[curve.run]] : []),
    ...(runs > 1 && chart.lines.length < 2 ? [] : [curve.line]),
  ].join(", ");
  const hovertemplate = chart.percent ? "%{y:.1%}" : "%{y:.4~g}";
  const shared = { type: "scatter", name, hovertemplate, visible: shown(chart, curve) };
  const [x, y] = curve.raw;
  if (chart.sparse) return [{ ...shared, x, y, line, mode: "lines+markers", marker: { size: 7 } }];
  const points = curve.mean || curve.raw;
  const half = halfLife(points[0]);
  if (!half || chart.exact) return [{ ...shared, x, y, line, mode: x.length > 1 ? "lines" : "markers" }];
  return [
    {
      ...shared,
      x,
      y,
      line: { ...line, width: 1, dash: "solid" },
      opacity: 0.28,
      mode: "lines",
      hoverinfo: "skip",
      hovertemplate: null,
    },
    { ...shared, x: points[0], y: smoothed(points, half), line, mode: "lines" },
  ];
}

function stageTraces(chart) {
  return chart.lines.map((stage) => ({
    type: "scatter",
    mode: "lines",
    stackgroup: "stages",
    name: stage,
    x: chart.steps,
    y: chart.stages[stage],
    line: { width: 0 },
    fillcolor: look(chart, stage).color.replace(/rgb\((.*)\)/, `rgba($1, ${AREA_OPACITY})`),
    hovertemplate: "%{y:.3~g} s",
    visible: shown(chart, { line: stage, run: chart.run }),
  }));
}

function shown(chart, { line, run }) {
  return !chart.hidden.has(line) && !hiddenRuns.has(run);
}

function axis(more) {
  return { gridcolor: colour("line"), linecolor: colour("line"), zeroline: false, automargin: true, ...more };
}

function layout(chart) {
  const logarithmic = chart.logarithmic && one("#logarithmic").checked;
  const plain = { type: logarithmic ? "log" : "linear", exponentformat: "power", nticks: 6 };
  const share = { tickformat: ".0%", nticks: 6, ...(chart.sparse ? { range: [-0.03, 1.03] } : {}) };
  return {
    uirevision: "keep",
    autosize: true,
    width: root.classList.contains("printing") ? PRINTED_WIDTH : undefined,
    margin: { l: 46, r: 10, t: 8, b: 40 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("muted") },
    xaxis: axis({ title: { text: "step", standoff: 6 }, showgrid: false, nticks: 7, hoverformat: ",.0f" }),
    yaxis: axis({ ...(chart.percent ? share : plain), ...(chart.stages ? { rangemode: "tozero" } : {}) }),
    hovermode: "x unified",
    hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"), font: { color: colour("ink"), size: 12 } },
    dragmode: finger ? false : "zoom",
    showlegend: false,
  };
}

function draw(chart) {
  const traces = chart.stages ? stageTraces(chart) : chart.curves.flatMap((curve) => curveTraces(chart, curve));
  const options = { displayModeBar: false, responsive: true };
  return Plotly.react(chart.plot, traces, layout(chart), options);
}

function drawAll() {
  charts.forEach(drawLines); // a neighbour's lines make a chart taller
  charts.forEach(draw);
}

// What a line looks like, as a button that takes it away; with one line there is nothing to tell apart.
function drawLines(chart) {
  const needed = chart.lines.length > 1 ? chart.lines : [];
  chart.legend.replaceChildren(...needed.map((line) => lineButton(chart, line)));
}

function lineButton(chart, line) {
  const { color, dash } = look(chart, line, 0);
  const button = element(
    "button",
    "",
    lineSign(runs > 1 && !chart.stages ? colour("muted") : color, dash, chart.stages),
    line,
  );
  button.type = "button";
  button.setAttribute("aria-pressed", !chart.hidden.has(line));
  button.addEventListener("click", () => toggle(chart, line));
  return button;
}

function toggle(chart, line) {
  if (!chart.hidden.delete(line)) chart.hidden.add(line);
  drawLines(chart);
  draw(chart);
}

function lineSign(color, dash, area) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const stroke = document.createElementNS("http://www.w3.org/2000/svg", "path");
  const dashes = { solid: "none", dot: "2 3", dashdot: "7 3 2 3", longdash: "10 3" }[dash];
  const width = area ? 10 : 2.5;
  const look = {
    d: "M0 5H22",
    stroke: color,
    "stroke-width": width,
    "stroke-dasharray": dashes,
    "stroke-opacity": area ? AREA_OPACITY : 1,
  };
  for (const [name, value] of Object.entries({ width: 22, height: 10, "aria-hidden": true }))
    svg.setAttribute(name, value);
  for (const [name, value] of Object.entries(look)) stroke.setAttribute(name, value);
  svg.append(stroke);
  return svg;
}

function place(chart) {
  chart.hidden = new Set();
  chart.legend = element("div", "lines");
  chart.plot = element("div", "plot");
  chart.plot.setAttribute("role", "img");
  chart.plot.setAttribute("aria-label", `${chart.title} by step; the ends of its curves are in the table below`);
  const title = element("h3", "", `${chart.title} `, element("small", "", chart.unit));
  one("#charts").append(element("figure", "chart", title, chart.legend, chart.plot));
}

function saySmoothing() {
  const share = HALF_LIVES[one("#smoothing").value];
  one("#smoothing-said").value = share ? `half-life ${share * 100} %` : "off";
}

async function loadPlotly() {
  const script = document.createElement("script");
  script.textContent = await unpack("#plotly");
  document.head.append(script);
}

function switchRun(button) {
  const run = Number(button.value);
  if (!hiddenRuns.delete(run)) hiddenRuns.add(run);
  button.setAttribute("aria-pressed", !hiddenRuns.has(run));
  drawAll();
}

function printing(isOn) {
  root.classList.toggle("printing", isOn);
  drawAll();
}

async function startCurves() {
  if (!charts.length) return;
  charts.forEach(place);
  saySmoothing();
  await loadPlotly();
  one(".controls").hidden = false;
  drawAll();
  one("#smoothing").addEventListener("input", () => (saySmoothing(), drawAll()));
  one("#logarithmic").addEventListener("change", drawAll);
  all(".controls .run").forEach((button) => button.addEventListener("click", () => switchRun(button)));
  all(".theme input").forEach((input) => input.addEventListener("change", drawAll));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));
  root.dataset.curves = "drawn";
}

// ---- tokens

let tokenData = null;
const card = one("#token-card");
let current = null;

function showSample(panel, number) {
  all(".sample", panel).forEach((sample, i) => sample.classList.toggle("current", i === number));
  one(".stepper input", panel).value = number;
  hideToken();
}

function startStepper(panel) {
  const stepper = one(".stepper", panel);
  if (!stepper) return;
  const slider = one("input", stepper);
  const go = (number) => showSample(panel, Math.min(Math.max(number, 0), Number(slider.max)));
  slider.addEventListener("input", () => go(Number(slider.value)));
  one(".back", stepper).addEventListener("click", () => go(Number(slider.value) - 1));
  one(".on", stepper).addEventListener("click", () => go(Number(slider.value) + 1));
  stepper.hidden = slider.max === "0";
  go(0);
}

function topList(heading, top, said) {
  const list = element("div", "", element("h4", "", heading));
  for (const [text, logp] of top) {
    const chance = Math.exp(logp);
    const bar = element("i", "");
    bar.style.width = `${100 * chance}%`;
    const percent = chance >= 0.001 ? `${(100 * chance).toFixed(1)} %` : "< 0.1 %";
    list.append(
      element("div", text === said ? "top-token same" : "top-token", bar, element("code", "", text), percent),
    );
  }
  return list;
}

function tokenCard(token) {
  const { run, sample } = token.closest(".sample").dataset;
  const [divergence, student, teacher] = tokenData[run][sample][all("span", token.parentNode).indexOf(token)];
  const value = divergence === null ? "not in the loss" : `${divergence} nats`;
  const tops = element("div", "tops");
  if (student) tops.append(topList("Student", student, token.textContent));
  if (teacher) tops.append(topList("Teacher", teacher, token.textContent));
  return [
    element("div", "said", element("code", "", token.textContent), " ", element("b", "", value)),
    ...(tops.children.length ? [tops] : []),
  ];
}

function showToken(token) {
  if (!tokenData) return;
  current?.classList.remove("current");
  current = token;
  token.classList.add("current");
  card.replaceChildren(...tokenCard(token));
  card.hidden = false;
  placeCard();
}

// Below the token where there is room, else above it; never over it.
function placeCard() {
  if (!current) return;
  const place = current.getBoundingClientRect();
  const below = place.bottom + 8 + card.offsetHeight < innerHeight;
  card.style.left = `${Math.max(16, Math.min(place.left, innerWidth - card.offsetWidth - 16))}px`;
  card.style.top = `${below ? place.bottom + 8 : Math.max(8, place.top - card.offsetHeight - 8)}px`;
}

function hideToken() {
  current?.classList.remove("current");
  current = null;
  card.hidden = true;
}

function step(tokens, key) {
  const spans = all("span", tokens);
  const from = spans.indexOf(current);
  const to = { ArrowRight: from + 1, ArrowLeft: from - 1, Home: 0, End: spans.length - 1 }[key];
  if (to === undefined) return false;
  showToken(spans[Math.min(Math.max(to, 0), spans.length - 1)]);
  current?.scrollIntoView({ block: "nearest" });
  return true;
}

function startTokens(tokens) {
  const point = (event) => event.target.tagName === "SPAN" && showToken(event.target);
  tokens.addEventListener("pointerover", point);
  tokens.addEventListener("click", point);
  tokens.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hideToken());
  tokens.addEventListener("blur", hideToken);
  tokens.addEventListener("keydown", (event) => step(tokens, event.key) && event.preventDefault());
}

async function readTokens() {
  tokenData = JSON.parse(await unpack("#token-data"));
  root.dataset.tokens = "read";
}

root.classList.add("js");
all("#tokens .panel").forEach(startStepper);
all(".tokens").forEach(startTokens);
addEventListener("keydown", (event) => event.key === "Escape" && hideToken());
addEventListener("scroll", placeCard, { passive: true });
document.addEventListener("click", (event) => event.target.closest?.(".tokens") || hideToken());
// Plotly reads some HTML in names, so what looks like a tag is said to be none.
const names = all("#curves .run").map((button) => button.textContent.replaceAll("<", "&lt;"));
readTokens();
startCurves();
