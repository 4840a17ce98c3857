// The grid: only the cards in sight exist, each at its place; and the print sheet.
const shown = new Map();
let columns = 1, cardWidth = 300, cardHeight = 300, gap = 16, active = -1;

function gridTop() { return $("grid").getBoundingClientRect().top + scrollY; }

function layOut() {
  const grid = $("grid"), width = grid.clientWidth;
  const narrow = width < 560;
  gap = narrow ? 10 : 16;
  columns = Math.max(1, Math.floor((width + gap) / ((narrow ? 150 : 264) + gap)));
  cardWidth = (width - gap * (columns - 1)) / columns;
  const body = narrow ? 126 : 130;
  cardHeight = Math.round(cardWidth * (narrow ? 0.8 : 0.66)) + body + (served ? 42 : 0);
  grid.classList.toggle("narrow", narrow);
  grid.style.setProperty("--gap", `${gap}px`);
  grid.style.setProperty("--below", `${body + (served ? 42 : 0)}px`);
  const rows = Math.ceil(visible.length / columns);
  grid.style.height = `${Math.max(0, rows * (cardHeight + gap) - gap)}px`;
  const focused = document.activeElement?.closest?.(".card")?.dataset.id;
  for (const node of shown.values()) node.remove();
  shown.clear();
  draw();
  const item = focused && byId.get(focused);
  if (item && visible[item.index] === item) shown.get(item.index)?.querySelector(".frame").focus({ preventScroll: true });
}

function draw() {
  const grid = $("grid");
  const top = -grid.getBoundingClientRect().top, row = cardHeight + gap;
  const first = Math.max(0, Math.floor((top - row) / row)) * columns;
  const last = Math.min(visible.length, (Math.ceil((top + innerHeight) / row) + 1) * columns);
  for (const [index, node] of shown) {
    if ((index < first || index >= last) && !node.contains(document.activeElement)) {
      node.remove();
      shown.delete(index);
    }
  }
  let after = null;
  const fresh = [];
  for (let index = first; index < last; index += 1) {
    if (shown.has(index)) continue;
    const node = card(visible[index], index);
    node.style.width = `${cardWidth}px`;
    node.style.height = `${cardHeight}px`;
    node.style.transform = `translate(${(index % columns) * (cardWidth + gap)}px, ${Math.floor(index / columns) * row}px)`;
    shown.set(index, node);
    fresh.push([index, node]);
  }
  // In the order of the list, for screen readers and the tab key.
  for (const [index, node] of fresh) {
    after = null;
    for (let next = index + 1; next < last && !after; next += 1) {
      const other = shown.get(next);
      if (other && other.isConnected) after = other;
    }
    grid.insertBefore(node, after);
  }
}

function badge(item) {
  return item.verdict ? h("span", { className: `badge ${item.verdict}`, title: item.verdict }, icon(VERDICTS[item.verdict])) : null;
}

function picture(media) {
  if (!media.poster && media.kind !== "image") return h("span", { className: "blank" }, icon(media.kind === "video" ? "play" : "note"), h("span", {}, media.name));
  const image = h("img", { alt: "", decoding: "async", draggable: false });
  image.onerror = () => {
    const other = media.kind === "image" && image.src !== new URL(media.url, location.href).href;
    if (other) image.src = media.url;
    else image.replaceWith(h("span", { className: "blank" }, icon("play"), h("span", {}, media.name)));
  };
  image.src = media.poster || media.url;
  return image;
}

function why(item) {
  const gone = item.media.find((media) => media.missing), other = item.media.find((media) => media.changed);
  if (gone) return [`${gone.name} is no longer here`, "The next run fetches it again, at no cost."];
  if (other) return [`${other.name} has changed since it was saved`, `To fetch it again, at no cost: ${commands.repair}`];
  return [item.message || (item.state === "done" ? "no file" : item.state), item.next || ""];
}

function frameOf(item) {
  const there = item.media.filter((media) => media.url && !media.changed);
  // The id of a voice is what such a job is for: it stands where pictures do.
  if (item.value) return [h("span", { className: "blank" }, icon("note"), h("span", {}, item.value))];
  if (!there.length) {
    const [message, next] = why(item);
    return [h("span", { className: "note", dir: "auto" }, message), next ? h("span", { className: "hint" }, next) : null];
  }
  const tiles = there.slice(0, 4).map(picture);
  return [h("span", { className: `pictures n${tiles.length}` }, ...tiles)];
}

// What a person compares takes by, in one line.
function details(item) {
  const asked = item.parameters || {}, seconds = asked.duration;
  return [
    seconds && `${seconds} s`, asked.aspect_ratio, asked.resolution,
    item.seconds !== undefined && `took ${duration(item.seconds)}`,
    item.attempts > 1 && `${item.attempts} attempts`,
    item.parents && `from ${item.parents.join(", ")}`,
  ].filter(Boolean).join(" · ");
}

