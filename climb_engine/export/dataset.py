"""A ClimbMix and a ClimbLab of one's own: a run's documents as data sets that load with ``datasets.load_dataset``.

A mixed data set draws by a mixture (``drawing.draw``); a clustered one is all kept documents in a folder per cluster
or domain. A folder is begun with its plan, shards are put whole, and the manifest is written last: work that was killed
goes on, and gives the same bytes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from climb_engine.export.card import card
from climb_engine.export.drawing import Documents, Shard, cut, draw, grouped, tokens_by_domain
from climb_engine.export.kept import Artifacts
from climb_engine.export.recipes import folder_names
from climb_engine.export.shards import write_shards
from climb_engine.types import ClimbError, Ids, Mixture, Report, silent
from climb_engine.workspace import digest_of, lock, read_json, write_atomically

Contents = Literal["text", "tokens", "both"]
Layout = Literal["parquet", "climbmix", "climbmix-parquet"]

_MEANINGS = {
    "text": "the document",
    "tokens": "its token ids by tokenizer.json, the end-of-text token last",
    "token_count": "number of tokens",
    "domain": "the domain it was drawn from",
    "source": "where the corpus has it from",
    "id": "its row number in the corpus",
    "cluster": "its k-means cluster",
    "cluster_id": "number of its domain, in the order of the table above",
    "heldout": "set apart for measuring; no proxy trained on it",
}


@dataclass(frozen=True)
class MixedOptions:
    """How a mixture becomes a data set."""

    tokens: int  # about as many, to half a document per domain
    max_repeats: float = 4.0  # no domain is read more often
    shard_tokens: int = 25_000_000  # at most about as many per file; a shard is held in memory
    contents: Contents = "both"
    layout: Layout = "parquet"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.shard_tokens < 1 or not self.max_repeats > 0:
            raise ClimbError("--tokens, --shard-tokens and --max-repeats must be positive")
        _check_choice("--as", self.contents, Contents)
        _check_choice("--layout", self.layout, Layout)
        if self.layout != "parquet" and self.contents == "text":
            raise ClimbError(f"--layout {self.layout} holds tokens; leave out --as text, or use --layout parquet")


@dataclass(frozen=True)
class ClusteredOptions:
    """How the kept documents become a data set of folders."""

    by: Literal["cluster", "domain"] = "cluster"
    shard_tokens: int = 25_000_000
    contents: Contents = "both"

    def __post_init__(self) -> None:
        if self.shard_tokens < 1:
            raise ClimbError("--shard-tokens must be positive")
        _check_choice("--as", self.contents, Contents)
        _check_choice("--by", self.by, Literal["cluster", "domain"])


def write_mixed(
    folder: Path,
    artifacts: Artifacts,
    mixture: Mixture,
    options: MixedOptions,
    provenance: Mapping[str, Any],
    report: Report = silent,
) -> Path:
    """Write a data set drawn by ``mixture`` into ``folder``; returns it.

    Raises ClimbError, before anything is written, when the repeats that are allowed do not reach the tokens asked
    for, or the folder holds something else.
    """
    documents = artifacts.documents()
    order = draw(documents, mixture, options.tokens, options.max_repeats, options.seed)
    lengths = documents.lengths[order]
    spans = cut(lengths, options.shard_tokens)
    shards = [Shard(_mixed_file(options.layout, index, len(spans)), *span) for index, span in enumerate(spans)]
    columns = _mixed_columns(options)
    domains = _domain_rows(documents, mixture, order)
    says = [
        f"{len(order):,} documents and {int(lengths.sum()):,} tokens of the run {provenance.get('run', '')}, drawn by "
        "a mixture over domains that CLIMB Studio found. Each domain's share of the tokens is its weight to half a "
        "document; it was drawn without replacement until it ran out, then again. The order is shuffled, and every "
        "stretch of it has the mixture. Documents that were held out for measuring are not in it.",
        *(_reading_back("climbmix") if options.layout != "parquet" else ()),
    ]
    plan = _Plan(
        identity=_identity("mixed", artifacts, {"weights": mixture.as_dict(), **asdict(options)}),
        order=order,
        firsts=documents.firsts,
        shards=shards,
        columns=columns,
        facts=_facts(order, lengths, shards) | {"domains": domains},
        card=card(
            "A mixed data set", says, domains, _meanings(columns), _mixed_files(shards), len(order), _public(provenance)
        ),
    )
    return _write(folder, artifacts, plan, report)


def write_clustered(
    folder: Path,
    artifacts: Artifacts,
    options: ClusteredOptions,
    provenance: Mapping[str, Any],
    report: Report = silent,
) -> Path:
    """Write all kept documents into ``folder``, a folder in it per cluster or domain; returns it.

    Raises ClimbError when the folder holds something else.
    """
    documents = artifacts.documents()
    groups = documents.domains if options.by == "domain" else artifacts.clusters()
    order, found = grouped(groups, documents.lengths, options.shard_tokens)
    lengths = documents.lengths[order]
    folders = folder_names(artifacts.names)
    suffix = "parquet" if options.contents == "text" else "tokenized.parquet"
    shards: list[Shard] = []
    rows: dict[str, dict[str, Any]] = {}
    for group, number, first, last in found:
        name = folders[group] if options.by == "domain" else f"cluster_{group}"
        shards.append(Shard(f"{name}/{name}_{number:03d}.{suffix}", first, last))
        row = rows.setdefault(name, {"folder": name, "domain": "", "documents": 0, "tokens": 0})
        row["domain"] = artifacts.names[documents.domains[order[first]]]
        row["documents"] += last - first
        row["tokens"] += int(lengths[first:last].sum())
    columns = [*_contents(options.contents), "token_count", "domain", "cluster", "source", "id", "heldout"]
    says = [
        f"The {len(order):,} kept documents ({int(lengths.sum()):,} tokens) of the run {provenance.get('run', '')} in "
        f"a folder per {options.by}.",
        *(_reading_back("climblab") if options.contents != "text" else ()),
    ]
    files = {"default": f"*/*.{suffix}"}
    if options.by == "domain":
        files |= {name: f"{name}/*.{suffix}" for name in rows}
    contents = list(rows.values())
    plan = _Plan(
        identity=_identity("clustered", artifacts, asdict(options)),
        order=order,
        firsts=documents.firsts,
        shards=shards,
        columns=columns,
        facts=_facts(order, lengths, shards) | {"folders": contents},
        card=card("A clustered data set", says, contents, _meanings(columns), files, len(order), _public(provenance)),
    )
    return _write(folder, artifacts, plan, report)


# On disk


@dataclass(frozen=True)
class _Plan:
    """A data set before it is written."""

    identity: Mapping[str, Any]  # all that decides its bytes
    order: Ids  # (r,) rows of kept documents
    firsts: Ids  # (parts + 1,)
    shards: Sequence[Shard]
    columns: Sequence[str]
    facts: Mapping[str, Any]
    card: str


def _write(folder: Path, artifacts: Artifacts, plan: _Plan, report: Report) -> Path:
    if _begin(folder, plan.identity):
        return folder
    scratch = folder / ".partial"

    def read(part: int, rows: Ids) -> pa.Table:
        return artifacts.read(part, rows, plan.columns)

    with lock(scratch / "lock", f"the data set {folder}"):
        for torn in folder.rglob(".tmp-*"):  # a kill in the middle of a file
            torn.unlink()
        write_shards(folder, scratch, plan.order, plan.firsts, plan.shards, read, report)
        if "tokens" in plan.columns:
            write_atomically(folder / "tokenizer.json", artifacts.tokens.path("tokenizer.json").read_bytes())
        write_atomically(folder / "README.md", plan.card.encode())
        manifest = {"identity": plan.identity, "facts": plan.facts}
        write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
    shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _begin(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the data set is there already; ClimbError when the folder is another's."""
    plan, manifest = folder / ".partial" / "plan.json", folder / "manifest.json"
    plain = json.loads(json.dumps(identity))
    if manifest.exists():
        found = read_json(manifest).get("identity")
    elif plan.exists():
        found = read_json(plan)
    else:
        if folder.exists() and (not folder.is_dir() or any(p.name != ".partial" for p in folder.iterdir())):
            raise ClimbError(f"{folder} is not empty; name a new folder for the data set")
        write_atomically(plan, json.dumps(plain, indent=1).encode())
        return False
    if found != plain:
        raise ClimbError(f"{folder} holds a data set of other settings; name another folder, or remove it first")
    if manifest.exists():
        shutil.rmtree(plan.parent, ignore_errors=True)  # left by a kill just before the end
    return manifest.exists()


