"use strict";
// Filters the cards by text and state; the filter lives in the address, so that it can be shared.
(() => {
  const form = document.querySelector("form");
  const search = form.elements.q;
  const boxes = [...form.querySelectorAll("[name=state]")];
  const jobs = [...document.querySelectorAll(".job")].map((node) => ({
    node,
    name: (node.getAttribute("aria-label") || "").toLowerCase(),
    cards: [...node.querySelectorAll(".card")].map((card) => ({
      node: card,
      older: card.hasAttribute("data-older"),
      state: card.dataset.state,
      text: card.textContent.toLowerCase(),
    })),
  }));
  const total = jobs.reduce((n, job) => n + job.cards.filter((card) => !card.older).length, 0);

  function apply() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const states = boxes.filter((box) => box.checked).map((box) => box.value);
    let shown = 0;
    for (const job of jobs) {
      let any = false;
      for (const card of job.cards) {
        const fits = words.every((word) => card.text.includes(word) || job.name.includes(word));
        const wanted = !states.length || (!card.older && states.includes(card.state));
        card.node.hidden = !(fits && wanted);
        any ||= !card.node.hidden;
        shown += !card.node.hidden && !card.older;
      }
      job.node.hidden = !any;
      const older = job.node.querySelector(".older");
      if (older) older.hidden = !older.querySelector(".card:not([hidden])");
    }
    const filtered = words.length || states.length;
    form.querySelector("output").value = filtered ? `${shown} of ${total} shown` : "";
    document.getElementById("none").hidden = !filtered || jobs.some((job) => !job.node.hidden);
  }

  function remember() {
    const wanted = new URLSearchParams();
    if (search.value) wanted.set("q", search.value);
    for (const box of boxes) if (box.checked) wanted.append("state", box.value);
    const hash = wanted.toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  function recall() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    search.value = wanted.get("q") || "";
    for (const box of boxes) box.checked = wanted.getAll("state").includes(box.value);
    apply();
  }

  form.addEventListener("input", () => { apply(); remember(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", recall);
  addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, video, audio");
    if (event.key === "/" && !typing) { event.preventDefault(); search.focus(); }
    if (event.key === "Escape" && event.target === search) {
      search.value = "";
      apply();
      remember();
    }
  });
  // In a large gallery videos are looked into only when they come near.
  const near = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (isIntersecting) { target.preload = "metadata"; near.unobserve(target); }
    }
  }, { rootMargin: "600px" });
  document.querySelectorAll("video[preload=none]").forEach((video) => near.observe(video));
  form.hidden = false;
  recall();
})();
