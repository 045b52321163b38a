"""Which stage feeds which, and the knobs that each depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from climb_engine.clusters import labelling, removes_duplicates
from climb_engine.config import RunConfig, knobs
from climb_engine.stages import (
    clustering,
    corpus,
    domains,
    duplicates,
    embedding,
    projection,
    quality,
    splits,
    tokens,
    trunk,
)
from climb_engine.stages.work import Work


@dataclass(frozen=True)
class Stage:
    """A function of its inputs: name = artifact kind."""

    name: str
    body: Callable[[Work], dict[str, Any]]
    needs: tuple[str, ...]
    knobs: Callable[[RunConfig], dict[str, Any]]
    version: int = 1
    optional: bool = False  # not a part of every run: made when asked for by name, or when a knob makes others need it
    wanted: Callable[[RunConfig], bool] = lambda config: True  # noqa: ARG005 - whether the config has a use for it
    needs_with: Callable[[RunConfig], tuple[str, ...]] = lambda config: ()  # noqa: ARG005 - needs that a knob brings
    sources: Callable[[RunConfig], Any] = lambda config: None  # noqa: ARG005 - fingerprint of files it reads elsewhere
    by_content: bool = False  # what needs it is addressed by the fact "content", once that is known

    def needs_of(self, config: RunConfig) -> tuple[str, ...]:
        """All that it needs, as the config stands."""
        return self.needs + self.needs_with(config)


def _inputs(config: RunConfig) -> Any:
    from climb_engine.curate.inputs import fingerprint

    return fingerprint(config.corpus)


def _scorer_files(config: RunConfig) -> Any:
    from climb_engine.curate.quality import fingerprint

    return fingerprint(config.quality)


def _section(name: str) -> Callable[[RunConfig], dict[str, Any]]:
    return lambda config: knobs(getattr(config, name))


def _splits(config: RunConfig) -> tuple[str, ...]:
    return ("splits",) if labelling(config) == "splits" else ()


def _duplicates(config: RunConfig) -> tuple[str, ...]:
    return ("duplicates",) if config.duplicates.method != "none" else ()


STAGES = (
    Stage("corpus", corpus.corpus, (), _section("corpus"), sources=_inputs, by_content=True),
    Stage("embedding", embedding.embedding, ("corpus",), _section("embedding")),
    Stage("clustering", clustering.clustering, ("corpus", "embedding"), clustering.clustering_knobs),
    Stage(
        *("quality", quality.quality, ("corpus",), quality.quality_knobs),
        needs_with=quality.quality_needs,
        sources=_scorer_files,
    ),
    Stage(
        *("duplicates", duplicates.duplicates, ("corpus",), duplicates.duplicates_knobs),
        optional=True,
        wanted=lambda config: bool(_duplicates(config)),
    ),
    Stage(
        *("splits", splits.splits, ("corpus", "embedding", "clustering"), splits.splits_knobs),
        optional=True,
        wanted=lambda config: bool(_splits(config)),
    ),
    Stage(
        *("domains", domains.domains, ("corpus", "clustering", "quality"), domains.domains_knobs, 2),
        needs_with=lambda config: _splits(config) + _duplicates(config),
        by_content=True,
    ),
    Stage(
        *("tokens", tokens.tokens, ("corpus", "clustering", "domains"), _section("tokens")),
        needs_with=lambda config: _splits(config) + (_duplicates(config) if removes_duplicates(config) else ()),
    ),
    Stage("trunk", trunk.trunk, ("domains", "tokens"), trunk.trunk_knobs),
    Stage(
        "projection",
        projection.projection,
        ("corpus", "embedding", "clustering"),
        _section("projection"),
        optional=True,
    ),
)
TRUNK = "trunk"
"""The last stage that the search needs."""
BY_NAME = {stage.name: stage for stage in STAGES}


def ancestors(stage: str, config: RunConfig) -> set[str]:
    """A stage's name and those of all that it needs, near and far."""
    return {stage}.union(*(ancestors(need, config) for need in BY_NAME[stage].needs_of(config)))