function card(item, index) {
  const siblings = item.siblings, place = siblings.indexOf(item);
  const there = item.media.filter((media) => media.url && !media.changed);
  const video = there.find((media) => media.kind === "video");
  const facts = [[item.model, item.tier].filter(Boolean).join(" "), item.mode, item.older ? "earlier" : ""].filter(Boolean).join(" · ");
  const frame = h("button", {
    type: "button", className: "frame", onclick: () => openViewer(item),
    onfocus: () => { active = index; },
    "aria-label": [`Open ${item.label}`, item.state, item.verdict].filter(Boolean).join(", "),
  }, ...frameOf(item).filter(Boolean), badge(item),
  h("span", { className: "corner" },
    there.length > 1 ? h("span", {}, `${there.length} files`) : null,
    video && item.sound ? h("span", { title: item.sound }, icon(item.sound === "silent" ? "mute" : "sound")) : null));
  if (video && motion.matches) {
    frame.onpointerenter = () => preview(frame, video);
    frame.onpointerleave = endPreview;
  }
  const more = siblings.length > 1 && place >= 0
    ? h("button", { type: "button", className: "siblings", title: "Compare (c)", onclick: () => openViewer(item, true) }, icon("compare"), h("span", {}, `${place + 1} of ${siblings.length}`))
    : null;
  const joined = columns > 1 && (index + 1) % columns && visible[index + 1] && siblings.length > 1 && visible[index + 1].variants === item.variants && !item.older;
  const node = h("li", {
    className: `card ${item.state.replace(" ", "-")}${item.verdict ? ` is-${item.verdict}` : ""}${item.older ? " older" : ""}${joined ? " joined" : ""}`,
    "aria-setsize": visible.length, "aria-posinset": index + 1, "data-id": item.id,
  }, frame, more,
  h("div", { className: "body" },
    h("h2", { dir: "auto", title: item.label }, item.label),
    h("div", { className: "line meta" },
      h("span", { className: "what" }, item.state === "done" ? null : h("strong", { className: "state" }, item.state), item.state !== "done" && facts ? ` · ${facts}` : facts),
      h("span", { className: "cost" }, item.cost || "")),
    h("p", { className: "details" }, details(item)),
    h("p", { className: "prompt", dir: "auto", title: item.note ? `Note: ${item.note}` : "" }, item.prompt || "no prompt")));
  if (served) node.append(cardActions(item));
  return node;
}

function redraw(item) {
  const index = item.index, old = shown.get(index);
  if (!old || visible[index] !== item) return;
  const focused = old.contains(document.activeElement) ? [...old.querySelectorAll("button")].indexOf(document.activeElement) : -1;
  const node = card(item, index);
  for (const name of ["width", "height", "transform"]) node.style[name] = old.style[name];
  shown.set(index, node);
  old.replaceWith(node);
  if (focused >= 0) node.querySelectorAll("button")[focused]?.focus({ preventScroll: true });
}

function bringToSight(index) {
  const top = gridTop() + Math.floor(index / columns) * (cardHeight + gap);
  const bar = getComputedStyle($("filters")).position === "sticky" ? $("filters").offsetHeight + 8 : 8;
  if (top < scrollY + bar) scrollTo({ top: top - bar });
  else if (top + cardHeight > scrollY + innerHeight) scrollTo({ top: top + cardHeight - innerHeight + 12 });
  draw();
}

function focusCard(index) {
  if (!visible.length) return;
  active = Math.max(0, Math.min(visible.length - 1, index));
  bringToSight(active);
  shown.get(active)?.querySelector(".frame").focus({ preventScroll: true });
}

// One video plays in the grid, and only while the pointer rests on it.
let previewed = null, previewTimer = 0;
function preview(frame, media) {
  endPreview();
  previewTimer = setTimeout(() => {
    previewed = h("video", { muted: true, loop: true, playsInline: true, className: "preview", tabIndex: -1, "aria-hidden": "true" });
    previewed.onplaying = () => previewed?.classList.add("playing");
    previewed.src = media.url;
    frame.querySelector(".pictures")?.append(previewed);
    previewed.play().catch(() => {});
  }, 160);
}
function endPreview() {
  clearTimeout(previewTimer);
  if (previewed) { previewed.removeAttribute("src"); previewed.load(); previewed.remove(); }
  previewed = null;
}

// The contact sheet: everything that fits the filter, small, with its name and verdict.
function makeSheet() {
  if ($("sheet").childElementCount) return;
  $("sheet").append(
    h("h1", {}, `${data.title} · ${plural(visible.length, "render")}`),
    h("div", { className: "sheets" }, ...visible.map((item) => {
      const there = item.media.filter((each) => each.url && !each.changed && (each.poster || each.kind === "image")).slice(0, 9);
      return h("figure", {},
        h("div", { className: `print-frame${there.length > 4 ? " nine" : there.length > 1 ? " four" : ""}` },
          ...(there.length ? there.map((media) => h("img", { src: media.poster || media.url, alt: "" })) : [h("span", {}, item.state)])),
        h("figcaption", {},
          h("b", { dir: "auto" }, item.verdict ? icon(VERDICTS[item.verdict]) : null, item.label),
          h("small", {}, [item.verdict, [item.model, item.tier].filter(Boolean).join(" "), item.cost].filter(Boolean).join(" · ")),
          h("span", { dir: "auto" }, item.note || item.prompt || "")));
    })));
}
function clearSheet() { $("sheet").replaceChildren(); }
async function printSheet() {
  makeSheet();
  toast("The contact sheet is being prepared");
  await Promise.all([...$("sheet").querySelectorAll("img")].map((image) => image.decode().catch(() => {})));
  print();
}
