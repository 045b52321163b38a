"""The annotator, against a server on this machine that speaks the protocol, and its bad days."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from climb_engine.config import QualityConfig
from climb_engine.curate.annotator import ATTEMPTS, RUBRIC, annotate, draw, estimate, parse_answer
from climb_engine.curate.quality import Rows, load_scorers
from climb_engine.pipeline import Run
from climb_engine.types import METRICS, ClimbError

KEY = "sk-not-a-real-key-0123456789"


class Server(ThreadingHTTPServer):
    """Rates text by its first digit. What it should do instead is in ``plan``: text -> status codes or a reply."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.seen, self.bodies, self.headers, self.delay = {}, [], [], [], 0.0
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][1]["content"]
        with self.server.lock:
            self.server.seen.append(text)
            self.server.bodies.append(body)
            self.server.headers.append(dict(self.headers))
            planned = self.server.plan.get(text) or self.server.plan.get("*")
            act = planned.pop(0) if isinstance(planned, list) and planned else planned if planned != [] else None
        time.sleep(self.server.delay)
        assert self.path == "/v1/chat/completions"
        if isinstance(act, int):
            self.respond(act, f"no, {KEY}".encode())
        elif isinstance(act, bytes):
            self.respond(200, act)
        else:
            rating = int(next((c for c in text if c.isdigit()), "5")) % 6
            reply = act or json.dumps(dict.fromkeys(METRICS, rating))
            choice = {"message": {"role": "assistant", "content": reply}}
            self.respond(200, json.dumps({"choices": [choice], "usage": {"total_tokens": 100}}).encode())

    def respond(self, status, body):
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0")
        if status == 302:
            self.send_header("Location", self.server.url + "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_):
        pass


@contextmanager
def served():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("CLIMB_TEST_KEY", KEY)
    with served() as made:
        yield made


@pytest.fixture
def config(server, tmp_path):
    return QualityConfig(
        scorers=("annotator",),
        annotator_url=server.url,
        annotator_model="judge",
        annotator_answers=str(tmp_path / "answers" / "judge.jsonl"),
        annotator_key="CLIMB_TEST_KEY",
        annotator_documents=30,
        annotator_parallel=3,
    )


TEXTS = [f"{i % 6} is what document {i} deserves" for i in range(30)]
IDS = np.arange(30) * 2


def ask(config, texts=TEXTS, **options):
    return annotate(IDS[: len(texts)], texts, config, pause=0.01, **options)


def changed(config, **values):
    return QualityConfig(**(config.model_dump() | values))


def lines_of(config):
    return Path(config.annotator_answers).read_text(encoding="utf-8").splitlines()


def test_answers_become_ratings_of_the_documents_asked_about(server, config):
    answers = ask(config)
    assert answers.ratings.ids.tolist() == IDS.tolist()
    np.testing.assert_array_equal(answers.ratings.values, np.repeat(np.arange(30) % 6, 4).reshape(30, 4))
    assert answers.facts["answered"] == 30
    assert answers.facts["tokens"] == 3000
    body = server.bodies[0]
    assert (body["model"], body["temperature"]) == ("judge", 0)
    assert body["messages"][0] == {"role": "system", "content": RUBRIC}


def test_what_was_answered_is_never_asked_again_whatever_its_place(server, config):
    ask(config)
    again = annotate(IDS[:10] + 1, list(reversed(TEXTS))[:10], config)
    assert len(server.seen) == 30
    assert again.ratings.values[0, 0] == 29 % 6
    ask(changed(config, annotator_model="another judge"), TEXTS[:3])
    assert len(server.seen) == 33


def test_the_key_is_sent_and_written_nowhere(server, config, tmp_path):
    ask(config, TEXTS[:3])
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY in path.read_text()]
    assert KEY not in config.model_dump_json()


def test_a_key_that_is_turned_down_stops_at_once_and_is_not_repeated(server, config):
    server.plan["*"] = 401
    with pytest.raises(ClimbError, match=r"turns the key down.*CLIMB_TEST_KEY") as raised:
        ask(config)
    assert KEY not in str(raised.value)
    assert len(server.seen) < 30


