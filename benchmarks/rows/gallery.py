"""The gallery in a headless Chromium: first view, nodes, scrolling, searching."""

from __future__ import annotations

import os
import statistics

from benchmarks.gallery import browser_page, chromium, write_page
from benchmarks.results import Figure
from benchmarks.rows.base import Measured, Place, Row

NODES = "() => document.querySelectorAll('*').length"
FIRST_VIEW = """
() => new Promise((done) => {
  const ready = () => [...document.querySelectorAll(".card img")].every((image) => image.complete);
  const look = () => (document.querySelector(".card") && ready()
    ? requestAnimationFrame(() => done(performance.now())) : setTimeout(look, 5));
  look();
})
"""
#: From the top to the end of the page in so many frames; the time between two frames.
SCROLL = """
(frames) => new Promise((done) => {
  const times = [], step = (document.body.scrollHeight - innerHeight) / frames;
  let last = 0;
  const frame = (now) => {
    if (last) times.push(now - last);
    last = now;
    if (times.length >= frames) { done(times); return; }
    scrollBy(0, Math.max(40, Math.min(step, 400)));
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})
"""
#: Until the filtered cards are laid out.
FILTER = """
(words) => words.map((word) => {
  const search = document.getElementById("search"), start = performance.now();
  search.value = word;
  search.dispatchEvent(new Event("input", { bubbles: true }));
  document.getElementById("grid").getBoundingClientRect();
  return performance.now() - start;
})
"""
WORDS = ["s", "sneaker", "spin-0123", "schifffahrt", "nothing like it", ""]


def gallery(place: Place) -> Measured:
    """The static page of 2,000 renders."""
    if not chromium():
        return Measured([Figure(name="a browser", value=None, note="no Chromium here")], {})
    number = place.pick(2000, 500, 30)
    with place.fresh() as folder:
        target = write_page(folder, number)
        os.sync()
        first, frames, late, filters, nodes = [], [], [], [], []
        for _ in range(place.pick(5, 3, 1)):
            with browser_page(viewport={"width": 1440, "height": 900}) as page:
                page.goto(target.as_uri())
                first.append(page.evaluate(FIRST_VIEW))
                nodes.append(page.evaluate(NODES))
                times = page.evaluate(SCROLL, place.pick(240, 120, 20))
                frames.append(statistics.median(times))
                late.append(sum(time > 25 for time in times) / len(times))
                filters.append(max(page.evaluate(FILTER, WORDS)))
        size = target.stat().st_size
    figures = [
        Figure(name="nodes at load", value=max(nodes), bound=8000),
        Figure(name="first view with its posters", value=min(first) / 1000, unit="s", bound=1.0),
        Figure(
            name="frames a second while scrolling",
            value=1000 / min(frames),
            unit="/s",
            bound=59,
            at_least=True,
            note="median frame",
        ),
        Figure(name="of them later than a frame", value=100 * min(late), unit="%"),
        Figure(name="the slowest of six searches", value=min(filters), unit="ms", bound=50),
        Figure(name="size of the page", value=size / 1e6, unit="MB"),
    ]
    return Measured(figures, {"renders": number, "first": first, "frames": frames})


ROWS = (Row("gallery", "the gallery of 2,000 renders in a headless Chromium", gallery),)
