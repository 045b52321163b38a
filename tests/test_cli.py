"""The command line as a user meets it: what it prints and what it exits with."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from climb_engine import cli
from climb_engine.config import RunConfig
from climb_engine.pipeline import Run
from tests.conftest import planted_documents, write_jsonl


@pytest.fixture
def climb(tmp_path, capsys):
    """Run climb in this process; gives exit code, standard output and standard error."""

    def run(*words, runs=tmp_path / "runs"):
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
            patch.setattr(sys, "argv", ["climb", "--runs", str(runs), *map(str, words)])
            cli.main()
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return run


@pytest.fixture
def docs(tmp_path):
    return write_jsonl(tmp_path / "docs.jsonl", planted_documents(per_topic=10, junk=3))


def test_init_writes_a_config_that_loads_and_explains_itself(climb, docs, tmp_path):
    code, out, _ = climb("init", "mine", docs, "--set", "clustering.n_clusters=12")
    assert code == 0
    assert "climb search mine" in out
    text = (tmp_path / "runs/mine/config.toml").read_text()
    assert "# Number of k-means clusters" in text
    assert RunConfig.load(tmp_path / "runs/mine/config.toml").clustering.n_clusters == 12


def test_a_run_is_not_overwritten(climb, docs):
    assert climb("init", "mine", docs)[0] == 0
    code, _, err = climb("init", "mine", docs)
    assert code == 3
    assert "exists already" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("init", "mine", "nowhere.jsonl"), "nowhere.jsonl"),
        (("init", "../mine", "{docs}"), "cannot be a name"),
        (("init", "mine", "{docs}", "--set", "clusterin.n_clusters=3"), "did you mean 'clustering'"),
        (("init", "mine", "{docs}", "--set", "clustering.n_clusters=one"), "clustering.n_clusters"),
        (("init", "mine", "{docs}", "--set", "clustering.n_clusters"), "section.key=value"),
        (("status", "ghost"), "there is no run 'ghost'"),
    ],
)
def test_what_a_user_can_mend_is_said_in_one_line_and_exits_with_3(climb, docs, words, message):
    code, out, err = climb(*[word.format(docs=docs) for word in words])
    assert code == 3
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    ("column", "texts", "message"),
    [
        ("text", [], "no document was accepted (the inputs hold none); check corpus.inputs and corpus.text_column"),
        ("content", ["A text."], "there is no column 'text' (see corpus.text_column); the columns are content"),
        ("text", ["  ", ""], "no document was accepted (2 empty)"),
    ],
)
def test_init_says_what_is_wrong_with_the_inputs_and_makes_nothing(climb, tmp_path, column, texts, message):
    pq.write_table(pa.table({column: pa.array(texts, pa.string())}), tmp_path / "docs.parquet")
    code, out, err = climb("init", "mine", tmp_path / "docs.parquet")
    assert (code, out) == (3, "")
    assert message in err
    assert not (tmp_path / "runs/mine").exists()


def test_init_does_not_ask_the_hub(climb):
    assert climb("init", "mine", "hf:somebody/something")[0] == 0


@pytest.mark.parametrize("words", [("nonsense",), ("status",), ("search", "x", "--iterations", "many")])
def test_wrong_usage_exits_with_2(climb, words):
    code, _, err = climb(*words)
    assert code == 2
    assert "climb --help" in err


def test_a_wrong_key_in_the_config_names_the_nearest(climb, docs, tmp_path):
    climb("init", "mine", docs)
    path = tmp_path / "runs/mine/config.toml"
    path.write_text(path.read_text().replace("n_clusters =", "n_cluster ="))
    code, _, err = climb("plan", "mine")
    assert code == 3
    assert "there is no knob clustering.n_cluster; did you mean 'n_clusters'?" in err


def test_the_plan_of_a_new_run_says_that_nothing_has_run(climb, docs):
    climb("init", "mine", docs)
    code, out, _ = climb("plan", "mine", "--json")
    assert code == 0
    stages = json.loads(out)
    assert [stage["stage"] for stage in stages if stage["why"] == "has not run yet"] == [
        *("corpus", "embedding", "clustering", "quality", "domains", "tokens", "trunk")
    ]
    assert {stage["state"] for stage in stages} == {"missing"}


@pytest.mark.network
def test_more_clusters_than_documents_is_said_with_both_numbers(climb, docs):
    climb("init", "mine", docs, "--set", "clustering.n_clusters=500")
    code, _, err = climb("run", "mine")
    assert code == 3
    assert "500" in err
    assert "43" in err


@pytest.mark.network
def test_an_override_that_names_no_cluster_is_refused_and_loses_nothing(climb, own_run):
    override = {"action": "prune", "cluster": 99}
    own_run.configure(own_run.config.with_values({"domains.overrides": [override]}))
    code, _, err = climb("run", "tiny", runs=own_run.workspace.folder.parent)
    assert code == 3
    assert "99" in err
    assert own_run.artifact("clustering")


@pytest.mark.network
def test_status_tells_people_and_programs(climb, finished_run):
    runs = finished_run.workspace.folder.parent
    code, out, _ = climb("status", "tiny", runs=runs)
    assert code == 0
    for word in (
        "corpus",
        "done",
        "Chosen mixture",
        "natural mixture",
        "95 % interval",
        "noise",
        finished_run.domains[0],
    ):
        assert word in out
    values = json.loads(climb("status", "tiny", "--json", runs=runs)[1])
    assert values["search"]["finished"]
    assert len(values["search"]["trials"]) == 3 + 6 + 4 + 2
    assert sum(values["search"]["chosen"].values()) == pytest.approx(1)


@pytest.mark.network
def test_status_tells_the_predictor_as_it_was_when_it_chose_and_as_it_is_now(climb, finished_run):
    runs = finished_run.workspace.folder.parent
    out = climb("status", "tiny", runs=runs)[1]
    then, now = re.search(r"when it chose: .* on (\d+) trials: .*\n\s+now\s+.* on (\d+) trials:", out).groups()
    values = json.loads(climb("status", "tiny", "--json", runs=runs)[1])["search"]
    assert (int(then), int(now)) == (values["predictor"]["trials"], values["predictor_now"]["trials"])
    assert int(now) == len(values["trials"]) > int(then)
    low, hint = values["predictor_now"]["spearman"] < 0.6, re.search("worth it|stop here", out)
    assert ("cannot be told" in out) == low == (hint is None)


@pytest.mark.network
def test_status_in_the_middle_tells_the_best_score_its_lead_and_why_not_to_believe_it(climb, own_run):
    runs = own_run.workspace.folder.parent
    path = next(own_run.workspace.folder.glob("search/*.jsonl"))
    lines = path.read_text().splitlines(keepends=True)
    second = next(i for i, line in enumerate(lines) if json.loads(line).get("iteration") == 2)
    path.write_text("".join(lines[:second]))
    out = climb("status", "tiny", runs=runs)[1]
    values = json.loads(climb("status", "tiny", "--json", runs=runs)[1])["search"]
    drawn = {trial["id"]: trial["score"] for trial in values["trials"] if trial["origin"] != "natural"}
    best = max(drawn, key=drawn.get)
    lead = drawn[best] - sum(values["natural"]) / len(values["natural"])
    assert values["best"]["id"] == best
    assert values["best"]["gain"] == pytest.approx(lead)
    assert f"Best measured so far (trial {best})" in out
    assert f"{drawn[best]:.4f} (trial {best}, 1 run)" in out
    assert f"{lead:+.4f}; the best of many single runs flatters itself, and it shares no seed" in out
    assert "on 9 trials: cross-validated rank correlation" in out
    assert values["predictor"] is None
    assert values["predictor_now"]["trials"] == 9


@pytest.mark.network
def test_a_part_that_is_gone_is_told_by_every_command_that_reads_it_and_made_again(climb, own_run):
    runs, part = own_run.workspace.folder.parent, own_run.needed("clustering").folder / "part-00001.parquet"
    before = part.read_bytes()
    part.unlink()
    stages = json.loads(climb("plan", "tiny", "--json", runs=runs)[1])
    assert {stage["stage"]: stage["state"] for stage in stages}["clustering"] == "damaged"
    assert [stage["stage"] for stage in stages if stage["state"] not in ("done", "missing")] == ["clustering"]
    assert "part-00001.parquet is missing" in climb("status", "tiny", runs=runs)[1]
    for words in (("clusters", "tiny"), ("cluster", "tiny", 0), ("override", "tiny", "prune", 0)):
        code, _, err = climb(*words, runs=runs)
        assert code == 3
        assert "tiny: clustering is damaged: part-00001.parquet is missing; 'climb run tiny" in err
    assert climb("run", "tiny", runs=runs)[0] == 0
    assert part.read_bytes() == before
    assert climb("clusters", "tiny", runs=runs)[0] == 0


def test_proxies_can_be_trained_elsewhere(climb, own_run, tmp_path):
    runs = own_run.workspace.folder.parent
    for log in (own_run.workspace.folder / "search").iterdir():
        log.unlink()
    results = tmp_path / "results.csv"
    header = "trial,own/bpb,heldout/all\n"
    for expected in (3 + 6, 4, 2):
        code, out, _ = climb("ask", "tiny", "--out", tmp_path / "trials", runs=runs)
        assert code == 0
        assert f"{expected} trials wait" in out
        waiting = [trial.id for trial in own_run.open_search().open]
        results.write_text(header + "".join(f"{i},1.{i % 10},2\n" for i in waiting[:-1]) + f"{waiting[-1]},x,2\n")
        code, _, err = climb("tell", "tiny", results, runs=runs)
        assert code == 3
        assert f"results.csv:{expected + 1}: own/bpb 'x'" in err
        assert len(own_run.open_search().open) == expected
        results.write_text(header + "".join(f"{i},1.{i % 10},2\n" for i in waiting))
        assert climb("tell", "tiny", results, runs=runs)[0] == 0
    assert own_run.open_search().finished


@pytest.mark.network
def test_a_search_can_be_stepped_iteration_by_iteration(climb, own_run):
    runs = own_run.workspace.folder.parent
    for log in (own_run.workspace.folder / "search").iterdir():
        log.unlink()
    assert climb("search", "tiny", "--iterations", 1, "--stack", 2, runs=runs)[0] == 0
    search = own_run.open_search()
    assert (search.iteration, search.finished) == (1, False)
    code, _, err = climb("export", "tiny", runs=runs)
    assert code == 3
    assert "--trial" in err
    assert climb("search", "tiny", runs=runs)[0] == 0
    assert own_run.open_search().finished


@pytest.mark.network
def test_a_suggestion_is_checked_and_queued(climb, own_run, tmp_path):
    runs, (first, second, *_) = own_run.workspace.folder.parent, own_run.domains
    assert climb("suggest", "tiny", f"{first}=0.5", f"{second}=0.5", runs=runs)[0] == 0
    assert own_run.open_search().open[0].origin == "suggested"
    for words, message in (
        ((f"{first}=0.5", f"{second}=0.6"), "sum to 1"),
        ((f"{first}=0.5", "maths=0.5"), "no domain is called maths"),
        ((f"{first}:0.5",), "domain=weight"),
    ):
        code, _, err = climb("suggest", "tiny", *words, runs=runs)
        assert code == 3
        assert message in err
    (tmp_path / "w.json").write_text(json.dumps({second: 1.0}))
    assert climb("suggest", "tiny", tmp_path / "w.json", runs=runs)[0] == 0


@pytest.mark.network
def test_an_export_holds_the_same_weights_in_every_format_with_provenance(climb, own_run):
    import yaml

    runs = own_run.workspace.folder.parent
    code, out, _ = climb("export", "tiny", "--to", "again", runs=runs)
    assert code == 0
    files = {path.rsplit(".", 1)[1]: path for path in out.split()}
    with Path(files["json"]).open() as file:
        as_json = json.load(file)
    with Path(files["yaml"]).open() as file:
        as_yaml = yaml.safe_load(file)
    with Path(files["csv"]).open() as file:
        rows = {row["domain"]: float(row["weight"]) for row in csv.DictReader(file)}
    assert as_json == as_yaml
    assert rows == as_json["weights"] == Run(own_run.workspace.folder).open_search().choice.mixture.as_dict()
    for key in ("corpus", "embedding_model", "config_hash", "overrides", "iterations", "addresses"):
        assert key in as_json["provenance"]
    assert as_json["score"]["runs"] == 2
    assert as_json["noise"]["sd"] >= 0


LOADED = """
import sys
from climb_engine.cli import main
sys.argv = ["climb", sys.argv[1]]
try:
    main()
