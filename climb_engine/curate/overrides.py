"""Human decisions applied to clusters in their order, and the names that they give to domains.

A domain is known by the name that it was made under, whatever people call it since: a rename is no more than a word
put over it. So nothing that is computed depends on a rename, and undoing one costs nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from climb_engine.config import Override, nearest
from climb_engine.curate.merging import cut_into, ward
from climb_engine.curate.naming import checked, name_groups
from climb_engine.types import ClimbError, Ids, Vectors

_NAMED = re.compile(r"(?<=moved to )[a-z0-9-]+|(?<=merged into )[a-z0-9-]+|(?<=split off )[a-z0-9-]+|"
                    r"(?<=\(was in )[a-z0-9-]+")  # fmt: skip


class Names:
    """What domains are called, and what artifacts know them by. A fold over renames."""

    def __init__(self) -> None:
        self._called: dict[str, str] = {}  # known name -> what it is called now
        self._owner: dict[str, str] = {}  # and back

    def called(self, known: str) -> str:
        """What the domain of this name in an artifact is called."""
        return self._called.get(known, known)

    def known(self, called: str) -> str:
        """The name in artifacts of what is called so."""
        return self._owner.get(called, called)

    def freed(self, called: str) -> bool:
        """Whether a rename took this name from the domain that was made under it, and none has it now."""
        return self.known(called) == called != self.called(called)

    def rename(self, old: str, new: str) -> None:
        """Call what is called ``old`` ``new`` from now on."""
        known = self.known(old)
        self._owner.pop(old, None)
        self._called[known] = new
        self._owner[new] = known

    def reason(self, text: str) -> str:
        """A decision's reason with what the domains in it are called now."""
        return _NAMED.sub(lambda found: self.called(found[0]), text)

    def apply(self, names: Sequence[str], ever: Collection[str]) -> tuple[str, ...]:
        """What the domains of an artifact are called.

        names: the domains in the artifact; ever: all that there were on the way to them.

        Raises ClimbError for a rename of what there never was, for a name that cannot be, and for one that two have.
        """
        where = "domains.overrides (rename)"
        for known, called in self._called.items():
            if known not in ever:
                raise ClimbError(f"{where}: no domain is called {known!r}{nearest(known, ever)}")
            checked(called, where)
        shown = tuple(self.called(name) for name in names)
        twice = sorted({name for name in shown if shown.count(name) > 1})
        if twice:
            raise ClimbError(f"{where}: two domains are called {twice[0]!r}; rename one of them")
        return shown


def canonical(overrides: Iterable[Override]) -> tuple[tuple[Override, ...], Names]:
    """Overrides without renames and notes, in the names that artifacts know, and what people call these."""
    names, kept = Names(), []
    for override in overrides:
        if override.action == "rename":
            names.rename(override.domain, override.to)
        elif override.action != "note":
            known = {"domain": names.known(override.domain), "to": names.known(override.to)}
            kept.append(override.model_copy(update=known))
    return tuple(kept), names


def cluster_splits(overrides: Iterable[Override]) -> tuple[Override, ...]:
    """The splits of single clusters, in order; those of domains move no document to another cluster."""
    return tuple(one for one in overrides if one.action == "split" and one.cluster is not None)


def lineage(overrides: Iterable[Override], k: int) -> list[tuple[int, ...]]:
    """For every split of a cluster of ``k`` clusters, in order: the ids of its parts, its own first, then new ones."""
    found: list[tuple[int, ...]] = []
    for override in cluster_splits(overrides):
        assert override.cluster is not None and override.parts is not None
        fresh = range(k, k + override.parts - 1)
        found.append((override.cluster, *fresh))
        k += len(fresh)
    return found


@dataclass(frozen=True, eq=False)
class Unit:
    """A cluster while overrides are applied."""

    size: int  # documents
    centroid: Vectors  # (d,)
    keywords: Sequence[str]
    fault: str  # why the thresholds prune it, "" when they do not
    automatic: int  # its domain without any override, -1 when pruned
    home: str = ""  # known name of its domain; outlives a prune, so that a later keep finds its way back
    kept: bool = False
    reason: str = ""
    by_hand: bool = False  # kept, pruned or moved by an override, which its parts inherit


