"""Data sets out: exact counts, the same bytes however often it was killed, and they load."""

import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from climb_engine.config import CorpusConfig
from climb_engine.curate.corpus import corpus_parts
from climb_engine.curate.tokens import tokenize_part, train_bpe
from climb_engine.export import shards
from climb_engine.export.dataset import (
    ClusteredOptions,
    MixedOptions,
    write_clustered,
    write_mixed,
)
from climb_engine.export.drawing import cut, draw, tokens_by_domain
from climb_engine.export.kept import Artifacts, tokens_per_document
from climb_engine.types import ClimbError, Mixture
from climb_engine.workspace import ArtifactWriter

NAMES = ("law", "../cooking <b>", "sea | star")
PART = 150
WORDS = np.array(["court", "judge", "oven", "butter", "star", "planet", "rope", "anchor", "ünïcode", "星", "tide"])


def planted(folder, documents=600, words=(5, 60)):
    """Finished stages over ``documents`` texts: three domains of two clusters each, the seventh cluster pruned."""
    rng = np.random.default_rng(3)
    clusters = rng.choice(7, documents, p=[0.3, 0.2, 0.2, 0.1, 0.05, 0.05, 0.1])
    owner = np.array([0, 0, 1, 1, 2, 2, -1])
    texts = [" ".join(rng.choice(WORDS, rng.integers(*words))) + f" {i}" for i in range(documents)]
    tokenizer = train_bpe(texts, 300)
    sizes = [PART] * (documents // PART)
    made = {}
    for kind in ("corpus", "clustering", "domains", "tokens"):
        made[kind] = ArtifactWriter(folder / f".partial-{kind}", folder / kind)
    made["tokens"].put_bytes("tokenizer.json", tokenizer.to_str().encode())
    for part in range(len(sizes)):
        ids = np.arange(part * PART, (part + 1) * PART)
        mine = [texts[i] for i in ids]
        rows = {"id": ids, "text": mine, "source": [f"s{i % 4}" for i in ids]}
        made["corpus"].put_table(part, pa.table(rows))
        made["clustering"].put_table(part, pa.table({"cluster": clusters[ids]}))
        out = tokenize_part(mine, ids, owner[clusters[ids]].astype(np.int32), [0.1] * 3, tokenizer, 0)
        made["tokens"].put_array(part, out.tokens)
        columns = {"id": out.documents, "domain": out.domains, "start": out.starts, "length": out.lengths}
        made["tokens"].put_table(part, pa.table(columns | {"heldout": out.heldout, "bytes": out.bytes}))
    facts = {"corpus": {"part_documents": sizes}, "domains": {"names": list(NAMES)}}
    finished = {
        kind: writer.finish({"digest": kind, "parts": len(sizes), "facts": facts.get(kind, {})})
        for kind, writer in made.items()
    }
    return Artifacts(**finished), texts


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("artifacts"))


def mixture(*weights):
    return Mixture(NAMES, np.array(weights))


MIX = mixture(0.5, 0.3, 0.2)


def rows_of(folder, pattern="data/*.parquet"):
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob(pattern))]).to_pylist()


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_domain_has_its_share_of_the_tokens_to_half_a_document(stages, tmp_path):
    artifacts, texts = stages
    write_mixed(tmp_path / "out", artifacts, MIX, MixedOptions(9000, shard_tokens=2000), {"run": "r"})
    rows = rows_of(tmp_path / "out")
    longest = artifacts.documents().lengths.max()
    for name, weight in MIX.as_dict().items():
        read = sum(row["token_count"] for row in rows if row["domain"] == name)
        assert abs(read - 9000 * weight) <= longest / 2
    assert all(row["text"] == texts[row["id"]] and row["source"] == f"s{row['id'] % 4}" for row in rows)
    assert all(len(row["tokens"]) == row["token_count"] for row in rows)
    facts = json.loads((tmp_path / "out/manifest.json").read_text())["facts"]
    assert facts["documents"] == len(rows)
    assert facts["tokens"] == sum(row["token_count"] for row in rows)
    assert sum(domain["tokens"] for domain in facts["domains"]) == facts["tokens"]


