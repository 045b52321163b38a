"""Commands on clusters and documents."""

from __future__ import annotations

from typing import Annotated

import typer

from climb_engine.cli.arguments import Json, Name, open_run


def clusters(
    name: Name,
    sort: Annotated[str, typer.Option(help="Column to sort by: documents, quality, reason, ...")] = "cluster",
    reverse: Annotated[bool, typer.Option("--reverse", help="The largest first.")] = False,
    kept: Annotated[bool | None, typer.Option("--kept/--pruned", help="Only these.", show_default="both")] = None,
    domain: Annotated[str | None, typer.Option(help="Only the clusters of this domain.")] = None,
    as_json: Json = False,
) -> None:
    """List what became of every cluster, and why."""
    from climb_engine import browse

    opened = open_run(name)
    browse.show_clusters(opened, browse.chosen(browse.clusters(opened), sort, reverse, kept, domain), as_json)


def cluster(
    name: Name,
    number: Annotated[int, typer.Argument(help="The cluster.", min=0, show_default=False)],
    samples: Annotated[int, typer.Option(help="Documents of each kind.", min=0)] = 3,
    as_json: Json = False,
) -> None:
    """Show one cluster: keywords, numbers, the decision, and central, random, borderline and worst documents."""
    from climb_engine import browse

    opened = open_run(name)
    browse.show_cluster(opened, browse.cluster(opened, number, samples), as_json)
