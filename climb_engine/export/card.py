"""The dataset card (README.md) of a data set: what it is, what is in it, where it comes from, how to load it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")
_LOADING = """## Loading

```python
from datasets import load_dataset

documents = load_dataset("FOLDER", split="train")
```"""


def card(
    title: str,
    says: Sequence[str],
    groups: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    files: Mapping[str, str],
    documents: int,
    provenance: Mapping[str, Any],
) -> str:
    """The card as Markdown with the metadata block that ``datasets.load_dataset(folder)`` reads.

    says: paragraphs; groups: the rows of the table of domains or clusters; columns: name -> meaning;
    files: configuration -> glob of its files, the first is the default.
    """
    meta = {
        "pretty_name": title,
        "task_categories": ["text-generation"],
        "tags": ["pretraining", "data-mixture", "climb"],
        "size_categories": [_SIZES[min(len(_SIZES) - 1, max(0, len(str(documents)) - 3))]],
        "configs": [
            {"config_name": name, "data_files": [{"split": "train", "path": path}]}
            | ({"default": True} if index == 0 else {})
            for index, (name, path) in enumerate(files.items())
        ],
    }
    blocks = [
        f"---\n{yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)}---\n\n# {_cell(title)}",
        *says,
        "## Contents\n\n" + _table(groups),
        "## Columns\n\n" + _table([{"column": f"`{name}`", "meaning": text} for name, text in columns.items()]),
        _LOADING,
        "## Provenance\n\n```json\n" + _fenced(provenance) + "\n```",
        "## Licence\n\nThat of the documents it was made from; none is granted here.",
    ]
    return "\n\n".join(blocks) + "\n"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "none"
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_shown(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else _cell(str(value))


def _fenced(value: Mapping[str, Any]) -> str:
    """JSON that cannot end the code block it stands in."""
    return json.dumps(dict(value), indent=1).replace("`", "\\u0060")


def _cell(text: str) -> str:
    """One line in which neither Markdown nor HTML of a name does anything."""
    return re.sub(r"([\\|<>\[\]!*])", r"\\\1", re.sub(r"[\x00-\x1f\x7f-\x9f\s]+", " ", text))
