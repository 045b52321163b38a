"""Names of domains: plain slugs, from the keywords that tell a domain from the others."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from climb_engine.types import ClimbError, Ids

LONGEST_NAME = 64
MOST_WORDS = 6
"""A model's reply of more words is a sentence and no name."""

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_QUOTED = re.compile(r"[`\"*\u201c]+([^`\"*\u201c\u201d\n]+)[`\"*\u201d]+")


def slug(text: str) -> str:
    """Lower-case ASCII letters and digits, joined by hyphens; "" when there are none."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return "-".join(re.findall(r"[a-z0-9]+", plain))


def checked(name: str, where: str) -> str:
    """A name that is safe as a file's name and unambiguous in a table; else ClimbError."""
    if not _SLUG.fullmatch(name) or len(name) > LONGEST_NAME:
        better = slug(name)[:LONGEST_NAME].strip("-") or "my-domain"
        raise ClimbError(f"{where}: {name!r} is no domain name: lower-case letters, digits and hyphens; try {better!r}")
    return name


def proposed(reply: str) -> str:
    """The name in a language model's reply, as a slug; "" where there is none.

    A line that is a slug as it stands, else the last thing in quotes, else the first line that is short enough.
    """
    said = _THOUGHT.sub("", reply)
    lines = [line.rpartition(":")[2].strip(" .") for line in said.splitlines()]
    found = [*filter(_SLUG.fullmatch, lines), *map(slug, [*_QUOTED.findall(said)[-1:], *lines])]
    fitting = (name for name in found if name and name.count("-") < MOST_WORDS and len(name) <= LONGEST_NAME)
    return next(fitting, "")


def unused_name(name: str, words: Sequence[str], taken: Collection[str]) -> str:
    """A name that is not taken: this one, else with the first of some words that makes it another, else numbered."""
    fresh = [word for word in map(slug, words) if word and word not in name.split("-")]
    longer = (f"{name}-{word}" for word in fresh if len(name) + len(word) < LONGEST_NAME)
    numbered = (f"{name[: LONGEST_NAME - 8].strip('-')}-{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (name, *longer, *numbered) if one not in taken)


def name_groups(
    groups: Sequence[Ids], sizes: Ids, keywords: Sequence[Sequence[str]], taken: Collection[str] = ()
) -> tuple[str, ...]:
    """A unique name, none of ``taken``, for each group of clusters: its keywords that tell it from the other groups.

    groups: clusters as rows of ``sizes`` (k,), in documents, and of ``keywords`` (k,), most telling first.
    """
    names: list[str] = []
    for words in _telling([_word_weights(members, sizes, keywords) for members in groups]):
        names.append(_unused(words, {*names, *taken}))
    return tuple(names)


def _word_weights(members: Ids, sizes: Ids, keywords: Sequence[Sequence[str]]) -> dict[str, float]:
    """Word -> documents that it stands for; a keyword counts less the later it comes in its cluster's list."""
    weights: dict[str, float] = defaultdict(float)
    for cluster in members.tolist():
        for rank, keyword in enumerate(keywords[cluster]):
            if word := slug(keyword):
                weights[word] += float(sizes[cluster]) / (1 + rank)
    return weights


def _telling(groups: Sequence[dict[str, float]]) -> list[list[str]]:
    """The words of each group, best first: weight in the group, less the more other groups have the word too."""
    spread = Counter(word for weights in groups for word in weights)

    def telling(word: str, weights: dict[str, float]) -> float:
        return weights[word] * (1 - (spread[word] - 1) / len(groups))

    return [sorted(weights, key=lambda word: (-telling(word, weights), word)) for weights in groups]


def _unused(words: Sequence[str], taken: Collection[str]) -> str:
    """Three words, a fourth where that is taken, else a number."""
    chosen: list[str] = []
    for word in words:
        if not any(word.startswith(other) or other.startswith(word) for other in chosen):  # theorem, theorems
            chosen.append(word)
        if len(chosen) == 4:
            break
    for length in (3, 4):
        name = "-".join(chosen[:length])[:LONGEST_NAME].strip("-") or "domain"
        if name not in taken:
            return name
    return next(f"{name}-{number}" for number in range(2, len(taken) + 3) if f"{name}-{number}" not in taken)
