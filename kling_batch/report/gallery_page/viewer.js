// The viewer: one render, or the variants of one prompt beside each other; the only players.
let viewed = null, comparing = false, output = 0, soundOn = false;
// So many of a set are beside each other at once: a browser plays some dozens of videos, not hundreds.
const TOGETHER = 12;

function openViewer(item, compare = false) {
  endPreview();
  viewed = item;
  comparing = compare && item.siblings.length > 1;
  output = 0;
  const viewer = $("viewer");
  drawViewer();
  if (!viewer.open) { viewer.showModal(); document.documentElement.classList.add("held"); }
  viewer.querySelector(".stage").focus({ preventScroll: true });
  remember(item);
}

function closed() {
  document.documentElement.classList.remove("held");
  stopPlayers();
  document.body.append(toastNode);
  $("viewer").replaceChildren();
  const index = viewed ? viewed.index : -1, back = viewed && visible[index] === viewed ? index : active;
  viewed = null;
  remember();
  if (back >= 0) focusCard(back);
}

function stopPlayers() {
  for (const player of players()) { player.pause(); player.removeAttribute("src"); player.load(); }
}
function players() { return [...$("viewer").querySelectorAll(".stage video")]; }

function pane(item, media, several) {
  const body = [];
  if (!media || media.missing || media.changed) {
    const [message, next] = why(item);
    body.push(h("div", { className: "no-file" }, h("p", { className: "note", dir: "auto" }, message), next ? h("p", { className: "hint" }, next) : null));
  } else if (media.kind === "image") {
    body.push(h("img", { src: media.url, alt: item.prompt || item.label, decoding: "async" }));
  } else if (media.kind === "video") {
    const player = h("video", { playsInline: true, loop: true, muted: !soundOn || item !== viewed, preload: "auto", "aria-label": item.label });
    if (media.poster) player.poster = media.poster;
    player.onerror = () => player.replaceWith(h("div", { className: "no-file" }, h("p", { className: "note" }, `${media.name} cannot be played here`), h("p", { className: "hint" }, `${commands.verify} checks the files`)));
    player.src = media.url;
    body.push(player);
  } else if (media.kind === "audio") {
    body.push(h("audio", { src: media.url, controls: true, "aria-label": item.label }));
  } else {
    body.push(h("div", { className: "no-file" }, item.value && h("p", { className: "note" }, item.value), h("a", { href: media.url, target: "_blank", rel: "noopener" }, media.name)));
  }
  const node = h("figure", { className: paneClass(item), "data-id": item.id }, ...body, several ? caption(item) : null);
  if (several) node.onclick = (event) => { if (!event.target.closest("button")) lead(item); };
  return node;
}

function paneClass(item) {
  return `pane ${item.state.replace(" ", "-")}${item === viewed ? " current" : ""}${item.verdict ? ` is-${item.verdict}` : ""}`;
}

function caption(item) {
  const judging = served && judgeable(item);  // its buttons show the verdict
  const facts = [[item.model, item.tier].filter(Boolean).join(" "), item.cost, judging ? "" : item.verdict].filter(Boolean).join(" · ");
  return h("figcaption", {},
    h("div", { className: "names" },
      h("button", { type: "button", className: "link", dir: "auto", title: item.label, onclick: () => openViewer(item) }, item.label),
      h("span", { title: facts }, facts)),
    judging ? verdictButtons(item) : null);
}

// The compared ones: of a large set, those around the current one.
function compared() {
  const all = viewed.siblings, from = Math.floor(Math.max(0, all.indexOf(viewed)) / TOGETHER) * TOGETHER;
  return all.slice(from, from + TOGETHER);
}

// Makes one of the compared the current one, which keys are about; the others play on.
function lead(item) {
  if (!compared().includes(item)) { openViewer(item, true); return; }
  viewed = item;
  for (const node of $("viewer").querySelectorAll(".pane")) node.classList.toggle("current", node.dataset.id === item.id);
  $("viewer").querySelector(".pane.current").scrollIntoView({ block: "nearest" });
  tuneIn();
  $("viewer").querySelector(".where").textContent = whereabouts();
  $("viewer").querySelector(".panel").replaceChildren(...panel());
  remember(item);
}

function step(by) {
  const all = viewed.siblings, index = all.indexOf(viewed) + by;
  if (index >= 0 && index < all.length) lead(all[index]);
}

