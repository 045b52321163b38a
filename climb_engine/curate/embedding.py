"""Documents to vectors: an ``Embedder`` is anything that turns texts into unit rows.

Two kinds are built here: static word vectors (WordLlama, model2vec), which need no torch and no GPU, and every model
that sentence-transformers loads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from climb_engine.config import EmbeddingConfig
from climb_engine.packages import package_files
from climb_engine.types import ClimbError, Vectors

HUB_SECONDS = 10.0
"""How long to wait for the hub's answer before only the local cache is used."""

CHARS_PER_TOKEN = 16
"""Text beyond ``max_tokens`` times this is not even tokenised; no usual text has so few tokens."""


class Embedder(Protocol):
    """Texts to vectors, batch by batch. The vector of a text does not depend on the texts beside it."""

    @property
    def name(self) -> str:
        """The model, and its revision where there is one."""

    @property
    def dimensions(self) -> int:
        """``d``, the length of a vector."""

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """(n, d) float32, unit rows, for at least one text."""


@dataclass(frozen=True)
class StaticEmbedder:
    """The mean of a text's token vectors, as in model2vec. Runs on the CPU, without torch."""

    name: str
    dimensions: int
    model: Any  # model2vec.StaticModel
    prompt: str

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """(n, d) float32, unit rows."""
        prompted = [self.prompt + text for text in texts]
        return unit_rows(self.model.encode(prompted, normalize=False, use_multiprocessing=False), self.name)


@dataclass(frozen=True)
class SentenceEmbedder:
    """A sentence-transformers model; on CUDA in half precision."""

    name: str
    dimensions: int
    model: Any  # sentence_transformers.SentenceTransformer
    prompt: str
    max_chars: int
    batch_size: int

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """(n, d) float32, unit rows."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        spoken = [row for row, text in enumerate(texts) if text.strip()]  # no token at all makes some models fail
        if spoken:
            vectors[spoken] = self._encode([texts[row][: self.max_chars] for row in spoken])
        return unit_rows(vectors, self.name)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        vectors = self._forward(texts)
        if not np.isfinite(vectors).all():
            # Some models overflow in half precision. Single precision is slower and right; it is kept from here on.
            self.model.float()
            vectors = self._forward(texts)
        return vectors

    def _forward(self, texts: Sequence[str]) -> Vectors:
        import torch

        prompt = self.prompt or None  # None: the model's own default
        try:
            vectors = self.model.encode(texts, prompt=prompt, batch_size=self.batch_size, show_progress_bar=False)
        except torch.OutOfMemoryError as error:
            raise ClimbError(
                f"{self.name}: a batch of {self.batch_size} documents does not fit into the memory of "
                f"{self.model.device}; set embedding.batch_size or embedding.max_tokens lower"
            ) from error
        return np.asarray(vectors, dtype=np.float32)


def load_embedder(config: EmbeddingConfig, device: str = "auto") -> Embedder:
    """The embedder that the config names: WordLlama, a model2vec or sentence-transformers folder, or a hub id.

    ``device`` is 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'; static vectors ignore it. Without a network, a hub id is
    taken from the local cache.

    Raises ClimbError when the model cannot be found or loaded.
    """
    if config.model == "wordllama":
        return _static(config, "wordllama", _wordllama())
    place = _find(config)
    try:
        return _model2vec(config, place) if place.static else _sentence_transformer(config, place, device)
    except (OSError, ValueError, ImportError) as error:  # what the libraries raise for a bad or incomplete model
        hint = "; set embedding.trust_remote_code = true if you trust it" if "trust_remote_code" in str(error) else ""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ClimbError(f"embedding.model = {config.model!r} could not be loaded: {reason}{hint}") from error


def embed(
    texts: Sequence[str],
    embedder: Embedder,
    batch_size: int,
    on_batch: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float16]:
    """Embed all texts: (n, d) float16, unit rows, in the order of ``texts``.

    Long texts go first, so that a batch too big for memory fails at once, and each batch holds texts of like length.
    ``on_batch`` is told the number of texts of each finished batch.
    """
    longest_first = np.argsort([-len(text) for text in texts], kind="stable")
    vectors = np.empty((len(texts), embedder.dimensions), dtype=np.float16)
    for start in range(0, len(texts), batch_size):
        rows = longest_first[start : start + batch_size]
        vectors[rows] = embedder([texts[row] for row in rows])
        if on_batch:
            on_batch(len(rows))
    return vectors


def unit_rows(vectors: npt.ArrayLike, name: str = "the embedder") -> Vectors:
    """Scale each row (n, d) to length 1, in float32.

    A zero row (a text without any known token) becomes the diagonal, 1/sqrt(d) in each dimension: all such texts are
    equal, hence in one cluster that can be seen and pruned, and no cosine is ever NaN.

    Raises ClimbError when a value is not finite: the model ``name`` is broken on this device.
    """
    rows = np.array(vectors, dtype=np.float32)
    if not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows)).any(axis=1).sum())
        raise ClimbError(
            f"{name} gave no finite vector for {bad} of {len(rows)} documents; set machine.device = 'cpu', "
            "or choose another embedding.model"
        )
    rows[~rows.any(axis=1)] = 1.0
    rows /= np.abs(rows).max(axis=1, keepdims=True)  # else the squares of tiny or huge values leave float32
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


@dataclass(frozen=True)
class _Place:
    """Where a model was found."""

    path: str  # a folder, or a hub id
    revision: str | None
    offline: bool  # do not ask the hub (again)
    static: bool  # made by model2vec


def _find(config: EmbeddingConfig) -> _Place:
    folder = Path(config.model).expanduser()
    if folder.is_dir():
        return _Place(str(folder), None, True, _holds_model2vec(folder))
    return _find_on_hub(config)


def _find_on_hub(config: EmbeddingConfig) -> _Place:
    """Ask the hub once and briefly; the libraries themselves would retry for minutes."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    wanted = config.revision or None
    try:
        info = HfApi().model_info(config.model, revision=wanted, timeout=HUB_SECONDS)
    except HFValidationError as error:
        raise _not_found(config, "there is no such folder, and it is no hub id") from error
    except RepositoryNotFoundError as error:
        raise _not_found(
            config, "there is no such folder, and the hub knows no such model (a private one: 'hf auth login')"
        ) from error
    except RevisionNotFoundError as error:
        raise _not_found(config, f"the hub has no revision {config.revision!r} of it") from error
    except Exception:  # no answer; its type depends on the HTTP library, which changes with the hub's version
        return _find_in_cache(config)
    static = info.library_name == "model2vec" or "model2vec" in (info.tags or ())
    return _Place(config.model, info.sha or wanted, False, static)