def test_tokens_are_those_of_the_text(stages, tmp_path):
    from tokenizers import Tokenizer

    write_mixed(tmp_path / "out", stages[0], MIX, MixedOptions(3000), {})
    tokenizer = Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    for row in rows_of(tmp_path / "out"):
        assert tokenizer.decode(row["tokens"], skip_special_tokens=True) == row["text"]


def test_no_document_comes_again_before_all_of_its_domain_came(stages):
    documents = stages[0].documents()
    available = tokens_by_domain(documents, 3)
    order = draw(documents, mixture(0.0, 0.0, 1.0), int(2.5 * available[2]), 4, 0)
    members = np.flatnonzero((documents.domains == 2) & ~documents.heldout)
    assert set(order[: len(members)]) == set(members)
    assert set(order[len(members) : 2 * len(members)]) == set(members)
    assert len(set(order[2 * len(members) :])) == len(order) - 2 * len(members)
    assert not np.array_equal(order[: len(members)], order[len(members) : 2 * len(members)])


def test_held_out_and_pruned_documents_are_not_drawn(stages):
    documents = stages[0].documents()
    everything = tokens_by_domain(documents, 3)
    order = draw(documents, mixture(*(everything / everything.sum())), int(everything.sum()), 1, 0)
    assert sorted(order) == np.flatnonzero(~documents.heldout).tolist()
    assert documents.heldout.any()


def test_every_stretch_of_the_data_set_has_the_mixture(stages):
    documents = stages[0].documents()
    order = draw(documents, MIX, 12_000, 4, 0)
    for quarter in np.array_split(order, 4):
        lengths = documents.lengths[quarter]
        shares = np.bincount(documents.domains[quarter], weights=lengths, minlength=3) / lengths.sum()
        assert shares == pytest.approx(MIX.weights, abs=0.03)


def test_the_order_is_shuffled_by_the_seed_alone(stages):
    documents = stages[0].documents()
    first, again, other = (draw(documents, MIX, 9000, 4, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:50], other[:50])
    assert np.abs(np.corrcoef(np.arange(len(first)), first)[0, 1]) < 0.2


def test_too_many_repeats_are_refused_with_names_and_the_most_there_is_before_anything_is_written(stages, tmp_path):
    artifacts, _ = stages
    asked = int(3 * tokens_by_domain(artifacts.documents(), 3)[2])
    with pytest.raises(ClimbError, match=r"read more than 2 times: sea \| star \(2.4 times\)") as refused:
        write_mixed(tmp_path / "out", artifacts, mixture(0.1, 0.1, 0.8), MixedOptions(asked, max_repeats=2), {})
    assert not (tmp_path / "out").exists()
    most = int(str(refused.value).split("at most ")[1].split(" tokens")[0].replace(",", ""))
    write_mixed(tmp_path / "out", artifacts, mixture(0.1, 0.1, 0.8), MixedOptions(most, max_repeats=2), {})
    counts = np.unique(
        [row["id"] for row in rows_of(tmp_path / "out") if row["domain"] == NAMES[2]], return_counts=True
    )
    assert set(counts[1]) == {2}


