// Verdicts, where a server takes them; and what others decide meanwhile.
const undoable = [];
// Judged, and not yet answered.
const underway = new Set();
let version = served ? served.version : 0, epoch = served ? served.epoch : "", failing = 0;
const token = new URLSearchParams(location.search).get("token") || "";

function author() { return sessionStorage.getItem("author") || (served && served.author) || ""; }

async function ask(path, body) {
  const answer = await fetch(path + (body ? "" : `${path.includes("?") ? "&" : "?"}token=${encodeURIComponent(token)}`), body ? {
    method: "POST", cache: "no-store", body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", "X-Review-Token": token },
  } : { cache: "no-store" });
  const text = await answer.text();
  let found = {};
  try { found = text ? JSON.parse(text) : {}; } catch { /* a page of another server */ }
  if (!answer.ok) throw Object.assign(new Error(found.error || `the server answers ${answer.status}`), { told: true, found });
  return found;
}

function merge(news) {
  if (!news || news.version === undefined) return;
  if (news.epoch !== epoch) { location.reload(); return; }
  version = news.version;
  if (news.total) $("total").textContent = news.total;
  const changes = news.items || [];
  if (!changes.length && !news.order) return;
  for (const raw of changes) {
    const known = byId.get(raw.id);
    if (known && raw.judgement && raw.judgement !== known.judgement && raw.author && raw.author !== author()) {
      toast(`${raw.author}: ${raw.label} ${raw.verdict || "open again"}`);
    }
  }
  const focus = viewed && viewed.id, fresh = Boolean(news.order);
  take(changes, news.order || items.map((item) => item.id));
  drawProgress();
  drawOverview();
  drawFilters();
  if (fresh || wanted.verdict || wanted.state.size || wanted.cost || wanted.sort) {
    const held = document.activeElement?.closest?.(".card")?.dataset.id;
    applyFilters();
    if (held && byId.get(held) && visible[byId.get(held).index] === byId.get(held)) focusCard(byId.get(held).index);
  } else for (const raw of changes) redraw(byId.get(raw.id));
  if (focus && $("viewer").open) {
    const item = byId.get(focus);
    if (!item) { $("viewer").close(); toast("This render left the manifest"); return; }
    const seen = changes.find((raw) => raw.id === focus), writing = $("viewer").contains(document.activeElement) && document.activeElement.tagName === "TEXTAREA";
    viewed = item;
    if (seen && !writing) redrawPanel();
  }
}

function redrawPanel() {
  $("viewer").querySelector(".panel")?.replaceChildren(...panel());
  const strips = $("viewer").querySelector(".strip");
  const fresh = strip();
  if (strips && fresh) strips.replaceWith(fresh);
  if (comparing) {
    for (const item of compared()) {
      const node = $("viewer").querySelector(`.pane[data-id="${item.id}"]`);
      node?.querySelector("figcaption").replaceWith(caption(item));
      if (node) node.className = paneClass(item);
    }
  }
}

async function poll() {
  try {
    merge(await ask(`state?since=${version}&epoch=${encodeURIComponent(epoch)}`));
    if (failing) notice("");
    failing = 0;
  } catch (error) {
    failing += 1;
    if (failing > 1) notice(error.told ? error.message : `The review server has ended, so nothing more can be judged here. Start it again with: ${commands.review}`);
  }
  setTimeout(poll, failing ? 3000 : 1200);
}

function notice(text) {
  const said = text || (served && !served.can_write && served.reason) || "";
  $("notice").textContent = said;
  $("notice").hidden = !said;
}

async function send(item, verdict, note) {
  const news = await ask("verdict", {
    key: item.key, attempt: item.attempt, verdict, note, author: author(), expected: item.judgement || 0, since: version,
  });
  merge(news);
}

const TYPED = { approved: "approve", rejected: "reject", picked: "pick" };

async function judge(item, verdict, { note, advance = true } = {}) {
  if (!served) return;
  if (!served.can_write) { toast(served.reason); return; }
  if (!judgeable(item)) { toast(item.older ? "An earlier render cannot be judged" : `${item.label} is ${item.state}: there is nothing to judge yet`); return; }
  const before = { id: item.id, verdict: item.verdict || "none", note: item.note || "" };
  // A pick takes the place of another.
  const displaced = verdict === "picked" ? item.siblings.find((other) => other !== item && other.job === item.job && other.batch === item.batch && other.verdict === "picked") : null;
  // The next one comes at once; the server's answer follows.
  const next = advance ? nextOpen(item, verdict) : null;
  if (next && viewed) (comparing ? lead(next) : openViewer(next));
  else if (next && !viewed) focusCard(next.index);
  underway.add(item.id);
  await inTurn(async () => {
    await send(item, verdict === "none" ? "none" : TYPED[verdict], note ?? item.note ?? "");
    undoable.push({ ...before, now: byId.get(item.id)?.judgement, displaced: displaced && displaced.id });
    if (advance && open().length === 0) toast("Everything is judged");
  });
  underway.delete(item.id);
}

// One after the other: each names the verdict that it follows.
let turn = Promise.resolve();
function inTurn(deed) {
  turn = turn.then(deed).catch((error) => {
    toast(error.told ? error.message : "The review server cannot be reached; nothing was recorded");
    if (error.found) merge(error.found.news);
  });
  return turn;
}

