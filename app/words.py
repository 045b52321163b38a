"""How the app says numbers, times and other people's text."""

from __future__ import annotations

import re
import time

from climb_engine.console import seconds_text


def plain(text: str) -> str:
    """Text as itself inside Markdown: nothing in it is read as markup."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text).replace("\n", "  \n")


def count(value: float) -> str:
    """Up to 9,999 in full, beyond that to three digits: 12,300 is 12.3 k, 1,234,567 is 1.23 M."""
    if abs(value) < 10_000:
        return f"{value:,.0f}"
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{float(f'{value / size:.3g}'):g} {unit}"
    return f"{value:,.0f}"


def ago(moment: float, now: float | None = None) -> str:
    """How long ago a moment was, in seconds since the epoch."""
    seconds = (time.time() if now is None else now) - moment
    if seconds < 3:
        return "just now"
    return f"{seconds:.0f} s ago" if seconds < 60 else f"{seconds_text(seconds)} ago"


def when(moment: float) -> str:
    """A moment in local time: 2026-01-31 14:05."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def plural(n: int, noun: str) -> str:
    """1 trial, 2 trials."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
