"""Every file a mixture is exported as: what it is for, its text, and what to paste to use it. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from climb_engine.export.mixture import texts
from climb_engine.export.recipes import RECIPES, Recipe, write_recipes
from climb_engine.types import Mixture


@dataclass(frozen=True)
class Format:
    """One file, and how a training script takes it."""

    title: str
    file: str
    language: str  # of the file, for the preview
    use: str  # what to paste
    use_language: str = "python"
    framework: str = ""  # of RECIPES; "": the weights themselves

    @property
    def recipe(self) -> Recipe | None:
        """The recipe that writes it; None for the weights themselves."""
        return next((recipe for recipe in RECIPES.get(self.framework, ()) if recipe.file == self.file), None)


_JSON = """import json

weights = json.load(open("mixture.json"))["weights"]  # by domain"""
_YAML = """import yaml

weights = yaml.safe_load(open("mixture.yaml"))["weights"]  # by domain"""
_CSV = """import pandas as pd

weights = pd.read_csv("mixture.csv", index_col="domain")["weight"]"""
_MEGATRON = """# prefixes of data that tools/preprocess_data.py wrote
torchrun pretrain_gpt.py --data-args-path megatron.txt ..."""
_NEMO = """import json
from nemo.collections import llm

data = llm.PreTrainingDataModule(paths=json.load(open("nemo.json")), seq_length=..., global_batch_size=...)"""
_STREAMING = """import yaml
from streaming import Stream, StreamingDataset

streams = yaml.safe_load(open("streaming.yaml"))["streams"]
dataset = StreamingDataset(streams=[Stream(**stream) for stream in streams.values()], batch_size=...)"""
_HF = """from huggingface_mixture import mixture

for document in mixture(seed=0):
    ..."""
_HF_JSON = """import json
from datasets import interleave_datasets, load_dataset

recipe = json.load(open("huggingface.json"))
streams = [
    load_dataset("parquet", data_files=files, split="train", streaming=True)
    for files in recipe["data_files"].values()
]
dataset = interleave_datasets(streams, probabilities=recipe["probabilities"], stopping_strategy="all_exhausted")"""
_OLMO = """from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList

sources = SourceMixtureList.from_yaml("olmo_core.yaml")
config = SourceMixtureDatasetConfig(sources, requested_tokens=..., global_batch_size=...)"""
_LITGPT = """litgpt pretrain MODEL --data litgpt_mixture.ClimbMixture --data.data_path DATA"""

FORMATS = (
    Format("JSON", "mixture.json", "json", _JSON),
    Format("YAML", "mixture.yaml", "yaml", _YAML),
    Format("CSV", "mixture.csv", "text", _CSV),
    Format("Megatron-LM", "megatron.txt", "text", _MEGATRON, "bash", "megatron"),
    Format("NeMo", "nemo.json", "json", _NEMO, framework="megatron"),
    Format("MosaicML Streaming", "streaming.yaml", "yaml", _STREAMING, framework="streaming"),
    Format("Hugging Face", "huggingface_mixture.py", "python", _HF, framework="hf"),
    Format("Hugging Face (JSON)", "huggingface.json", "json", _HF_JSON, framework="hf"),
    Format("OLMo-core", "olmo_core.yaml", "yaml", _OLMO, framework="olmo"),
    Format("LitGPT", "litgpt_mixture.py", "python", _LITGPT, "bash", "litgpt"),
)


def text_of(
    chosen: Format,
    record: Mapping[str, Any],
    mixture: Mixture,
    path: str | None,
    tokens_per_document: Mapping[str, float],
    max_repeats: float,
) -> str:
    """The file's text, as ``Run.export`` writes it. Raises ClimbError for a path that cannot be."""
    if not chosen.framework:
        return texts(record)[chosen.file]
    return write_recipes([chosen.framework], mixture, path, tokens_per_document, max_repeats)[chosen.file]
