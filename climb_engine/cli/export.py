"""The command from a mixture to files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from climb_engine.cli.arguments import Job, Name, open_run, reporting, token_count
from climb_engine.types import ClimbError


def export(
    name: Name,
    trial: Annotated[int | None, typer.Option(help="This trial's mixture instead of the chosen one.")] = None,
    to: Annotated[str, typer.Option(help="Name of the export.")] = "mixture",
    form: Annotated[
        str, typer.Option("--format", help="Recipes too: all, or of megatron,streaming,hf,olmo,litgpt.")
    ] = "",
    paths: Annotated[
        str | None, typer.Option(help="Where a domain's data are, in recipes: /data/{domain}/*.parquet.")
    ] = None,
    tokens: Annotated[str | None, typer.Option(help="Write a data set of this many tokens (10M, 2.5B).")] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Folder of that data set.", show_default="exports/TO-dataset")
    ] = None,
    clustered: Annotated[Path | None, typer.Option(help="Write all kept documents here, a folder per cluster.")] = None,
    by: Annotated[str, typer.Option(help="With --clustered: cluster or domain.")] = "cluster",
    contents: Annotated[str, typer.Option("--as", help="What of the documents: text, tokens or both.")] = "both",
    layout: Annotated[
        str, typer.Option(help="With --tokens: parquet, or as ClimbMix is published: climbmix, climbmix-parquet.")
    ] = "parquet",
    shard_tokens: Annotated[str, typer.Option(help="At most about this many tokens per file.")] = "25M",
    max_repeats: Annotated[float, typer.Option(help="Read no domain more often than this.")] = 4.0,
    seed: Annotated[int, typer.Option(help="Seed of the draw.", min=0)] = 0,
    job: Job = None,
) -> None:
    """Write the mixture with where it comes from; on request recipes, a data set drawn by it, or all by cluster."""
    from climb_engine.export import dataset as out

    with reporting(name, job) as report:
        opened, size = open_run(name), token_count(shard_tokens)
        if dataset and not tokens:
            raise ClimbError("--dataset needs --tokens: how many tokens to draw, for example 10M")
        if form or not (clustered or tokens):
            frameworks = [word.strip() for word in form.split(",") if word.strip()]
            folder = opened.export(trial, to, frameworks, paths, max_repeats)
            typer.echo("\n".join(str(path) for path in sorted(folder.iterdir())))
        if clustered:
            options = out.ClusteredOptions(by, size, contents)  # type: ignore[arg-type]
            typer.echo(opened.export_clustered(options, clustered, report))
        if tokens:
            mixed = out.MixedOptions(token_count(tokens), max_repeats, size, contents, layout, seed)  # type: ignore[arg-type]
            folder = dataset or opened.workspace.export_folder(f"{to}-dataset")
            typer.echo(opened.export_dataset(mixed, folder, trial, report))
