import base64
import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from climb_engine.config import CorpusConfig
from climb_engine.curate import corpus, inputs
from climb_engine.curate.corpus import CorpusState, SeenDigests, corpus_parts
from climb_engine.curate.inputs import find_files, fingerprint
from climb_engine.types import ClimbError, Rejection

TEXTS = [
    "The first.",
    "Der zweite: äöü ß.",
    'Third, "quoted",\nover two lines.',
    "第四 🙂",
    "Nul \0 inside.",
    " padded ",
]


def write(path: Path, data: bytes) -> Path:
    """Compressed as the suffix says, in two members so that a reader that stops after the first is found out."""
    half = len(data) // 2
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack(data[:half]) + pack(data[half:]))
    return path


def jsonl(path: Path, records: list) -> Path:
    lines = [r if isinstance(r, bytes) else json.dumps(r, ensure_ascii=False).encode() for r in records]
    return write(path, b"\n".join(lines) + b"\n")


def delimited(path: Path, rows: list, delimiter: str = ",") -> Path:
    from io import StringIO

    out = StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return write(path, out.getvalue().encode())


def settings_for(*inputs, **knobs) -> CorpusConfig:
    return CorpusConfig(inputs=tuple(str(i) for i in inputs), **knobs)


def read(config: CorpusConfig) -> tuple[pa.Table, CorpusState]:
    parts = list(corpus_parts(config))
    return pa.concat_tables(table for table, _ in parts), parts[-1][1]


def rejections(config: CorpusConfig) -> dict[str, list[str]]:
    _, state = read(config)
    assert state.records == state.documents + sum(state.rejected.values())
    assert {reason: min(n, 3) for reason, n in state.rejected.items()} == {r: len(e) for r, e in state.examples.items()}
    return {reason: [example.where for example in examples] for reason, examples in state.examples.items()}


def error_of(config: CorpusConfig) -> str:
    with pytest.raises(ClimbError) as caught:
        list(corpus_parts(config))
    return str(caught.value)


# Every format


@pytest.mark.parametrize("name", ["d.jsonl", "d.ndjson", "d.json", "d.jsonl.gz", "d.jsonl.zst", "D.JSONL"])
def test_json_lines_come_back_as_written(tmp_path, name):
    records = [{"text": text, "n": i} for i, text in enumerate(TEXTS)]
    table, state = read(settings_for(jsonl(tmp_path / name, records), keep_columns=("n",)))
    assert table.to_pydict() == {
        "id": list(range(6)),
        "text": TEXTS,
        "source": [name] * 6,
        "digest": table["digest"].to_pylist(),
        "n": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
    }
    assert table.schema.types == [pa.int64(), pa.string(), pa.string(), pa.uint64(), pa.float64()]
    assert (state.records, state.documents, state.finished) == (6, 6, True)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_comes_back_as_written_whatever_its_string_type(tmp_path, kind):
    text = pa.array([t.encode() for t in TEXTS], kind) if kind == pa.binary() else pa.array(TEXTS).cast(kind)
    pq.write_table(pa.table({"body": text, "from": ["a", "b"] * 3, "unused": [1] * 6}), tmp_path / "d.parquet")
    table, _ = read(settings_for(tmp_path / "d.parquet", text_column="body", source_column="from"))
    assert table["text"].to_pylist() == TEXTS
    assert table["source"].to_pylist() == ["a", "b"] * 3


@pytest.mark.parametrize(
    ("name", "delimiter"), [("d.csv", ","), ("d.csv.gz", ","), ("d.csv.zst", ","), ("d.tsv", "\t")]
)
def test_csv_comes_back_as_written_with_newlines_in_quotes(tmp_path, name, delimiter):
    rows = [["n", "text"], *([str(i), text] for i, text in enumerate(TEXTS))]
    table, _ = read(settings_for(delimited(tmp_path / name, rows, delimiter), keep_columns=("n",)))
    assert table["text"].to_pylist() == TEXTS
    assert table["n"].to_pylist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_csv_field_may_be_longer_than_the_limit_of_the_csv_module(tmp_path):
    path = delimited(tmp_path / "d.csv", [["text"], ["long " * 100_000]])
    assert read(settings_for(path))[0]["text"].to_pylist() == ["long " * 100_000]


