// Search, filters and order; they live in the address, so that they survive a reload.
let visible = [];
const wanted = { q: "", state: new Set(), older: false, sort: "", mode: "", model: "", tier: "", batch: "", tag: "", verdict: "", cost: "" };
const SORTS = {
  "": ["as in the manifest", null],
  newest: ["newest first", (a, b) => (b.at || "").localeCompare(a.at || "")],
  cost: ["most expensive first", (a, b) => (b.micro || 0) - (a.micro || 0)],
  slow: ["slowest first", (a, b) => (b.seconds || 0) - (a.seconds || 0)],
  name: ["by name", (a, b) => a.label.localeCompare(b.label, "en", { numeric: true })],
};
const COSTS = {
  free: ["nothing", (item) => !item.micro],
  low: ["under $0.10", (item) => item.micro && item.micro < 100_000],
  middle: ["$0.10 to $0.50", (item) => item.micro >= 100_000 && item.micro <= 500_000],
  high: ["over $0.50", (item) => item.micro > 500_000],
};
const JUDGED = {
  open: ["to be judged", (item) => judgeable(item) && !decided(item)],
  picked: ["picked", (item) => item.verdict === "picked"],
  approved: ["approved or picked", (item) => item.verdict === "approved" || item.verdict === "picked"],
  rejected: ["rejected", (item) => item.verdict === "rejected"],
  noted: ["with a note", (item) => item.note],
};

function tests() {
  const words = wanted.q.toLowerCase().split(/\s+/).filter(Boolean);
  const list = [];
  if (!wanted.older) list.push((item) => !item.older);
  if (words.length) list.push((item) => words.every((word) => item.words.includes(word)));
  if (wanted.state.size) list.push((item) => !item.older && wanted.state.has(item.state));
  for (const name of ["mode", "model", "tier", "batch"]) {
    if (wanted[name]) list.push((item) => (item[name] || "") === wanted[name]);
  }
  if (wanted.tag) list.push((item) => (item.tags || []).includes(wanted.tag));
  if (COSTS[wanted.cost]) list.push(COSTS[wanted.cost][1]);
  if (JUDGED[wanted.verdict]) list.push(JUDGED[wanted.verdict][1]);
  return list;
}

function filtered() {
  return Boolean(wanted.q || wanted.state.size || ["mode", "model", "tier", "batch", "tag", "verdict", "cost"].some((name) => wanted[name]));
}

function applyFilters() {
  const list = tests();
  visible = items.filter((item) => list.every((test) => test(item)));
  const order = (SORTS[wanted.sort] || SORTS[""])[1];
  if (order) visible.sort((a, b) => order(a, b) || a.place - b.place);
  visible.forEach((item, index) => { item.index = index; });
  const all = items.filter((item) => !item.older).length;
  $("count").value = filtered() ? `${visible.length.toLocaleString("en")} of ${all.toLocaleString("en")}` : "";
  $("clear").hidden = !filtered();
  $("empty").hidden = visible.length > 0;
  $("empty").textContent = items.length ? "Nothing fits the filter." : `Nothing here yet. Renders appear after: ${commands.run}`;
  layOut();
}

function remember(item) {
  const hash = new URLSearchParams();
  for (const [name, value] of Object.entries(wanted)) {
    if (name === "state") for (const state of value) hash.append("state", state);
    else if (value) hash.set(name, value === true ? "1" : value);
  }
  if (item) hash.set("item", item.id);
  const text = hash.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

function recall() {
  const hash = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(wanted)) {
    if (name === "state") wanted.state = new Set(hash.getAll("state"));
    else if (name === "older") wanted.older = hash.get("older") === "1";
    else wanted[name] = hash.get(name) || "";
  }
  drawFilters();
  applyFilters();
  const item = byId.get(hash.get("item"));
  if (item) openViewer(item);
}

function changed() { scrollTo({ top: Math.min(scrollY, gridTop()) }); applyFilters(); remember(); }

function chooser(name, label, options) {
  const select = h("select", {
    name, "aria-label": label, onchange: () => { wanted[name] = select.value; changed(); },
  }, h("option", { value: "" }, label), ...options.map(([value, text]) => h("option", { value }, text)));
  select.value = wanted[name];
  select.classList.toggle("set", Boolean(wanted[name]));
  return select;
}

function values(name) {
  const found = new Set();
  for (const item of items) for (const value of [item[name] || []].flat()) found.add(value);
  return [...found].sort().map((value) => [value, value]);
}

let drawnFilters = "";
function drawFilters() {
  const counts = new Map();
  let older = 0;
  for (const item of items) {
    if (item.older) older += 1;
    else counts.set(item.state, (counts.get(item.state) || 0) + 1);
  }
  const facets = Object.fromEntries(["mode", "model", "tier", "batch", "tags"].map((name) => [name, values(name)]));
  const judged = served || items.some((item) => item.verdict || item.note);
  const shape = JSON.stringify([[...counts], older, facets, judged, { ...wanted, q: "", state: [...wanted.state] }]);
  if ($("search")) {
    if ($("search").value !== wanted.q) $("search").value = wanted.q;
    if (shape === drawnFilters || $("filters").contains(document.activeElement)) return;
  }
  drawnFilters = shape;
  const chips = ORDER.filter((state) => counts.has(state)).map((state) => h("label", { className: `chip ${state.replace(" ", "-")}` },
    h("input", {
      type: "checkbox", name: "state", value: state, checked: wanted.state.has(state),
      onchange: (event) => { wanted.state[event.target.checked ? "add" : "delete"](state); changed(); },
    }),
    h("span", {}, h("i", { className: "dot" }), `${state} ${counts.get(state).toLocaleString("en")}`)));
  const several = (name, label, options) => (options.length > 1 || wanted[name] ? chooser(name, label, options) : null);
  const search = h("input", {
    type: "search", id: "search", name: "q", value: wanted.q, placeholder: "Search prompts and ids",
    autocomplete: "off", spellcheck: false, "aria-label": "Search prompts and ids",
    oninput: (event) => { wanted.q = event.target.value; changed(); },
  });
  $("filters").replaceChildren(
    search,
    h("fieldset", {}, h("legend", { className: "offscreen" }, "State"), ...chips),
    h("div", { className: "choosers" },
      several("mode", "Any mode", facets.mode),
      several("model", "Any model", facets.model),
      several("tier", "Any tier", facets.tier),
      several("batch", "Any batch", facets.batch),
      facets.tags.length || wanted.tag ? chooser("tag", "Any tag", facets.tags) : null,
      judged ? chooser("verdict", "Any verdict", Object.entries(JUDGED).map(([value, [text]]) => [value, text])) : null,
      chooser("cost", "Any cost", Object.entries(COSTS).map(([value, [text]]) => [value, text])),
      chooser("sort", "Order: as in the manifest", Object.entries(SORTS).filter(([value]) => value).map(([value, [text]]) => [value, `Order: ${text}`])),
      older || wanted.older ? h("label", { className: "chip" },
        h("input", { type: "checkbox", name: "older", checked: wanted.older, onchange: (event) => { wanted.older = event.target.checked; changed(); } }),
        h("span", {}, `earlier renders ${older}`)) : null),
    h("output", { id: "count", "aria-live": "polite" }),
    h("button", { type: "button", id: "clear", className: "tool", hidden: true, onclick: clearFilters }, "Clear"),
  );
  $("filters").hidden = false;
}

function clearFilters() {
  for (const name of Object.keys(wanted)) wanted[name] = name === "state" ? new Set() : name === "older" ? false : "";
  drawnFilters = "";
  drawFilters();
  changed();
  $("search").focus();
}
