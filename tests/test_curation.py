"""Decisions by people on a real run: what a preview promises, what happens, and taking it back."""

import json

import numpy as np
import pytest

from climb_engine import curation
from climb_engine.browse import cluster, clusters
from climb_engine.clusters import domains_of_documents
from climb_engine.config import Override
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError
from climb_engine.workspace import ArtifactWriter
from tests.conftest import planted_documents, write_jsonl
from tests.test_cli import climb  # noqa: F401
from tests.test_domains import keep, merge, move, note, prune, rename, split

pytestmark = pytest.mark.network  # the static embedder comes out of a registry package


def labels(artifact):
    return np.concatenate([table["cluster"].to_numpy() for table in artifact.tables(["cluster"])])


def addresses(run):
    return {stage.stage: (stage.digest, stage.state) for stage in run.plan()}


def untouched(run, *numbers):
    """A domain that none of these clusters is in."""
    return next(
        row["domain"] for row in clusters(run) if row["kept"] and not set(numbers) & set(members(run, row["domain"]))
    )


def members(run, domain):
    """Clusters of a domain, by what it is called."""
    return [row["cluster"] for row in clusters(run) if row["domain"] == domain]


@pytest.fixture(scope="module")
def coarse_run(finished_run, tmp_path_factory):
    """Two clusters over four planted topics, as far as the domains; not to be changed."""
    values = {"clustering.n_clusters": 2, "clustering.restarts": 5, "domains.thresholds": {}}
    run = Run.create(tmp_path_factory.mktemp("coarse") / "coarse", finished_run.config.with_values(values))
    run.run("domains")
    return run


@pytest.fixture
def coarse(coarse_run, tmp_path):
    import shutil

    return Run(shutil.copytree(coarse_run.workspace.folder, tmp_path / "runs" / "coarse"))


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_rename_reruns_nothing_keeps_every_trial_and_so_does_taking_it_back(own_run):
    first = own_run.domains[0]
    knobs = {"search.max_weight": {first: 0.9}, "target.heldout": {first: 1.0, "all": 1.0}, "target.tasks": {"own": 1}}
    own_run.configure(own_run.config.with_values(knobs))
    plan, before = addresses(own_run), own_run.open_search()
    log = own_run.workspace.log(own_run.search_digest).path
    curation.add(own_run, rename(first, "proofs"))
    assert addresses(own_run) == plan
    assert own_run.domains[0] == "proofs"
    assert own_run.config.search.max_weight == {"proofs": 0.9}
    assert own_run.config.target.heldout == {"proofs": 1.0, "all": 1.0}
    events = []
    after = own_run.search(report=events.append)
    assert events == []
    assert len(after.trials) == len(before.trials)
    assert after.choice.mixture.as_dict()["proofs"] == before.choice.mixture.as_dict()[first]
    assert [after.score(t) for t in after.trials] == [before.score(t) for t in before.trials]

    told = own_run.suggest({"proofs": 0.5, own_run.domains[1]: 0.5})
    own_run.search()
    assert "proofs" not in log.read_text()  # what is on disk knows no rename
    assert own_run.open_search().trials[told.id].result.metrics["heldout/proofs"] > 0
    exported = json.loads((own_run.export(told.id, "mine") / "mixture.json").read_text())
    assert exported["weights"]["proofs"] == 0.5

    assert curation.undo(own_run).action == "rename"
    assert addresses(own_run) == plan
    assert own_run.config.search.max_weight == {first: 0.9}
    search = own_run.open_search()
    assert len(search.trials) == len(before.trials) + 1
    assert search.trials[told.id].result.repeats[first] > 0