function drawViewer() {
  stopPlayers();
  const item = viewed, list = comparing ? compared() : [item];
  const panes = list.map((each) => pane(each, comparing ? each.media[0] : each.media[output], comparing));
  const stage = h("div", { className: `stage n${panes.length}${comparing ? " several" : ""}`, tabIndex: -1 }, ...panes);
  let touched = null;
  stage.ontouchstart = (event) => { touched = event.touches[0].clientX; };
  stage.ontouchend = (event) => {
    const moved = event.changedTouches[0].clientX - touched;
    if (Math.abs(moved) > 60) walk(moved < 0 ? 1 : -1);
  };
  document.body.append(toastNode);
  $("viewer").replaceChildren(
    h("div", { className: "left" }, stage, controls(), strip()),
    h("aside", { className: "panel", "aria-label": "Details" }, ...panel()));
  if ($("viewer").open) $("viewer").append(toastNode);
  stage.onclick = (event) => { if (event.target.tagName === "VIDEO" && !comparing) togglePlay(); };
  if (motion.matches) playAll();
}

async function playAll() {
  const all = players();
  await Promise.all(all.map((player) => player.readyState >= 3 || new Promise((ready) => {
    player.addEventListener("canplay", ready, { once: true });
    player.addEventListener("error", ready, { once: true });
  })));
  if (all.some((player) => !player.isConnected)) return;
  for (const player of all) player.play().catch(() => {});
}

function togglePlay() {
  const all = players();
  if (all.some((player) => !player.paused)) for (const player of all) player.pause();
  else playAll();
}

// Of the compared ones the current one is heard.
function tuneIn() {
  for (const player of players()) player.muted = !soundOn || player.closest(".pane").dataset.id !== viewed.id;
}

function toggleSound() {
  soundOn = !soundOn;
  tuneIn();
  const old = $("viewer").querySelector(".sound-switch");
  if (old) old.replaceChildren(icon(soundOn ? "sound" : "mute"));
}

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("viewer").querySelector(".left").requestFullscreen?.().catch(() => toast("This browser allows no full screen here"));
}

function clock(seconds) {
  const whole = Number.isFinite(seconds) ? seconds : 0;
  return `${Math.floor(whole / 60)}:${String(Math.floor(whole % 60)).padStart(2, "0")}`;
}

function whereabouts() {
  return visible[viewed.index] === viewed ? `${(viewed.index + 1).toLocaleString("en")} of ${visible.length.toLocaleString("en")}` : "";
}

function controls() {
  const all = [];
  const bar = h("div", { className: "controls" });
  const step = [
    button("Previous", "prev", () => walk(-1), { key: "left arrow" }),
    h("span", { className: "where" }, whereabouts()),
    button("Next", "next", () => walk(1), { key: "right arrow" }),
  ];
  const moving = (comparing ? compared() : [viewed]).some((item) => item.media.some((media) => media.kind === "video" && media.url));
  if (moving) {
    const play = button("Play or pause", "play", togglePlay, { key: "space" });
    const seek = h("input", { type: "range", min: 0, max: 1000, value: 0, step: 1, className: "seek", "aria-label": "Position" });
    const time = h("span", { className: "time" }, "0:00");
    seek.oninput = () => {
      for (const player of players()) if (player.duration) player.currentTime = (seek.value / 1000) * player.duration;
    };
    all.push(play, seek, time, button("Sound", soundOn ? "sound" : "mute", toggleSound, { key: "m", className: "sound-switch" }));
    const follow = () => {
      if (!bar.isConnected) return;
      const [lead, ...others] = players();
      if (lead) {
        if (lead.duration && document.activeElement !== seek) seek.value = (lead.currentTime / lead.duration) * 1000;
        time.textContent = `${clock(lead.currentTime)} / ${clock(lead.duration)}`;
        const state = lead.paused ? "play" : "pause";
        if (!play.firstChild.classList.contains(`i-${state}`)) play.replaceChildren(icon(state));
        for (const other of others) {
          const late = Math.abs(other.currentTime - lead.currentTime);
          if (!lead.paused && late > 0.25 && lead.currentTime < other.duration && late < lead.duration - 0.5) other.currentTime = lead.currentTime;
        }
      }
      setTimeout(follow, 120);
    };
    setTimeout(follow, 0);
  } else {
    all.push(h("span", { className: "fill" }));
  }
  all.push(button("Full screen", "full", toggleFull, { key: "f" }));
  if (viewed.siblings.length > 1) {
    all.push(button("Compare", "compare", toggleCompare, { key: "c", text: comparing ? "One" : `Compare ${viewed.siblings.length}`, "aria-pressed": String(comparing) }));
  }
  bar.append(...step, ...all);
  return bar;
}

function toggleCompare() {
  if (viewed.siblings.length < 2) return;
  comparing = !comparing;
  drawViewer();
  $("viewer").querySelector(".stage").focus({ preventScroll: true });
}

