"""Changes to a run's clusters that were made on the page and not applied yet. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.knobs import changed
from app.overview.happenings import subject
from climb_engine.config import Override, RunConfig
from climb_engine.curation import with_overrides
from climb_engine.types import ClimbError

DECIDING = ("keep", "prune", "move")
"""Actions that decide on a single cluster; of several, the last counts."""


@dataclass(frozen=True)
class Edit:
    """What is to become of one cluster; None: as it was."""

    override: str | None = None  # one of DECIDING; "" takes what was decided by hand back
    to: str | None = None  # the domain that it moves to
    note: str | None = None  # "" takes its notes out
    why: str = ""


@dataclass(frozen=True)
class Draft:
    """Changed knobs of ``domains``, further overrides, and edits of single clusters: applied in this order."""

    knobs: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    edits: Mapping[int, Edit] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to apply."""
        return not (self.knobs or self.overrides or self.edits)

    def with_knobs(self, values: Mapping[str, Any], config: RunConfig) -> Draft:
        """With these knobs of ``domains``; those that are as in the config are no change."""
        changed = {**self.knobs, **values}
        return replace(self, knobs={k: v for k, v in changed.items() if getattr(config.domains, k) != v})

    def with_edits(self, edits: Mapping[int, Edit]) -> Draft:
        """With these edits in the place of former ones of the same clusters."""
        return replace(self, edits={**self.edits, **edits})

    def tidied(self, config: RunConfig) -> Draft:
        """Without edits that say what is so already."""
        hand, noted = decided_by_hand(config.domains.overrides), notes(config.domains.overrides)
        tidy = {
            cluster: _tidied(edit, hand.get(cluster), noted.get(cluster, "")) for cluster, edit in self.edits.items()
        }
        return replace(self, edits={i: one for i, one in tidy.items() if (one.override, one.note) != (None, None)})

    def config(self, config: RunConfig, who: str = "", when: str = "", why: str = "") -> RunConfig:
        """The config with all of it; new overrides are signed, and get ``why`` where they have no reason of their own.

        Raises ClimbError for what cannot be.
        """
        values = {f"domains.{name}": value for name, value in self.knobs.items()}
        then = config.with_values(values, "draft") if values else config
        signed = {"who": who, "when": when}
        made = [one for cluster, edit in sorted(self.edits.items()) for one in _overrides(cluster, edit)]
        fresh = [one.model_copy(update=signed | ({} if one.why else {"why": why})) for one in (*self.overrides, *made)]
        left = (*self._left(config.domains.overrides), *fresh)
        return with_overrides(then, left) if left != config.domains.overrides else then

    def told(self, config: RunConfig) -> list[str]:
        """Everything in it, line by line."""
        now = config.domains
        lines = [line for name, value in self.knobs.items() for line in changed(name, getattr(now, name), value)]
        lines += [_told(one) for one in self.overrides]
        for cluster, edit in sorted(self.edits.items()):
            what = [_told(one) for one in _overrides(cluster, edit)]
            what += [f"c{cluster} as the thresholds say"] if edit.override == "" else []
            what += [f"no note on c{cluster}"] if edit.note == "" else []
            lines += what
        return lines

    def _left(self, standing: Iterable[Override]) -> list[Override]:
        """The overrides that are there, without those that were taken back."""
        undecided = {cluster for cluster, edit in self.edits.items() if edit.override == ""}
        unnoted = {cluster for cluster, edit in self.edits.items() if edit.note == ""}
        return [
            one
            for one in standing
            if not (one.action in DECIDING and one.cluster in undecided)
            and not (one.action == "note" and one.cluster in unnoted)
        ]


def decided_by_hand(overrides: Iterable[Override]) -> dict[int, Override]:
    """The override that holds for each cluster that was kept, pruned or moved by hand."""
    return {one.cluster: one for one in overrides if one.action in DECIDING and one.cluster is not None}


def notes(overrides: Iterable[Override]) -> dict[int, str]:
    """The last note on each cluster that has one."""
    return {one.cluster: one.why for one in overrides if one.action == "note" and one.cluster is not None}


def last_batch(overrides: Sequence[Override]) -> int:
    """How many overrides were written together with the last one: by the same person in the same second."""
    signed = [(one.when, one.who) for one in overrides]
    if not signed or not signed[-1][0]:
        return len(signed[-1:])
    return next((i for i, mark in enumerate(reversed(signed)) if mark != signed[-1]), len(signed))


def _told(override: Override) -> str:
    """With its reason; a note's is its text."""
    because = f", because: {override.why}" if override.why and override.action != "note" else ""
    return subject(override) + because


def _tidied(edit: Edit, standing: Override | None, note: str) -> Edit:
    now = (standing.action, standing.domain) if standing else ("", "")
    wanted = (edit.override, (edit.to or "") if edit.override == "move" else "")
    return replace(
        edit, override=None if wanted == now else edit.override, note=None if edit.note == note else edit.note
    )


def _overrides(cluster: int, edit: Edit) -> list[Override]:
    found: list[dict[str, Any]] = []
    if edit.override:
        if edit.override == "move" and not edit.to:
            raise ClimbError(f"c{cluster}: say where it moves to")
        to = {"domain": edit.to} if edit.override == "move" else {}
        found.append({"action": edit.override, "cluster": cluster, "why": edit.why, **to})
    if edit.note:
        found.append({"action": "note", "cluster": cluster, "why": edit.note})
    return [Override.parse(values, f"c{cluster}") for values in found]
