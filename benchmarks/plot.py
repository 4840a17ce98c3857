"""Plot of series over jobs, as an SVG on logarithmic axes: a line of slope one is a line. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from typing import NamedTuple

WIDTH, HEIGHT = 380, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 28, 28, 40
COLOURS = ("#1f6fb4", "#d1495b", "#3a8a5f", "#8a6d3b")

Points = Sequence[tuple[float, float]]


class Panel(NamedTuple):
    """One pair of axes."""

    title: str
    #: By label; points are jobs and value.
    series: Mapping[str, Points]


def svg(panels: Sequence[Panel]) -> str:
    """The panels side by side."""
    inner = "".join(
        f'<g transform="translate({WIDTH * n} 0)">{_panel(panel)}</g>'
        for n, panel in enumerate(panels)
    )
    width = WIDTH * len(panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" '
        f'width="{width}" height="{HEIGHT}" font-family="sans-serif" font-size="11">'
        f'<rect width="{width}" height="{HEIGHT}" fill="#ffffff"/>{inner}</svg>\n'
    )


class _Axis(NamedTuple):
    """Powers of ten between two ends of the drawing."""

    low: int
    high: int
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies."""
        part = (log10(max(value, 1e-12)) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    @property
    def powers(self) -> range:
        """The marked ones."""
        return range(self.low, self.high + 1)


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    low = floor(log10(min(values)) + 1e-9)
    high = ceil(log10(max(values)) - 1e-9)
    return _Axis(low, max(high, low + 1), start, end)


def _panel(panel: Panel) -> str:
    points = [point for series in panel.series.values() for point in series]
    across = _axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    up = _axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{panel.title}</text>']
    for power in across.powers:
        x = across.at(10.0**power)
        parts.append(_line(x, TOP, x, HEIGHT - BOTTOM))
        label = f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"
        parts.append(_label(x, HEIGHT - BOTTOM + 15, label, "middle"))
    for power in up.powers:
        y = up.at(10.0**power)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y))
        parts.append(_label(LEFT - 5, y + 4, f"{10.0**power:,g}", "end"))
    parts.append(_label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "jobs", "middle"))
    for n, (name, series) in enumerate(panel.series.items()):
        colour = COLOURS[n % len(COLOURS)]
        path = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in series)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{across.at(x):.1f}" cy="{up.at(y):.1f}" r="3" fill="{colour}"/>'
            for x, y in series
        ]
        parts.append(_label(LEFT + 8, TOP + 14 + 14 * n, name, "start", colour))
    return "".join(parts)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        'stroke="#dddddd" stroke-width="1"/>'
    )


def _label(x: float, y: float, text: str, anchor: str, colour: str = "#333333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