function thumb(label, media, current, action, mark) {
  return h("button", { type: "button", className: `thumb${current ? " current" : ""}`, onclick: action, title: label, "aria-label": label, "aria-current": current ? "true" : undefined },
    media && media.url ? picture(media) : h("span", { className: "blank" }, label), mark);
}

function strip() {
  const thumbs = [];
  if (viewed.media.length > 1 && !comparing) {
    viewed.media.forEach((media, index) => thumbs.push(thumb(media.name, media, index === output, () => { output = index; drawViewer(); })));
  }
  if (viewed.siblings.length > 1 && !comparing) {
    if (thumbs.length) thumbs.push(h("span", { className: "divider" }));
    for (const item of viewed.siblings) {
      thumbs.push(thumb([item.label, item.tier].join(" "), item.media[0], item === viewed, () => openViewer(item), badge(item)));
    }
  }
  return thumbs.length ? h("div", { className: "strip" }, ...thumbs) : "";
}

function fact(name, ...value) {
  return value.some(Boolean) ? [h("dt", {}, name), h("dd", { dir: "auto" }, ...value.filter(Boolean))] : [];
}

function panel() {
  const item = viewed, link = `${location.href.split("#")[0]}#item=${item.id}`;
  const files = item.media.flatMap((media) => [media, ...(media.renditions || [])]).map((media) => h("span", { className: "file" },
    media.url ? h("a", { href: media.url, target: "_blank", rel: "noopener" }, media.name) : `${media.name} (no longer here)`, media.changed ? " changed since it was saved" : ` ${media.size}`));
  return [
    h("div", { className: "line" }, h("h2", { dir: "auto" }, item.label), button("Close", "cross", () => $("viewer").close(), { key: "Escape" })),
    h("p", { className: `meta ${item.state.replace(" ", "-")}` }, h("strong", { className: "state" }, item.state), [[item.model, item.tier].filter(Boolean).join(" "), item.mode, item.cost].filter(Boolean).map((each) => ` · ${each}`).join("")),
    item.older ? h("p", { className: "hint" }, "An earlier render: the manifest asks for another one now.") : null,
    served ? judgement(item) : verdictText(item),
    h("section", {}, h("h3", {}, "Prompt"), h("p", { className: "whole", dir: "auto" }, item.prompt || "no prompt")),
    h("div", { className: "copies" },
      button("Copy prompt", "copy", () => copy(item.prompt || "", "Prompt"), { text: "Prompt" }),
      button("Copy id", "copy", () => copy(item.label, "Id"), { text: "Id" }),
      button("Copy link", "copy", () => copy(link, "Link"), { text: "Link" })),
    item.next && !item.media.length && item.state !== "done" ? h("section", {}, h("h3", {}, "What happens next"), h("p", { className: "hint" }, item.next)) : null,
    h("dl", {}, ...fact("value", item.value),
      ...fact("batch", item.batch), ...fact("rendered", item.at && `${item.at} UTC`), ...fact("time", duration(item.seconds)),
      ...fact("attempts", item.attempts && String(item.attempts)), ...fact("made from", (item.parents || []).join(", ")),
      ...fact("tags", (item.tags || []).join(", ")), ...fact("endpoint", item.endpoint), ...fact("request", item.request),
      ...fact(files.length > 1 ? "files" : "file", ...files)),
    Object.keys(item.parameters || {}).length ? h("section", {}, h("h3", {}, "Parameters"),
      h("dl", {}, ...Object.entries(item.parameters).flatMap(([name, value]) => fact(name, value)))) : null,
  ].filter(Boolean);
}

function verdictText(item) {
  if (!item.verdict && !item.note) return null;
  return h("div", { className: `verdict ${item.verdict || ""}` },
    item.verdict ? h("p", {}, icon(VERDICTS[item.verdict]), h("b", {}, item.verdict), [item.author ? ` by ${item.author}` : "", item.judged ? `, ${item.judged} UTC` : ""].join("")) : null,
    item.note ? h("p", { className: "whole", dir: "auto" }, item.note) : null);
}

function walk(by) {
  if (!visible.length) return;
  let index = visible[viewed.index] === viewed ? viewed.index + by : Math.max(0, Math.min(viewed.index, visible.length - 1));
  if (comparing) {
    // From set to set.
    const together = compared();
    while (together.includes(visible[index])) index += by;
  }
  if (index < 0 || index >= visible.length) { toast(by > 0 ? "This is the last one" : "This is the first one"); return; }
  openViewer(visible[index], comparing);
}
