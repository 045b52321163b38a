"""The map with every document as a point: what is sent, what comes back, and the real thing in a real browser."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from app import charts
from app.clusters import maps
from climb_engine.pipeline import Run
from tests.apptest import PATIENCE, ROOT, pressed, turned, words
from tests.test_clusters_page import cluster_of, clustered, mapped  # noqa: F401 - fixtures are found by their names
from tests.test_pages import CHROMIUM, HOSTILE, corpus, documents, leaves, server  # noqa: F401

COMPONENTS = ROOT / "app" / "components"


def every(page: str = "clusters", **query: str) -> AppTest:
    """The clusters page with every document as a point."""
    app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=PATIENCE).run()
    for name, value in {"points": "every", **query}.items():
        app.query_params[name] = value
    return turned(app, page)


def sent(app: AppTest) -> tuple[bytes, bytes, dict]:
    """What the component gets: positions and colours, each behind an address, and the rest."""
    positions, colours, look = [element.proto for element in app.get("bidi_component")][:3]  # then the tips
    return positions.bytes, colours.bytes, json.loads(look.json)


def told(app: AppTest, **selection) -> AppTest:
    """Run with what the browser tells of a click (points) or a lasso."""
    app.session_state["everypoint"] = {"selection": {"points": [], "box": [], "lasso": [], **selection}}
    app.run()
    assert not app.exception
    return app


def test_positions_lose_less_than_a_step_and_fill_their_box():
    points = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32) * [3, 500]
    box = maps.frame(points)
    steps = maps.stepped(points, box)
    assert steps.dtype == np.uint16
    back = steps / 65_535 * [box[1] - box[0], box[3] - box[2]] + [box[0], box[2]]
    assert np.abs(back - points).max(axis=0) == pytest.approx([0, 0], abs=(box[3] - box[2]) / 65_535)
    assert maps.within(np.array([[box[0], box[2]], [box[1], box[3]]]), box).tolist() == [[0, 0], [1, 1]]


def test_a_colouring_fits_into_a_byte_whatever_it_is_by():
    indices, palette = maps.by_value("quality", np.array([0.0, 2.5, 5.0, np.nan])).indices()
    assert indices.tolist() == [0, 127, 254, 255]
    assert (len(palette), palette[0], palette[254], palette[255]) == (256, "#440154", "#fde725", charts.INK)
    many = maps.Colouring("domain", np.arange(300), tuple(map(str, range(300))), ("#010203",) * 300)
    indices, palette = many.indices()
    assert (indices.dtype, len(palette), indices[299], palette[255]) == (np.uint8, 256, 255, charts.INK)


def test_the_component_is_our_own_and_names_no_other_host():
    sources = [path for path in COMPONENTS.rglob("*") if path.suffix in (".js", ".css")]
    assert len(sources) == 4
    for path in sources:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?:|//[a-z]|import\s*\(|\bfetch\(|innerHTML|\beval\b", text), path.name


@pytest.mark.network
def test_every_document_goes_to_the_browser_as_a_point_and_its_text_never(mapped):  # noqa: F811, ARG001
    app = every()
    assert "61 documents, each a point (1 kB of positions, 1 kB of colours)" in words(app)
    assert not app.get("plotly_chart")
    positions, colours, look = sent(app)
    assert (positions[:12].decode(), colours[:12].decode()) == (look["positions"], look["colours"])
    assert len(positions) == 12 + 61 * 2 * 2
    assert len(colours) == 12 + 61
    assert max(colours[12:]) < len(look["palette"])
    assert len(look["names"]) == len(look["palette"])
    assert {level for *_, level in look["labels"]} == {0, 1}
    assert all(0 <= place <= 1 for _, x, y, _ in look["labels"] for place in (x, y))
    every_message = b"".join(element.proto.SerializeToString() for element in app.get("bidi_component"))
    assert b"They saw the" in documents()[0]["text"].encode()
    assert b"They saw the" not in every_message


@pytest.mark.network
def test_a_new_colouring_and_a_chosen_cluster_send_no_positions_again(mapped):  # noqa: F811
    app = every()
    positions, colours, look = sent(app)
    app.selectbox(key="colour").select("quality").run()
    again, recoloured, other = sent(app)
    assert again == positions
    assert recoloured[:12] != colours[:12]
    assert (other["scale"] is None, look["scale"] is None) == (False, True)
    pressed(app, "next")
    again, kept, ringed = sent(app)
    assert (again, kept) == (positions, recoloured)
    assert {cluster_of(mapped, row) for row in ringed["marked"]} == {0}


@pytest.mark.network
def test_a_click_and_a_lasso_mean_what_they_mean_on_the_sampled_map(mapped):  # noqa: F811
    app = told(every(), points=[{"customdata": 7}], at=1)
    assert app.selectbox(key="cluster").value == f"c{cluster_of(mapped, 7)}"
    assert "Clicked" in words(app)
    assert sent(app)[2]["marked"] == [7]
    left, right, bottom, top = sent(app)[2]["box"]
    middle = (left + right) / 2
    app = told(app, lasso=[{"x": [left, middle, middle, left], "y": [bottom, bottom, top, top]}], at=2)
    half = int(re.search(r"\*\*(\d+) of 61 documents\*\*", words(app))[1])
    at = np.frombuffer(sent(app)[0][12:], np.uint16).reshape(-1, 2)
    assert 0 < half < 61
    assert half == (at[:, 0] < 32_768).sum()
    assert app.dataframe[0].value["share"].sum() == pytest.approx(100)
    assert np.allclose(sent(app)[2]["shapes"], [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]])
    pressed(app, "clear")
    assert sent(app)[2]["shapes"] == []
    app = told(app, points=[{"customdata": 7}], at=3)  # the same point once more
    assert "Clicked" in words(app)


@pytest.mark.network
def test_without_webgl_the_density_image_is_shown_and_said(mapped):  # noqa: F811, ARG001
    app = every()
    app.session_state["everypoint"] = {"missing": True}
    app.run()
    for _ in range(2):
        assert "WebGL is off in this browser: showing the density image." in words(app)
        assert len(app.get("bidi_component")) == 1  # the tips
        figure = json.loads(app.get("plotly_chart")[0].proto.spec)
        assert figure["layout"]["images"]
        assert {trace["type"] for trace in figure["data"]} == {"scatter"}  # not of WebGL
        app.run()
    app.segmented_control(key="points").set_value("sample").run()
    assert "WebGL" not in words(app)  # tried anew when it is asked for anew
    app.session_state["everypoint.probe"] = {"missing": True}
    app.run()
    assert "WebGL is off in this browser" in words(app)


@pytest.mark.network
def test_more_documents_than_a_browser_takes_are_not_offered_as_points(mapped, monkeypatch):  # noqa: F811, ARG001
    monkeypatch.setattr("app.clusters.atlas.EVERY", 60)
    app = every()
    assert app.segmented_control(key="points").disabled
    assert "Each of 61 documents as a point would be too much" in app.segmented_control(key="points").help
    assert app.get("plotly_chart")


@pytest.mark.network
def test_before_there_is_a_projection_nothing_is_offered(mapped):  # noqa: F811
    shutil.rmtree(next(mapped.glob("artifacts/projection-*")))
    app = every()
    assert "points" not in {control.key for control in app.segmented_control}
    assert "6 clusters are drawn" in words(app)


# In a real browser


def opened(driver, address: str, faults: list[str], *flags: str):
    """A page of Chromium whose faults are collected."""
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *flags])
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(PATIENCE * 1000)
    page.on("pageerror", lambda error: faults.append(f"page error: {error}"))
    page.on("request", lambda request: faults.append(request.url) if leaves(request.url, address) else None)
    page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    return page


def shares(run: Path) -> np.ndarray:
    """Where the documents are on the map (n, 2), 0 to 1 across and up."""
    points = np.asarray(Run(run).needed("projection").array(0))
    return maps.within(points, maps.frame(points))


def on_screen(page, u: float, v: float) -> tuple[float, float]:
    """A place of the map while the whole of it is shown."""
    box = page.locator(".map").bounding_box()
    return box["x"] + u * box["width"], box["y"] + (1 - v) * box["height"]


def gap(places: np.ndarray) -> float:
    """The middle of the widest gap between places that are not at the edge."""
    inner = np.sort(places)[len(places) // 4 : -len(places) // 4]
    widest = int(np.argmax(np.diff(inner)))
    return float(inner[widest : widest + 2].mean())


def lassoed(page, corners: list[tuple[float, float]]) -> None:
    """Drag the mouse from corner to corner."""
    page.mouse.move(*on_screen(page, *corners[0]))
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*on_screen(page, *corner), steps=6)
    page.mouse.up()


def painted(page) -> int:
    """How many pixels of the map have a colour, and are not of the page's or the labels' greys."""
    picture = np.asarray(Image.open(io.BytesIO(page.locator(".map").screenshot())).convert("RGB")).astype(int)
    return int((np.ptp(picture, axis=2) > 40).sum())


@pytest.mark.browser
@pytest.mark.network
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_every_point_is_drawn_hovered_clicked_zoomed_and_lassoed(mapped: Path, server):  # noqa: F811
    playwright = pytest.importorskip("playwright.sync_api")
    address, log = server
    faults: list[str] = []
    with playwright.sync_playwright() as driver:
        page = opened(driver, address, faults)
        page.goto(f"{address}/clusters?run=tiny&colour=source")
        page.get_by_role("radio", name="every").click()
        page.locator(".map[data-points='61']").wait_for()
        assert "points=every" in page.url
        page.get_by_text("61 points", exact=True).wait_for()
        assert painted(page) > 61
        at = next(row for row in range(61) if HOSTILE in source_of(mapped, row))
        page.mouse.move(*on_screen(page, *shares(mapped)[at]))
        page.locator(".tip .said", has_text="<img").wait_for()  # as text, which came for this point
        assert page.locator("img[src='x']").count() == 0
        page.mouse.click(*on_screen(page, *shares(mapped)[7]))
        page.get_by_text("Clicked").wait_for()
        assert f"cluster=c{cluster_of(mapped, 7)}" in page.url
        page.mouse.wheel(0, -240)
        page.locator(".map[data-zoom]:not([data-zoom='1.00'])").wait_for()
        page.get_by_role("button", name="Show the whole map").click()
        page.get_by_role("button", name="Draw around documents").click()
        places = shares(mapped)
        across, up = gap(places[:, 0]), gap(places[:, 1])
        lassoed(page, [(0.01, 0.99), (across, 0.99), (across, up), (0.01, up)])
        upper_left = int(((places[:, 0] < across) & (places[:, 1] > up)).sum())
        page.get_by_text(f"{upper_left} of 61 documents").wait_for()
        page.reload()  # the mode is in the address
        page.locator(".map[data-points='61']").wait_for()
        page.context.browser.close()
    assert not faults
    assert "Traceback" not in log.read_text()


@pytest.mark.browser
@pytest.mark.network
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.usefixtures("mapped")
def test_in_a_browser_without_webgl_the_image_is_shown_instead(server):  # noqa: F811
    playwright = pytest.importorskip("playwright.sync_api")
    address, log = server
    faults: list[str] = []
    with playwright.sync_playwright() as driver:
        page = opened(driver, address, faults, "--disable-3d-apis")
        for mode in ("every", "sample"):
            page.goto(f"{address}/clusters?run=tiny&points={mode}")
            page.get_by_text("WebGL is off in this browser: showing the density image.").wait_for()
            page.locator(".js-plotly-plot .scatterlayer .point").first.wait_for()
            assert page.locator(".js-plotly-plot .imagelayer image, .js-plotly-plot .layer-below image").count() == 1
            assert page.get_by_text("get.webgl.org").count() == 0
            assert page.locator(".map").count() == 0
        page.context.browser.close()
    assert not faults
    assert "Traceback" not in log.read_text()


def source_of(run: Path, row: int) -> str:
    return Run(run).needed("corpus").table(0)["source"][row].as_py()
