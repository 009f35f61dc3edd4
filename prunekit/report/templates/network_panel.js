// What a person looks at: the panel beside the drawing, the search, and all events.

// What is looked at --------------------------------------------------------------------------------

let chosen = null; // { kind: "group" | "reason" | "step", number }

function spotlight(what) {
  if (!what || what.kind === "step") return "";
  if (what.kind === "reason") return `.row:not(.f${what.number}) .band{opacity:.15}.row.f${what.number}{background:color-mix(in srgb,var(--hatch) 28%,transparent)}.lane,.dot,.ring,.link{opacity:.15}`;
  const g = what.number;
  return `.band i:not(.g${g}),.lane:not(.g${g}),.dot:not(.g${g}),.ring:not(.g${g}),.link{opacity:.13}.row.t${g}{background:color-mix(in srgb,${`var(--spot)`} 16%,transparent)}`;
}

function light(what) {
  if (what?.kind === "group") {
    const probe = document.querySelector(`#legend .g${what.number}`) ?? document.querySelector(`.g${what.number}`);
    const colour = probe ? getComputedStyle(probe).getPropertyValue("--c") : "";
    document.documentElement.style.setProperty("--spot", colour || "gray");
  }
  $("spotlight").textContent = spotlight(what);
}

function mark() {
  document.querySelectorAll(".row.chosen").forEach((row) => row.classList.remove("chosen"));
  if (chosen?.kind === "step") element(rowOf.get(chosen.number)?.id)?.classList.add("chosen");
  document.querySelectorAll("#panel [aria-pressed]").forEach((button) => {
    const { kind, number } = button.dataset;
    button.setAttribute("aria-pressed", String(chosen?.kind === kind && chosen.number === Number(number)));
  });
}

function choose(what) {
  chosen = what;
  light(what);
  mark();
  const detail = $("detail");
  detail.hidden = !what;
  if (!what) return;
  detail.innerHTML = { group: groupDetail, reason: reasonDetail, step: stepDetail }[what.kind](what.number);
  if (innerWidth <= 900) openSheet(true);
  $("panel").scrollTop = 0;
}

const button = (kind, number, inner, pressed = false) =>
  `<button type="button" data-kind="${kind}" data-number="${number}"${pressed ? ' aria-pressed="false"' : ""}>${inner}</button>`;
const close = '<button type="button" class="close" data-close aria-label="Close">\u00d7</button>';
const swatch = (number) => `<span class="swatch g${number}"></span>`;
const list = (heading, items) => (items.length ? `<h4>${heading}</h4><ul class="links">${items.map((item) => `<li>${item}</li>`).join("")}</ul>` : "");

function places(steps_) {
  const buttons = steps_.length > 1 ? '<button type="button" data-go="-1">Previous</button><button type="button" data-go="1">Next</button>' : steps_.length ? '<button type="button" data-go="1">Go there</button>' : "";
  return `<div class="steps">${buttons}<span>${plural(steps_.length, "operator")}</span></div>`;
}

const touches = (group) => steps.flatMap((_, number) => (written[number].has(group) || read[number].has(group) ? [number] : []));
const holds = (reason) => steps.flatMap((_, number) => (kept[number].has(reason) ? [number] : []));

function groupDetail(number) {
  const [name, kind, width, exact, params, macs, family, members] = groups[number];
  const alike = families[family][1].filter((other) => other !== number);
  const balanced = data.balances.filter((names) => names.includes(number)).flat().filter((other) => other !== number);
  const tensorsOf = members.map(([tensor, axis, each]) => `<code>${esc(tensors[tensor][0])}</code> <small>axis ${axis}${each > 1 ? `, ${each} indices a unit` : ""}</small>`);
  return `<h3>${swatch(number)}<span>${esc(name)}</span>${close}</h3>
<p>${plural(width, "unit")}, kind ${esc(kind)}, ${exact ? "exact: removing equals zeroing" : "inexact: an operator reduces over it"}</p>
<p>${percent(params)} of the parameters, ${percent(macs)} of the MACs</p>${places(touches(number))}
${list("Keeps its proportion to", balanced.map((other) => button("group", other, `${swatch(other)}<span class="name">${esc(groups[other][0])}</span>`)))}
${list(plural(members.length, "tensor axis").replace("axiss", "axes"), tensorsOf)}
${list("Groups of the same make", alike.map((other) => button("group", other, `${swatch(other)}<span class="name">${esc(groups[other][0])}</span>`)))}`;
}