def test_a_renamed_domain_is_called_so_wherever_it_is_read_and_by_later_overrides(own_run):
    first = own_run.domains[0]
    mine = members(own_run, first)
    curation.add(own_run, rename(first, "proofs"))
    assert members(own_run, "proofs") == mine
    other = next(row["cluster"] for row in clusters(own_run) if row["kept"] and row["domain"] != "proofs")
    curation.add(own_run, move(other, "proofs"))
    own_run.run("domains")
    assert own_run.needed("domains").facts["names"][0] == first
    row = clusters(own_run)[other]
    assert (row["domain"], row["reason"].split(" (")[0]) == ("proofs", "override: moved to proofs")
    with pytest.raises(ClimbError, match=f"made as '{first}'"):
        curation.add(own_run, move(other, first))


def test_a_name_that_cannot_be_is_refused_by_whoever_reads_it(own_run):
    wrong = [rename("no-such-domain", "x").model_dump(mode="json")]
    own_run.configure(own_run.config.with_values({"domains.overrides": wrong}))
    with pytest.raises(ClimbError, match="no domain is called 'no-such-domain'"):
        own_run.domains  # noqa: B018


# --- what a preview promises ------------------------------------------------------------------------------------------


def made(run):
    run.run("domains")
    rows = clusters(run)
    kept = [row for row in rows if row["kept"]]
    return {row["cluster"]: row["domain"] or "pruned" for row in rows}, kept, run.domains


@pytest.mark.parametrize("action", ["prune", "keep", "move", "merge", "split"])
def test_a_preview_is_what_then_happens(own_run, action):
    fates, kept, names = made(own_run)
    pruned = next(cluster for cluster, fate in fates.items() if fate == "pruned")
    two = next((name for name in names if len(members(own_run, name)) > 1), None)
    override = {
        "prune": prune(members(own_run, names[0])[0]),
        "keep": keep(pruned),
        "move": move(pruned, "spam"),
        "merge": merge(names[0], names[1]),
        "split": split(two, 2),
    }[action]
    found = curation.preview(own_run, curation.with_override(own_run, override))
    plan, trials = addresses(own_run), sum(trial.result is not None for trial in own_run.open_search().trials)
    curation.add(own_run, override)
    assert found.lost_trials == trials
    assert {one.stage for one in found.again} == {"domains", "tokens", "trunk"}
    fresh, left, after = made(own_run)
    if action != "split":  # whose parts are not known before it is made
        assert all(addresses(own_run)[one.stage][0] == one.digest != plan[one.stage][0] for one in found.again)
    assert {one.cluster: (one.before, one.after) for one in found.changes} == {
        cluster: (fates[cluster], fresh[cluster]) for cluster in fates if fates[cluster] != fresh[cluster]
    }
    assert found.changes
    assert (found.domains_before, found.domains_after) == (names, after)
    for key in ("documents", "characters"):
        promised = getattr(found, f"{key}_before"), getattr(found, f"{key}_after")
        assert promised == (sum(row[key] for row in kept), sum(row[key] for row in left))


def test_a_preview_of_a_threshold_says_the_same_as_the_stage(own_run):
    wanted = own_run.config.with_values({"domains.thresholds": {"advertisement": 0.0}, "domains.n_domains": 2})
    found = curation.preview(own_run, wanted)
    own_run.configure(wanted)
    assert made(own_run)[2] == found.domains_after
    assert found.domains_after != found.domains_before
    assert any(one.before == "pruned" for one in found.changes)


def test_a_limit_that_changes_no_decision_costs_no_search(own_run):
    least = min(row["documents"] for row in made(own_run)[1])
    wanted = own_run.config.with_values({"domains.min_documents": least})
    assert wanted != own_run.config
    found = curation.preview(own_run, wanted)
    assert (found.changes, found.lost_trials, [one.stage for one in found.again]) == ((), 0, ["domains"])
    trials, tokens = own_run.open_search().trials, own_run.needed("tokens")
    own_run.configure(wanted)
    assert [one.stage for one in own_run.plan() if one.state == "missing" and not one.optional] == [
        *("domains", "tokens", "trunk")
    ]
    assert "domains may change" in next(one.why for one in own_run.plan() if one.stage == "tokens")
    assert own_run.run() == own_run.needed("trunk")
    assert own_run.needed("tokens") == tokens
    assert [trial.result for trial in own_run.open_search().trials] == [trial.result for trial in trials]


