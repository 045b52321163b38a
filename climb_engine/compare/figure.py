"""The gains of a comparison as a small SVG: a dot and its 95 % interval for each method, zero is natural."""

from __future__ import annotations

import math
from html import escape

from climb_engine.compare.outcome import Comparison, Estimate

_LEFT, _RIGHT, _WIDTH, _STEP, _TOP = 90, 30, 640, 28, 40
_TEXT = 'font-family="sans-serif" font-size="12" fill="#333"'


def figure(comparison: Comparison) -> str:
    """Bits per byte saved over natural on the mean of all tasks, positive is better."""
    gains = {name: comparison.gains(name, "natural", "bpb") for name in comparison.methods if name != "natural"}
    gains = {name: gain for name, gain in gains.items() if gain.n}
    known = [value for gain in gains.values() for value in _ends(gain)]
    low, high = min([0.0, *known]), max([0.0, *known])
    margin = 0.05 * (high - low) or 1.0
    low, high = low - margin, high + margin

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    bottom = _TOP + _STEP * len(gains)
    marks = [
        f'<text x="{_LEFT}" y="20" {_TEXT}>Bits per byte saved over natural, mean of all tasks; 95 % intervals</text>',
        f'<line x1="{x(0):.1f}" y1="{_TOP - 8}" x2="{x(0):.1f}" y2="{bottom}" stroke="#999"/>',
    ]
    for row, (name, gain) in enumerate(gains.items()):
        y = _TOP + _STEP * row + _STEP / 2
        first, last = min(_ends(gain)), max(_ends(gain))
        colour = "#1b7f4d" if gain.verdict == "better" else "#b3372f" if gain.verdict == "worse" else "#777"
        marks.append(f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end" {_TEXT}>{escape(name)}</text>')
        marks.append(
            f'<line x1="{x(first):.1f}" y1="{y}" x2="{x(last):.1f}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
        )
        marks.append(f'<circle cx="{x(gain.mean):.1f}" cy="{y}" r="4" fill="{colour}"/>')
    for value in (low + margin, 0.0, high - margin):
        marks.append(f'<text x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle" {_TEXT}>{value:+.3f}</text>')
    size = f'width="{_WIDTH}" height="{bottom + 28}" viewBox="0 0 {_WIDTH} {bottom + 28}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', *marks, "</svg>"]) + "\n"


def _ends(gain: Estimate) -> list[float]:
    return [value for value in (gain.low, gain.mean, gain.high) if math.isfinite(value)]