function reasonDetail(number) {
  const [text, operator, , params, rows, where] = reasons[number];
  const held = tensors.flatMap(([name, shape, frozen]) => frozen.filter((one) => one[2] === number).map(([axis, count]) => `<code>${esc(name)}</code> <small>axis ${axis}, ${count} of ${shape[axis]}</small>`));
  const paths = where.map((module) => modules[module]).filter(Boolean);
  return `<h3><span class="swatch hatched"></span><span>${esc(text)}</span>${close}</h3>
${operator ? `<p>Operator <code>${esc(operator)}</code>${paths.length ? ` in ${plural(paths.length, "module")}` : ""}</p>` : ""}
<p>Keeps ${percent(params)} of the parameters and ${percent(rows)} of the weights' rows</p>${places(holds(number))}
${list("Modules", paths.map((path) => `<code>${esc(path)}</code>`))}${list("Tensor axes", held)}`;
}

function stepDetail(number) {
  const [operator, module, sources, state, inputs, shape, axes, macs] = steps[number];
  const here = (other) => button("step", other, `<span class="name">${esc(operators[steps[other][0]])} <small>${esc(modules[steps[other][1]])}</small></span>`);
  const onAxes = axes.flatMap(([axis, bands, frozen, why]) => [
    ...bands.map(([group, channels]) => button("group", group, `${swatch(group)}<span class="name">${esc(groups[group][0])}</span><small>axis ${axis}, ${channels}</small>`)),
    ...(frozen ? (why.length ? why : [null]).map((reason) => {
      const inner = `<span class="swatch hatched"></span><span class="name">${reason === null ? "in no group" : esc(reasons[reason][0])}</span><small>axis ${axis}, ${frozen}</small>`;
      return reason === null ? inner : button("reason", reason, inner);
    }) : []),
  ]);
  const held = state.map((tensor) => `<code>${esc(tensors[tensor][0])}</code> <small>${times(tensors[tensor][1])}</small>`);
  return `<h3><span>${esc(operators[operator])}</span>${close}</h3>
<p><code>${esc(modules[module] || "the model itself")}</code></p>
<p>Makes ${times(shape) || "a scalar"}${macs ? `; ${macs.toLocaleString("en")} MACs, ${percent(macs / (data.macs || 1))}` : ""}</p>
${list("On its output", onAxes)}${list("Parameters and buffers", held)}
${list("Reads", [...inputs.map((input) => `input ${input} of the model`), ...sources.map(here)])}${list("Is read by", readers[number].map(here))}`;
}

/** Go to the next operator that the chosen group or reason touches, round and round. */
function go(direction) {
  const all = (chosen.kind === "group" ? touches : holds)(chosen.number).filter((step) => rowOf.has(step));
  if (!all.length) return;
  const at = nodes[focused]?.step ?? -1;
  const after = direction > 0 ? all.find((step) => step > at) : [...all].reverse().find((step) => step < at);
  reveal(after ?? (direction > 0 ? all[0] : all[all.length - 1]));
}

// The panel ----------------------------------------------------------------------------------------

const meter = (share) => `<span class="meter"><i style="width:${(100 * share).toFixed(1)}%"></i></span>`;

function legendEntry([name, members]) {
  const [first] = members;
  const group = groups[first];
  const what = members.length > 1 ? `${members.length} groups, width ${group[2]}` : `width ${group[2]}`;
  const inner = `<span class="swatch g${first}${members.length > 1 ? " many" : ""}"></span><span class="name g${first}">${esc(name)}<small>${what}</small>${meter(group[4])}</span><span class="figure">${percent(group[4])}${members.length > 1 ? " <small>each</small>" : ""}</span>`;
  if (members.length === 1) return `<li>${button("group", first, inner, true)}</li>`;
  return `<li><button type="button" aria-expanded="false" data-family="${first}">${inner}</button><ul hidden>${members.map((member) => `<li>${button("group", member, `${swatch(member)}<span class="name">${esc(groups[member][0])}</span>`, true)}</li>`).join("")}</ul></li>`;
}

function fillPanel() {
  $("legend").innerHTML = families.map(legendEntry).join("") || "<li>none: everything must stay</li>";
  const shown = reasons.map((reason, number) => [reason, number]).filter(([reason, number]) => reason[3] || reason[4] || holds(number).length);
  $("reasons").innerHTML = shown.map(([[text, operator, , params], number]) => `<li>${button("reason", number, `<span class="swatch hatched"></span><span class="name">${esc(text)}${operator ? `<small>${esc(operator)}</small>` : ""}${meter(params)}</span><span class="figure">${percent(params)}</span>`, true)}</li>`).join("");
  $("full").parentElement.hidden = !data.quiet;
  $("quiet-label").textContent = `also the ${plural(data.quiet, "operator")} that move${data.quiet === 1 ? "s" : ""} no channels`;
}

function openSheet(open) {
  $("sheet").setAttribute("aria-expanded", String(open));
}

// Search -------------------------------------------------------------------------------------------

const MOST = 40;