@dataclass
class State:
    """Clusters and domains while overrides are applied, one after the other."""

    units: list[Unit]
    part: Callable[[int, int], Unit]  # (id, which split of a cluster) -> a part as it is before anything is decided
    ever: set[str] = field(default_factory=set)  # known names of all domains so far
    names: Names = field(default_factory=Names)
    splits: int = 0

    def __post_init__(self) -> None:
        self.ever |= {unit.home for unit in self.units if unit.home}
        self._first = [unit for unit in self.units if unit.automatic >= 0]  # to which parts belong by themselves

    def apply(self, override: Override, where: str) -> None:
        """Apply one override; ClimbError, beginning with ``where``, when it cannot be."""
        if override.action in ("keep", "prune", "move"):
            self._decide(override, where)
        elif override.action == "merge":
            self._merge(override, where)
        elif override.action == "rename":
            self._rename(override.domain, override.to, where)
        elif override.action == "split" and override.cluster is not None:
            self._split_cluster(override, where)
        elif override.action == "split":
            self._split_domain(override, where)
        elif override.cluster is not None:
            self._cluster(override, where)
        else:
            self._domain(override.domain, where)
        self._check_names(where)

    def alive(self) -> tuple[str, ...]:
        """Known names of the domains that have clusters now, by documents, ties by their smallest cluster id."""
        documents: dict[str, int] = defaultdict(int)  # in order of the smallest cluster id, which sorting keeps
        for unit in self.units:
            if unit.kept:
                documents[unit.home] += unit.size
        return tuple(sorted(documents, key=lambda name: -documents[name]))

    # ---- what an override names ------------------------------------------------------------------------------------

    def _cluster(self, override: Override, where: str) -> int:
        cluster = override.cluster
        assert cluster is not None  # Override checks it
        if cluster >= len(self.units):
            raise ClimbError(f"{where}: there is no cluster {cluster}; clusters are 0 to {len(self.units) - 1}")
        if not self.units[cluster].size and override.action in ("keep", "move"):
            raise ClimbError(f"{where}: cluster {cluster} is empty, there is nothing to keep; take this override out")
        return cluster

    def _domain(self, called: str, where: str) -> str:
        there = [self.names.called(known) for known in self.alive()]
        if called not in there:
            raise ClimbError(f"{where}: no domain is called {called!r}{nearest(called, there)}")
        return self.names.known(called)

    def _target(self, called: str, where: str) -> str:
        known = self.names.known(called)
        if self.names.freed(called):
            raise ClimbError(
                f"{where}: the domain that was made as {called!r} is called {self.names.called(called)!r} now; "
                "move clusters there, or choose another name"
            )
        return known if known in self.ever else checked(called, where)

    def _check_names(self, where: str) -> None:
        called = [self.names.called(known) for known in self.alive()]
        for name in called:
            if called.count(name) > 1:
                raise ClimbError(f"{where}: two domains would be called {name!r}; rename the one that is there first")

    # ---- what an override does -------------------------------------------------------------------------------------

    def _decide(self, override: Override, where: str) -> None:
        cluster = self._cluster(override, where)
        unit = self.units[cluster]
        before = "kept" if unit.kept else f"pruned: {unit.fault or 'by override'}"
        kept, home, verdict = True, unit.home, "kept"
        if override.action == "prune":
            kept, verdict = False, "pruned"
        elif override.action == "keep":
            home = home or self._nearest_home(cluster, where)
        else:
            before = f"in {unit.home}" if unit.kept else before
            home = self._target(override.domain, where)
            self.ever.add(home)
            verdict = f"moved to {home}"
        reason = f"override: {verdict} (was {before})"
        self.units[cluster] = replace(unit, home=home, kept=kept, reason=reason, by_hand=True)

    def _nearest_home(self, cluster: int, where: str) -> str:
        kept = [unit for unit in self.units if unit.kept]
        if not kept:
            raise ClimbError(
                f"{where}: no cluster is kept whose domain {cluster} could join; lower domains.thresholds, "
                'or give it a domain: action = "move", domain = "..."'
            )
        return _nearest(self.units[cluster], kept).home

    def _rename(self, old: str, new: str, where: str) -> None:
        self._domain(old, where)
        if new != old and new in {self.names.called(known) for known in self.alive()}:
            raise ClimbError(f"{where}: there is a domain {new!r} already; choose another name, or merge the two")
        self.names.rename(old, checked(new, where))

    def _merge(self, override: Override, where: str) -> None:
        gone, into = self._domain(override.domain, where), self._domain(override.to, where)
        if gone == into:
            raise ClimbError(f"{where}: {override.domain!r} cannot be merged into itself")
        for number, unit in enumerate(self.units):
            if unit.home == gone:
                reason = f"override: merged into {into} (was in {gone})" if unit.kept else unit.reason
                self.units[number] = replace(unit, home=into, reason=reason)

    def _split_domain(self, override: Override, where: str) -> None:
        home, parts = self._domain(override.domain, where), override.parts
        members = np.array([i for i, unit in enumerate(self.units) if unit.kept and unit.home == home])
        assert parts is not None  # Override checks it
        if len(members) < parts:
            raise ClimbError(
                f"{where}: {override.domain!r} has {len(members)} clusters, too few for {parts} domains; "
                "split a cluster instead, or choose fewer parts"
            )
        labels = cut_into(ward(np.stack([self.units[i].centroid for i in members])), parts)
        sizes = np.array([unit.size for unit in self.units])
        groups: list[Ids] = [members[labels == label] for label in range(parts)]
        groups.sort(key=lambda group: (-int(sizes[group].sum()), int(group.min())))
        made = name_groups(groups, sizes, [unit.keywords for unit in self.units], self.ever)
        for group, name in zip(groups[1:], made[1:], strict=True):
            self.ever.add(name)
            for i in group:
                self.units[i] = replace(self.units[i], home=name, reason=f"override: split off {name} (was in {home})")

    def _split_cluster(self, override: Override, where: str) -> None:
        cluster, parts = self._cluster(override, where), override.parts
        assert parts is not None  # Override checks it
        if self.units[cluster].size < parts:
            raise ClimbError(
                f"{where}: cluster {cluster} has {self.units[cluster].size} documents, too few for {parts} parts"
            )
        parent = self.units[cluster]
        fresh = range(len(self.units), len(self.units) + parts - 1)
        found = [self._born(self.part(i, self.splits), parent) for i in (cluster, *fresh)]
        self.units[cluster] = found[0]
        self.units += found[1:]
        self.splits += 1

    def _born(self, part: Unit, parent: Unit) -> Unit:
        """A part where the cluster was that it comes from, but judged by the thresholds by itself."""
        if not part.fault and not self._first:
            part = replace(part, fault="no kept cluster whose domain it could join")
        if not part.fault:
            automatic = parent.automatic if parent.automatic >= 0 else _nearest(part, self._first).automatic
            part = replace(part, automatic=automatic)
        if parent.by_hand:
            return replace(part, home=parent.home, kept=parent.kept, reason=parent.reason, by_hand=True)
        if part.fault:
            return replace(part, home=parent.home, kept=False, reason=part.fault)
        if parent.kept:
            return replace(part, home=parent.home, kept=True, reason=parent.reason)
        kept = [unit for unit in self.units if unit.kept] or self._first
        return replace(part, home=parent.home or _nearest(part, kept).home, kept=True, reason="kept")


def _nearest(unit: Unit, others: Sequence[Unit]) -> Unit:
    """The one whose centroid is nearest to this one's."""
    centroids = np.stack([other.centroid for other in others]).astype(np.float64)
    return others[int(np.linalg.norm(centroids - unit.centroid, axis=1).argmin())]