def test_a_redirect_is_not_followed_with_the_key(server, config):
    server.plan["*"] = 302
    with pytest.raises(ClimbError, match="answers HTTP 302"):
        ask(changed(config, annotator_parallel=1), TEXTS[:1])
    assert len(server.seen) == 1


def test_a_busy_or_broken_server_is_asked_again(server, config):
    server.plan = {TEXTS[0]: [429, 429], TEXTS[1]: [500, b"<html>gateway</html>"], TEXTS[2]: [b'{"choices": []}', 503]}
    answers = ask(config, TEXTS[:4])
    assert answers.facts["answered"] == 4
    assert [server.seen.count(text) for text in TEXTS[:4]] == [3, 3, 3, 1]


def test_a_server_that_stays_down_ends_it_and_keeps_what_came(server, config):
    server.plan = {TEXTS[5]: 503}
    with pytest.raises(ClimbError, match=rf"after {ATTEMPTS} attempts \(HTTP 503\).*are kept.*run the same command"):
        ask(config)
    assert server.seen.count(TEXTS[5]) == ATTEMPTS
    before = len(lines_of(config))
    assert before > 0
    server.plan, server.seen = {}, []
    assert ask(config).facts["answered"] == 30
    assert len(server.seen) == 30 - before


def test_nobody_listening_is_said_with_what_to_do(config):
    with pytest.raises(ClimbError, match=r"http://127.0.0.1:1/v1/chat/completions does not answer"):
        ask(changed(config, annotator_url="http://127.0.0.1:1/v1"), TEXTS[:2])


def test_garbage_is_counted_and_not_paid_for_twice(server, config):
    server.plan = {TEXTS[3]: "I would give it a 4.", TEXTS[4]: '{"quality": 9}', TEXTS[5]: '{"quality": '}
    answers = ask(config)
    assert (answers.facts["bad"], answers.facts["answered"]) == (3, 27)
    assert set(IDS.tolist()) - set(answers.ratings.ids.tolist()) == {6, 8, 10}
    assert ask(config).facts["bad"] == 3
    assert len(server.seen) == 30


def test_a_document_that_is_refused_is_counted_and_the_rest_goes_on(server, config):
    server.plan = {TEXTS[7]: 400}
    answers = ask(config)
    assert (answers.facts["refused"], answers.facts["answered"]) == (1, 29)


def test_a_server_that_refuses_everything_is_left_alone(server, config):
    server.plan["*"] = 422
    with pytest.raises(ClimbError, match="refuses every document: HTTP 422: no") as raised:
        ask(config)
    assert KEY not in str(raised.value)
    assert len(server.seen) < 20


@pytest.mark.parametrize(
    ("reply", "quality"),
    [
        ('{"quality": 3, "educational": 2}', 3),
        ('Sure!\n```json\n{"quality": 4}\n```', 4),
        ('<think>{"quality": 1} or rather</think> {"quality": 2.5}', 2.5),
        ('{"note": "none"} {"quality": 0}', 0),
        ('{"quality": "3"}', None),
        ('{"quality": true}', None),
        ('{"quality": NaN}', None),
        ('{"quality": -1, "educational": 2}', None),
        ("{" * 2000, None),
        ("", None),
    ],
)
def test_an_answer_is_read_or_not(reply, quality):
    assert parse_answer(reply).get("quality") == quality


def test_the_estimate_counts_what_is_still_open_and_its_price(config):
    priced = changed(config, annotator_price=2.0, annotator_answer_tokens=50)
    expected = estimate(TEXTS, priced)
    characters = sum(len(RUBRIC) + len(text) for text in TEXTS)
    assert expected.requests == 30
    assert expected.tokens == characters // 4 + 30 * 50
    assert expected.cost == pytest.approx(expected.tokens * 2 / 1e6)
    ask(priced, TEXTS[:10])
    assert estimate(TEXTS, priced).requests == 20


def test_the_estimate_is_told_first_and_a_budget_stops_before_anything_is_asked(server, config):
    events = []
    ask(changed(config, annotator_price=2.0), TEXTS[:3], report=events.append)
    assert events[0].facts["estimate"]["cost"] > 0
    assert [event.done for event in events] == [0, 1, 2, 3]
    with pytest.raises(ClimbError, match=r"would cost about .* above quality.annotator_budget = 0.001"):
        ask(changed(config, annotator_price=2.0, annotator_budget=0.001))
    assert len(server.seen) == 3


