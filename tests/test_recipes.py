"""Recipes: every framework gets the same mixture, and reads it."""

import importlib.util
import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from climb_engine.export.recipes import RECIPES, folder_names, write_recipes
from climb_engine.types import ClimbError, Mixture

WEIGHTS = {"law & order": 0.1 + 0.2, "cooking": 1 / 3, "nothing": 0.0, "stars \"'\\ ★": 1 - (0.1 + 0.2) - 1 / 3}
MIXTURE = Mixture(tuple(WEIGHTS), np.array(list(WEIGHTS.values())))
NAMES = [name for name in WEIGHTS if name != "nothing"]
POSITIVE = [WEIGHTS[name] for name in NAMES]


def loaded(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_megatron_reads_the_blend_as_it_splits_it():
    words = write_recipes(["megatron"], MIXTURE)["megatron.txt"].split()
    assert [float(word) for word in words[::2]] == POSITIVE
    assert words[1::2] == [f"data/{folder}_text_document" for folder in ("law-order", "cooking", "stars")]


def test_megatron_core_itself_reads_the_blend():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        utils = pytest.importorskip("megatron.core.datasets.utils")
    paths, weights = utils.get_blend_from_list(write_recipes(["megatron"], MIXTURE)["megatron.txt"].split())
    assert weights == POSITIVE
    assert len(paths) == 3


def test_nemo_gets_weights_and_paths_in_turn():
    values = json.loads(write_recipes(["megatron"], MIXTURE)["nemo.json"])
    assert values[::2] == POSITIVE
    assert all(isinstance(path, str) for path in values[1::2])


def test_streams_have_their_names_and_proportions():
    streams = yaml.safe_load(write_recipes(["streaming"], MIXTURE)["streaming.yaml"])["streams"]
    assert {name: stream["proportion"] for name, stream in streams.items()} == dict(zip(NAMES, POSITIVE, strict=True))


def test_mosaicml_streaming_itself_draws_by_the_recipe(tmp_path):
    streaming = pytest.importorskip("streaming")
    for folder in ("law-order", "cooking", "stars"):
        with streaming.MDSWriter(out=str(tmp_path / folder), columns={"of": "str"}) as out:
            for _ in range(50):
                out.write({"of": folder})
    text = write_recipes(["streaming"], MIXTURE, path=f"{tmp_path}/{{domain}}")["streaming.yaml"]
    streams = [streaming.Stream(**stream) for stream in yaml.safe_load(text)["streams"].values()]
    data = streaming.StreamingDataset(streams=streams, epoch_size=3000, batch_size=1)
    assert [stream.proportion for stream in streams] == pytest.approx(POSITIVE, rel=1e-12)
    assert [stream.choose for stream in streams] == pytest.approx([3000 * weight for weight in POSITIVE], abs=1)
    del data


def test_hugging_face_streams_tokens_by_the_weights_though_it_draws_documents(tmp_path):
    lengths = {"law-order": 300, "cooking": 30, "stars": 100}
    for folder, length in lengths.items():
        (tmp_path / folder).mkdir()
        rows = pa.table({"of": [folder] * 200, "tokens": [length] * 200})
        pq.write_table(rows, tmp_path / folder / "a.parquet")
    known = dict(zip(NAMES, map(float, lengths.values()), strict=True))
    made = write_recipes(["hf"], MIXTURE, f"{tmp_path}/{{domain}}/*.parquet", known)
    (tmp_path / "huggingface_mixture.py").write_text(made["huggingface_mixture.py"], encoding="utf-8")
    stream = loaded(tmp_path / "huggingface_mixture.py", "huggingface_mixture").mixture(
        stopping_strategy="all_exhausted"
    )
    read = dict.fromkeys(lengths, 0)
    for row in stream:
        read[row["of"]] += row["tokens"]
    shares = [tokens / sum(read.values()) for tokens in read.values()]
    assert shares == pytest.approx(POSITIVE, abs=0.05)
    values = json.loads(made["huggingface.json"])
    assert sum(values["probabilities"]) == pytest.approx(1, abs=1e-12)
    assert values["token_weights"] == POSITIVE
    assert values["probabilities"] != pytest.approx(POSITIVE, abs=0.05)


def test_without_document_lengths_hugging_face_gets_the_weights_and_a_warning():
    made = write_recipes(["hf"], MIXTURE)
    assert json.loads(made["huggingface.json"])["probabilities"] == pytest.approx(POSITIVE, rel=1e-12)
    assert "divide each by its documents' mean length" in made["huggingface_mixture.py"]


def test_olmo_gets_ratios_that_sum_to_one_and_may_repeat():
    sources = yaml.safe_load(write_recipes(["olmo"], MIXTURE, max_repeats=2.5)["olmo_core.yaml"])["sources"]
    assert [source["target_ratio"] for source in sources] == POSITIVE
    assert [source["source_name"] for source in sources] == NAMES
    assert {source["max_repetition_ratio"] for source in sources} == {2.5}


def test_olmo_core_itself_builds_the_mixture(tmp_path):
    module = pytest.importorskip("olmo_core.data.source_mixture")
    for folder in ("law-order", "cooking", "stars"):
        (tmp_path / folder).mkdir()
        np.memmap(tmp_path / folder / "a.npy", mode="w+", dtype=np.uint16, shape=(4000,)).flush()
    (tmp_path / "olmo_core.yaml").write_text(
        write_recipes(["olmo"], MIXTURE, f"{tmp_path}/{{domain}}/*.npy")["olmo_core.yaml"]
    )
    sources = module.SourceMixtureList.from_yaml(tmp_path / "olmo_core.yaml")
    sources.validate()
    config = module.SourceMixtureDatasetConfig(sources, requested_tokens=12_000, global_batch_size=100, quiet=True)
    built = config.build(npdtype=np.uint16, sequence_length=100)
    chosen = [sum(path.tokens for path in source.path_tokens) for source in built.sources]
    assert chosen == pytest.approx([12_000 * weight for weight in POSITIVE], abs=200)


def test_the_litgpt_module_is_python_with_the_weights():
    text = write_recipes(["litgpt"], MIXTURE)["litgpt_mixture.py"]
    compile(text, "litgpt_mixture.py", "exec")
    namespace = {}
    exec(text[text.index("DOMAINS = [") : text.index("]\n") + 1], namespace)
    assert [weight for _, weight in namespace["DOMAINS"]] == POSITIVE


def test_litgpt_itself_draws_by_the_module(tmp_path):
    litdata = pytest.importorskip("litdata")
    pytest.importorskip("litgpt")
    import torch

    loader = litdata.TokensLoader()
    for number, folder in enumerate(("law-order", "cooking", "stars")):
        (tmp_path / folder).mkdir()
        writer = litdata.streaming.writer.BinaryWriter(str(tmp_path / folder), chunk_size=400, item_loader=loader)
        for index in range(300):
            writer[index] = torch.full((4,), number)
        writer.done()
        writer.merge()
    path = tmp_path / "litgpt_mixture.py"
    path.write_text(write_recipes(["litgpt"], MIXTURE, "{domain}")["litgpt_mixture.py"])
    module = loaded(path, "litgpt_mixture").ClimbMixture(data_path=tmp_path, num_workers=0)
    module.connect(batch_size=1, max_seq_length=3)
    seen = [int(batch[0, 0]) for batch in module.train_dataloader()]
    assert len(seen) > 100
    assert np.bincount(seen, minlength=3) / len(seen) == pytest.approx(POSITIVE, abs=0.1)


def test_all_means_every_framework():
    assert set(write_recipes(["all"], MIXTURE)) == {recipe.file for some in RECIPES.values() for recipe in some}


@pytest.mark.parametrize(
    ("frameworks", "path", "message"),
    [
        (["megatorn"], None, "there is no megatorn"),
        (["hf"], "data/{name}", "use {domain} and {index}"),
        (["hf"], "data/{domain", "use {domain} and {index}"),
        (["hf"], "data/{domain.__class__}", "use {domain} and {index}"),
        (["megatron"], "my data/{domain}", "white space"),
    ],
)
def test_what_cannot_be_written_is_said(frameworks, path, message):
    with pytest.raises(ClimbError, match=message):
        write_recipes(frameworks, MIXTURE, path)


def test_folder_names_are_safe_and_differ():
    names = folder_names(("../../etc", "a b", "A.b", "a-b", "", "☃", ".hidden"))
    assert len({name.lower() for name in names}) == len(names)
    assert all(name[0] not in ".-" and "/" not in name for name in names)