except SystemExit:
    pass
sys.exit(bool({"torch", "pyarrow", "faiss", "sklearn", "transformers"} & set(sys.modules)))
"""


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_version_and_help_load_nothing_heavy(word):
    done = subprocess.run([sys.executable, "-c", LOADED, word], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.network
def test_recipes_are_written_on_request_and_stale_ones_removed(climb, own_run):
    runs = own_run.workspace.folder.parent
    code, out, _ = climb("export", "tiny", "--format", "all", "--paths", "/d/{domain}/x", runs=runs)
    names = {Path(path).name for path in out.split()}
    assert code == 0
    assert {"megatron.txt", "streaming.yaml", "huggingface.json", "olmo_core.yaml", "litgpt_mixture.py"} <= names
    folder = own_run.workspace.export_folder("mixture")
    weights = json.loads((folder / "mixture.json").read_text())["weights"]
    blend = (folder / "megatron.txt").read_text().split()
    assert [float(word) for word in blend[::2]] == [weight for weight in weights.values() if weight > 0]
    assert all(path.startswith("/d/") for path in blend[1::2])
    assert json.loads((folder / "huggingface.json").read_text())["tokens_per_document"][0] > 1
    out = climb("export", "tiny", "--trial", 4, "--format", "olmo", runs=runs)[1]
    assert {Path(path).name for path in out.split()} == {
        "mixture.json",
        "mixture.yaml",
        "mixture.csv",
        "olmo_core.yaml",
    }
    assert climb("export", "tiny", "--format", "megatorn", runs=runs)[0] == 3


@pytest.mark.network
def test_a_data_set_is_exported_and_what_cannot_be_is_said(climb, own_run, tmp_path):
    import pyarrow.parquet as pq

    runs = own_run.workspace.folder.parent
    words = ("export", "tiny", "--tokens", "4K", "--shard-tokens", "1k", "--dataset", tmp_path / "mix")
    code, out, err = climb(*words, "--as", "text", runs=runs)
    assert code == 0, err
    assert out.strip() == str(tmp_path / "mix")
    files = sorted((tmp_path / "mix/data").iterdir())
    assert 4 <= len(files) <= 5
    assert sum(sum(pq.read_table(file)["token_count"].to_pylist()) for file in files) == pytest.approx(4000, abs=200)
    for more, message in (
        (("--tokens", "many", "--dataset", tmp_path / "b"), "500000, 10M or 2.5B"),
        (("--tokens", "1B", "--dataset", tmp_path / "b"), "more than 4 times"),
        (("--tokens", "5K", "--dataset", tmp_path / "mix"), "other settings"),
        (("--dataset", tmp_path / "b"), "--dataset needs --tokens"),
        (("--clustered", tmp_path / "b", "--by", "colour"), "cluster, domain"),
    ):
        code, _, err = climb("export", "tiny", *more, runs=runs)
        assert code == 3
        assert message in err
    assert not (tmp_path / "b").exists()
    code, out, _ = climb("export", "tiny", "--clustered", tmp_path / "lab", "--by", "domain", runs=runs)
    assert code == 0
    assert len([path for path in (tmp_path / "lab").iterdir() if path.is_dir()]) == len(own_run.domains)


def test_the_runs_are_listed_with_how_far_they_are_and_one_that_is_broken_does_not_hide_the_others(
    climb, docs, tmp_path
):
    assert "there is no run in" in climb("runs")[1]
    for name in ("first", "second"):
        climb("init", name, docs)
    (tmp_path / "runs/first/config.toml").write_text("[corpus\n")
    code, out, _ = climb("runs", "--json")
    assert code == 0
    found = {one["run"]: one for one in json.loads(out)}
    assert found["second"]["stages"].startswith("0 of ")
    assert "config.toml" in found["first"]["error"]


@pytest.mark.network
def test_a_knob_is_changed_from_the_command_line_and_says_what_that_runs_again(climb, own_run):
    runs, name = own_run.workspace.folder.parent, own_run.workspace.name
    before = own_run.workspace.config_path.read_bytes()
    code, out, _ = climb("set", name, "domains.min_documents=3", "--dry-run", runs=runs)
    assert code == 0
    assert "domains.min_documents: " in out and "-> 3" in out
    assert own_run.workspace.config_path.read_bytes() == before
    out = climb("set", name, "tokens.vocab_size=300", runs=runs)[1]
    assert "would run again: tokens, trunk; the search begins anew, its trials are kept" in out
    assert Run(own_run.workspace.folder).config.tokens.vocab_size == 300
    assert "have these values already" in climb("set", name, "tokens.vocab_size=300", runs=runs)[1]
    assert "nothing that is done runs again" in climb("set", name, "machine.stack=2", runs=runs)[1]
    code, _, err = climb("set", name, "tokens.vocab=300", runs=runs)
    assert code == 3 and "did you mean 'vocab_size'" in err