@pytest.mark.parametrize("suffix", [".txt", ".md", ".txt.gz", ".md.zst"])
def test_a_text_file_is_one_document(tmp_path, suffix):
    for i, text in enumerate(TEXTS):
        write(tmp_path / f"{i}{suffix}", text.encode())
    table, _ = read(settings_for(tmp_path))
    assert table["text"].to_pylist() == TEXTS
    assert table["source"].to_pylist() == [f"{i}{suffix}" for i in range(6)]


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.txt"])
def test_a_byte_order_mark_is_no_text(tmp_path, name):
    body = {"d.jsonl": '{"text": "hello"}', "d.csv": "text\nhello\n", "d.txt": "hello"}[name]
    write(tmp_path / name, body.encode("utf-8-sig"))
    assert read(settings_for(tmp_path / name))[0]["text"].to_pylist() == ["hello"]


def test_blank_lines_and_windows_line_ends_are_no_records(tmp_path):
    write(tmp_path / "d.jsonl", b'\r\n{"text": "a"}\r\n\r\n{"text": "b"}\r\n  \r\n')
    write(tmp_path / "d.csv", b"text,n\r\n\r\nc,1\r\n\r\nd,2\r\n")
    table, state = read(settings_for(tmp_path / "d.jsonl", tmp_path / "d.csv"))
    assert table["text"].to_pylist() == ["a", "b", "c", "d"]
    assert state.records == 4


def test_formats_can_be_mixed_and_ids_run_through(tmp_path):
    jsonl(tmp_path / "a.jsonl", [{"text": "one"}, {"text": "two"}])
    delimited(tmp_path / "b.csv", [["text"], ["three"]])
    pq.write_table(pa.table({"text": ["four"]}), tmp_path / "c.parquet")
    write(tmp_path / "d.txt", b"five")
    table, _ = read(settings_for(tmp_path, part_documents=2))
    assert table["id"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["text"].to_pylist() == ["one", "two", "three", "four", "five"]
    assert table["source"].to_pylist() == ["a.jsonl", "a.jsonl", "b.csv", "c.parquet", "d.txt"]


def test_the_format_can_be_said_when_the_name_does_not(tmp_path):
    path = jsonl(tmp_path / "dump.2024", [{"text": "hello"}])
    assert read(settings_for(path, format="jsonl"))[0]["text"].to_pylist() == ["hello"]


# Token files, in the layout of the published data sets


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(TEXTS, trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return made, path


def test_climblab_files_are_decoded_and_their_folder_is_the_source(tmp_path, tokenizer):
    made, path = tokenizer
    for cluster in (3, 12):
        ids = [[*made.encode(f"{text} in {cluster}").ids, 0] for text in TEXTS]
        (tmp_path / f"cluster_{cluster}").mkdir()
        pq.write_table(
            pa.table({"tokens": ids, "token_count": [len(i) for i in ids]}),
            tmp_path / f"cluster_{cluster}" / f"cluster_{cluster}_000.tokenized.parquet",
        )
    table, _ = read(settings_for(tmp_path, tokenizer=str(path), keep_columns=("token_count",)))
    assert table["text"].to_pylist() == [f"{text} in {cluster}" for cluster in (12, 3) for text in TEXTS]
    assert table["source"].to_pylist() == ["cluster_12"] * 6 + ["cluster_3"] * 6
    assert table["token_count"][0].as_py() == len(made.encode(f"{TEXTS[0]} in 12").ids) + 1


@pytest.mark.parametrize("name", ["part_0.tokenized.jsonl", "part_0.tokenized.jsonl.zst", "shard_0.tokenized.parquet"])
def test_climbmix_files_are_decoded_and_their_cluster_is_the_source(tmp_path, tokenizer, name):
    made, path = tokenizer
    records = [
        {"tokens": made.encode(text).ids, "token_count": 1, "cluster_id": i % 2 + 4} for i, text in enumerate(TEXTS)
    ]
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(records), tmp_path / name)
    else:
        jsonl(tmp_path / name, records)
    table, _ = read(settings_for(tmp_path / name, tokenizer=str(path)))
    assert table["text"].to_pylist() == TEXTS
    assert table["source"].to_pylist() == ["cluster-4", "cluster-5"] * 3


def test_a_saved_tokenizer_folder_decodes_too(tmp_path, tokenizer):
    from transformers import PreTrainedTokenizerFast

    made, path = tokenizer
    PreTrainedTokenizerFast(tokenizer_file=str(path)).save_pretrained(tmp_path / "saved")
    file = jsonl(tmp_path / "a.tokenized.jsonl", [{"tokens": made.encode(t).ids, "cluster_id": 1} for t in TEXTS])
    assert read(settings_for(file, tokenizer=str(tmp_path / "saved")))[0]["text"].to_pylist() == TEXTS


def test_tokens_that_are_none_are_counted(tmp_path, tokenizer):
    rows = [[5, 6], [5, 99_999], [-1], "text", 7, [[5]], None, []]
    file = jsonl(tmp_path / "a.tokenized.jsonl", [{"tokens": tokens, "cluster_id": 1} for tokens in rows])
    config = settings_for(file, tokenizer=str(tokenizer[1]))
    name = file.name
    assert rejections(config) == {
        "not-tokens": [f"{name}:{i}" for i in (2, 3, 4)],
        "no-text": [f"{name}:7"],
        "empty": [f"{name}:8"],
    }
    assert read(config)[1].rejected["not-tokens"] == 5


@pytest.mark.network
def test_gpt2_tokens_become_text_without_the_end_token(tmp_path):
    ids = [[15496, 995, 50256], [447], [15496, 50257]]  # "Hello world", half a quotation mark, no such token
    file = jsonl(
        tmp_path / "part_0.tokenized.jsonl.gz", [{"tokens": i, "token_count": 3, "cluster_id": 7} for i in ids]
    )
    table, state = read(settings_for(file))
    assert table["text"].to_pylist() == ["Hello world"]
    assert table["source"].to_pylist() == ["cluster-7"]
    assert state.rejected == {"not-utf8": 1, "not-tokens": 1}


def test_gpt2_ranks_are_read_as_they_are_published(monkeypatch):
    ranks = b"".join(base64.b64encode(bytes([i])) + b" %d\n" % i for i in range(256))

    class Files:
        def read(self, member):
            return {"whisper/assets/gpt2.tiktoken": ranks}[member]

    monkeypatch.setattr(inputs, "package_files", lambda name: {"openai-whisper": Files()}[name])
    assert inputs._gpt2_decoder()([*"äb".encode(), 50256]) == "äb".encode()


# Hugging Face data sets


@pytest.fixture
def hub_home(monkeypatch, tmp_path_factory):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hub"))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.usefixtures("hub_home")
def test_a_data_set_folder_is_streamed(tmp_path, suffix):
    folder = tmp_path / "set"
    folder.mkdir()
    records = [{"text": text, "score": i / 2, "extra": {"a": 1}} for i, text in enumerate(TEXTS)]
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(records), folder / "x.parquet")
    else:
        jsonl(folder / "x.jsonl", records)
    config = settings_for(f"hf:{folder}", keep_columns=("score",), part_documents=4)
    parts = list(corpus_parts(config))
    table = pa.concat_tables(t for t, _ in parts)
    assert table["text"].to_pylist() == TEXTS
    assert table["score"].to_pylist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert set(table["source"].to_pylist()) == {"set"}
    resumed = list(corpus_parts(config, parts[0][1], [parts[0][0]["digest"].to_numpy()]))
    assert [(t.to_pydict(), s) for t, s in resumed] == [(t.to_pydict(), s) for t, s in parts[1:]]


