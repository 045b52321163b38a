"""A mixture in the words of those who mix while training: text for each framework's own mixing.

Every function takes the domains as ``Portion``s and gives the text of one file; weights are written in full. A domain
of weight 0 is left out: Megatron refuses it, and samplers that wait for every source to end would wait for ever.

Checked against: Megatron-Core 0.16 (``get_blend_from_list``; Megatron-LM reads the file by ``split()``), MosaicML
Streaming 0.13 (``Stream``), datasets 5.2 (``interleave_datasets``), OLMo-core 3.0 (``SourceMixtureList``), litgpt 0.5
and litdata 0.2 (``CombinedStreamingDataset``). NeMo's list is written as its guide shows it; it was not loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

import yaml

from climb_engine.types import ClimbError, Mixture


@dataclass(frozen=True)
class Portion:
    """One domain of a mixture: how much of it, and where its data are."""

    name: str
    weight: float  # share of the tokens
    path: str
    tokens_per_document: float | None = None  # mean, where it is known


@dataclass(frozen=True)
class Recipe:
    """One file that a framework reads."""

    file: str
    path: str  # default template of a domain's data; {domain} and {index} stand for its folder name and number
    text: Callable[[Sequence[Portion], float], str]  # portions, times a source may be read -> the file


def megatron(portions: Sequence[Portion], max_repeats: float) -> str:  # noqa: ARG001
    """Weights and path prefixes in one line, for ``--data-args-path``. ClimbError for white space in a path."""
    for portion in portions:
        if re.search(r"\s", portion.path):
            raise ClimbError(f"Megatron splits its blend at white space, and there is some in {portion.path!r}")
    return " ".join(f"{portion.weight!r} {portion.path}" for portion in portions) + "\n"


def nemo(portions: Sequence[Portion], max_repeats: float) -> str:  # noqa: ARG001
    """A JSON list [weight, path, weight, path, ...], for ``PreTrainingDataModule(paths=...)``."""
    return _json([value for portion in portions for value in (portion.weight, portion.path)])


def streaming(portions: Sequence[Portion], max_repeats: float) -> str:  # noqa: ARG001
    """MosaicML streams by name, as LLM Foundry's ``train_loader.dataset.streams`` has them."""
    streams = {portion.name: {"local": portion.path, "proportion": portion.weight} for portion in portions}
    return _yaml({"streams": streams})


def olmo_core(portions: Sequence[Portion], max_repeats: float) -> str:
    """OLMo-core's list of sources, for ``SourceMixtureList.from_yaml``."""
    sources = [
        {
            "source_name": portion.name,
            "target_ratio": portion.weight,
            "paths": [portion.path],
            "max_repetition_ratio": max(1.0, float(max_repeats)),
        }
        for portion in portions
    ]
    return _yaml({"sources": sources})


def huggingface_json(portions: Sequence[Portion], max_repeats: float) -> str:  # noqa: ARG001
    """What ``interleave_datasets`` needs: paths and probabilities, and how these came about."""
    return _json(
        {
            "data_files": {portion.name: portion.path for portion in portions},
            "probabilities": _document_probabilities(portions),
            "token_weights": [portion.weight for portion in portions],
            "tokens_per_document": [portion.tokens_per_document for portion in portions],
        }
    )


def huggingface(portions: Sequence[Portion], max_repeats: float) -> str:  # noqa: ARG001
    """A Python module whose ``mixture()`` streams documents through ``datasets.interleave_datasets``."""
    rows = "\n".join(
        f"    ({portion.name!r}, {portion.path!r}, {probability!r}),"
        for portion, probability in zip(portions, _document_probabilities(portions), strict=True)
    )
    return _HUGGINGFACE.format(rows=rows, basis=_basis(portions))


def litgpt(portions: Sequence[Portion], max_repeats: float) -> str:  # noqa: ARG001
    """A Python module with a LitGPT data module, for ``litgpt pretrain --data litgpt_mixture.ClimbMixture``."""
    rows = "\n".join(f"    ({portion.path!r}, {portion.weight!r}),  # {_comment(portion.name)}" for portion in portions)
    return _LITGPT.format(rows=rows)


RECIPES: Mapping[str, tuple[Recipe, ...]] = {
    "megatron": (
        Recipe("megatron.txt", "data/{domain}_text_document", megatron),
        Recipe("nemo.json", "data/{domain}_text_document", nemo),
    ),
    "streaming": (Recipe("streaming.yaml", "data/{domain}", streaming),),
    "hf": (
        Recipe("huggingface_mixture.py", "data/{domain}/*.parquet", huggingface),
        Recipe("huggingface.json", "data/{domain}/*.parquet", huggingface_json),
    ),
    "olmo": (Recipe("olmo_core.yaml", "data/{domain}/*.npy", olmo_core),),
    "litgpt": (Recipe("litgpt_mixture.py", "data/{domain}", litgpt),),
}
"""Framework -> the files it gets."""


def write_recipes(
    frameworks: Sequence[str],
    mixture: Mixture,
    path: str | None = None,
    tokens_per_document: Mapping[str, float] | None = None,
    max_repeats: float = 4.0,
) -> dict[str, str]:
    """File name -> text, for every framework named ("all": each of them).

    path: template of a domain's data instead of the recipe's own, with {domain} and {index}. tokens_per_document
    (domain -> mean) turns shares of tokens into shares of documents for those who draw documents.
    Raises ClimbError for an unknown framework or placeholder.
    """
    names = tuple(RECIPES) if "all" in frameworks else tuple(dict.fromkeys(frameworks))
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise ClimbError(f"--format: there is no {', '.join(unknown)}; there are {', '.join(RECIPES)} and all")
    made = {}
    for recipe in (recipe for name in names for recipe in RECIPES[name]):
        made[recipe.file] = recipe.text(portions(mixture, path or recipe.path, tokens_per_document), max_repeats)
    return made