def _find_in_cache(config: EmbeddingConfig) -> _Place:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    revision = config.revision or None
    try:
        folder = Path(snapshot_download(config.model, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise _not_found(
            config, "there is no such folder, the hub cannot be reached, and its cache here lacks it"
        ) from error
    return _Place(config.model, folder.name, True, _holds_model2vec(folder))


def _not_found(config: EmbeddingConfig, tried: str) -> ClimbError:
    return ClimbError(
        f"embedding.model = {config.model!r}: {tried}. Give 'wordllama', which needs no hub, "
        "or a folder saved by sentence-transformers or model2vec"
    )


def _holds_model2vec(folder: Path) -> bool:
    """Told by the tensor's name, since model2vec folders can pass for sentence-transformers ones."""
    from safetensors import safe_open

    weights = folder / "model.safetensors"
    if not (weights.is_file() and (folder / "tokenizer.json").is_file()):
        return False
    with safe_open(weights, framework="numpy") as tensors:
        return "embeddings" in tensors.keys()  # noqa: SIM118 - no mapping


def _wordllama() -> Any:
    from model2vec import StaticModel
    from safetensors.numpy import load
    from tokenizers import Tokenizer

    files = package_files("wordllama")
    (vectors,) = load(files.read("wordllama/weights/l2_supercat_256.safetensors")).values()
    tokenizer = Tokenizer.from_str(files.read("wordllama/tokenizers/l2_supercat_tokenizer_config.json").decode())
    return StaticModel(vectors.astype(np.float32), tokenizer)


def _model2vec(config: EmbeddingConfig, place: _Place) -> StaticEmbedder:
    from huggingface_hub import snapshot_download
    from model2vec import StaticModel

    folder = place.path
    if not Path(folder).is_dir():
        folder = snapshot_download(
            place.path,
            revision=place.revision,
            local_files_only=place.offline,
            allow_patterns=["config.json", "model.safetensors", "tokenizer.json"],
        )
    return _static(config, _named(config, place), StaticModel.from_pretrained(folder))


def _static(config: EmbeddingConfig, name: str, model: Any) -> StaticEmbedder:
    model.max_length = config.max_tokens
    return StaticEmbedder(name, model.dim, model, config.prompt)


def _sentence_transformer(config: EmbeddingConfig, place: _Place, device: str) -> SentenceEmbedder:
    import torch
    from sentence_transformers import SentenceTransformer

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ClimbError(f"machine.device = {device!r}, but torch sees no CUDA device here; set it to 'auto' or 'cpu'")
    model = SentenceTransformer(
        place.path,
        device=None if device == "auto" else device,
        revision=place.revision,
        local_files_only=place.offline,
        trust_remote_code=config.trust_remote_code,
        config_kwargs=_without_xformers() if config.trust_remote_code else None,
    )
    _limit_tokens(model, config.max_tokens)
    if model.device.type == "cuda":
        model.half()
    dimensions = len(model.encode("d", show_progress_bar=False))
    max_chars = config.max_tokens * CHARS_PER_TOKEN
    return SentenceEmbedder(_named(config, place), dimensions, model, config.prompt, max_chars, config.batch_size)


def _without_xformers() -> dict[str, bool] | None:
    """The paper's stella_en_400M_v5 insists on xformers unless told that there is none."""
    from importlib.util import find_spec

    return None if find_spec("xformers") else {"use_memory_efficient_attention": False, "unpad_inputs": False}


def _limit_tokens(model: Any, max_tokens: int) -> None:
    from tokenizers import Tokenizer

    tokenizer = model.tokenizer
    if isinstance(tokenizer, Tokenizer):  # static vectors inside sentence-transformers have no limit of their own
        own = (tokenizer.truncation or {}).get("max_length", max_tokens)
        tokenizer.enable_truncation(min(own, max_tokens))
    else:
        model.max_seq_length = min(model.max_seq_length or max_tokens, max_tokens)


def _named(config: EmbeddingConfig, place: _Place) -> str:
    return f"{config.model}@{place.revision}" if place.revision else config.model
