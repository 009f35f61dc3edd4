"use strict";
// Draws the network from the tables in #data. Columns, by position:
//   groups:   name, kind, width, exact, share of params, share of macs, family, [tensor, axis, indices a unit]
//   steps:    operator, module, sources, state, inputs, shape, [axis, [group, channels], frozen, reasons], macs
//   reasons:  text, operator, cause, share of params, share of rows, modules
//   tensors:  name, shape, [axis, count, reason]
//   tree:     a row is [step, name], a box [name, repeats, children]
const data = JSON.parse(document.getElementById("data").textContent);
const { groups, families, steps, reasons, tensors, operators, modules } = data;
const $ = (id) => document.getElementById(id);
const escaped = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const esc = (text) => String(text).replace(/[&<>"']/g, (sign) => escaped[sign]);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const times = (sizes) => sizes.join(" \u00d7 ");
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const INITIAL_ROWS = 64;

function short(value) {
  for (const [factor, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "K"]])
    if (value >= factor) return `${(value / factor).toFixed(value < 10 * factor ? 2 : 1)} ${unit}`;
  return value ? String(value) : "";
}

// What lies on the output of a step --------------------------------------------------------------

const written = steps.map((step) => new Set(step[6].flatMap((axis) => axis[1].map((band) => band[0]))));
const read = steps.map((step, number) => {
  const found = new Set(step[2].flatMap((source) => [...written[source]]));
  for (const group of written[number]) found.delete(group);
  return found;
});
const kept = steps.map((step) => {
  const onWeights = step[3].flatMap((tensor) => tensors[tensor][2].map((one) => one[2]));
  const onOutput = step[6].flatMap((axis) => (carries(axis) ? axis[3] : []));
  return new Set([...onOutput, ...onWeights.filter((reason) => reasons[reason][2] !== "space")]);
});
const readers = steps.map(() => []);
steps.forEach((step, number) => step[2].forEach((source) => readers[source].push(number)));

/** Whether an axis is one of channels: space stays too, but nobody would prune it. */
function carries(axis) {
  return axis[1].length > 0 || axis[3].some((reason) => reasons[reason][2] !== "space");
}

/** The axis that is drawn: the one with most channels in groups, else with most that must stay. */
function mainAxis(step) {
  const grouped = (axis) => axis[1].reduce((sum, band) => sum + band[1], 0);
  return step[6].filter(carries).reduce((best, axis) => {
    if (!best) return axis;
    const more = grouped(axis) - grouped(best) || (grouped(axis) ? 0 : axis[2] - best[2]);
    return more > 0 ? axis : best;
  }, null);
}

// The tree of boxes -------------------------------------------------------------------------------

/** Rows and boxes as objects that know their parent and what is inside. */
function grow(children, parent, depth) {
  return children.map((child) => {
    const isRow = typeof child[0] === "number";
    const node = { parent, depth, id: nodes.length, name: isRow ? child[1] : child[0] };
    nodes.push(node);
    if (isRow) return Object.assign(node, { step: child[0], steps: [child[0]] });
    node.repeats = child[1];
    node.open = false;
    node.children = grow(child[2], node, depth + 1);
    node.steps = node.children.flatMap((inner) => inner.steps);
    return node;
  });
}

let nodes = [];
let roots = [];
let rowOf = new Map(); // the row that shows a step

function plant(full) {
  nodes = [];
  roots = grow(full ? data.full : data.tree, null, 1);
  rowOf = new Map(nodes.filter((node) => node.step !== undefined).map((node) => [node.step, node]));
  openSome();
}

/** Open boxes from the outside in, as long as the page stays easy to look over. */
function openSome() {
  for (const node of nodes) node.open = false;
  let count = roots.length;
  const queue = roots.filter((node) => node.children);
  while (queue.length) {
    const node = queue.shift();
    if (node.repeats || !node.name || count + node.children.length > INITIAL_ROWS) continue;
    node.open = true;
    count += node.children.length;
    queue.push(...node.children.filter((child) => child.children));
  }
}

function* visible(list) {
  for (const node of list) {
    yield node;
    if (node.open) yield* visible(node.children);
  }
}

/** What a row of the drawing writes and reads; an open box leaves it to what is inside. */
function touched(node) {
  if (node.open) return { out: new Set(), into: new Set() };
  if (node.step !== undefined) return { out: written[node.step], into: read[node.step] };
  const out = new Set(node.steps.flatMap((step) => [...written[step]]));
  const into = new Set(node.steps.flatMap((step) => [...read[step]]));
  for (const group of out) into.delete(group);
  return { out, into };
}

// Lanes: a group has a line of its own from where it is first written to where it is last read -----

function lanes(shown) {
  const spans = new Map();
  shown.forEach((item, place) => {
    for (const group of item.out) {
      if (!spans.has(group)) spans.set(group, { group, start: place, end: place });
      spans.get(group).end = place;
    }
    for (const group of item.into) if (spans.has(group)) spans.get(group).end = place;
  });
  const drawn = [...spans.values()].filter((span) => span.end > span.start);
  const busyUntil = [];
  for (const span of drawn) {
    let lane = busyUntil.findIndex((end) => end < span.start);
    if (lane < 0) lane = busyUntil.push(0) - 1;
    busyUntil[lane] = span.end;
    span.lane = lane;
  }
  return { spans: new Map(drawn.map((span) => [span.group, span])), count: busyUntil.length };
}

function drawLanes(shown, heights) {
  const { spans, count } = lanes(shown);
  const network = $("network");
  const room = network.parentElement.clientWidth * (innerWidth > 900 ? 0.3 : 0.2);
  const pitch = Math.max(1.5, Math.min(18, room / Math.max(1, count)));
  const x = (lane) => 8 + pitch * lane;
  network.style.setProperty("--gutter", count ? `${x(count - 1) + 16}px` : "0px");
  const y = heights();
  const widest = Math.max(1, ...groups.map((group) => group[2]));
  const size = Math.min(5, pitch * 0.42);
  const paths = [];
  for (const { group, start, end, lane } of spans.values()) {
    const width = Math.max(1.5, Math.min(pitch * 0.6, 2 + 5 * Math.sqrt(groups[group][2] / widest)));
    paths.push(`<path class="lane g${group}" data-g="${group}" stroke-width="${width.toFixed(1)}" d="M${x(lane)} ${y[start]}V${y[end]}"><title>${esc(groups[group][0])}</title></path>`);
  }
  const marks = [];
  shown.forEach((item, place) => {
    const on = (group) => spans.has(group) && spans.get(group).start <= place && place <= spans.get(group).end;
    const out = [...item.out].filter(on), into = [...item.into].filter(on);
    const at = [...out, ...into].map((group) => x(spans.get(group).lane));
    if (!at.length) return;
    if (out.length && at.length > 1) marks.push(`<path class="link" d="M${Math.min(...at)} ${y[place]}H${Math.max(...at)}"/>`);
    for (const group of out) marks.push(`<circle class="dot g${group}" data-g="${group}" cx="${x(spans.get(group).lane)}" cy="${y[place]}" r="${size}"/>`);
    for (const group of into) marks.push(`<circle class="ring g${group}" data-g="${group}" cx="${x(spans.get(group).lane)}" cy="${y[place]}" r="${size * 0.75}"/>`);
  });
  network.style.setProperty("--edge", `${(size * 0.3).toFixed(2)}px`);
  network.querySelector("svg").innerHTML = paths.join("") + marks.join("");
}

// Rows ---------------------------------------------------------------------------------------------

const strip = (group, channels) => `<i class="g${group}" style="flex:${channels}" title="${esc(groups[group][0])}, ${channels}"></i>`;
const hatched = (channels, why) => (channels ? `<i class="hatched" style="flex:${channels}" title="${channels} stay: ${esc(why.map((reason) => reasons[reason][0]).join("; ") || "in no group")}"></i>` : "");

function band(node) {
  if (node.step !== undefined) {
    const axis = mainAxis(steps[node.step]);
    if (!axis) return '<span class="band none"></span>';
    return `<span class="band">${axis[1].map(([group, channels]) => strip(group, channels)).join("")}${hatched(axis[2], axis[3])}</span>`;
  }
  if (node.open) return "";
  const widths = new Map(); // of the first group of each family: repeats would only make stripes
  let stays = null; // an axis, shown only where no group is inside
  for (const step of node.steps)
    for (const axis of steps[step][6]) {
      for (const [group, channels] of axis[1]) {
        const [first, most] = widths.get(groups[group][6]) ?? [group, 0];
        widths.set(groups[group][6], [first, Math.max(most, channels)]);
      }
      if (carries(axis) && axis[2] > (stays?.[2] ?? 0)) stays = axis;
    }
  const parts = [...widths.values()].map(([group, channels]) => strip(group, channels)).join("");
  return `<span class="band${parts || stays ? "" : " none"}">${parts || (stays ? hatched(stays[2], stays[3]) : "")}</span>`;
}

const macsOf = (node) => node.steps.reduce((sum, step) => sum + steps[step][7], 0);

function caption(node) {
  if (node.step !== undefined) {
    const operator = esc(operators[steps[node.step][0]]);
    return node.name ? `<b>${esc(node.name)}</b> <small>${operator}</small>` : operator;
  }
  const count = plural(node.steps.length, "operator");
  const more = node.repeats === 1 ? "the same once more" : `the same ${node.repeats} times more`;
  const what = node.repeats ? `${more}, ${count}` : node.name ? count : `${count} without channels`;
  return `<span class="caret" aria-hidden="true"></span><b>${esc(node.name)}</b> <small>${what}</small>`;
}

function spotted(node) {
  const classes = new Set();
  for (const step of node.open ? [] : node.steps) {
    for (const group of written[step]) classes.add(`t${group}`);
    for (const group of read[step]) classes.add(`t${group}`);
    for (const reason of kept[step]) classes.add(`f${reason}`);
  }
  return [...classes].join(" ");
}

function rowHtml(node) {
  const macs = macsOf(node);
  const share = data.macs ? macs / data.macs : 0;
  const sizes = node.step !== undefined ? times(steps[node.step][5]) : "";
  const state = node.children ? ` aria-expanded="${node.open}"` : "";
  return `<div class="row ${spotted(node)}" role="treeitem" tabindex="-1" aria-level="${node.depth}"${state} data-n="${node.id}">${band(node)}<span class="what">${caption(node)}</span><span class="sizes">${sizes}</span><span class="cost" title="${macs.toLocaleString("en")} MACs, ${percent(share)}">${short(macs)}</span></div>`;
}

function html(node) {
  if (!node.children) return rowHtml(node);
  const inside = node.open ? `<div class="inside" role="group">${node.children.map(html).join("")}</div>` : "";
  return `<div class="box${node.open ? " open" : ""}${node.repeats ? " rest" : ""}">${rowHtml(node)}${inside}</div>`;
}

let focused = 0;
let shownNodes = [];

function draw() {
  const network = $("network");
  network.setAttribute("role", "tree");
  network.setAttribute("aria-label", "The network in order of execution");
  network.innerHTML = `<svg aria-hidden="true"></svg>${roots.map(html).join("")}`;
  shownNodes = [...visible(roots)];
  layOut();
  if (!shownNodes.some((node) => node.id === focused)) focused = shownNodes[0]?.id ?? 0;
  element(focused)?.setAttribute("tabindex", "0");
  mark();
}

function layOut() {
  const rows = [...$("network").querySelectorAll(".row")];
  const heights = () => {
    const top = $("network").getBoundingClientRect().top;
    return rows.map((row) => {
      const place = row.getBoundingClientRect();
      return Math.round((place.top + place.height / 2 - top) * 2) / 2;
    });
  };
  drawLanes(shownNodes.map(touched), heights);
}

const element = (id) => $("network").querySelector(`[data-n="${id}"]`);

function focusOn(id, { scroll = false } = {}) {
  element(focused)?.setAttribute("tabindex", "-1");
  focused = id;
  const row = element(id);
  row?.setAttribute("tabindex", "0");
  row?.focus({ preventScroll: scroll });
  if (scroll) row?.scrollIntoView({ block: "center" });
}

function toggle(node, open = !node.open) {
  node.open = open;
  draw();
  focusOn(node.id);
}

/** Open what is around a step, and go there. */
function reveal(step) {
  const row = rowOf.get(step);
  if (!row) {
    $("full").checked = true;
    plant(true);
    return reveal(step);
  }
  for (let node = row.parent; node; node = node.parent) node.open = true;
  draw();
  focusOn(row.id, { scroll: true });
}
