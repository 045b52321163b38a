"""The whole way from documents to a mixture, with real kills."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from climb_engine.pipeline import Run
from climb_engine.stages.graph import STAGES
from climb_engine.types import ClimbError

pytestmark = pytest.mark.network  # the static embedder comes out of a registry package

# Runs the search and sends itself a signal at the n-th flush to the disk: in the middle of a write, before its rename.
DYING = """
import os, sys
from climb_engine.cli import main
folder, name, number, at = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sync, count = os.fsync, 0
def dying(handle):
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), number)
    sync(handle)
os.fsync = dying
sys.argv = ["climb", "--runs", folder, "search", name]
main()
"""


def search_until_killed(run, number, at):
    folder, name = str(run.workspace.folder.parent), run.workspace.name
    command = [sys.executable, "-c", DYING, folder, name, str(number), str(at)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def contents(run):
    """Everything that a run leaves, by file, without what tells the time."""
    found = {}
    for path in sorted((run.workspace.folder / "artifacts").glob("[!.]*/*")):
        name = f"{path.parent.name}/{path.name}"
        if path.name == "manifest.json":
            manifest = json.loads(path.read_text())
            found[name] = {key: value for key, value in manifest.items() if key not in ("seconds", "created")}
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in (run.workspace.folder / "search").glob("*.jsonl"):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.name] = [{key: value for key, value in event.items() if key != "seconds"} for event in events]
    return found


def test_a_corpus_goes_in_and_a_mixture_comes_out(finished_run):
    search = finished_run.open_search()
    assert search.finished
    exported = json.loads((finished_run.workspace.export_folder("mixture") / "mixture.json").read_text())
    assert exported["weights"] == search.choice.mixture.as_dict()
    assert sum(exported["weights"].values()) == pytest.approx(1)
    assert exported["provenance"]["addresses"]["corpus"] == finished_run.needed("corpus").digest


def test_junk_is_pruned_and_planted_topics_become_domains(finished_run):
    clusters = np.concatenate([t["cluster"].to_numpy() for t in finished_run.needed("clustering").tables(["cluster"])])
    sources = [s for t in finished_run.needed("corpus").tables(["source"]) for s in t["source"].to_pylist()]
    owner = finished_run.needed("domains").table("clusters")["domain"].to_numpy()[clusters]
    kept = {
        source: [d for d, s in zip(owner, sources, strict=True) if s == source and d >= 0] for source in set(sources)
    }
    assert len(kept["junk"]) <= 3
    majorities = {source: max(set(found), key=found.count) for source, found in kept.items() if source != "junk"}
    assert len(set(majorities.values())) == 4
    assert all(found.count(majorities[s]) > 0.9 * len(found) for s, found in kept.items() if s != "junk")


def test_rejected_documents_are_counted_by_reason_with_examples(finished_run):
    facts = finished_run.needed("corpus").facts
    assert facts["rejected"] == {"duplicate": 1, "empty": 1}
    assert facts["examples"]["empty"][0]["where"] == "docs.jsonl:352"


def test_no_proxy_trains_on_what_is_held_out(finished_run):
    from climb_engine.training import load_bank, load_heldout

    tokens = finished_run.needed("tokens")
    heldout = [set() for _ in finished_run.domains]
    rows = load_heldout(tokens, 32)
    for row, domain in zip(rows.tokens, rows.domain, strict=True):
        heldout[domain].add(tuple(row))
    bank = load_bank(finished_run.config, tokens)
    flat = bank.tokens.numpy()
    for domain, wanted in enumerate(heldout):
        assert wanted
        train = flat[bank.offsets[domain] :][: bank.available[domain] * 32].tolist()
        windows = {tuple(train[i : i + 33]) for i in range(len(train) - 32)}
        assert not wanted & windows


def test_a_second_run_recomputes_nothing(own_run):
    before = contents(own_run)
    stamps = {path: path.stat().st_mtime_ns for path in own_run.workspace.folder.rglob("*.parquet")}
    events = []
    own_run.search(report=events.append)
    assert events == []
    assert contents(own_run) == before
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_a_changed_threshold_reruns_only_what_depends_on_it_and_the_plan_says_why(own_run):
    own_run.configure(own_run.config.with_values({"domains.thresholds": {"advertisement": 2.4}}))
    plan = {stage.stage: stage for stage in own_run.plan()}
    assert [name for name, stage in plan.items() if stage.state == "done"] == [
        "corpus",
        "embedding",
        "clustering",
        "quality",
    ]
    assert plan["domains"].why == "domains.thresholds.advertisement: 2.5 -> 2.4"
    assert plan["tokens"].why == "domains may change"


def test_files_that_were_moved_or_touched_are_read_again_and_nothing_else(own_run, tmp_path):
    source, trunk, search = Path(own_run.config.corpus.inputs[0]), own_run.needed("trunk"), own_run.search_digest
    moved = Path(shutil.copy(source, tmp_path / source.name))
    own_run.configure(own_run.config.with_values({"corpus.inputs": [str(moved)]}))
    plan = {stage.stage: stage for stage in own_run.plan()}
    assert plan["corpus"].why.startswith("corpus.inputs: ")
    assert plan["embedding"].why == "corpus may change"
    for touched in (1_000, 2_000):
        events = []
        assert own_run.run(report=events.append) == trunk
        assert {event.stage for event in events} == {"corpus"}
        assert own_run.search_digest == search
        os.utime(moved, ns=(touched, touched))
        own_run = Run(own_run.workspace.folder)
        assert {stage.stage: stage for stage in own_run.plan()}["corpus"].why == "the input files changed"


def test_the_reason_of_an_override_is_history_and_reruns_nothing(own_run):
    keep = {"action": "keep", "cluster": 0}
    own_run.configure(own_run.config.with_values({"domains.overrides": [keep]}))
    addresses = [stage.digest for stage in own_run.plan()]
    own_run.configure(own_run.config.with_values({"domains.overrides": [{**keep, "why": "I looked", "who": "me"}]}))
    assert [stage.digest for stage in own_run.plan()] == addresses


def test_a_changed_input_file_is_noticed_and_a_vanished_one_does_no_harm(own_run, tmp_path):
    from pathlib import Path

    own = tmp_path / "mine.jsonl"
    own.write_bytes(Path(own_run.config.corpus.inputs[0]).read_bytes())
    own_run.configure(own_run.config.with_values({"corpus.inputs": [str(own)]}))
    own_run.run("corpus")
    with own.open("a") as file:
        file.write('{"text": "one more", "source": "x"}\n')
    fresh = Run(own_run.workspace.folder)
    assert fresh.plan()[0].why == "the input files changed"
    own.unlink()
    assert Run(own_run.workspace.folder).plan()[0].state == "done"


def test_an_unknown_stage_is_named_with_those_there_are(own_run):
    with pytest.raises(ClimbError, match=r"no stage 'cluster'.*clustering"):
        own_run.run("cluster")


def test_a_domain_shorter_than_a_training_sequence_can_have_no_weight(own_run):
    tokens = own_run.needed("tokens").facts["train"]
    shortest = min(range(len(tokens)), key=tokens.__getitem__)
    assert (own_run.space().upper > 0).all()
    own_run.configure(own_run.config.with_values({"proxy.sequence_length": tokens[shortest]}))
    space = own_run.space()
    assert space.upper[shortest] == space.natural[shortest] == 0
    assert np.isclose(space.natural.sum(), 1)


def test_the_natural_mixture_is_exported_as_it_was_trained(own_run):
    share = own_run.space().share
    name, limit = own_run.domains[int(np.argmax(share))], float(0.9 * share.max())
    own_run.configure(own_run.config.with_values({"search.max_weight": {name: limit}}))
    trial = next(trial for trial in own_run.open_search().trials if trial.result)
    record = json.loads((own_run.export(trial.id, "limited") / "mixture.json").read_text())
    assert record["natural_weights"][name] == pytest.approx(limit)


def test_a_suggested_mixture_is_trained_and_can_be_exported(own_run):
    first = own_run.domains[0]
    trial = own_run.suggest({first: 0.4, own_run.domains[1]: 0.6})
    own_run.search()
    search = own_run.open_search()
    assert search.trials[trial.id].result
    folder = own_run.export(trial.id, "mine")
    assert json.loads((folder / "mixture.json").read_text())["weights"][first] == 0.4


@pytest.mark.slow
def test_killed_again_and_again_it_ends_in_the_same_state(finished_run, tmp_path):
    run = Run.create(tmp_path / "tiny", finished_run.config)
    kills = 0
    while (done := search_until_killed(run, 9, 23)).returncode == -9:
        kills += 1
        assert kills < 30
    assert done.returncode == 0, done.stderr
    assert kills >= 4
    assert contents(run) == contents(finished_run)


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 15], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_it_stops_cleanly_and_goes_on(finished_run, tmp_path, number):
    run = Run.create(tmp_path / "tiny", finished_run.config)
    done = search_until_killed(run, number, 40)
    assert done.returncode == 130
    assert "what was finished is kept" in done.stderr
    assert "Traceback" not in done.stderr
    run.search()
    assert contents(run) == contents(finished_run)


def test_every_stage_leaves_its_time_and_its_versions(finished_run):
    for stage in STAGES:
        if stage.optional:
            continue
        manifest = finished_run.needed(stage.name).manifest
        assert manifest["seconds"] >= 0
        assert manifest["libraries"]["numpy"] == np.__version__
        assert manifest["parts"] == 4


def test_a_mixture_suggested_while_the_search_is_at_work_is_taken_by_it(own_run):
    run = Run(own_run.workspace.folder)
    for log in (run.workspace.folder / "search").iterdir():
        log.unlink()
    wanted = run.space().natural[::-1] if len(run.domains) > 2 else run.space().natural
    wanted = run.space().project(np.asarray(wanted)[None])[0]
    left = []

    def meddle(event):
        if event.stage == "proxies" and not left:
            other = Run(run.workspace.folder)  # as another process would
            left.append(other.suggest(dict(zip(run.domains, wanted.tolist(), strict=True))))

    search = run.search(1, meddle)
    assert left == [None]
    own = [trial for trial in search.trials if trial.origin == "suggested"]
    assert [trial.mixture.weights.tolist() for trial in own] == [wanted.tolist()]
    assert own[0].result is not None
    assert not list(run.workspace.waiting_folder(run.search_digest).iterdir())
    with pytest.raises(ClimbError, match="no domain is called"):
        Run(run.workspace.folder).suggest({"no-such-domain": 1.0})