def portions(mixture: Mixture, path: str, tokens_per_document: Mapping[str, float] | None = None) -> list[Portion]:
    """The domains that weigh something, with their paths."""
    folders = folder_names(mixture.domains)
    known = tokens_per_document or {}
    return [
        Portion(name, float(weight), _filled(path, folders[index], index), known.get(name))
        for index, (name, weight) in enumerate(zip(mixture.domains, mixture.weights, strict=True))
        if weight > 0
    ]


def folder_names(domains: Sequence[str]) -> tuple[str, ...]:
    """A folder name per domain: letters, digits, '.', '_' and '-' only, no two alike whatever the case."""
    made: list[str] = []
    for index, name in enumerate(domains):
        folder = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or f"domain-{index}"
        while folder.lower() in {other.lower() for other in made}:
            folder += f"-{index}"
        made.append(folder)
    return tuple(made)


def _filled(path: str, folder: str, index: int) -> str:
    try:
        fields = {name for _, name, _, _ in Formatter().parse(path) if name is not None}
        if not fields <= {"domain", "index"}:
            raise ValueError("a placeholder that is not known")
        return path.format(domain=folder, index=index)
    except (ValueError, IndexError, KeyError) as error:
        raise ClimbError(f"--paths {path!r}: {error}; use {{domain}} and {{index}}") from error


def _document_probabilities(portions: Sequence[Portion]) -> list[float]:
    """Shares of documents that give the shares of tokens; equal to these where document lengths are not known."""
    lengths = [portion.tokens_per_document for portion in portions]
    known = [length for length in lengths if length]
    scale = known if len(known) == len(lengths) else [1.0] * len(lengths)
    rates = [portion.weight / length for portion, length in zip(portions, scale, strict=True)]
    return [rate / sum(rates) for rate in rates]


def _basis(portions: Sequence[Portion]) -> str:
    if all(portion.tokens_per_document for portion in portions):
        return (
            "Shares of documents, from the weights (shares of tokens) and the mean length of each domain's documents."
        )
    return (
        "The weights as they are. They are shares of tokens: divide each by its documents' mean length and normalise."
    )


def _comment(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]+", " ", text)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _yaml(value: object) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text


_HUGGINGFACE = '''"""The mixture as a stream of documents (Hugging Face datasets)."""

from datasets import interleave_datasets, load_dataset

# Name, files, probability of the next document.
# {basis}
DOMAINS = [
{rows}
]


def mixture(seed=0, stopping_strategy="all_exhausted"):
    """Stream documents of all domains; one that ends begins again until every domain has ended once."""
    streams = [load_dataset("parquet", data_files=files, split="train", streaming=True) for _, files, _ in DOMAINS]
    probabilities = [probability for _, _, probability in DOMAINS]
    return interleave_datasets(streams, probabilities=probabilities, seed=seed, stopping_strategy=stopping_strategy)
'''

_LITGPT = '''"""The mixture as a LitGPT data module: litgpt pretrain MODEL --data litgpt_mixture.ClimbMixture"""

from dataclasses import dataclass, field
from pathlib import Path

from litgpt.data import DataModule

# Folder that litdata.optimize wrote (token items), weight.
DOMAINS = [
{rows}
]


@dataclass
class ClimbMixture(DataModule):
    """Draws blocks of tokens from every domain by its weight."""

    data_path: str | Path = Path(".")
    """What the folders above are relative to; it may be remote (s3://)."""
    val_data_path: str | Path | None = None
    """Folder for validation; none: the first domain."""
    seed: int = 42
    num_workers: int = 8

    batch_size: int = field(init=False, repr=False, default=1)
    seq_length: int = field(init=False, repr=False, default=2048)

    def __post_init__(self):
        super().__init__()

    def connect(self, tokenizer=None, batch_size=1, max_seq_length=None):
        self.batch_size = batch_size
        self.seq_length = (max_seq_length or 2048) + 1  # the next token is needed as well

    def train_dataloader(self):
        from litdata import CombinedStreamingDataset

        datasets = [self._dataset(self._below(folder), shuffle=True) for folder, _ in DOMAINS]
        weights = [weight for _, weight in DOMAINS]
        mixed = CombinedStreamingDataset(datasets, seed=self.seed, weights=weights, iterate_over_all=False)
        return self._loader(mixed)

    def val_dataloader(self):
        return self._loader(self._dataset(str(self.val_data_path or self._below(DOMAINS[0][0])), shuffle=False))

    def _below(self, folder):
        alone = folder.startswith("/") or "://" in folder
        return folder if alone else str(self.data_path).rstrip("/") + "/" + folder

    def _dataset(self, folder, shuffle):
        from litdata import StreamingDataset, TokensLoader

        loader = TokensLoader(block_size=self.seq_length)
        return StreamingDataset(folder, item_loader=loader, shuffle=shuffle, drop_last=True, seed=self.seed)

    def _loader(self, dataset):
        from litdata import StreamingDataLoader

        return StreamingDataLoader(
            dataset, batch_size=self.batch_size, num_workers=self.num_workers, pin_memory=True, drop_last=True
        )
'''
