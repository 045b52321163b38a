"""The training losses of proxies: of those that are measured, and of those in training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from app.search import charts as searchcharts
from app.search.charts import MOST, SMOOTH, smoothed
from app.search.livecurves import training
from app.search.panels import STILL, chart_key, drawn
from app.search.view import Flags, View
from app.sidebar import EVERY
from app.words import count, plural
from climb_engine.config import ProxyConfig
from climb_engine.jobs import Job
from climb_engine.types import FloatArray, Trial


def stored_curves(view: View, passed: Flags, selected: int | None) -> None:
    """Training losses of the measured trials."""
    st.subheader(
        "Loss curves",
        help="What each proxy lost on the batches of its own mixture that it learned from, before it had learned from "
        "them. Normal: a slow fall. Heights differ by what is mixed, since some text is easier to foretell whether or "
        "not it is good to learn from; so compare shapes, not heights. Not normal: a curve that leaps, rises, or stays "
        "flat where the others fall; then the learning rate does not fit, or there are too few tokens.",
    )
    rows = [i for i in view.teaching if passed[i] and (result := view.trials[i].result) and result.curve]
    if not rows:
        st.caption("None of these trials has a curve.")
        return
    rows.sort(key=lambda i: (view.trials[i].id != selected, -view.scores[i]))
    shown = rows[:MOST]
    lines = [_curve(view.trials[i]) for i in shown]
    smooth = [(trial, steps, smoothed(losses)) for trial, steps, losses in lines]
    figure = drawn(
        chart_key(f"curves {selected}", view, passed),
        lambda: searchcharts.curves(smooth, view.scores[shown], selected),
    )
    st.plotly_chart(figure, key="curves", config=STILL, alt=f"Training loss of {plural(len(shown), 'trial')}")
    which = f"The best {MOST} of {len(rows):,} curves" if len(rows) > MOST else plural(len(rows), "curve")
    st.caption(f"{which}: {_said(view.run.config.proxy, [losses for _, _, losses in lines])}")


def live(job: Job | None) -> None:
    """The proxies in training, for as long as a job lives."""
    if job is not None and job.alive:
        st.fragment(_live, run_every=EVERY)(job.folder)


def _live(folder: Path) -> None:
    now = training(folder)
    if now is None:
        return
    with st.container(border=True, key="live"):
        mean = float(np.nanmean(now.losses[-1])) if np.isfinite(now.losses[-1]).any() else float("nan")
        st.markdown(
            f"**In training: {plural(len(now.trials), 'proxy model')}**, step {now.steps[-1]:,} of {now.total:,}"
        )
        lines = [(trial, now.steps, now.losses[:, i]) for i, trial in enumerate(now.trials)]
        figure = searchcharts.curves(lines, np.full(len(lines), np.nan))
        figure.update_layout(height=240)
        figure.update_xaxes(range=[0, max(now.total, 1)])
        st.plotly_chart(figure, key="live.curves", config=STILL, alt=f"Losses in training, mean {mean:.3f} nats")


def _curve(trial: Trial) -> tuple[int, Any, FloatArray]:
    curve = np.array(trial.result.curve if trial.result else (), dtype=np.float64).reshape(-1, 2)
    return trial.id, curve[:, 0].astype(np.int64), curve[:, 1]


def _said(proxy: ProxyConfig, curves: Sequence[FloatArray]) -> str:
    begin = "the trunk" if proxy.trunk_tokens else "its checkpoint" if proxy.start else "random weights"
    batch = count(proxy.batch_size * proxy.sequence_length)
    falls = float(np.median([_fifth(losses) - _fifth(losses[::-1]) for losses in curves]))
    change = f"falls by {falls:.2f}" if falls >= 0 else f"rises by {-falls:.2f}"
    return (
        f"training loss of each proxy on its own mixture, from {begin} on. What is drawn is the mean of up to {SMOOTH} "
        f"neighbouring points, each the loss of one batch of {batch} tokens. From the first to the last fifth, the "
        f"median curve {change} nats."
    )


def _fifth(losses: FloatArray) -> float:
    """Mean of the first fifth."""
    return float(losses[: -(-len(losses) // 5)].mean())
