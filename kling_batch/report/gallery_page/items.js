// The data of the page, and what is asked of an item. Foreign text is only ever set as text.
const data = JSON.parse(document.getElementById("data").textContent);
const served = data.served;
// What people are told to type; each names the ledger that the page is of.
const commands = data.commands;
const items = [];
const byId = new Map();

function $(id) { return document.getElementById(id); }

// An element with properties, `data-` and `aria-` attributes, and children.
function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SHAPES = {
  check: "M3 8.5l3.2 3.2L13 4.8", cross: "M4 4l8 8M12 4l-8 8", play: "M5 3.2v9.6L12.8 8z",
  star: "M8 2.2l1.8 3.7 4 .6-2.9 2.8.7 4L8 11.4l-3.6 1.9.7-4L2.2 6.5l4-.6z",
  pause: "M5.2 3.5v9M10.8 3.5v9", sound: "M3 6.2h2.2L8 3.8v8.4L5.2 9.8H3zM10.4 6c1 1.2 1 2.8 0 4M12.2 4.2c2 2.2 2 5.4 0 7.6",
  mute: "M3 6.2h2.2L8 3.8v8.4L5.2 9.8H3zM10.5 6.3l3.4 3.4M13.9 6.3l-3.4 3.4",
  full: "M3 6V3h3M10 3h3v3M13 10v3h-3M6 13H3v-3", prev: "M10 3.5L5.5 8l4.5 4.5", next: "M6 3.5L10.5 8 6 12.5",
  copy: "M6 5.5h6.5v7H6zM9.8 5.5v-2H3.5v7H6", note: "M3.5 3.5h9v6.2h-5L5 12.3V9.7H3.5z",
  compare: "M2.8 4h4.4v8H2.8zM8.8 4h4.4v8H8.8z", undo: "M6 3.5L3 6.5l3 3M3.4 6.5h5.8a3 3 0 010 6H6",
  print: "M5 6V3h6v3M4.5 11H3V6h10v5h-1.5M5 9.5h6V13H5z", help: "M5.9 6a2.1 2.1 0 114 .7c-.4.9-1.9 1.1-1.9 2.4M8 11.6v.4",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", `icon i-${name}`);
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

function button(label, shape, action, extra = {}) {
  const { text, key, className, ...rest } = extra;
  return h("button", {
    type: "button", title: key ? `${label} (${key})` : label, onclick: action,
    className: `tool ${className || ""}`, "aria-label": text ? undefined : label, ...rest,
  }, icon(shape), text ? h("span", {}, text) : null);
}

const ORDER = ["waiting", "queued", "rendering", "downloading", "done", "failed", "blocked", "in doubt", "cancelled"];
const VERDICTS = { picked: "star", approved: "check", rejected: "cross" };

function take(list, order) {
  for (const raw of list) {
    const item = byId.get(raw.id) || {}, index = item.index;
    for (const name of Object.keys(item)) delete item[name];
    Object.assign(item, raw, { index });
    item.media ||= [];
    item.words = `${item.label}\n${item.prompt || ""}`.toLowerCase();
    byId.set(item.id, item);
  }
  const ids = order || list.map((item) => item.id);
  const kept = new Set(ids);
  for (const id of byId.keys()) if (!kept.has(id)) byId.delete(id);
  items.length = 0;
  for (const id of ids) if (byId.has(id)) items.push(byId.get(id));
  items.forEach((item, place) => { item.place = place; });
  const sets = new Map();
  for (const item of items) {
    if (item.older) continue;
    if (!sets.has(item.variants)) sets.set(item.variants, []);
    sets.get(item.variants).push(item);
  }
  for (const item of items) item.siblings = sets.get(item.variants) || [item];
  picks.clear();
  for (const item of items) if (item.verdict === "picked" && !item.older) picks.add(jobOf(item));
}

// Where a take of a job is picked, nobody need judge the others.
const picks = new Set();
function jobOf(item) { return `${item.batch}/${item.job}`; }
function decided(item) { return Boolean(item.verdict) || picks.has(jobOf(item)); }

function judgeable(item) { return item.state === "done" && !item.older && item.attempt; }
function plural(number, word) { return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`; }
function dollars(micro) { return `$${(micro / 1e6).toFixed(2)}`; }
function duration(seconds) {
  if (seconds === undefined) return "";
  return seconds < 90 ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : `${(seconds / 60).toFixed(1)} min`;
}
const motion = matchMedia("(prefers-reduced-motion: no-preference)");

const toastNode = $("toast");
let toastTimer = 0;
function toast(text) {
  const node = toastNode, above = document.querySelector("dialog[open]") || document.body;
  // An open dialog hides what is outside it.
  if (node.parentNode !== above) above.append(node);
  node.textContent = text;
  node.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => node.classList.remove("shown"), 3500);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { value: text, className: "offscreen" });
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(`${what} copied`);
}
