"""The top of the page to curate: how many of what, what was written and is still to be made, and the draft."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import session
from app.curate import state
from app.curate.state import Considered
from app.curation import changes, foreseen
from app.knobs import differences
from app.overview.happenings import subject
from app.overview.reasons import reasons
from app.words import count, plain, plural
from climb_engine.curation import Preview
from climb_engine.jobs import start
from climb_engine.pipeline import Run

_SHOWN = 6  # changes named one by one


def head(found: Considered) -> None:
    """Clusters → kept → pruned → domains → overrides, near-duplicates; each by the draft, and without it."""
    now, then = found.view.decided, found.decided
    kept, left = int((now.labels >= 0).sum()), int((then.labels >= 0).sum())
    copies = found.clusters.duplicates
    overrides = len(found.run.config.domains.overrides)
    drafted = len(found.config.domains.overrides)
    with st.grid(6, min_column_width=160, gap="xsmall", key="curate.head"):
        _metric("Clusters", len(now.labels), len(then.labels))
        _metric("Kept", kept, left, "They are merged into the domains.")
        _metric("Pruned", len(now.labels) - kept, len(then.labels) - left, "They are in no domain; nothing is deleted.")
        _metric("Domains", len(now.names), len(then.names))
        _metric("Overrides", overrides, drafted, "Decisions by hand; they win over the automatic ones.")
        where = "Documents that are near-duplicates of an earlier one."
        off = "Nobody looks for near-duplicates: duplicates.method is 'none'."
        value = "-" if copies is None else count(int(copies.sum()))
        st.metric("Near-duplicates", value, border=True, height="stretch", help=off if copies is None else where)


def written(found: Considered, living: bool) -> None:
    """What was decided and is not made yet: its undo, what it changes, and the job that makes it so."""
    run, plan = found.run, foreseen(found.run).plan()
    again = reasons(run, plan)
    can = state.can_take_back(run)
    if not can and not again:
        return
    with st.container(border=True, key="pending", gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(plain(_headline(run, bool(again))))
            about = "Takes back what was applied last, all of it at once."
            if can and st.button("Undo", key="undo", icon=":material/undo:", shortcut="Mod+Z", help=about):
                with session.explained():
                    state.take_back(run)
                    st.rerun()
            waits = any(stage.state != "done" and not stage.optional for stage in plan)
            about = "Makes the domains and what follows from them. The pages show the decisions already."
            if waits and st.button("Run again", key="again", type="primary", disabled=living, help=about):
                with session.explained():
                    start(run.workspace, ("run",))
                    st.rerun()
        if changed := changes(found.view):
            more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
            st.caption("Changes since the domains were made: " + plain("; ".join(changed[:_SHOWN]) + more))
        if again:
            st.caption("Would run again: " + plain("; ".join(again)))


def unscored(run: Run, living: bool) -> None:
    """That the scores are not up to date, with the job that makes them, or the way back to those that are there."""
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="pending"):
        st.markdown("The clusters' scores are not up to date: **quality** must run before they can be decided on.")
        about = "Goes back to the settings before; what was made with them is still there."
        if state.former(run) and st.button("Undo", key="undo", icon=":material/undo:", help=about):
            state.take_back(run)
            st.rerun()
        if st.button("Run again", key="again", type="primary", disabled=living):
            with session.explained():
                start(run.workspace, ("run",))
                st.rerun()


def drafted(found: Considered) -> None:
    """What is not applied yet, what it would change, and the button that applies it."""
    draft = found.draft
    if draft.empty:
        return
    with st.container(border=True, key="draft", gap="xsmall"):
        if found.fault:
            session.show_error(found.fault, title="This cannot be applied")
            _buttons(found, None)
            return
        seen = state.preview(found)
        lines = draft.told(found.run.config)
        more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        st.markdown("**Not applied yet:** " + plain("; ".join(lines[:_SHOWN]) + more))
        consequences(found.run, seen)
        _buttons(found, seen)


def _buttons(found: Considered, seen: Preview | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        why = ""
        standing = found.run.config.domains.overrides
        if any(not one.why for one in found.config.domains.overrides if one not in standing):
            told = any(edit.why for edit in found.draft.edits.values())
            why = st.text_input(
                "Why", key="curate.why", label_visibility="collapsed", width=280,
                placeholder="why, where no reason is given yet" if told else "why (for the record)",
            )  # fmt: skip
        if seen and seen.changes:
            words = f"The {plural(len(seen.changes), 'cluster')}"
            with st.popover(words, key="curate.changes", width="content"), st.container(width=760):
                changed_clusters(seen, found.clusters.keywords)
        if st.button(
            "Apply", key="curate.apply", type="primary", icon=":material/check:", disabled=bool(found.fault),
            help="Writes it into the run's config. Nothing is made until the run goes on.",
        ):  # fmt: skip
            with session.explained():
                state.apply(found, why or "")
                st.rerun()
        if st.button("Discard", key="curate.discard", icon=":material/close:"):
            state.discard(found.run)
            st.rerun()


def consequences(run: Run, seen: Preview) -> None:
    """What a change would do to clusters, documents, domains and the stages that are done."""
    if not seen.changes and not seen.again and seen.domains_before == seen.domains_after:
        st.caption("Changes nothing but the record: no stage would run again.")
        return
    total = run.needed("corpus").facts["documents"]
    kept = f"{seen.documents_before:,} → {seen.documents_after:,} documents kept"
    if seen.documents_before != seen.documents_after:
        moved = (seen.documents_after - seen.documents_before) / max(total, 1)
        kept += f" ({moved:+.2%} of the corpus)"
    size = max(seen.characters_before, 1)
    moved = (seen.characters_after - seen.characters_before) / size
    kept += f", {count(seen.characters_before)} → {count(seen.characters_after)} characters"
    kept += f" ({moved:+.2%}{_tokens(run, moved)})" if moved else ""
    facts = [f"{plural(len(seen.changes), 'cluster')} would fare differently", kept, _domains(seen)]
    st.caption(plain("; ".join(facts) + "."))
    again = ", ".join(stage.stage for stage in seen.again)
    trials = f" {plural(seen.lost_trials, 'measured trial')} would no longer apply (they stay on record)."
    st.caption(
        plain(
            (f"Would run again: {again}." if again else "No stage would run again.") + trials * bool(seen.lost_trials)
        )
    )


def _tokens(run: Run, moved: float) -> str:
    """About how many tokens that is, when they were counted before."""
    made = run.workspace.latest("tokens")
    return f", about {count(abs(moved) * sum(made.facts['train']))} tokens" if made else ""


def changed_clusters(seen: Preview, words: Sequence[Sequence[str]]) -> None:
    """The clusters that would fare differently, with the keywords of each."""
    table = {
        "cluster": [f"c{one.cluster}" for one in seen.changes],
        "documents": [one.documents for one in seen.changes],
        "before": [one.before for one in seen.changes],
        "after": [one.after for one in seen.changes],
        "keywords": [", ".join(words[one.cluster][:6]) if one.cluster < len(words) else "" for one in seen.changes],
    }
    st.dataframe(
        table, hide_index=True, alt="Clusters that would fare differently", key="curate.changed",
        height="content" if len(seen.changes) < 9 else 320,
        column_config={
            "cluster": st.column_config.TextColumn("Cluster", width=60),
            "documents": st.column_config.NumberColumn("Documents", format="localized", width=90),
            "before": "Before", "after": "After", "keywords": st.column_config.TextColumn("Keywords", width="large"),
        },
    )  # fmt: skip


def _domains(seen: Preview) -> str:
    gone = [name for name in seen.domains_before if name not in seen.domains_after]
    new = [name for name in seen.domains_after if name not in seen.domains_before]
    if not gone and not new:
        return f"the {plural(len(seen.domains_after), 'domain')} stay"
    said = [f"{what}: {_some(names)}" for what, names in (("gone", gone), ("new", new)) if names]
    return f"{len(seen.domains_before)} → {plural(len(seen.domains_after), 'domain')} ({'; '.join(said)})"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _headline(run: Run, again: bool) -> str:
    """What the button beside it would take back."""
    overrides, before = run.config.domains.overrides, state.former(run)
    if before and not (overrides and state.only_overrides(before, run.config)):
        lines = differences(before, run.config)
        more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        return f"Applied last: {'; '.join(lines[:_SHOWN])}{more}"
    if not overrides:
        return "The run is not up to date." if again else "The settings were changed here."
    last = overrides[-1]
    why = f" because: {last.why}" if last.why else ""
    return f"{plural(len(overrides), 'override')}. The last: {subject(last)}{why}"


def _metric(name: str, now: int, then: int, about: str | None = None) -> None:
    """What it would be by the draft, and where that differs what it is."""
    without = f"{now:,} without the draft" if then != now else None
    st.metric(
        name, f"{then:,}", without, delta_color="off", delta_arrow="off", border=True, height="stretch", help=about
    )