function search(text) {
  const word = text.trim().toLowerCase();
  const found = $("found");
  found.hidden = !word;
  if (!word) return;
  const has = (name) => name.toLowerCase().includes(word);
  const results = [];
  groups.forEach((group, number) => has(group[0]) && results.push(button("group", number, `${swatch(number)}<span>${esc(group[0])} <small>group of width ${group[2]}</small></span>`)));
  for (let number = 0; number < steps.length && results.length <= MOST; number++) {
    const [operator, module, , state] = steps[number];
    const tensor = state.map((one) => tensors[one][0]).find(has);
    if (has(modules[module]) || has(operators[operator]) || tensor)
      results.push(button("step", number, `<span>${esc(operators[operator])} <small>${esc(tensor ?? modules[module])}</small></span>`));
  }
  found.innerHTML = results.slice(0, MOST).join("") + (results.length > MOST ? "<p>and more: write more of the name</p>" : "") || "<p>Nothing is called so.</p>";
}

function endSearch() {
  $("found").hidden = true;
}

// Events -------------------------------------------------------------------------------------------

function pick(target) {
  const what = { kind: target.dataset.kind, number: Number(target.dataset.number) };
  if (what.kind === "step") reveal(what.number);
  choose(what);
}

$("network").addEventListener("click", (event) => {
  const lane = event.target.closest("[data-g]");
  if (lane) return choose({ kind: "group", number: Number(lane.dataset.g) });
  const row = event.target.closest(".row");
  if (!row) return;
  const node = nodes[row.dataset.n];
  if (node.children) return toggle(node);
  focusOn(node.id);
  choose({ kind: "step", number: node.step });
});

$("network").addEventListener("pointerover", (event) => {
  const on = event.target.closest("[data-g], .band i[class^=g]");
  if (on && event.pointerType !== "touch") light({ kind: "group", number: Number(on.dataset.g ?? on.className.slice(1)) });
  else light(chosen);
});
$("network").addEventListener("pointerleave", () => light(chosen));

$("network").addEventListener("keydown", (event) => {
  const at = shownNodes.findIndex((node) => node.id === focused);
  const node = shownNodes[at];
  if (!node) return;
  const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shownNodes.length - 1 };
  if (event.key in moves) {
    const next = shownNodes[moves[event.key]];
    if (next) focusOn(next.id);
  } else if (event.key === "ArrowRight" && node.children) {
    if (node.open) focusOn(node.children[0].id);
    else toggle(node);
  } else if (event.key === "ArrowLeft") {
    if (node.open) toggle(node);
    else if (node.parent) focusOn(node.parent.id);
  } else if (event.key === "Enter" || event.key === " ") {
    element(node.id).click();
  } else return;
  event.preventDefault();
});

$("panel").addEventListener("click", (event) => {
  const target = event.target.closest("button");
  if (!target) return;
  if (target.id === "sheet") return openSheet(target.getAttribute("aria-expanded") !== "true");
  if ("close" in target.dataset) return choose(null);
  if (target.dataset.go) return go(Number(target.dataset.go));
  if (target.dataset.family) {
    const inner = target.nextElementSibling;
    inner.hidden = !inner.hidden;
    return target.setAttribute("aria-expanded", String(!inner.hidden));
  }
  if (target.getAttribute("aria-pressed") === "true") return choose(null);
  pick(target);
});
$("panel").addEventListener("pointerover", (event) => {
  const target = event.target.closest("[data-kind=group]");
  light(target && event.pointerType !== "touch" ? { kind: "group", number: Number(target.dataset.number) } : chosen);
});
$("panel").addEventListener("pointerleave", () => light(chosen));

$("found").addEventListener("click", (event) => {
  const target = event.target.closest("button");
  if (!target) return;
  endSearch();
  pick(target);
  if (chosen.kind === "group") go(1);
});
$("find").addEventListener("input", () => search($("find").value));
$("find").addEventListener("focus", () => search($("find").value));
$("find").addEventListener("keydown", (event) => {
  if (event.key === "Enter") $("found").querySelector("button")?.click();
  if (event.key === "ArrowDown") $("found").querySelector("button")?.focus();
});
document.addEventListener("pointerdown", (event) => {
  if (!event.target.closest(".find")) endSearch();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target.tagName !== "INPUT") {
    event.preventDefault();
    $("find").focus();
  }
  if (event.key === "Escape") {
    endSearch();
    choose(null);
  }
});

function openEvery(open) {
  for (const node of nodes) if (node.children) node.open = open;
  draw();
}
$("open-all").addEventListener("click", () => openEvery(true));
$("fold-all").addEventListener("click", () => openEvery(false));
$("full").addEventListener("change", () => {
  plant($("full").checked);
  draw();
});
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) layOut();
  width = innerWidth;
});

fillPanel();
plant(false);
draw();