def test_a_decision_that_is_taken_back_in_other_words_finds_what_was_made(own_run):
    search, victim = own_run.search_digest, members(own_run, own_run.domains[0])[0]
    curation.add(own_run, prune(victim))
    made(own_run)
    assert own_run.search_digest != search
    curation.add(own_run, keep(victim))
    assert {one.stage for one in own_run.plan() if one.state == "missing" and not one.optional} >= {"domains"}
    made(own_run)
    assert own_run.search_digest == search


# --- adding and taking back -------------------------------------------------------------------------------------------


def test_what_others_have_changed_meanwhile_is_kept(own_run):
    other = Run(own_run.workspace.folder)
    other.configure(other.config.with_values({"search.seed": 77}))
    curation.add(other, note(0, "theirs"))
    curation.add(own_run, note(1, "mine"))
    now = Run(own_run.workspace.folder).config
    assert now.search.seed == 77
    assert [one.why for one in now.domains.overrides] == ["theirs", "mine"]
    curation.add(other, note(2, "theirs again"))
    assert curation.undo(own_run).why == "theirs again"
    assert curation.clear(other) == 2
    assert Run(own_run.workspace.folder).config.search.seed == 77


def test_undo_restores_the_exact_former_plan_and_config(own_run):
    config, plan, second = own_run.config, addresses(own_run), untouched(own_run, 0, 1)
    for override in (move(0, "fresh"), merge("fresh", second), rename(second, "both"), split(0, 2), note(1)):
        curation.add(own_run, override)
    assert [one.who != "" for one in own_run.config.domains.overrides] == [curation.login_name() != ""] * 5
    assert all(one.when.endswith("Z") for one in own_run.config.domains.overrides)
    taken = [curation.undo(own_run).action for _ in range(5)]
    assert taken == ["note", "split", "rename", "merge", "move"]
    assert own_run.config == config == Run(own_run.workspace.folder).config
    assert addresses(own_run) == plan
    with pytest.raises(ClimbError, match="no override that could be taken back"):
        curation.undo(own_run)


def test_a_note_changes_no_address(own_run):
    plan = addresses(own_run)
    curation.add(own_run, note(0, "odd ones in here"))
    curation.add(own_run, note(own_run.domains[0], "the good stuff"))
    assert addresses(own_run) == plan
    assert curation.preview(own_run, own_run.config).again == ()


def test_an_override_that_cannot_be_changes_nothing(own_run):
    text = own_run.workspace.config_path.read_bytes()
    for override in (keep(99), merge("a", "b"), rename(own_run.domains[0], own_run.domains[1]), split(0, 999)):
        with pytest.raises(ClimbError):
            curation.add(own_run, override)
    assert own_run.workspace.config_path.read_bytes() == text


def test_one_override_is_removed_unless_later_ones_need_it(own_run):
    for override in (prune(0), move(1, "extra"), rename("extra", "more")):
        curation.add(own_run, override)
    with pytest.raises(ClimbError, match="no domain is called 'extra'"):
        curation.remove(own_run, 1)
    assert len(own_run.config.domains.overrides) == 3
    assert curation.remove(own_run, 0).action == "prune"
    assert [one.action for one in own_run.config.domains.overrides] == ["move", "rename"]
    with pytest.raises(ClimbError, match="from 0 to 1"):
        curation.remove(own_run, 2)
    assert curation.clear(own_run) == 2
    assert own_run.config.domains.overrides == ()