@pytest.mark.usefixtures("hub_home")
def test_faults_of_a_data_set_say_what_to_do(tmp_path, monkeypatch):
    folder = tmp_path / "set"
    folder.mkdir()
    jsonl(folder / "x.jsonl", [{"text": "a"}])
    assert "hf_split ('test')" in error_of(settings_for(f"hf:{folder}", hf_split="test"))
    assert "no column 'body' (see corpus.text_column); the columns are text" in error_of(
        settings_for(f"hf:{folder}", text_column="body")
    )
    import datasets

    def unreachable(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    message = error_of(settings_for("hf:owner/name"))
    assert message.startswith("hf:owner/name: the data set cannot be read (ConnectionError: no route to host)")
    assert "the network and HF_TOKEN, or download it and give its folder" in message


# Which files


def test_files_come_in_the_given_order_sorted_inside_and_once(tmp_path, monkeypatch):
    for name in (
        "b/2.jsonl",
        "b/1.txt",
        "b/deep/3.csv.gz",
        "b/notes.pdf",
        "b/.hidden/4.txt",
        "b/.5.txt",
        "a.jsonl",
        "c.jsonl",
    ):
        jsonl(tmp_path / name, [{"text": "x"}])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = settings_for("c.jsonl", "b", tmp_path / "b/1.txt", "*.jsonl", "~/a.jsonl", "hf:owner/name")
    assert [str(p) for p in find_files(config)] == ["c.jsonl", "b/1.txt", "b/2.jsonl", "b/deep/3.csv.gz", "a.jsonl"]
    assert find_files(settings_for("~/a.jsonl")) == (tmp_path / "a.jsonl",)


def test_a_glob_reaches_folders_and_all_depths(tmp_path):
    for name in ("cluster_1/a.jsonl", "cluster_2/x/b.jsonl", "other/c.jsonl"):
        jsonl(tmp_path / name, [{"text": "x"}])
    names = lambda pattern: [p.name for p in find_files(settings_for(tmp_path / pattern))]  # noqa: E731
    assert names("cluster_*") == ["a.jsonl", "b.jsonl"]
    assert names("**/*.jsonl") == ["a.jsonl", "b.jsonl", "c.jsonl"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(tmp_path):
    path = jsonl(tmp_path / "docs[1].jsonl", [{"text": "x"}])
    assert find_files(settings_for(path)) == (path,)


def test_with_a_format_a_folder_gives_only_its_files(tmp_path):
    jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    write(tmp_path / "README.md", b"About.")
    assert [p.name for p in find_files(settings_for(tmp_path))] == ["README.md", "a.jsonl"]
    assert [p.name for p in find_files(settings_for(tmp_path, format="jsonl"))] == ["a.jsonl"]


def test_inputs_that_cannot_be_found_say_so(tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "zero.jsonl").touch()
    write(tmp_path / "a.pdf", b"x")
    write(tmp_path / "a.parquet.gz", b"x")
    for named, message in {
        (): "corpus.inputs is empty; name files, folders, globs, or hf:owner/name",
        (f"{tmp_path}/gone.jsonl",): "gone.jsonl: there is no such file or folder; check corpus.inputs",
        (
            f"{tmp_path}/none",
        ): "none: the folder holds no file of a known kind; known are .jsonl, .ndjson, .json, .parquet",
        (f"{tmp_path}/*.csv",): "*.csv: no file matches; check corpus.inputs",
        (f"{tmp_path}/zero.jsonl",): "empty (0 bytes): ",
        (
            f"{tmp_path}/a.pdf",
        ): "a.pdf: the suffix '.pdf' is not known; known are .jsonl, .ndjson, .json, .parquet, .csv",
        (f"{tmp_path}/a.parquet.gz",): "the suffix '.gz' is not known",
        ("hf:",): "hf: names no data set; write hf:owner/name",
        ("x" * 5000,): "cannot be looked up",
    }.items():
        with pytest.raises(ClimbError) as caught:
            find_files(settings_for(*named))
        assert message in str(caught.value)


def test_the_fingerprint_changes_with_a_file_and_only_then(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    folder = tmp_path / "set"
    jsonl(folder / "b.jsonl", [{"text": "y"}])
    config = settings_for(path, "hf:owner/name", f"hf:{folder}")
    before = fingerprint(config)
    stat = path.stat()
    assert before[:2] == [
        {"path": str(path), "resolved": str(path.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns},
        {"id": "hf:owner/name"},
    ]
    assert fingerprint(config) == before
    for changed in (path, folder / "b.jsonl"):
        jsonl(changed, [{"text": "longer"}])
        assert fingerprint(config) != before
        before = fingerprint(config)


# Faults of documents


def test_every_bad_line_of_json_is_counted_with_its_reason(tmp_path):
    path = jsonl(
        tmp_path / "d.jsonl",
        [
            {"text": "good one"},
            b'{"text": "torn',
            b"[1, 2]",
            {"other": 1},
            {"text": None},
            {"text": ["a", "list"]},
            {"text": 7},
            {"text": ""},
            {"text": " \n\t "},
            b'{"text": "\xff\xfe"}',
            b'{"text": "lone \\ud800 surrogate"}',
            {"text": "abc"},
            {"text": "x" * 51},
            {"text": "  good one\n"},
            {"text": "nul \0 here"},
            b"[" * 100_000,
        ],
    )
    config = settings_for(path, min_chars=4, max_chars=50)
    where = lambda *lines: [f"d.jsonl:{line}" for line in lines]  # noqa: E731
    assert rejections(config) == {
        "not-json": where(2, 16),
        "not-an-object": where(3),
        "no-text": where(4, 5),
        "not-a-string": where(6, 7),
        "empty": where(8, 9),
        "not-utf8": where(10, 11),
        "too-short": where(12),
        "too-long": where(13),
        "duplicate": where(14),
    }
    table, state = read(config)
    assert table["text"].to_pylist() == ["good one", "nul \0 here"]
    assert state.examples["not-json"][0] == Rejection("not-json", "d.jsonl:2", '{"text": "torn')
    assert state.examples["not-a-string"][0].sample == '["a", "list"]'
    assert state.examples["duplicate"][0].sample == "good one"
    json.dumps(state.as_json()).encode()


def test_only_the_first_three_of_a_reason_are_kept_as_examples(tmp_path):
    path = jsonl(tmp_path / "d.jsonl", [{"text": "a"}, *[{"text": ""}] * 10])
    _, state = read(settings_for(path))
    assert state.rejected == {"empty": 10}
    assert [e.where for e in state.examples["empty"]] == ["d.jsonl:2", "d.jsonl:3", "d.jsonl:4"]


def test_bad_rows_of_parquet_are_counted_by_row(tmp_path):
    strings = pa.array([b"good", None, b"\xff", b"", b"good"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": strings}), tmp_path / "d.parquet")
    assert rejections(settings_for(tmp_path / "d.parquet")) == {
        "no-text": ["d.parquet:row 2"],
        "not-utf8": ["d.parquet:row 3"],
        "empty": ["d.parquet:row 4"],
        "duplicate": ["d.parquet:row 5"],
    }
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "n.parquet")
    assert read(settings_for(tmp_path / "n.parquet"))[1].rejected == {"not-a-string": 2}


def test_bad_rows_of_csv_are_counted_by_the_line_they_begin_on(tmp_path):
    body = b'text,n\n"two\nlines",1\nragged\nragged,1,2\n"odd" quotes,3\nlatin \xe4,4\n,5\nlast,6\n'
    config = settings_for(write(tmp_path / "d.csv", body))
    assert rejections(config) == {
        "bad-row": ["d.csv:4", "d.csv:5", "d.csv:6"],
        "not-utf8": ["d.csv:7"],
        "empty": ["d.csv:8"],
    }
    assert read(config)[0]["text"].to_pylist() == ["two\nlines", "last"]


def test_a_bad_row_of_a_csv_with_one_column_is_no_document(tmp_path):
    config = settings_for(write(tmp_path / "d.csv", b'text\nfine\n"odd" quotes\n'))
    assert rejections(config) == {"bad-row": ["d.csv:3"]}


def test_bad_text_files_are_counted_by_name(tmp_path):
    write(tmp_path / "a.txt", b"latin \xe4")
    write(tmp_path / "b.txt", b" \n")
    write(tmp_path / "c.txt", "ä".encode() * 50)
    write(tmp_path / "d.txt", b"x" * 100_000)
    assert rejections(settings_for(tmp_path, max_chars=50)) == {
        "not-utf8": ["a.txt"],
        "empty": ["b.txt"],
        "too-long": ["d.txt"],
    }


def test_nothing_accepted_leaves_one_empty_part_and_the_reasons(tmp_path):
    path = jsonl(tmp_path / "d.jsonl", [{"text": ""}, {"text": None}])
    [(table, state)] = corpus_parts(settings_for(path, keep_columns=()))
    assert table.num_rows == 0
    assert table.column_names == ["id", "text", "source", "digest"]
    assert (state.rejected, state.finished) == ({"empty": 1, "no-text": 1}, True)


def test_duplicates_are_kept_when_asked(tmp_path):
    path = jsonl(tmp_path / "d.jsonl", [{"text": "a"}, {"text": "a"}])
    table, _ = read(settings_for(path, deduplicate=False))
    assert table["text"].to_pylist() == ["a", "a"]
    assert len(set(table["digest"].to_pylist())) == 1


# Kept columns and sources


def test_kept_columns_are_numbers_or_text_by_their_first_value(tmp_path):
    records = [
        {"text": "a", "score": None, "tag": "x", "big": 2**62 + 1, "meta": {"k": [1]}, "never": None, "flag": True},
        {"text": "b", "score": 3, "tag": 5, "big": 1, "meta": None, "never": None, "flag": False},
        {"text": "c", "score": 0.5},
        {"text": "d", "score": "n/a", "tag": "y"},
        {"text": "e", "score": "2.5", "tag": "lone \ud800"},
    ]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in records))
    names = ("score", "tag", "big", "meta", "never", "flag")
    table, state = read(settings_for(path, keep_columns=names, part_documents=1))
    kept = table.select(names).to_pydict()
    assert kept == {
        "score": [None, 3.0, 0.5, 2.5],
        "tag": ["x", "5", None, "lone ?"],
        "big": [str(2**62 + 1), "1", None, None],
        "meta": ['{"k": [1]}', None, None, None],
        "never": [None] * 4,
        "flag": [1.0, 0.0, None, None],
    }
    assert state.examples["bad-column"] == (Rejection("bad-column", "d.jsonl:4", "score: n/a"),)


def test_digits_in_a_csv_are_numbers_but_names_of_digits_are_not(tmp_path):
    rows = [["text", "score", "code", "size"], ["a", "1.5", "007", "-1e3"], ["b", "", "8", "2"]]
    table, _ = read(settings_for(delimited(tmp_path / "d.csv", rows), keep_columns=("score", "code", "size")))
    assert table.select(["score", "code", "size"]).to_pydict() == {
        "score": [1.5, None],
        "code": ["007", "8"],
        "size": [-1000.0, 2.0],
    }


def test_values_that_only_parquet_has_can_be_kept(tmp_path):
    from datetime import date
    from decimal import Decimal

    columns = {"text": ["a"], "price": [Decimal("0.10")], "day": [date(2024, 2, 29)], "words": [["x", "y"]]}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    table, _ = read(settings_for(tmp_path / "d.parquet", keep_columns=("price", "day", "words")))
    assert table.select(["price", "day", "words"]).to_pylist() == [
        {"price": 0.1, "day": "2024-02-29", "words": '["x", "y"]'}
    ]


def test_a_source_is_the_columns_value_or_else_the_file(tmp_path):
    path = jsonl(
        tmp_path / "d.jsonl", [{"text": "a", "from": "web"}, {"text": "b", "from": None}, {"text": "c", "from": 3}]
    )
    assert read(settings_for(path, source_column="from"))[0]["source"].to_pylist() == ["web", "d.jsonl", "3"]


# Faults of files


@pytest.mark.parametrize("first", [b"[", b'"text"', b"not json", b"{}", b"\xff\xfe{", b'[{"text": "a"}]'])
def test_a_file_that_is_no_json_lines_is_refused_at_its_first_line(tmp_path, first):
    path = write(tmp_path / "docs.jsonl", first + b'\n{"text": "a"}\n')
    assert error_of(settings_for(path)).endswith('docs.jsonl:1: every line must be a JSON object with a "text" field')


@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet", "d.csv"])
def test_a_missing_column_is_named_with_those_there_are(tmp_path, name):
    path = tmp_path / name
    records = [{"body": "a", "score": 1}]
    if name == "d.parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif name == "d.csv":
        delimited(path, [["body", "score"], ["a", 1]])
    else:
        jsonl(path, records)
    there = "the columns are body, score"
    assert f"there is no column 'text' (see corpus.text_column); {there}" in error_of(settings_for(path))
    found = error_of(settings_for(path, text_column="body", keep_columns=("score", "stars")))
    assert f"there is no column 'stars' (see corpus.keep_columns); {there}" in found
    found = error_of(settings_for(path, text_column="body", source_column="from"))
    assert f"there is no column 'from' (see corpus.source_column); {there}" in found
    assert name in found


def test_a_missing_column_of_token_files_points_to_the_format(tmp_path, tokenizer):
    path = jsonl(tmp_path / "a.tokenized.jsonl", [{"tokens": [1]}])
    found = error_of(settings_for(path, tokenizer=str(tokenizer[1])))
    assert "there is no column 'cluster_id' (see corpus.format)" in found


def test_a_text_file_has_no_columns_to_keep(tmp_path):
    found = error_of(settings_for(write(tmp_path / "a.txt", b"x"), keep_columns=("score",)))
    assert "there is no column 'score' (see corpus.keep_columns)" in found


def test_the_corpus_keeps_its_own_column_names(tmp_path):
    path = jsonl(tmp_path / "d.jsonl", [{"text": "a", "id": 1, "n": 2}])
    assert "rename id in the inputs" in error_of(settings_for(path, keep_columns=("id",)))
    assert "names a column twice" in error_of(settings_for(path, keep_columns=("n", "n")))


@pytest.mark.parametrize("name", ["d.jsonl.gz", "d.jsonl.zst", "d.csv.gz", "d.txt.gz"])
@pytest.mark.parametrize("missing", [1, 9, 200])
def test_a_compressed_file_that_was_cut_short_is_refused(tmp_path, name, missing):
    rng = np.random.default_rng(0)
    lines = [rng.bytes(40).hex() for _ in range(200)]
    if "jsonl" in name:
        path = jsonl(tmp_path / name, [{"text": line} for line in lines])
    else:
        path = write(tmp_path / name, "\n".join(["text", *lines]).encode())
    assert read(settings_for(path))[1].documents > 0
    path.write_bytes(path.read_bytes()[:-missing])
    found = error_of(settings_for(path))
    assert name in found
    assert "damaged or cut short near byte" in found


def test_a_file_that_is_not_compressed_as_it_says_is_refused(tmp_path):
    (tmp_path / "d.jsonl.gz").write_bytes(b'{"text": "plain"}\n')
    assert "d.jsonl.gz: damaged or cut short" in error_of(settings_for(tmp_path / "d.jsonl.gz"))


def test_a_damaged_parquet_file_is_refused_with_where(tmp_path):
    path = tmp_path / "d.parquet"
    texts = [np.random.default_rng(i).bytes(20).hex() for i in range(4000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1000, write_page_checksum=True)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert "d.parquet: damaged or cut short behind row 0" in error_of(settings_for(path))
    start = pq.ParquetFile(pa.BufferReader(whole)).metadata.row_group(2).column(0)
    at = start.data_page_offset + start.total_compressed_size // 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    assert "d.parquet: damaged or cut short behind row 2" in error_of(settings_for(path))


def test_a_quote_left_open_is_refused_with_its_line(tmp_path):
    path = write(tmp_path / "d.csv", b'text,n\na,1\n"open,2\nb,3\n')
    found = error_of(settings_for(path))
    assert "d.csv:3: " in found
    assert "is a quote left open there?" in found


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_LONGEST", 1000)
    path = jsonl(tmp_path / "d.jsonl", [{"text": "a"}, {"text": "x" * 2000}])
    assert "d.jsonl:2: a line of over 1000 bytes; is this JSON Lines?" in error_of(settings_for(path))


def test_a_tokenizer_that_cannot_be_loaded_says_what_to_give(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    path = jsonl(tmp_path / "a.tokenized.jsonl", [{"tokens": [1], "cluster_id": 1}])
    found = error_of(settings_for(path, tokenizer=str(tmp_path / "tokenizer.json")))
    assert "cannot be loaded" in found
    assert "give 'gpt2', the id of a tokenizer on the hub, or the path of one" in found


# Parts, and going on


def test_a_part_closes_at_its_documents_or_its_characters(tmp_path):
    path = jsonl(tmp_path / "d.jsonl", [{"text": f"{i:04d}" + "x" * (96 if i == 4 else 0)} for i in range(8)])
    sizes = lambda **knobs: [t.num_rows for t, _ in corpus_parts(settings_for(path, **knobs))]  # noqa: E731
    assert sizes(part_documents=3) == [3, 3, 2]
    assert sizes(part_documents=4) == [4, 4]
    assert sizes(part_chars=12) == [3, 1, 1, 3]
    assert sizes(part_chars=1) == [1] * 8


def test_reading_stops_at_max_documents_before_it_meets_what_follows(tmp_path):
    path = jsonl(tmp_path / "d.jsonl", [{"text": f"{i}"} for i in range(5)])
    broken = write(tmp_path / "e.jsonl", b"not json")
    parts = list(corpus_parts(settings_for(path, broken, max_documents=5, part_documents=2)))
    assert [t.num_rows for t, _ in parts] == [2, 2, 1]
    assert parts[-1][1].finished
    assert list(corpus_parts(settings_for(path, broken, max_documents=5), parts[-1][1])) == []


def test_rejections_behind_the_last_document_belong_to_the_last_part(tmp_path):
    path = jsonl(tmp_path / "d.jsonl", [{"text": "a"}, {"text": "b"}, {"text": ""}])
    [(table, state)] = corpus_parts(settings_for(path, part_documents=2))
    assert (table.num_rows, state.records, state.rejected) == (2, 3, {"empty": 1})


def messy_folder(folder: Path) -> Path:
    """All formats, all kinds of fault, and duplicates inside and across files."""
    bad = [{"text": ""}, {"text": None}, b"torn", {"text": "3 x", "n": 1}]
    jsonl(folder / "a.jsonl", [r for i in range(12) for r in ({"text": f"{i} x", "n": None}, *bad[i % 5 : i % 5 + 1])])
    jsonl(folder / "b.jsonl.gz", [{"text": f"{i} x", "n": i} for i in range(8, 16)])
    pq.write_table(
        pa.table({"text": [f"{i} x" if i % 4 else None for i in range(14, 30)], "n": list(range(16))}),
        folder / "c.parquet",
        row_group_size=5,
    )
    delimited(folder / "d.csv", [["text", "n"], *([f"{i} x\ny", "no" if i == 33 else i] for i in range(30, 36)), [""]])
    jsonl(folder / "e.jsonl", [{"text": "", "n": 1}])
    jsonl(folder / "f.jsonl", [{"text": "last", "n": 1}, {"text": "0 x"}])
    return folder


def assert_going_on_is_undisturbed(config: CorpusConfig) -> None:
    parts = list(corpus_parts(config))
    assert len(parts) > 1
    for cut in range(len(parts)):
        state = CorpusState.from_json(json.loads(json.dumps(parts[cut][1].as_json())))
        assert state == parts[cut][1]
        digests = [table["digest"].to_numpy() for table, _ in parts[: cut + 1]]
        resumed = list(corpus_parts(config, state, digests))
        assert [s for _, s in resumed] == [s for _, s in parts[cut + 1 :]]
        assert all(a.equals(b) for (a, _), (b, _) in zip(resumed, parts[cut + 1 :], strict=True))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 10])
def test_going_on_after_any_part_equals_an_undisturbed_run(tmp_path, size):
    folder = messy_folder(tmp_path)
    assert_going_on_is_undisturbed(settings_for(folder, keep_columns=("n",), part_documents=size))
    assert_going_on_is_undisturbed(settings_for(folder, keep_columns=("n",), part_documents=size, max_documents=25))
    assert_going_on_is_undisturbed(settings_for(folder, keep_columns=("n",), part_chars=4 * size))


def test_the_size_of_parts_does_not_change_the_corpus(tmp_path):
    folder = messy_folder(tmp_path)
    whole, state = read(settings_for(folder, keep_columns=("n",)))
    assert whole["id"].to_pylist() == list(range(whole.num_rows))
    assert len(set(whole["text"].to_pylist())) == whole.num_rows
    assert state.rejected["duplicate"] > 5
    small, after = read(settings_for(folder, keep_columns=("n",), part_documents=2))
    assert small["text"].to_pylist() == whole["text"].to_pylist()
    assert after.rejected == state.rejected


_LINES = st.sampled_from(["a", "b", "c", "dd", "", None, 7])


@settings(max_examples=40, deadline=None)
@given(files=st.lists(st.lists(_LINES, min_size=1, max_size=8), min_size=1, max_size=3), size=st.integers(1, 3))
def test_any_files_give_each_distinct_text_once_and_can_go_on_anywhere(tmp_path_factory, files, size):
    folder = tmp_path_factory.mktemp("any")
    for i, lines in enumerate(files):
        jsonl(folder / f"{i}.jsonl", [{"text": line} for line in lines])
    config = settings_for(folder, part_documents=size)
    parts = list(corpus_parts(config))
    everything = [line for lines in files for line in lines]
    expected = list(dict.fromkeys(line for line in everything if isinstance(line, str) and line))
    assert [text for table, _ in parts for text in table["text"].to_pylist()] == expected
    assert parts[-1][1].records == len(everything)
    if len(parts) > 1:
        assert_going_on_is_undisturbed(config)


# Digests


def test_seen_digests_remember_everything_in_few_sorted_arrays(monkeypatch):
    monkeypatch.setattr(corpus, "_RECENT", 64)
    rng = np.random.default_rng(0)
    draws = rng.integers(0, 2**64, 5000, dtype=np.uint64, endpoint=False)
    stream = np.concatenate([draws, rng.permutation(draws)[:2000], np.array([0, 2**63, 2**64 - 1], np.uint64)])
    seen, known = SeenDigests(), set()
    for digest in stream.tolist():
        assert seen.add(digest) == (digest not in known)
        known.add(digest)
    assert len(seen._sorted) <= 5
    assert sum(a.size for a in seen._sorted) + len(seen._recent) == len(known)


def test_seen_digests_start_from_those_of_earlier_parts():
    parts = [np.array([5, 2**63 + 1], np.uint64), np.array([], np.uint64), np.array([7], np.uint64)]
    seen = SeenDigests(parts)
    assert [seen.add(d) for d in (7, 5, 2**63 + 1, 2**63, 6)] == [False, False, False, True, True]


def test_memory_stays_near_one_part(tmp_path):
    words = np.random.default_rng(0).bytes(500).hex()
    with gzip.open(tmp_path / "d.jsonl.gz", "wt", compresslevel=1) as file:
        file.writelines(f'{{"text": "{i} {words}"}}\n' for i in range(40_000))  # 40 MB of text
    code = f"""
import resource
from climb_engine.config import CorpusConfig
from climb_engine.curate.corpus import corpus_parts
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
parts = corpus_parts(CorpusConfig(inputs=({str(tmp_path / "d.jsonl.gz")!r},), part_documents=1000))
next(parts)
before = peak()
for _ in parts: pass
print((peak() - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 15  # MiB
