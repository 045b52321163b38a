"""Human decisions on clusters as the pages show them; ``climb_engine.curation`` makes them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import streamlit as st

from app import session
from app.documents import Membership, membership
from app.words import plural
from climb_engine import curation
from climb_engine.config import knobs
from climb_engine.curate.domains import Domains
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError


@dataclass(frozen=True, eq=False)
class Curated:
    """The clusters of a run as its config now decides on them; the domains' artifact may still have to be made.

    A cluster that is to be split is whole until the stage has run.
    """

    run: Run
    member: Membership
    keywords: tuple[tuple[str, ...], ...]
    decided: Domains  # in the names that people gave
    clustering: str  # the folder of the clusters

    @property
    def corpus(self) -> str:
        """The folder of the documents."""
        return str(self.run.needed("corpus").folder)

    def domain_name(self, domain: int) -> str:
        """A domain's name, or 'pruned' for -1."""
        return self.decided.names[domain] if domain >= 0 else curation.PRUNED


def curated(run: Run) -> Curated:
    """Read the clusters and decide on them as the config stands. Raises ClimbError where the config cannot be."""
    clustering, quality = str(curation.reached(run).clusters.folder), str(run.needed("quality").folder)
    found = run.artifact("duplicates") if run.config.duplicates.method != "none" else None
    wanted = json.dumps(knobs(run.config.domains), sort_keys=True)
    decided = _decided(clustering, quality, str(found.folder) if found else "", wanted, run)
    return Curated(run, membership(clustering, quality), _keywords(clustering), decided, clustering)


def foreseen(run: Run) -> Run:
    """The run with what its domains would be, where that can be said, to know what depends on a change of them."""
    try:
        return curation.foreseen(run, run.config)
    except ClimbError:
        return run


def changes(view: Curated) -> list[str]:
    """Clusters that would fare differently from what the last domains that were made say, each with its documents."""
    last = view.run.workspace.latest("domains")
    if last is None or last.manifest["inputs"].get("splits", last.manifest["inputs"]["clustering"]) != _address(view):
        return []
    names, lines = last.facts["names"], []
    for row, now in zip(session.rows(str(last.folder), "clusters"), view.decided.decisions, strict=True):
        then = names[row["domain"]] if row["domain"] >= 0 else curation.PRUNED
        if then != view.decided.renames.known(view.domain_name(now.domain)):
            what = f"{view.decided.renames.called(then)} → {view.domain_name(now.domain)}"
            lines.append(f"c{now.cluster} ({plural(int(view.member.sizes[now.cluster]), 'document')}): {what}")
    return lines


def _address(view: Curated) -> str:
    return curation.reached(view.run).clusters.digest


@st.cache_resource(max_entries=16, show_spinner="Deciding on the clusters")
def _decided(clustering: str, quality: str, duplicates: str, wanted: str, _run: Run) -> Domains:  # noqa: ARG001
    return curation.decided(_run)


@st.cache_resource(max_entries=8, show_spinner=False)
def _keywords(clustering: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row["keywords"]) for row in session.rows(clustering, "clusters"))
