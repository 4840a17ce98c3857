// Start, keys, help, costs and times.
const KEYS = [
  ["arrows", "from card to card; in the viewer, to the next render"], ["Enter", "open the viewer"],
  ["space", "play or pause"], ["f", "full screen"], ["m", "sound"], ["c", "compare the variants of a prompt; up and down make another one the current one"],
  ["/", "search"], ["Escape", "close, or clear the search"],
  ...(served ? [["a", "approve"], ["r", "reject"], ["p", "pick this take"], ["n", "write a note"], ["u", "undo"]] : []),
];

function showHelp() {
  $("help").replaceChildren(
    h("div", { className: "line" }, h("h2", { id: "help-title" }, "Keys"), button("Close", "cross", () => $("help").close(), { key: "Escape" })),
    h("dl", {}, ...KEYS.flatMap(([key, text]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)])));
  $("help").showModal();
}

function current() {
  if (viewed) return viewed;
  const id = document.activeElement?.closest?.(".card")?.dataset.id;
  return byId.get(id) || (active >= 0 ? visible[active] : undefined);
}

function keyed(event) {
  // The browser's own command would not wait for posters that were never in sight.
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "p" && !event.shiftKey) {
    event.preventDefault();
    printSheet();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const target = event.target, typing = target.matches?.("input:not([type=range]):not([type=checkbox]), textarea, select");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (typing) {
    if (key === "Escape" && target.id === "search") { target.value = wanted.q = ""; changed(); target.blur(); }
    if (key === "ArrowDown" && target.id === "search") { event.preventDefault(); focusCard(0); }
    return;
  }
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const deeds = { "/": () => $("search").focus(), "?": showHelp, u: served && undo };
  const item = current();
  if (item) {
    deeds.c = () => (viewed ? toggleCompare() : openViewer(item, true));
    if (served) {
      for (const [name, verdict] of [["a", "approved"], ["r", "rejected"], ["p", "picked"]]) deeds[name] = () => judge(item, verdict);
      deeds.n = () => writeNote(item);
    }
  }
  if (viewed) {
    Object.assign(deeds, { f: toggleFull, m: toggleSound, "/": null });
    if (target.type !== "range") Object.assign(deeds, { ArrowLeft: () => walk(-1), ArrowRight: () => walk(1) });
    if (!target.matches?.("button, a, input, summary")) deeds[" "] = togglePlay;
    const held = viewed.media.length;
    if (comparing) Object.assign(deeds, { ArrowUp: () => step(-1), ArrowDown: () => step(1) });
    else if (held > 1) {
      const turn = (by) => () => { output = (output + by + held) % held; drawViewer(); $("viewer").querySelector(".stage").focus(); };
      Object.assign(deeds, { ArrowUp: turn(-1), ArrowDown: turn(1) });
    }
  } else if (steps[key] && !target.matches?.("input, select") && (active >= 0 || key === "ArrowDown" || key === "ArrowRight")) {
    const from = active < 0 ? -Math.max(1, steps[key]) : active;
    const to = from + steps[key];
    deeds[key] = () => { if (to >= 0 && to < visible.length) focusCard(to); };
    if (active < 0) deeds[key] = () => focusCard(0);
  }
  const deed = deeds[key];
  if (deed) { event.preventDefault(); deed(); }
}

// -- costs and times --

function bars(title, rows) {
  const most = Math.max(...rows.map((row) => row[1]), 1e-9), height = 22, space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 320 ${rows.length * height}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${title}: ${rows.map(([name, , text]) => `${name} ${text}`).join(", ")}`);
  rows.forEach(([name, value, text], index) => {
    const add = (tag, attributes, content) => {
      const node = document.createElementNS(space, tag);
      for (const [key, each] of Object.entries(attributes)) node.setAttribute(key, each);
      if (content !== undefined) node.textContent = content;
      svg.append(node);
    };
    const y = index * height;
    add("text", { x: 104, y: y + 15, "text-anchor": "end" }, name);
    add("rect", { x: 112, y: y + 4, width: value && Math.max(1, (value / most) * 140), height: 14, rx: 2 });
    add("text", { x: 118 + (value / most) * 140, y: y + 15, class: "figure" }, text);
  });
  return h("figure", {}, h("figcaption", {}, title), svg);
}

function spread(values, show) {
  const sorted = [...values].sort((a, b) => a - b), low = sorted[0], high = sorted[sorted.length - 1];
  const width = (high - low) / 6;
  if (!(width > 0)) return [[show(low), sorted.length, String(sorted.length)]];
  return Array.from({ length: 6 }, (_, step) => {
    const from = low + step * width, to = step === 5 ? Infinity : from + width;
    const number = sorted.filter((value) => value >= from && value < to).length;
    return [`from ${show(from)}`, number, String(number)];
  });
}

function drawOverview() {
  $("overview").hidden = !items.length;
  const number = items.filter((item) => !item.older).length;
  $("number").textContent = plural(number, "job");
  if (!$("overview").open || !items.length) return;
  const modes = new Map();
  for (const item of items) {
    const name = item.mode || "other";
    const sum = modes.get(name) || { jobs: 0, done: 0, micro: 0, seconds: [] };
    sum.jobs += !item.older;
    sum.done += item.state === "done" && !item.older;
    sum.micro += item.micro || 0;
    if (item.seconds !== undefined) sum.seconds.push(item.seconds);
    modes.set(name, sum);
  }
  const middle = (list) => { const sorted = [...list].sort((a, b) => a - b); return sorted.length ? duration(sorted[Math.floor(sorted.length / 2)]) : "–"; };
  const spent = data.emulated ? "would have cost" : "cost";
  const table = h("table", {},
    h("thead", {}, h("tr", {}, ...["mode", "jobs", "done", spent, "usual time"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, ...[...modes].map(([name, sum]) => h("tr", {}, h("th", { scope: "row" }, name),
      ...[sum.jobs, sum.done, dollars(sum.micro), middle(sum.seconds)].map((each) => h("td", {}, String(each)))))));
  const costs = items.filter((item) => item.micro).map((item) => item.micro), times = items.filter((item) => item.seconds !== undefined).map((item) => item.seconds);
  $("plots").replaceChildren(table, ...(costs.length ? [bars("Renders by cost", spread(costs, dollars))] : []), ...(times.length ? [bars("Renders by time", spread(times, duration))] : []));
}

// -- start --

take(data.items);
$("tools").append(
  button("Print a contact sheet", "print", printSheet, { text: "Print" }),
  button("Keys", "help", showHelp, { key: "?", text: "Keys" }));
$("overview").addEventListener("toggle", () => { drawOverview(); draw(); });
$("viewer").addEventListener("close", closed);
$("viewer").addEventListener("click", (event) => { if (event.target === $("viewer")) $("viewer").close(); });
$("filters").addEventListener("submit", (event) => event.preventDefault());
addEventListener("keydown", keyed);
addEventListener("hashchange", recall);
addEventListener("beforeprint", makeSheet);
addEventListener("afterprint", clearSheet);
let asked = false;
addEventListener("scroll", () => {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; draw(); });
}, { passive: true });
let knownWidth = 0;
new ResizeObserver(() => {
  if ($("grid").clientWidth === knownWidth) { draw(); return; }
  knownWidth = $("grid").clientWidth;
  layOut();
}).observe(document.querySelector("main"));
notice("");
drawProgress();
drawOverview();
recall();
if (served) setTimeout(poll, 1200);