def test_the_rate_limit_spaces_the_requests(server, config):
    started = time.monotonic()
    ask(changed(config, annotator_requests_per_minute=1200), TEXTS[:9])
    assert time.monotonic() - started >= 8 * 60 / 1200
    assert len(server.seen) == 9


def test_a_long_document_is_cut(server, config):
    ask(changed(config, annotator_chars=100), ["x" * 5000])
    assert len(server.seen[0]) == 100


def test_a_rubric_of_ones_own_may_rate_fewer_dimensions(server, config, tmp_path):
    (tmp_path / "rubric.txt").write_text("Rate only how educational it is.", encoding="utf-8")
    server.plan["*"] = '{"educational": 4}'
    answers = ask(changed(config, annotator_rubric=str(tmp_path / "rubric.txt")), TEXTS[:2])
    assert server.bodies[0]["messages"][0]["content"] == "Rate only how educational it is."
    assert np.isnan(answers.ratings.values[:, 0]).all()
    assert (answers.ratings.values[:, METRICS.index("educational")] == 4).all()


CHILD = """
import sys, numpy as np
from climb_engine.config import QualityConfig
from climb_engine.curate.annotator import annotate
config = QualityConfig.model_validate_json(sys.argv[1])
annotate(np.arange(30) * 2, [f"{i % 6} is what document {i} deserves" for i in range(30)], config)
"""


def test_killed_in_the_middle_it_goes_on_where_it_was(server, config):
    server.delay = 0.05
    child = subprocess.Popen([sys.executable, "-c", CHILD, config.model_dump_json()], env=dict(os.environ))
    deadline = time.monotonic() + 60
    while len(server.seen) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    child.wait()
    kept = len(lines_of(config))
    with Path(config.annotator_answers).open("a", encoding="utf-8") as file:
        file.write('{"key": "torn", "rat')  # as a crash may leave it
    assert 0 < kept < 30
    server.delay, server.seen = 0.0, []
    answers = ask(config)
    assert answers.facts["answered"] == 30
    assert (
        len(set(server.seen)) == 30 - kept
    )  # what the killed one still had on the way may arrive late, and is asked again
    assert len(server.seen) <= 30 - kept + config.annotator_parallel


def test_the_sample_is_drawn_once_for_all(config):
    first = draw(1000, config)
    assert len(set(first.tolist())) == 30
    assert (np.diff(first) > 0).all()
    np.testing.assert_array_equal(first, draw(1000, config))
    assert draw(1000, changed(config, annotator_seed=1)).tolist() != first.tolist()
    assert draw(10, config).tolist() == list(range(10))


def test_its_answers_teach_a_head_that_scores_all_documents(config):
    vectors = np.eye(6, dtype=np.float32)[np.arange(120) % 6]
    texts = [f"{i % 6} for number {i}" for i in range(120)]
    rows = Rows(120, lambda ids: [texts[i] for i in ids], lambda ids: vectors[ids])
    (scorer,) = load_scorers(changed(config, annotator_documents=60), rows=rows)
    np.testing.assert_allclose(scorer.score(None, vectors)[:, 0], np.arange(120) % 6, atol=0.3)
    assert scorer.facts["answered"] == 60
    assert scorer.facts["metrics"]["quality"]["spearman"] > 0.9


def test_a_run_can_be_scored_by_an_annotator(server, config, tiny_config, tmp_path):
    server.plan["*"] = None
    knobs = {name: getattr(config, name) for name in ("annotator_url", "annotator_model", "annotator_answers")}
    values = {f"quality.{name}": value for name, value in knobs.items()}
    run = Run.create(tmp_path / "runs" / "judged", tiny_config.with_values(values | {"quality.scorers": ["annotator"]}))
    run.configure(run.config.with_values({"quality.annotator_documents": 40}))
    artifact = run.run("quality")
    assert len(server.seen) == 40
    assert artifact.facts["learned"]["annotator"]["answered"] == 40
    moved = run.config.with_values({"quality.annotator_url": "http://127.0.0.1:1/v1", "quality.annotator_parallel": 1})
    run.configure(moved)
    assert run.artifact("quality"), "where the model runs does not change what it says"