def test_overrides_go_to_a_file_and_come_back(own_run, tmp_path):
    path = tmp_path / "mine.toml"
    for override in (prune(0), note(1, 'say "this"\nand that'), rename(untouched(own_run, 0, 2), "proofs")):
        curation.add(own_run, override)
    kept = own_run.config.domains.overrides
    assert curation.export_overrides(own_run, path) == 3
    curation.clear(own_run)
    curation.add(own_run, prune(2))
    assert curation.import_overrides(own_run, path) == 3
    assert own_run.config.domains.overrides[1:] == kept
    curation.import_overrides(own_run, path, replace=True)
    assert own_run.config.domains.overrides == kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[override]]\naction = "keep"\ncluster = 0\n[[override]]\naction = "keep"', "override 2: .*needs cluster"),
        ('[[override]]\naction = "keep"\ncluser = 0', "override 1: there is no knob cluser; did you mean 'cluster'"),
        ('[[override]]\naction = "keep"\ncluster = 0\n[[override]]\naction = "prune"\ncluster = 99',
         r"override 2 \(prune 99\): .*there is no cluster 99"),
        ('override = 3', r".*below a line \[\[override\]\]"),
        ('[domains]\nn_domains = 3', r".*below a line \[\[override\]\]"),
        ('not toml', "not valid TOML"),
    ],
)  # fmt: skip
def test_a_bad_file_of_overrides_is_refused_by_entry_and_changes_nothing(own_run, tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    before = own_run.workspace.config_path.read_bytes()
    with pytest.raises(ClimbError, match=f"bad.toml: {message}"):
        curation.import_overrides(own_run, path)
    assert own_run.workspace.config_path.read_bytes() == before
    with pytest.raises(ClimbError, match="cannot be read"):
        curation.import_overrides(own_run, tmp_path / "none.toml")


# --- splits -----------------------------------------------------------------------------------------------------------


def purity(run):
    """Share of documents whose cluster is mostly of their source."""
    sources = [source for table in run.needed("corpus").tables(["source"]) for source in table["source"].to_pylist()]
    found = {}
    for label, source in zip(labels(run.clusters), sources, strict=True):
        found.setdefault(int(label), []).append(source)
    return sum(max(map(mine.count, set(mine))) for mine in found.values()) / len(sources)


def test_a_split_cluster_comes_apart_into_the_topics_that_were_in_it(coarse):
    before, plan = labels(coarse.needed("clustering")), addresses(coarse)
    assert purity(coarse) < 0.7
    found = curation.preview(coarse, curation.with_override(coarse, split(0, 3)))
    assert [(one.cluster, one.after) for one in found.changes] == [(0, "to be split into 3")]
    assert next(one.stage for one in found.again) == "splits"
    curation.add(coarse, split(0, 3))
    curation.add(coarse, split(1, 3))
    coarse.run("domains")
    assert purity(coarse) > 0.9
    after, table = labels(coarse.clusters), coarse.clusters.table("clusters").to_pylist()
    assert coarse.clusters.facts["clusters"] == 6
    assert {int(new) for new in after[before == 0]} == {0, 2, 3}
    assert {int(new) for new in after[before == 1]} == {1, 4, 5}
    assert np.bincount(after).tolist() == [row["documents"] for row in table]
    assert table[0]["documents"] >= max(table[2]["documents"], table[3]["documents"])
    vectors = np.concatenate([coarse.needed("embedding").array(part) for part in range(coarse.clusters.parts)])
    centroids = coarse.clusters.array("centroids")
    np.testing.assert_allclose(centroids[3], vectors[after == 3].astype(np.float64).mean(0), atol=1e-5)
    distances = np.concatenate([t["distance"].to_numpy() for t in coarse.clusters.tables(["distance"])])
    away = np.linalg.norm(vectors.astype(np.float64) - centroids[after], axis=1)
    np.testing.assert_allclose(distances, away, atol=1e-4)
    assert all(row["keywords"] for row in table)
    assert addresses(coarse)["projection"] == plan["projection"]
    assert sum(row["documents"] for row in clusters(coarse)) == len(after)
    with pytest.raises(ClimbError, match="counted from 0 to 5"):
        cluster(coarse, 6)
    curation.clear(coarse)
    assert addresses(coarse) == plan


def test_a_split_that_is_taken_back_is_whole_again_and_one_more_waits(coarse):
    curation.add(coarse, split(0, 2))
    coarse.run("domains")
    curation.add(coarse, move(2, "apart"))
    curation.add(coarse, split(1, 2))
    waiting = curation.decided(coarse)
    assert len(waiting.decisions) == 3
    assert waiting.names[waiting.decisions[2].domain] == "apart"
    curation.add(coarse, prune(3))  # a part that is yet to be made
    with pytest.raises(ClimbError, match=r"overrides\[4\] \(prune\): there is no cluster 4"):
        curation.add(coarse, prune(4))
    with pytest.raises(ClimbError, match="there is no cluster 9"):
        curation.add(coarse, split(9, 2))
    coarse.run("domains")
    assert [row["kept"] for row in clusters(coarse)] == [True, True, True, False]
    kept = coarse.config.domains.overrides
    whole = curation.preview(coarse, curation.with_overrides(coarse.config, kept[:2]))
    assert (3, "whole again") in [(one.cluster, one.after) for one in whole.changes]
    curation.undo(coarse)
    curation.undo(coarse)
    assert len(curation.decided(coarse).decisions) == 3


def test_a_split_that_is_stopped_goes_on_to_the_same_files(coarse, tmp_path, monkeypatch):
    import shutil

    undisturbed = Run(shutil.copytree(coarse.workspace.folder, tmp_path / "other" / "coarse"))
    curation.add(coarse, split(0, 3))
    undisturbed.configure(coarse.config)
    undisturbed.run("splits")
    put, left = ArtifactWriter.put_table, iter([None, None])

    def stopping(self, name, table):
        if next(left, "none left"):
            raise KeyboardInterrupt
        put(self, name, table)

    monkeypatch.setattr(ArtifactWriter, "put_table", stopping)
    with pytest.raises(KeyboardInterrupt):
        coarse.run("splits")
    monkeypatch.undo()
    assert next(stage for stage in coarse.plan() if stage.stage == "splits").state == "partial"
    made, wanted = coarse.run("splits"), undisturbed.needed("splits")
    files = {path.name for path in wanted.folder.iterdir()}
    assert files == {path.name for path in made.folder.iterdir()}
    assert all(made.path(f).read_bytes() == wanted.path(f).read_bytes() for f in files - {"manifest.json"})


def test_a_run_with_split_clusters_goes_on_to_its_data_set(coarse, tmp_path):
    from climb_engine.export.dataset import ClusteredOptions

    curation.add(coarse, split(0, 2))
    coarse.run("tokens")
    folder = coarse.export_clustered(ClusteredOptions(contents="text"), tmp_path / "out")
    kept = [row["documents"] for row in clusters(coarse) if row["kept"]]
    assert len(kept) == 3
    assert len([path for path in folder.iterdir() if path.is_dir() and "cluster" in path.name]) == 3


# --- near-duplicates --------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(finished_run, tmp_path):
    """A run whose corpus has every sailing document twice more, a word added."""
    rows = planted_documents(per_topic=30, junk=0)
    sailing = [row for row in rows if row["source"] == "sailing"]
    for extra in ("once", "twice"):
        rows += [{"text": f"{row['text']} {extra}", "source": "copy"} for row in sailing]
    path = write_jsonl(tmp_path / "docs.jsonl", rows)
    values = {"corpus.inputs": [str(path)], "corpus.part_documents": 50, "duplicates.method": "minhash",
              "domains.thresholds": {}}  # fmt: skip
    return Run.create(tmp_path / "runs" / "copied", finished_run.config.with_values(values))


def test_a_cluster_full_of_copies_is_pruned_by_its_share(copied):
    copied.run("domains")
    facts = copied.needed("duplicates").facts
    assert (facts["documents"], facts["duplicates"], facts["groups"]) == (180, 60, 30)
    assert sum(row["duplicates"] for row in clusters(copied)) == 60
    most = max(clusters(copied), key=lambda row: row["duplicates"])
    copied.configure(copied.config.with_values({"domains.max_duplicate_share": 0.5}))
    copied.run("domains")
    row = clusters(copied)[most["cluster"]]
    assert row["reason"].startswith("duplicate share 0.")
    assert row["reason"].endswith("> 0.5")
    assert copied.needed("domains").facts["duplicate_documents"] == 0


def test_with_remove_one_document_of_each_group_is_trained_on(copied):
    copied.run("tokens")
    everything = copied.needed("domains").facts["kept_documents"]
    found = copied.needed("duplicates").digest
    copied.configure(copied.config.with_values({"duplicates.remove": True}))
    assert {stage.stage: stage.state for stage in copied.plan()}["duplicates"] == "done"
    copied.run("tokens")
    assert copied.needed("duplicates").digest == found
    facts = copied.needed("domains").facts
    assert facts["kept_documents"] == everything - facts["duplicate_documents"]
    group = np.concatenate([t["duplicate_of"].to_numpy() for t in copied.needed("duplicates").tables()])
    group = np.where(group < 0, np.arange(len(group)), group)
    ids = np.concatenate([t["id"].to_numpy() for t in copied.needed("tokens").tables(["id"])])
    assert len(ids) == facts["kept_documents"] == len(set(group[ids]))
    rows = copied.needed("domains").table("domains").to_pylist()
    assert sum(row["documents"] for row in rows) == len(ids)
    texts = [text for t in copied.needed("corpus").tables(["text"]) for text in t["text"].to_pylist()]
    assert sum(row["characters"] for row in rows) == sum(len(texts[i]) for i in ids)
    assert set(group) == set(group[ids])  # and no group is lost


def test_copies_of_a_document_in_a_pruned_cluster_are_not_all_lost(copied):
    values = {"duplicates.remove": True, "clustering.n_clusters": 60, "domains.min_documents": 1}
    copied.configure(copied.config.with_values(values))
    copied.run("domains")
    of = np.concatenate([t["duplicate_of"].to_numpy() for t in copied.needed("duplicates").tables()])
    owner = labels(copied.clusters)
    apart = [i for i in np.flatnonzero(of >= 0) if owner[of[i]] != owner[i]]
    assert apart
    group = [of[apart[0]], *np.flatnonzero(of == of[apart[0]])]
    pruned = owner[group[0]]
    curation.add(copied, prune(int(pruned)))
    copied.run("domains")
    decided = copied.needed("domains").table("clusters")["domain"].to_numpy()
    artifacts = {stage: copied.needed(stage) for stage in ("corpus", "clustering", "duplicates")}
    placed = np.concatenate(domains_of_documents(artifacts, decided, remove=True))
    first = next(i for i in group if owner[i] != pruned)
    assert [i for i in group if placed[i] >= 0] == [first]
    everywhere = np.concatenate(domains_of_documents(artifacts, decided, remove=False))
    assert (everywhere >= 0).sum() > (placed >= 0).sum()


def test_a_stage_that_nothing_asks_for_is_not_in_the_plan_and_says_so(own_run):
    assert not {"splits", "duplicates"} & set(addresses(own_run))
    for stage in ("splits", "duplicates"):
        with pytest.raises(ClimbError, match=f"stage {stage} has nothing to do here"):
            own_run.run(stage)


# --- the command line -------------------------------------------------------------------------------------------------


def test_overrides_from_the_command_line(climb, own_run, tmp_path):  # noqa: F811
    runs = own_run.workspace.folder.parent
    before, first = own_run.workspace.config_path.read_bytes(), untouched(own_run, 0, 1)

    def say(*words, code=0):
        got, out, err = climb(*words, runs=runs)
        assert got == code, err
        return out + err

    out = say("override", "tiny", "prune", 0, "--dry-run", "--why", "it is \x1b[31mspam")
    assert "cluster 0 (" in out
    assert "to run again: domains (domains.overrides" in out
    assert "measured trials stay on record" in out
    assert "\x1b" not in out
    assert own_run.workspace.config_path.read_bytes() == before
    told = json.loads(say("override", "tiny", "prune", 0, "--dry-run", "--json"))
    assert (told["written"], told["changes"][0]["after"]) == (False, "pruned")
    assert own_run.workspace.config_path.read_bytes() == before
    say("override", "tiny", "prune", 0)
    say("override", "tiny", "move", 1, "extra", "--why", "it belongs there")
    assert "nothing has to run again" in say("override", "tiny", "rename", first, "proofs")
    say("override", "tiny", "merge", "extra", "proofs")
    assert "to be split into 2" in say("override", "tiny", "split", 2, "--parts", 2)
    say("override", "tiny", "note", "proofs", "--why", "look at this")
    assert "0  prune 0" in say("overrides", "tiny")
    assert "6 overrides" in say("overrides", "tiny")
    actions = [one["action"] for one in json.loads(say("overrides", "tiny", "--json"))]
    assert actions == ["prune", "move", "rename", "merge", "split", "note"]
    assert "taken back: note proofs" in say("undo", "tiny")
    say("overrides", "tiny", "--export", tmp_path / "o.toml")
    assert "5 overrides taken back" in say("overrides", "tiny", "--clear")
    assert own_run.workspace.config_path.read_bytes() == before
    say("overrides", "tiny", "--import", tmp_path / "o.toml", "--replace")
    assert len(json.loads(say("overrides", "tiny", "--json"))) == 5
    say("overrides", "tiny", "--clear")
    say("override", "tiny", "prune", 0)
    assert "\n1 override\n" in say("overrides", "tiny")
    assert "1 override taken back" in say("overrides", "tiny", "--clear")
    assert "give a cluster's number" in say("override", "tiny", "keep", "proofs", code=3)
    assert "needs parts = N" in say("override", "tiny", "split", 2, code=3)
    assert "takes one cluster or domain" in say("override", "tiny", "prune", 2, "x", code=3)
    assert "--replace needs --import" in say("overrides", "tiny", "--replace", code=3)


def test_the_table_of_merges_is_shown(climb, own_run):  # noqa: F811
    runs = own_run.workspace.folder.parent
    code, out, _ = climb("merges", "tiny", runs=runs)
    assert code == 0
    assert "silhouette" in out
    rows = json.loads(climb("merges", "tiny", "--json", runs=runs)[1])
    assert [row["domains"] for row in rows] == list(range(2, len(rows) + 2))
    assert rows[-1]["silhouette"] is None


def test_a_cluster_shows_its_notes_and_its_history(climb, own_run):  # noqa: F811
    runs, first = own_run.workspace.folder.parent, own_run.domains[0]
    number = members(own_run, first)[0]
    for override in (
        note(number, "boats\x1b[2J!"),
        note(first, "the whole domain"),
        keep(number),
        note(own_run.domains[1]),
    ):
        curation.add(own_run, override)
    own_run.run("domains")
    found = cluster(own_run, number)
    assert [(one["action"], one.get("why")) for one in found["history"]] == [
        *(("note", "boats\x1b[2J!"), ("note", "the whole domain"), ("keep", None))
    ]
    out = climb("cluster", "tiny", number, runs=runs)[1]
    assert f"note        note {number}" in out
    assert "boats [2J!" in out
    assert "\x1b" not in out


def test_an_author_is_kept_and_else_it_is_who_is_logged_in(own_run):
    assert curation.add(own_run, Override(action="note", cluster=0, why="x", who="a model")).who == "a model"
    assert curation.add(own_run, note(0)).who == curation.login_name()