@pytest.mark.parametrize(
    "options",
    [
        {"tokens": 0},
        {"tokens": 10, "max_repeats": 0.0},
        {"tokens": 10, "contents": "words"},
        {"tokens": 10, "layout": "zip"},
        {"tokens": 10, "layout": "climbmix", "contents": "text"},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ClimbError, match="--"):
        MixedOptions(**options)


def test_less_than_a_document_is_refused(stages):
    with pytest.raises(ClimbError, match="less than a document"):
        draw(stages[0].documents(), MIX, 2, 4, 0)


class Killed(BaseException):
    """What a SIGKILL is to a program: nothing catches it."""


@pytest.mark.parametrize("layout", ["parquet", "climbmix"])
def test_a_writer_killed_at_any_file_goes_on_and_gives_the_same_bytes(stages, tmp_path, monkeypatch, layout):
    from climb_engine.export import dataset

    artifacts, _ = stages
    options = MixedOptions(6000, shard_tokens=2000, layout=layout)
    whole = contents(write_mixed(tmp_path / "whole", artifacts, MIX, options, {"run": "r"}))
    written, after = [], 0

    def put(path, content):
        if len(written) == after:
            raise Killed
        written.append(path.name)
        real(path, content)

    real = shards.write_atomically
    while True:
        folder = tmp_path / f"killed-{after}"
        written.clear()
        with monkeypatch.context() as patch:
            patch.setattr(shards, "write_atomically", put)
            patch.setattr(dataset, "write_atomically", put)
            try:
                write_mixed(folder, artifacts, MIX, options, {"run": "r"})
                break
            except Killed:
                assert not (folder / "manifest.json").exists()
        kept = set(written)
        torn = (folder / "data" if layout == "parquet" and after else folder / ".partial") / ".tmp-torn"
        torn.parent.mkdir(parents=True, exist_ok=True)
        torn.write_bytes(b"half of a file")
        with monkeypatch.context() as patch:
            again = []
            for module in (shards, dataset):
                patch.setattr(module, "write_atomically", lambda p, c, a=again: (a.append(p.name), real(p, c)))
            write_mixed(folder, artifacts, MIX, options, {"run": "r"})
        assert not {name for name in kept & set(again) if name.endswith((".parquet", ".jsonl", ".arrow", "plan.json"))}
        assert contents(folder) == whole
        after += 1
    assert after == len(whole) + 1 + 4  # and the plan, and what was set aside of four parts


def test_a_finished_data_set_is_left_alone_and_another_is_not_overwritten(stages, tmp_path):
    artifacts, _ = stages
    folder = write_mixed(tmp_path / "out", artifacts, MIX, MixedOptions(3000), {})
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_mixed(folder, artifacts, MIX, MixedOptions(3000), {})
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    with pytest.raises(ClimbError, match="other settings"):
        write_mixed(folder, artifacts, MIX, MixedOptions(3001), {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(ClimbError, match="not empty"):
        write_mixed(tmp_path / "mine", artifacts, MIX, MixedOptions(3000), {})
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_row_groups_are_small_and_shards_alike(stages, tmp_path):
    write_mixed(tmp_path / "out", stages[0], MIX, MixedOptions(12_000, shard_tokens=2000), {})
    files = sorted((tmp_path / "out/data").iterdir())
    tokens = [sum(pq.read_table(path)["token_count"].to_pylist()) for path in files]
    longest = stages[0].documents().lengths.max()
    assert len(files) == pytest.approx(6, abs=1)
    assert max(tokens) - min(tokens) <= 2 * longest
    table = pa.table({"x": np.arange(3000), "text": pa.array(["a"] * 3000, pa.large_string())})
    groups = pq.ParquetFile(pa.BufferReader(pa.py_buffer(shards._parquet(table)))).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [1024, 1024, 952]


def test_a_document_longer_than_a_shard_has_one_of_its_own():
    assert cut(np.array([5, 5, 100, 5], np.int32), 10)[-1][1] == 4
    spans = cut(np.array([5, 5, 100, 5], np.int32), 10)
    assert [a for a, _ in spans[1:]] == [b for _, b in spans[:-1]]
    assert all(a < b for a, b in spans)


@pytest.mark.parametrize("layout", ["parquet", "climbmix", "climbmix-parquet"])
@pytest.mark.parametrize("of", ["text", "tokens", "both"])
def test_it_loads_with_datasets_from_its_folder_alone(stages, tmp_path, monkeypatch, layout, of):
    if (layout, of) in (("climbmix", "text"), ("climbmix-parquet", "text")):
        return
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    options = MixedOptions(4000, shard_tokens=1500, layout=layout, contents=of)
    provenance = {"run": "r", "corpus": {"inputs": ["/home/me/x"]}, "overrides": [{"why": "```\n<b>"}]}
    folder = write_mixed(tmp_path / "out", stages[0], MIX, options, provenance)
    data = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    facts = json.loads((folder / "manifest.json").read_text())["facts"]
    assert data.num_rows == facts["documents"]
    assert sum(data["token_count"]) == facts["tokens"]
    wanted = {"text": {"text"}, "tokens": {"tokens"}, "both": {"text", "tokens"}}[of]
    rest = {"token_count", "domain", "source", "id"}
    assert set(data.column_names) == (wanted | rest if layout == "parquet" else {"tokens", "token_count", "cluster_id"})
    card = (folder / "README.md").read_text()
    assert "/home/me" not in card
    assert "<b>" not in card.split("## Provenance")[0]
    assert card.count("```") == 4


@pytest.mark.parametrize("layout", ["climbmix", "climbmix-parquet"])
def test_a_climbmix_of_ones_own_is_read_back_as_a_corpus(stages, tmp_path, layout):
    artifacts, texts = stages
    folder = write_mixed(tmp_path / "out", artifacts, MIX, MixedOptions(4000, layout=layout), {})
    config = CorpusConfig(
        inputs=(str(folder),), format="climbmix", tokenizer=str(folder / "tokenizer.json"), deduplicate=False
    )
    rows = [row for table, _ in corpus_parts(config) for row in table.to_pylist()]
    assert {row["text"] for row in rows} <= set(texts)
    assert len(rows) == json.loads((folder / "manifest.json").read_text())["facts"]["documents"]
    assert {row["source"] for row in rows} == {"cluster-0", "cluster-1", "cluster-2"}


@pytest.mark.parametrize("of", ["text", "tokens", "both"])
@pytest.mark.parametrize("by", ["cluster", "domain"])
def test_a_climblab_of_ones_own_holds_every_kept_document_and_is_read_back(stages, tmp_path, of, by):
    artifacts, texts = stages
    folder = write_clustered(tmp_path / "lab", artifacts, ClusteredOptions(by, 1500, of), {"run": "r"})
    if of == "text":
        config = CorpusConfig(inputs=(str(folder),), format="parquet", source_column="domain")
    else:
        config = CorpusConfig(inputs=(str(folder),), format="climblab", tokenizer=str(folder / "tokenizer.json"))
    rows = [row for table, _ in corpus_parts(config) for row in table.to_pylist()]
    kept = np.concatenate([artifacts.tokens.table(part, ["id"])["id"].to_numpy() for part in range(4)])
    assert sorted(row["text"] for row in rows) == sorted(texts[i] for i in kept)
    folders = {path.name for path in folder.iterdir() if path.is_dir()}
    if by == "cluster":
        assert folders == {f"cluster_{k}" for k in range(6)}
        assert (folder / "cluster_0" / f"cluster_0_001.{'parquet' if of == 'text' else 'tokenized.parquet'}").exists()
    else:
        assert folders == {"law", "cooking-b", "sea-star"}
    if of != "text":
        assert {row["source"] for row in rows} == folders


def test_a_climblab_loads_with_datasets_whole_and_by_domain(stages, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    folder = write_clustered(tmp_path / "lab", stages[0], ClusteredOptions("domain"), {})
    whole = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    law = load_dataset(str(folder), "law", split="train", cache_dir=str(tmp_path / "cache"))
    assert whole.num_rows == len(stages[0].documents().lengths)
    assert set(law["domain"]) == {"law"}
    assert 0 < law.num_rows < whole.num_rows


def test_documents_per_domain_have_their_mean_length(stages):
    documents = stages[0].documents()
    means = tokens_per_document(stages[0])
    free = documents.lengths[(documents.domains == 1) & ~documents.heldout]
    assert means[NAMES[1]] == pytest.approx(free.mean())


def test_memory_is_bounded_by_a_part_and_a_shard_not_by_the_data_set(tmp_path):
    artifacts, texts = planted(tmp_path / "a", documents=1500, words=(400, 800))
    size = sum(len(text.encode()) for text in texts)
    before, peaks = pa.total_allocated_bytes(), []

    def watched(function):
        def call(*arguments):
            result = function(*arguments)
            peaks.append(pa.total_allocated_bytes() - before)
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Artifacts, "read", watched(Artifacts.read))
        patch.setattr(shards, "_gather", watched(shards._gather))
        whole = tokens_by_domain(artifacts.documents(), 3)
        options = MixedOptions(int(whole.sum()), shard_tokens=int(whole.sum() / 8) + 1, contents="text")
        tracemalloc.start()
        write_mixed(tmp_path / "out", artifacts, Mixture(NAMES, whole / whole.sum()), options, {})
        python = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert size > 4_000_000
    assert len(peaks) == 10 + 8
    assert max(peaks) < size / 3
    assert python < size / 3
