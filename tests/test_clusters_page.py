"""The page to look at clusters: the map, what is selected and found on it, reading, and deciding."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.clusters import finding
from app.colours import decided_colours, domain_colours
from climb_engine import curation
from climb_engine.config import Override, RunConfig
from climb_engine.pipeline import Run
from climb_engine.types import METRICS
from tests.apptest import PATIENCE, ROOT, ended, pressed, settled, shown, turned, words
from tests.test_pages import CHROMIUM, HOSTILE, SMALL, TOPICS, begun, corpus, documents, leaves, server  # noqa: F401 - fixtures are found by their names


@pytest.fixture(scope="session")
def clustered(tmp_path_factory, corpus):  # noqa: F811
    """A run as far as its domains, with the map of its documents; not to be changed."""
    config = RunConfig().with_values({"corpus.inputs": [str(corpus)], **SMALL})
    run = Run.create(tmp_path_factory.mktemp("clustered") / "tiny", config)
    run.run("domains")
    run.run("projection")
    return run.workspace.folder


@pytest.fixture
def mapped(runs, clustered):
    """A copy that may be changed."""
    return Path(shutil.copytree(clustered, runs / "tiny"))


def selection(points=(), box=(), lasso=()):
    """What the browser tells of a click (the document), a box or a lasso."""
    found = [{"customdata": document} for document in points]
    return {"selection": {"points": found, "point_indices": [], "box": list(box), "lasso": list(lasso)}}


def the_map(app: AppTest) -> dict:
    return json.loads(app.get("plotly_chart")[0].proto.spec)


def cluster_of(run: Path, document: int) -> int:
    return Run(run).needed("clustering").table(0)["cluster"][document].as_py()


def test_a_run_without_clusters_says_what_must_run(runs, corpus):  # noqa: F811
    begun(runs, corpus)
    app = shown("clusters")
    assert "corpus, embedding, clustering, quality must run" in words(app)
    assert not app.error


@pytest.mark.network
def test_without_a_projection_the_clusters_stand_at_their_centroids_and_a_button_makes_the_map(mapped):
    shutil.rmtree(next(mapped.glob("artifacts/projection-*")))
    app = shown("clusters")
    assert "map of single documents is not made yet" in words(app)
    assert "6 clusters are drawn" in words(app)
    app.session_state["map"] = selection(points=[5])
    app.run()
    assert app.selectbox(key="cluster").value == f"c{cluster_of(mapped, 5)}"
    pressed(app, "project")
    assert ended(mapped).state == "done"
    app.run()
    assert "61 of 61 documents are drawn" in words(app)
    assert "project" not in {button.key for button in app.button}
    assert not list(mapped.glob("artifacts/tokens-*"))


@pytest.mark.network
def test_a_click_on_the_map_shows_the_document_and_its_cluster(mapped):
    app = shown("clusters")
    assert "Choose a cluster" in words(app)
    before = the_map(app)
    app.session_state["map"] = selection(points=[7])
    app.run()
    assert app.selectbox(key="cluster").value == f"c{cluster_of(mapped, 7)}"
    assert "Clicked" in words(app)
    assert app.code[0].value == documents()[7]["text"][:400] + "…" * (len(documents()[7]["text"]) > 400)
    assert the_map(app) == before  # else the browser would lose its zoom
    app.session_state["map"] = selection()  # what a chart says when its figure has changed
    app.run()
    assert app.selectbox(key="cluster").value == f"c{cluster_of(mapped, 7)}"


@pytest.mark.network
def test_a_lasso_counts_every_document_not_only_those_drawn(mapped, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr("app.clusters.maps.DRAWN", 20)
    app = shown("clusters")
    assert "20 of 61 documents are drawn" in words(app)
    around = {"x": [-1e3, 1e3, 1e3, -1e3], "y": [-1e3, -1e3, 1e3, 1e3]}
    app.session_state["map"] = selection(points=[1, 2], lasso=[around])
    app.run()
    assert "61 of 61 documents" in words(app)
    assert ", 20 drawn)" in words(app)
    assert app.dataframe[0].value["share"].sum() == pytest.approx(100)
    app.segmented_control(key="area.look").set_value("by domain").run()
    assert app.dataframe[0].value["documents"].sum() == 61
    app.session_state["map"] = selection(box=[{"x": [900, 901], "y": [900, 901]}])
    app.run()
    assert "0 of 61 documents" in words(app)
    assert "no documents in it" in words(app)
    pressed(app, "clear")
    assert "of 61 documents** (" not in words(app)


@pytest.mark.network
def test_the_address_picks_the_cluster_and_a_strange_one_does_no_harm(mapped):  # noqa: ARG001
    for wanted, found in (("c2", "c2"), ("c99", None), ("<b>", None)):
        app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=PATIENCE).run()
        app.query_params["cluster"] = wanted
        app = turned(app, "clusters")
        assert app.selectbox(key="cluster").value == found


@pytest.mark.network
@pytest.mark.parametrize("colour", ["cluster", "source", "quality", "length", "status"])
def test_the_map_is_coloured_by_what_is_chosen(mapped, colour):  # noqa: ARG001
    app = shown("clusters")
    before = the_map(app)
    app.selectbox(key="colour").select(colour).run()
    assert not app.exception
    assert the_map(app)["layout"]["images"][0]["source"] != before["layout"]["images"][0]["source"]


@pytest.mark.network
def test_words_are_found_in_any_case_and_meanings_by_their_neighbours(mapped):  # noqa: ARG001
    app = shown("clusters")
    app.text_input(key="find").set_value("HARBOUR").run()
    holding = [i for i, row in enumerate(documents()[:60]) if "harbour" in row["text"]]
    assert f"{len(holding)} documents of 61 contain it" in words(app)
    assert [trace["name"] for trace in the_map(app)["data"]][-1] == "found"
    app.text_input(key="find").set_value("(.*[").run()
    assert "0 documents of 61" in words(app)
    app.segmented_control(key="by").set_value("meaning")
    app.text_input(key="find").set_value("telescope and comet").run()
    assert not app.exception
    similar = [float(found) for found in re.findall(r"similarity (-?[\d.]+)", words(app))]
    assert similar == sorted(similar, reverse=True)
    assert len(similar) == 5
    assert any(word in app.code[0].value for word in TOPICS["space"].split())  # what is found can be read


@pytest.mark.network
def test_documents_are_read_as_they_are_never_as_markup(mapped):
    at = next(i for i, text in enumerate(Run(mapped).needed("corpus").table(0)["text"].to_pylist()) if HOSTILE in text)
    app = shown("clusters")
    app.session_state["map"] = selection(points=[at])
    app.run()
    assert app.code[0].value.startswith(HOSTILE)
    for look in ("central", "random", "borderline", "worst"):
        app.segmented_control(key="cluster.kind").set_value(look).run()
        assert not app.exception
    app.selectbox(key="colour").select("source").run()
    assert "<img" not in json.dumps(the_map(app))
    for kind in ("markdown", "caption", "error", "info", "success", "warning", "title", "subheader"):
        for element in getattr(app, kind):
            assert not re.search(r"(?<!\\)<img|(?<!\\)\*\*bold|(?<!\\):red\[", element.value)
    assert not app.get("html")


@pytest.mark.network
def test_a_cluster_is_pruned_with_a_reason_by_a_draft_and_taken_back(mapped):
    app = shown("clusters")
    app.selectbox(key="cluster").select("c1").run()
    assert app.button(key="keep").disabled
    reason(app).set_value("**boats** are dull")
    app = pressed(app, "prune")
    assert not Run(mapped).config.domains.overrides
    assert "Not applied yet: prune c1, because: **boats** are dull" in words(app).replace("yet:**", "yet:")
    assert "1 cluster would fare differently" in words(app)
    assert app.button(key="prune").disabled
    app = pressed(app, "curate.apply")
    (override,) = Run(mapped).config.domains.overrides
    assert (override.action, override.cluster, override.why) == ("prune", 1, "**boats** are dull")
    assert override.when.startswith("20")
    found = words(app)
    assert "prune c1 because: **boats** are dull" in found
    assert re.search(r"Changes since the domains were made: c1 \(\d+ documents\): \S+ → pruned", found)
    assert "Would run again: domains" in found
    assert "override: pruned (was kept); by the thresholds alone: kept in" in found
    assert app.button(key="prune").disabled
    assert app.button(key="again")
    app = pressed(app, "undo")
    assert not Run(mapped).config.domains.overrides
    assert Run(mapped).artifact("domains")
    assert "override" not in words(app)


@pytest.mark.network
def test_a_cluster_is_moved_to_a_new_domain_and_the_stages_run_again(mapped):
    app = shown("clusters")
    app.selectbox(key="cluster").select("c1").run()
    keyed(app.text_input, "new-domain").set_value("boats").run()
    app = pressed(pressed(app, "move-there"), "curate.apply")
    assert app.subheader[0].value == "boats"
    assert "→ boats" in words(app)
    pressed(app, "again")
    assert ended(mapped).state == "done"
    app.run()
    assert "boats" in Run(mapped).domains
    assert "Changes since" not in words(app)
    assert app.button(key="undo")


@pytest.mark.network
def test_an_override_that_cannot_be_is_refused_and_changes_nothing(mapped):
    app = shown("clusters")
    app.selectbox(key="cluster").select("c1").run()
    keyed(app.text_input, "new-domain").set_value("My Boats!").run()
    app = pressed(app, "move-there")
    assert "move c1 to My Boats!: " in words(app)
    assert "try 'my-boats'" in words(app)
    assert "domains.overrides" not in words(app)
    assert "Not applied yet" not in words(app)
    assert not Run(mapped).config.domains.overrides


@pytest.mark.network
def test_a_reason_is_of_one_cluster_and_of_one_decision(mapped):
    app = shown("clusters")
    app.selectbox(key="cluster").select("c1").run()
    reason(app).set_value("leaking reason").run()
    pressed(app, "next")
    assert app.selectbox(key="cluster").value == "c2"
    assert reason(app).value == ""
    pressed(app, "prune")
    app.selectbox(key="cluster").select("c3").run()
    reason(app).set_value("of c3").run()
    pressed(app, "prune")
    assert reason(app).value == ""
    pressed(app, "keep")
    assert "c3" not in draft(app)
    pressed(app, "prune")
    app.text_input(key="curate.why").set_value("of the rest").run()
    pressed(app, "curate.apply")
    assert [(one.cluster, one.why) for one in Run(mapped).config.domains.overrides] == [
        *((2, "of the rest"), (3, "of the rest"))
    ]
    app.selectbox(key="cluster").select("c4").run()
    pressed(app, "prune")
    assert app.text_input(key="curate.why").value == ""


@pytest.mark.network
def test_a_draft_of_a_cluster_is_beside_what_is_so_and_a_keep_takes_it_back(mapped):
    app = shown("clusters")
    app.selectbox(key="cluster").select("c1").run()
    home = app.subheader[0].value
    pressed(app, "prune")
    assert app.subheader[0].value == home
    assert "would be pruned" in words(app)
    pressed(app, "keep")
    assert "Not applied yet" not in words(app)
    assert "would be" not in words(app)
    pressed(pressed(app, "prune"), "curate.apply")
    assert app.subheader[0].value == "c1"  # the badge says that it is pruned
    assert not Run(mapped).artifact("domains")


@pytest.mark.network
def test_scores_of_a_document_are_told_by_their_metric(mapped):
    app = shown("clusters")
    app.selectbox(key="cluster").select("c1").run()
    first = next(
        caption.value for caption in app.caption if "document" in caption.value and "characters" in caption.value
    )
    row = int(re.search(r"document (\d+)", first)[1])
    for metric, column in Run(mapped).needed("quality").table(0).to_pydict().items():
        if metric in METRICS:
            assert f"{metric} {column[row]:.1f}" in words(app)
    assert "mean score" not in words(app)


# Files that are gone or cut


@pytest.mark.network
@pytest.mark.parametrize("stage", ["corpus", "embedding", "clustering", "quality"])
def test_a_part_that_is_gone_is_told_and_made_again(mapped, stage):
    clusters = Run(mapped).needed("clustering").table(0)
    part = next(mapped.glob(f"artifacts/{stage}-*/part-00000.[pn]*"))
    part.unlink()
    for page in ("clusters", "curate"):
        app = shown(page)
        assert f"{stage} is damaged: {part.name} is missing" in words(app)
        assert "climb run tiny" in words(app)
        assert "Traceback" not in words(app)
    assert f"damaged: {part.name} is missing" in words(shown("overview"))
    Run(mapped).run("domains")
    assert part.exists()
    assert Run(mapped).needed("clustering").table(0) == clusters
    assert "damaged" not in words(shown("clusters"))


@pytest.mark.network
def test_a_map_that_is_damaged_is_told_and_the_clusters_are_shown_without(mapped):
    next(mapped.glob("artifacts/projection-*/part-00000.npy")).unlink()
    app = shown("clusters")
    assert "The map of single documents is damaged: part-00000.npy is missing" in words(app)
    assert "6 clusters are drawn" in words(app)


@pytest.mark.network
def test_clusters_are_found_by_their_keywords(mapped):
    keywords = Run(mapped).clusters.table("clusters").to_pylist()[2]["keywords"]
    box = shown("clusters").selectbox(key="cluster")
    assert f"c2 · {', '.join(keywords[:3])}" in box.options
    box.select("c2").run()
    assert box.value == "c2"


@pytest.mark.network
def test_the_cluster_is_in_the_address_without_its_keywords(mapped):  # noqa: ARG001
    app = shown("clusters")
    app.selectbox(key="cluster").select("c2").run()
    assert app.query_params["cluster"] == "c2"
    app.query_params["cluster"] = "c3"  # the browser's Back
    app.run()
    assert app.selectbox(key="cluster").value == "c3"
    app = turned(turned(app, "curate"), "clusters")
    assert app.selectbox(key="cluster").value == "c3"


# What was selected on the map


def around(run: Path, rows) -> dict:
    """A lasso for each of these documents by itself, and so around nothing else."""
    points = np.asarray(Run(run).needed("projection").array(0))[list(rows)]
    return {"lasso": [{"x": [x - d, x + d, x + d, x - d], "y": [y - d, y - d, y + d, y + d]} for x, y in points.tolist()
                      for d in (1e-6,)]}  # fmt: skip


def members(run: Path, cluster: int) -> list[int]:
    return np.flatnonzero(Run(run).clusters.table(0)["cluster"].to_numpy() == cluster).tolist()


def picked(run: Path, rows) -> AppTest:
    app = shown("clusters")
    app.session_state["map"] = selection(**around(run, rows))
    app.run()
    assert not app.exception
    return app


def keyed(kind, name: str):
    """The widget of which the key begins so: the rest says what it is about."""
    return next(widget for widget in kind if (widget.key or "").startswith(f"{name}."))


def reason(app: AppTest):
    return keyed(app.text_input, "why")


def draft(app: AppTest) -> str:
    return next((one.value for one in app.markdown if "Not applied yet" in one.value), "")


def turn(app: AppTest, page: int) -> None:
    """To another page of the documents."""
    (pages,) = app.get("pagination")
    app.session_state[pages.proto.id.split("-", 2)[2]] = page
    app.run()


@pytest.mark.network
def test_a_selection_tells_how_much_of_each_cluster_lies_in_it(mapped):
    whole, part = members(mapped, 0), members(mapped, 1)[:1]
    table = picked(mapped, [*whole, *part]).dataframe[0].value.set_index("cluster")
    assert table["inside"]["c0"] == pytest.approx(100)
    assert table["inside"]["c1"] == pytest.approx(100 / len(members(mapped, 1)))
    assert table["share"]["c0"] == pytest.approx(100 * len(whole) / (len(whole) + 1))


@pytest.mark.network
def test_the_documents_of_a_selection_are_read_page_by_page(mapped):
    rows = [*members(mapped, 0), *members(mapped, 1)]
    app = picked(mapped, rows)
    app.segmented_control(key="area.look").set_value("documents").run()
    assert f"1 to 5 of {len(rows)}" in words(app)
    texts = Run(mapped).needed("corpus").table(0)["text"].to_pylist()
    scores = Run(mapped).needed("quality").table(0)
    for kind in ("central", "worst", "random"):
        app.segmented_control(key="area.kind").set_value(kind).run()
        first = [code.value.removesuffix("…") for code in app.code]
        assert len(first) == 5
        assert all(any(texts[row].startswith(one) for row in rows) for one in first)
        if kind == "worst":
            means = np.mean([scores[name].to_numpy() for name in scores.column_names], axis=0)
            assert texts[min(rows, key=lambda row: means[row])].startswith(first[0])
    turn(app, 2)
    assert f"6 to {min(10, len(rows))} of {len(rows)}" in words(app)
    assert {code.value.removesuffix("…") for code in app.code}.isdisjoint(first)
    app.segmented_control(key="area.kind").set_value("central").run()
    assert "1 to 5" in words(app)  # another list begins anew


@pytest.mark.network
def test_clusters_mostly_inside_are_pruned_by_a_draft_that_is_seen_before_it_is_written(mapped):
    app = picked(mapped, [*members(mapped, 0), *members(mapped, 1), members(mapped, 2)[0]])
    assert "2 clusters with" in words(app)
    assert app.button(key="area.keep").disabled
    assert app.button(key="area.prune").label == "Prune 2"
    app = pressed(app, "area.prune")
    assert not Run(mapped).config.domains.overrides
    assert "Not applied yet: prune c0; prune c1" in words(app).replace("**", "")
    assert "2 clusters would fare differently" in words(app)
    app.text_input(key="curate.why").set_value("an island of spam")
    app = pressed(app, "curate.apply")
    overrides = Run(mapped).config.domains.overrides
    assert [(one.action, one.cluster, one.why) for one in overrides] == [
        *(("prune", 0, "an island of spam"), ("prune", 1, "an island of spam"))
    ]
    assert app.button(key="area.prune").disabled
    app = pressed(app, "area.keep")
    assert "Not applied yet: keep c0; keep c1" in words(app).replace("**", "")
    app = pressed(pressed(app, "curate.discard"), "undo")  # both at once
    assert not Run(mapped).config.domains.overrides


@pytest.mark.network
def test_a_selection_of_another_run_is_forgotten(mapped, runs):
    shutil.copytree(mapped, runs / "other")
    app = picked(mapped, [0, 1])
    assert "2 of 61 documents" in words(app)
    app.sidebar.selectbox[0].select("other" if app.sidebar.selectbox[0].value == "tiny" else "tiny").run()
    assert "of 61 documents** (" not in words(app)


# What was found


@pytest.mark.network
def test_every_hit_can_be_read_with_its_match_marked(mapped):
    app = shown("clusters")
    app.text_input(key="find").set_value("HARBOUR").run()
    holding = [i for i, row in enumerate(documents()[:60]) if "harbour" in row["text"]]
    assert f"1 to 5 of {len(holding)}" in words(app)
    assert sum(":orange-background[harbour]" in one.value for one in app.markdown) == 5
    seen = set()
    for page in range(1, -(-len(holding) // 5) + 1):
        turn(app, page)
        seen |= {int(found) for found in re.findall(r"document (\d+)", words(app))}
    assert seen == set(holding)
    row = holding[-1]
    app = pressed(app, f"hit.open.{row}")
    assert app.selectbox(key="cluster").value == f"c{cluster_of(mapped, row)}"


def test_what_stands_around_a_match_is_never_markup():
    told = finding.marked(f"{HOSTILE} :red[x] needle\n\n    # code **bold** <b>" + "z " * 200, "NEEDLE")
    assert ":orange-background[needle]" in told
    tame = told.replace(":orange-background[needle]", "")
    assert not re.search(r"(?<!\\)[<>*:\[\]()$#]", tame)
    assert "\n" not in told
    assert finding.marked("a [b](c) d", "[b](c)").count("\\[b\\]\\(c\\)") == 1
    assert finding.marked("nothing of it", "needle") == ""
    assert not re.search(r"http:|www\\?\.|@\w", finding.marked("a http://x.example WWW.x.example me@x.example", "x"))


# Colours


@pytest.mark.network
def test_pruning_and_moving_change_no_other_domains_colour(mapped):
    run = Run(mapped)
    colours = dict(zip(run.domains, domain_colours(run, run.domains), strict=False))
    home = curation.decided(run).decisions
    alone = next(i for i, one in enumerate(home) if one.kept)
    for override in (
        Override(action="move", cluster=alone, domain="aardvarks"),
        *(Override(action="prune", cluster=i) for i, one in enumerate(home) if one.domain == 0 and i != alone),
        Override(action="rename", domain="aardvarks", to="zebras"),
        Override(action="move", cluster=next(i for i, one in enumerate(home) if one.domain == 1), domain="boats"),
    ):
        curation.add(run, override)
        decided = curation.decided(run)
        now = dict(zip(decided.names, decided_colours(decided, run.config.domains.overrides), strict=False))
        assert {name: now[name] for name in now.keys() & colours.keys()}.items() <= colours.items()
        colours |= {"zebras": colours["aardvarks"]} if override.action == "rename" else {}
        colours |= now
        assert len(set(now.values())) == len(now)
    assert {"zebras", "boats"} <= colours.keys()
    run.run("domains")
    assert domain_colours(run, run.domains) == decided_colours(decided, run.config.domains.overrides)


@pytest.mark.network
def test_what_is_pruned_has_a_legend_on_the_map(mapped):  # noqa: ARG001
    app = shown("clusters")
    assert not [trace for trace in the_map(app)["data"] if trace.get("showlegend")]
    app.selectbox(key="cluster").select("c1").run()
    pressed(pressed(app, "prune"), "curate.apply")
    assert [trace["name"] for trace in the_map(app)["data"] if trace.get("showlegend")] == ["pruned"]
    app.selectbox(key="colour").select("source").run()
    assert len([trace for trace in the_map(app)["data"] if trace.get("showlegend")]) == 4


# What a point says


@pytest.mark.network
def test_only_the_text_of_the_point_under_the_mouse_is_sent(mapped):
    app = shown("clusters")
    assert "They saw the" not in json.dumps(the_map(app))
    assert said(app) is None
    app.session_state["tips"] = {"row": 7}
    app.run()
    facts, text = said(app)
    assert f"c{cluster_of(mapped, 7)} · {documents()[7]['source']} · document 7" in facts
    assert text.rstrip("…") and documents()[7]["text"].startswith(text.rstrip("…"))
    assert len(text) <= 140
    app.selectbox(key="colour").select("quality").run()
    assert re.search(r"quality \d\.\d\d$", said(app)[0])
    app.session_state["tips"] = {"row": 10**9}  # of another run
    app.run()
    assert said(app) is None


def said(app: AppTest) -> tuple[str, str] | None:
    """What the browser gets to show over the map."""
    data = [element.proto for element in app.get("bidi_component") if '"source"' in element.proto.json]
    (told,) = data
    return json.loads(told.json)["said"]


# In a real browser


@pytest.mark.browser
@pytest.mark.network
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_documents_are_clicked_lassoed_read_pruned_and_the_prune_undone(mapped, server):  # noqa: F811
    playwright = pytest.importorskip("playwright.sync_api")
    address, log = server
    faults: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(PATIENCE * 1000)
        page.on("pageerror", lambda error: faults.append(f"page error: {error}"))
        page.on("request", lambda request: faults.append(request.url) if leaves(request.url, address) else None)
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.goto(f"{address}/clusters?run=tiny")
        x, y = page.locator(".nsewdrag").first.evaluate(POINT)
        page.mouse.move(x - 8, y - 8)
        page.mouse.move(x, y, steps=4)
        page.locator(".tip .said", has_text=re.compile(r"\w")).wait_for()
        page.wait_for_timeout(1500)  # a click in the first moments of a hover is taken for a part of the movement
        page.mouse.click(x, y, delay=80)
        page.get_by_text("Clicked").wait_for()
        page.wait_for_url(re.compile(r"cluster=c\d"))
        assert page.locator("img[src='x']").count() == 0
        page.locator("[data-attr=dragmode][data-val=lasso]").first.click()
        plot = page.locator(".nsewdrag").first.bounding_box()
        corners = [(3, 3), (plot["width"] - 3, 3), (plot["width"] - 3, plot["height"] - 3), (3, plot["height"] - 3)]
        page.mouse.move(plot["x"] + 3, plot["y"] + 3)
        page.mouse.down()
        for dx, dy in [*corners[1:], (4, 8)]:
            page.mouse.move(plot["x"] + dx, plot["y"] + dy, steps=6)
        page.mouse.up()
        page.get_by_text("61 of 61 documents").wait_for()
        page.get_by_role("radio", name="Clusters", exact=True).click()
        settled(page)
        page.locator(".st-key-prune button").first.click()  # of the cluster, not of the selection
        page.get_by_role("button", name="Apply").click()
        page.get_by_role("button", name="Undo").wait_for()
        assert len(Run(mapped).config.domains.overrides) == 1
        page.get_by_role("button", name="Undo").click()
        page.get_by_role("button", name="Undo").wait_for(state="detached")
        assert not Run(mapped).config.domains.overrides
        browser.close()
    assert not faults
    assert "Traceback" not in log.read_text()


POINT = """async plot => {
    const figure = plot.closest('.js-plotly-plot'), trace = figure._fullData[0], layout = figure._fullLayout
    const box = plot.getBoundingClientRect()
    return [box.x + layout.xaxis.l2p(trace.x[0]), box.y + layout.yaxis.l2p(trace.y[0])]
}"""
"""Where a document is on the screen, from the figure that the browser drew."""