def _identity(kind: str, artifacts: Artifacts, settings: Mapping[str, Any]) -> dict[str, Any]:
    inputs = artifacts.identity()
    return {"kind": kind, "version": 1, "address": digest_of([inputs, settings]), "inputs": inputs, **settings}


# Names and words


def _public(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Without the folders of this machine: a card is published."""
    corpus = dict(provenance.get("corpus", {}))
    corpus["inputs"] = [given if given.startswith("hf:") else Path(given).name for given in corpus.get("inputs", ())]
    return {**provenance, "corpus": corpus}


def _mixed_file(layout: Layout, index: int, count: int) -> str:
    names = {
        "parquet": f"data/train-{index:05d}-of-{count:05d}.parquet",
        "climbmix": f"part_{index}.tokenized.jsonl",
        "climbmix-parquet": f"shard_{index}.tokenized.parquet",
    }
    return names[layout]


def _mixed_files(shards: Sequence[Shard]) -> dict[str, str]:
    return {"default": re.sub(r"(part_|shard_|train-)\d[^.]*", r"\1*", shards[0].file)}


def _mixed_columns(options: MixedOptions) -> list[str]:
    if options.layout != "parquet":
        return ["tokens", "token_count", "cluster_id"]
    return [*_contents(options.contents), "token_count", "domain", "source", "id"]


def _contents(contents: Contents) -> list[str]:
    return ["text", "tokens"] if contents == "both" else [contents]


def _meanings(columns: Sequence[str]) -> dict[str, str]:
    return {name: _MEANINGS[name] for name in columns}


def _domain_rows(documents: Documents, mixture: Mixture, order: Ids) -> list[dict[str, Any]]:
    m = len(mixture.domains)
    available = tokens_by_domain(documents, m)
    drawn = np.bincount(documents.domains[order], weights=documents.lengths[order], minlength=m)
    counts = np.bincount(documents.domains[order], minlength=m)
    return [
        {
            "domain": name,
            "weight": float(mixture.weights[d]),
            "tokens": int(drawn[d]),
            "documents": int(counts[d]),
            "available_tokens": int(available[d]),
            "times_read": float(drawn[d] / available[d]) if available[d] else 0.0,
        }
        for d, name in enumerate(mixture.domains)
    ]


def _facts(order: Ids, lengths: np.ndarray, shards: Sequence[Shard]) -> dict[str, Any]:
    files = [
        {"file": s.file, "documents": s.last - s.first, "tokens": int(lengths[s.first : s.last].sum())} for s in shards
    ]
    return {"documents": len(order), "tokens": int(lengths.sum()), "shards": files}


def _reading_back(layout: str) -> list[str]:
    return [
        f'Its tokens are those of `tokenizer.json`. CLIMB Studio reads them back with `corpus.format = "{layout}"` and '
        "`corpus.tokenizer` = the path of that file."
    ]


def _check_choice(option: str, value: str, choices: Any) -> None:
    if value not in choices.__args__:
        raise ClimbError(f"{option} {value}: choose one of {', '.join(choices.__args__)}")
