"""Knobs in words: what they are called, and what became of them. Knows no Streamlit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.overview.happenings import subject
from climb_engine.config import Override, RunConfig

_WORDS = {"n": "number of", "hf": "Hugging Face", "ffn": "FFN", "kv": "KV"}
_ENTRIES = {"thresholds": "{} threshold", "tasks": "weight of {}", "heldout": "weight of held-out {}"}
_NAMED = re.compile(r"\b([a-z]+)\.([a-z_]+)\b")


def title(name: str) -> str:
    """A knob's name in words: n_domains is Number of domains."""
    words = called(name)
    return words[:1].upper() + words[1:]


def called(name: str) -> str:
    """A knob's name within a sentence: number of domains."""
    return " ".join(_WORDS.get(word, word) for word in name.split("_"))


def changed(name: str, before: Any, after: Any) -> list[str]:
    """What became of a knob: "quality threshold 2 → 2.5", "prune c3"; one entry for each part of it that changed."""
    if name == "overrides":
        return _decided(before or (), after or ())
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        former, now = before or {}, after or {}
        keys = [key for key in {**former, **now} if former.get(key) != now.get(key)]
        how = _ENTRIES.get(name, called(name) + " of {}")
        return [f"{how.format(key)} {value(former.get(key))} → {value(now.get(key))}" for key in keys]
    return [f"{called(name)} {value(before)} → {value(after)}"]


def differences(
    before: RunConfig, after: RunConfig, sections: Iterable[str] = tuple(RunConfig.model_fields)
) -> list[str]:
    """What became of each knob of a config, or of some of its sections."""
    lines = []
    for section in sections:
        former, now = getattr(before, section), getattr(after, section)
        for name in type(now).model_fields:
            if getattr(former, name) != getattr(now, name):
                lines += changed(name, getattr(former, name), getattr(now, name))
    return lines


def value(of: Any) -> str:
    """A value as people write it."""
    if of is None or of == "" or (isinstance(of, Sequence) and not len(of)):
        return "none"
    if isinstance(of, bool):
        return "on" if of else "off"
    if isinstance(of, int | float):
        return f"{of:,}" if isinstance(of, int) else f"{of:g}"
    if isinstance(of, str):
        return Path(of).name if Path(of).is_absolute() else of
    return ", ".join(value(one) for one in of)


def named(message: str) -> list[tuple[str, str]]:
    """The knobs that a message names, as (section, knob), each once."""
    sections = {name: type(getattr(RunConfig(), name)).model_fields for name in RunConfig.model_fields}
    found = dict.fromkeys(_NAMED.findall(message))
    return [(section, knob) for section, knob in found if knob in sections.get(section, ())]


def _decided(before: Sequence[Any], after: Sequence[Any]) -> list[str]:
    """Overrides that came and went."""
    former, come = [_subject(one) for one in before], []
    for one in map(_subject, after):
        if one in former:
            former.remove(one)
        else:
            come.append(one)
    return come + [f"no longer {one}" for one in former]


def _subject(override: Override | Mapping[str, Any]) -> str:
    return subject(override if isinstance(override, Override) else Override.model_construct(**override))