function undo() { return inTurn(undoLast); }

async function undoLast() {
  const last = undoable.pop();
  if (!last) { toast("Nothing to undo"); return; }
  const item = byId.get(last.id);
  if (!item) { toast("That render is no longer here"); return; }
  if (item.judgement !== last.now) { toast(`${item.author || "Somebody"} has judged ${item.label} since; it stays`); return; }
  await send(item, last.verdict === "none" ? "none" : TYPED[last.verdict], last.note);
  const other = last.displaced && byId.get(last.displaced);
  if (other) await send(other, "pick", other.note || "");
  toast(`${item.label}: ${last.verdict === "none" ? "open again" : last.verdict}`);
  if (viewed) (comparing ? lead(item) : openViewer(item));
  else if (visible[item.index] === item) focusCard(item.index);
}

function open() { return items.filter((item) => judgeable(item) && !decided(item)); }

// The next one to judge, after this one got a verdict; of a set that is compared, first the rest of it.
function nextOpen(item, verdict) {
  const from = visible[item.index] === item ? item.index : -1;
  const turned = [...visible.slice(from + 1), ...visible.slice(0, from + 1)];
  const left = turned.filter((other) => other !== item && judgeable(other) && !decided(other) && !underway.has(other.id)
    && !(verdict === "picked" && jobOf(other) === jobOf(item)));
  return (comparing && left.find((other) => other.variants === item.variants)) || left[0];
}

function verdictButtons(item, wide = false) {
  const made = [["approved", "Approve", "a"], ["rejected", "Reject", "r"], ["picked", "Pick", "p"]].map(([verdict, label, key]) => button(
    `${label} ${item.label}`, VERDICTS[verdict], () => {
      // By mouse the compared ones are judged in any order: nothing moves away under the pointer.
      judge(item, item.verdict === verdict ? "none" : verdict, { advance: item.verdict !== verdict && !comparing });
      if (comparing) lead(item);
      if (viewed) $("viewer").querySelector(".stage")?.focus({ preventScroll: true });
    },
    { key, className: `judge ${verdict}`, "aria-pressed": String(item.verdict === verdict), disabled: !served.can_write, text: wide ? label : undefined },
  ));
  return h("div", { className: `verdicts${wide ? " wide" : ""}` }, ...made);
}

function cardActions(item) {
  if (!judgeable(item)) return h("div", { className: "actions" }, h("span", { className: "hint" }, item.older ? "earlier" : "not yet to be judged"));
  return h("div", { className: "actions" }, verdictButtons(item),
    button(item.note ? "Note: " + item.note : "Note", "note", () => writeNote(item), { key: "n", className: item.note ? "noted" : "", "aria-label": `Note on ${item.label}` }));
}

function writeNote(item) {
  if (!viewed || viewed !== item) openViewer(item);
  $("viewer").querySelector("textarea")?.focus();
}

function judgement(item) {
  if (!judgeable(item)) return null;
  const area = h("textarea", {
    rows: 2, maxLength: 10000, dir: "auto", placeholder: "Note, kept with Enter", value: item.note || "", disabled: !served.can_write, "aria-label": "Note",
  });
  let kept = (item.note || "").trim();
  const keep = () => {
    const note = area.value.trim();
    if (note === kept) return;
    kept = note;
    judge(byId.get(item.id), byId.get(item.id).verdict || "none", { note, advance: false });
  };
  area.onkeydown = (event) => {
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); keep(); $("viewer").querySelector(".stage").focus({ preventScroll: true }); }
    else if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); area.value = item.note || ""; $("viewer").querySelector(".stage").focus({ preventScroll: true }); }
  };
  area.onblur = keep;
  return h("div", { className: `verdict ${item.verdict || ""}` }, verdictButtons(item, true),
    item.judged && item.verdict ? h("p", { className: "hint", dir: "auto" }, `${item.verdict}${item.author ? ` by ${item.author}` : ""}, ${item.judged} UTC`) : null, area);
}

function drawProgress() {
  if (!served) return;
  const all = items.filter(judgeable), done = all.filter(decided);
  const count = (verdict) => all.filter((item) => item.verdict === verdict).length;
  const bar = h("progress", { max: Math.max(1, all.length), value: done.length, "aria-label": "Judged" });
  const picked = count("picked");
  $("judging").replaceChildren(
    bar,
    h("span", {}, h("b", {}, `${done.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} judged`),
      ` · ${count("approved") + picked} approved${picked ? `, ${picked} of them picked` : ""} · ${count("rejected")} rejected`),
    h("span", { className: "fill" }),
    button("Next to judge", "next", () => { const [first] = open(); if (first) { if (visible[first.index] !== first) clearFilters(); openViewer(first); } else toast("Everything is judged"); }, { text: "Next to judge" }),
    button("Undo", "undo", undo, { key: "u", text: "Undo" }),
    h("label", { className: "who" }, "as ", h("input", { value: author(), maxLength: 80, "aria-label": "Your name", onchange: (event) => sessionStorage.setItem("author", event.target.value.trim()) })));
  $("judging").hidden = false;
}
