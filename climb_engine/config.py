"""Every knob, declared once: default, bounds and help. ``RunConfig`` <-> ``config.toml``.

The command line, the app's forms, the stage addresses and the validation all read the knobs here.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from climb_engine.faults import in_words
from climb_engine.types import METRICS, ClimbError

LARGEST_SEED = 2**31 - 1
"""What every library's generator takes."""
MOST_TRIALS, MOST_ITERATIONS = 10_000, 1000
"""Of an iteration, and of a search."""


class Section(BaseModel):
    """One part of the config. Unknown keys are errors; values do not change after construction."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CorpusConfig(Section):
    """Documents in."""

    inputs: tuple[str, ...] = Field(
        (), description="Files, folders or globs; or hf:owner/name for a Hugging Face dataset."
    )
    format: Literal["auto", "jsonl", "parquet", "csv", "txt", "climblab", "climbmix"] = Field(
        "auto", description="Format of the inputs; auto decides by file name."
    )
    text_column: str = Field("text", min_length=1, description="Column or key that holds the text.")
    source_column: str = Field("", description="Column that names a document's source; empty: the file's name.")
    tokenizer: str = Field(
        "gpt2", min_length=1, description="For token files (ClimbLab, ClimbMix): 'gpt2', or a tokenizer id or path."
    )
    keep_columns: tuple[str, ...] = Field(
        (), description="Further columns to keep with each document, such as quality scores."
    )
    hf_config: str = Field("", description="Configuration of the Hugging Face dataset; empty: its default.")
    hf_split: str = Field("train", min_length=1, description="Split of the Hugging Face dataset.")
    hf_revision: str = Field("", description="Revision of the Hugging Face dataset; empty: the newest.")
    min_chars: int = Field(1, ge=1, le=1_000_000_000, description="Shorter documents are rejected (characters).")
    max_chars: int = Field(1_000_000, ge=1, le=1_000_000_000, description="Longer documents are rejected (characters).")
    deduplicate: bool = Field(True, description="Reject exact duplicates (same text after trimming white space).")
    max_documents: int = Field(
        0, ge=0, le=1_000_000_000_000, description="Stop after this many documents; 0: take all."
    )
    part_documents: int = Field(
        10_000, ge=1, le=1_000_000, description="Documents per part, the unit of streaming and resuming."
    )
    part_chars: int = Field(
        64_000_000, ge=1, le=1_000_000_000, description="A part is closed early at this many characters."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_chars < self.min_chars:
            raise ValueError("max_chars must be at least min_chars")
        return self


class EmbeddingConfig(Section):
    """Documents to vectors."""

    model: str = Field(
        "wordllama",
        min_length=1,
        description="'wordllama' (static vectors, no hub needed), or a sentence-transformers or model2vec id or path.",
    )
    revision: str = Field("", description="Revision of the model on the hub; empty: the newest.")
    max_tokens: int = Field(512, ge=8, le=1_000_000, description="Longer documents are cut to this many tokens.")
    batch_size: int = Field(64, ge=1, le=65_536, description="Documents per batch.")
    prompt: str = Field("", description="Text put before every document, for models that want one.")
    trust_remote_code: bool = Field(False, description="Let the model run code of its own; only for models you trust.")


class ClusteringConfig(Section):
    """Vectors to clusters (k-means), or clusters as the corpus has them."""

    given: str = Field(
        "",
        description="Column of the corpus whose values are the clusters, such as 'source' for ClimbLab's folders; "
        "empty: k-means.",
    )
    n_clusters: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Number of k-means clusters, K_init; 0: one for every 40 documents, at least 10 and at most the "
        "paper's 1000.",
    )
    points_per_cluster: int = Field(
        256, ge=1, le=100_000, description="Training sample: at most this many documents per cluster."
    )
    iterations: int = Field(30, ge=1, le=10_000, description="k-means iterations.")
    restarts: int = Field(1, ge=1, le=1000, description="k-means runs of which the best is kept.")
    seed: int = Field(42, ge=0, le=LARGEST_SEED, description="Seed of the sample and of k-means.")
    keywords: int = Field(10, ge=1, le=50, description="Keywords per cluster (class-based TF-IDF).")

    @model_validator(mode="after")
    def _several(self) -> Self:
        if self.n_clusters == 1:
            raise ValueError("n_clusters must be at least 2, or 0 for a number that fits the corpus")
        return self


TOP_SCORE = 5.0
"""The best score of every quality dimension; the worst is 0."""


class QualityConfig(Section):
    """Documents to scores on the paper's four dimensions, 0 to 5."""

    scorers: tuple[Literal["heuristics", "column", "fasttext", "transformers", "ratings", "annotator"], ...] = Field(
        ("heuristics",),
        min_length=1,
        description="Where scores come from; of two that give a metric, the later one counts.",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="For the column scorer: metric = column of the corpus (see corpus.keep_columns).",
    )
    fasttext: dict[str, str] = Field(
        default_factory=dict,
        description="For the fasttext scorer: metric = model file whose labels are numbers, such as NVIDIA's.",
    )
    transformers: dict[str, str] = Field(
        default_factory=dict,
        description="For the transformers scorer: metric = id or folder of a regression or sequence-classification "
        "model, such as HuggingFaceFW/fineweb-edu-classifier for educational.",
    )
    max_tokens: int = Field(
        512, ge=8, le=1_000_000, description="For the transformers scorer: documents are cut to this."
    )
    batch_size: int = Field(32, ge=1, le=65_536, description="For the transformers scorer: documents per batch.")
    ratings: str = Field(
        "", description="For the ratings scorer: CSV of your ratings, with the columns id, metric and rating (0 to 5)."
    )
    annotator_url: str = Field(
        "",
        description="For the annotator: base URL of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1.",
    )
    annotator_model: str = Field("", description="The model's name at the endpoint.")
    annotator_key: str = Field(
        "OPENAI_API_KEY",
        pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$",
        description="Environment variable that holds the API key; the key itself is never written down.",
    )
    annotator_answers: str = Field(
        "", description="JSONL file that keeps every answer, so that none is paid for twice; outlives the run's stages."
    )
    annotator_rubric: str = Field("", description="Text file with a rubric of your own; empty: the built-in one.")
    annotator_documents: int = Field(
        500, ge=20, le=10_000_000, description="Documents drawn at random and sent to the annotator."
    )
    annotator_seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of that draw.")
    annotator_chars: int = Field(6000, ge=100, le=10_000_000, description="Characters of a document that are sent.")
    annotator_answer_tokens: int = Field(
        200, ge=16, le=1_000_000, description="Longest answer (tokens); a model that thinks aloud needs more."
    )
    annotator_parallel: int = Field(4, ge=1, le=256, description="Requests under way at once.")
    annotator_requests_per_minute: int = Field(0, ge=0, le=1_000_000, description="Rate limit; 0: none.")
    annotator_price: float = Field(0.0, ge=0, description="Price of a million tokens, for the cost estimate.")
    annotator_budget: float = Field(
        0.0, ge=0, description="Do not start when the estimated cost is above this; 0: no limit."
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        needed = {
            "column": ("columns",),
            "fasttext": ("fasttext",),
            "transformers": ("transformers",),
            "ratings": ("ratings",),
            "annotator": ("annotator_url", "annotator_model", "annotator_answers"),
        }
        for scorer in self.scorers:
            for knob in needed.get(scorer, ()):
                if not getattr(self, knob):
                    how = f"{knob}: metric = {_ONE_PER_METRIC[knob]}" if knob in _ONE_PER_METRIC else knob
                    raise ValueError(f"the {scorer} scorer needs {how}")
        for metric in (*self.fasttext, *self.transformers):
            if metric not in METRICS:
                raise ValueError(f"no metric is called {metric!r}{nearest(metric, METRICS)}")
        if self.annotator_url and not self.annotator_url.startswith(("http://", "https://")):
            raise ValueError("annotator_url must begin with http:// or https://")
        return self


_ONE_PER_METRIC = {"columns": "column", "fasttext": "model file", "transformers": "model"}


class DuplicatesConfig(Section):
    """Near-duplicate documents."""

    method: Literal["none", "minhash"] = Field(
        "none", description="'minhash': find documents that share most of their word shingles; 'none': do not look."
    )
    threshold: float = Field(
        0.8,
        ge=0.5,
        le=1,
        description="Jaccard similarity of word shingles from which two documents are near-duplicates.",
    )
    shingle: int = Field(5, ge=1, le=50, description="Words per shingle.")
    permutations: int = Field(
        128, ge=16, le=1024, description="Hash functions per document; more estimate the similarity better."
    )
    remove: bool = Field(False, description="Train on one document of each group only.")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the hash functions.")


_HISTORY: dict[str, Any] = {"history": True}  # kept with a decision, in no address


class Override(Section):
    """One human decision. It wins over the automatic one, which stays on record."""

    action: Literal["keep", "prune", "move", "merge", "split", "rename", "note"] = Field(description="What to do.")
    cluster: int | None = Field(
        None, ge=0, le=1_000_000_000, description="The cluster that is kept, pruned, moved, split or noted."
    )
    domain: str = Field(
        "",
        description="The domain that a cluster moves to (made when it is new), or that is merged, split, renamed or "
        "noted.",
    )
    to: str = Field("", description="The domain's new name, or the domain that it is merged into.")
    parts: int | None = Field(None, ge=2, le=1000, description="How many parts a split makes.")
    why: str = Field("", description="The reason, for the record; of a note its text.", json_schema_extra=_HISTORY)
    who: str = Field("", description="Who decided.", json_schema_extra=_HISTORY)
    when: str = Field("", description="When it was decided.", json_schema_extra=_HISTORY)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        says = f"an override that says {self.action}"
        if self.action in ("keep", "prune", "move") and self.cluster is None:
            raise ValueError(f"{says} needs cluster = N")
        if self.action in ("move", "rename", "merge") and not self.domain:
            raise ValueError(f'{says} needs domain = "..."')
        if "all" in (self.to, self.domain):
            raise ValueError('no domain can be called "all", which stands for the mean over domains')
        if self.action in ("rename", "merge") and not self.to:
            raise ValueError(f'{says} needs to = "..."')
        if self.action in ("split", "note") and (self.cluster is None) == (not self.domain):
            raise ValueError(f'{says} needs cluster = N or domain = "...", and not both')
        if self.action == "split" and self.parts is None:
            raise ValueError(f"{says} needs parts = N")
        if self.action == "note" and not self.why:
            raise ValueError(f'{says} needs why = "...", its text')
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate the values of one override; a fault becomes a ClimbError that begins with ``where``."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ClimbError(f"{where}: {_faults(error, cls)}") from error


class DomainsConfig(Section):
    """Clusters to domains: prune, merge, override."""

    thresholds: dict[str, float] = Field(
        default_factory=lambda: {"quality": 1.0, "educational": 1.0, "informational": 1.0, "advertisement": 2.0},
        description="Prune a cluster whose mean falls below, per metric. Scorers differ in scale, so each has its own.",
    )
    min_documents: int = Field(5, ge=1, le=1_000_000_000, description="Prune clusters with fewer documents.")
    max_duplicate_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Prune a cluster of which more than this share are near-duplicates (see duplicates.method); 1: "
        "never.",
    )
    max_spread: float = Field(
        0.0,
        ge=0,
        description="Prune a cluster whose mean distance to its centroid is more than this many times the median "
        "cluster's; 0: never.",
    )
    n_domains: int = Field(
        20,
        ge=0,
        le=100_000,
        description="Merge kept clusters (Ward) into this many domains, or fewer where fewer are kept; 0: by "
        "merge_distance.",
    )
    merge_distance: float = Field(
        1.5, gt=0, description="Ward distance to merge up to, when n_domains is 0; the paper's is 1.5."
    )
    overrides: tuple[Override, ...] = Field((), description="Human decisions, applied in order.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        for metric in self.thresholds:
            if metric not in METRICS:
                raise ValueError(f"thresholds: no metric is called {metric!r}{nearest(metric, METRICS)}")
        return self


class ProjectionConfig(Section):
    """Documents to a map: for looking at, no other stage needs it."""

    method: Literal["umap", "tsne"] = Field("umap", description="UMAP, or t-SNE (slower: fit fewer documents).")
    documents: int = Field(
        100_000,
        ge=8,
        le=100_000,
        description="Fitted on at most this many documents, drawn by cluster; every other one is placed by its nearest "
        "fitted neighbours.",
    )
    neighbours: int = Field(
        15, ge=2, le=200, description="Neighbours of a document that shape the map; t-SNE's perplexity is twice this."
    )
    min_distance: float = Field(0.1, ge=0, le=1, description="How close UMAP packs documents that are alike.")
    place_neighbours: int = Field(4, ge=1, le=100, description="Fitted neighbours that place a document not fitted.")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the sample and of the method.")


class TokensConfig(Section):
    """Kept documents to token parts by domain."""

    tokenizer: str = Field(
        "bpe", min_length=1, description="'bpe' trains a byte-level BPE on the kept text; else a tokenizer id or path."
    )
    vocab_size: int = Field(8192, ge=300, le=65_536, description="Vocabulary of the trained BPE.")
    training_chars: int = Field(
        20_000_000, ge=1, le=10_000_000_000, description="The BPE is trained on at most this many characters."
    )
    heldout_tokens: int = Field(
        50_000,
        ge=256,
        le=1_000_000_000,
        description="Held out per domain: about this many tokens, at most a tenth of it.",
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the held-out draw.")


class TargetConfig(Section):
    """What 'good' means: weighted tasks, weighted held-out domains, or both."""

    tasks: dict[str, float] = Field(
        default_factory=lambda: {"arc_easy": 1.0, "piqa": 1.0, "hellaswag": 1.0},
        description="Multiple-choice tasks and their weights in the score.",
    )
    files: dict[str, str] = Field(
        default_factory=dict,
        description="Your own tasks: name = JSONL file of {context, choices, gold}; name it in tasks too.",
    )
    items: int = Field(500, ge=1, le=1_000_000, description="Calibration items per task.")
    metric: Literal["bpb", "acc", "acc_norm"] = Field(
        "bpb",
        description="Per task: bits per byte of the gold answer (the better signal for small proxies), or accuracy: "
        "the gold choice is the likeliest, and where there is but one, every token of it is.",
    )
    heldout: dict[str, float] = Field(
        default_factory=dict,
        description="Held-out text of domains and its weights in the score; 'all' is the mean over domains.",
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the calibration/report split of the items.")


PROXY_SIZES: dict[str, dict[str, int]] = {
    "tiny": {"layers": 2, "hidden": 64, "ffn": 176, "heads": 4, "kv_heads": 2},
    "1m": {"layers": 5, "hidden": 128, "ffn": 384, "heads": 4, "kv_heads": 2},
    "10m": {"layers": 6, "hidden": 384, "ffn": 1024, "heads": 6, "kv_heads": 2},
    "30m": {"layers": 10, "hidden": 512, "ffn": 1536, "heads": 8, "kv_heads": 2},
    "62m": {"layers": 32, "hidden": 384, "ffn": 1024, "heads": 6, "kv_heads": 2},
    "132m": {"layers": 32, "hidden": 576, "ffn": 1536, "heads": 9, "kv_heads": 3},
    "350m": {"layers": 32, "hidden": 960, "ffn": 2560, "heads": 15, "kv_heads": 5},
}
"""Shapes by name. 62m and 350m are CLIMB's published proxies, 132m lies between them; these count tied embeddings of
Llama-2's 32,000 tokens. 1m, 10m and 30m count no embeddings, since those depend on the corpus's vocabulary."""


class ProxyConfig(Section):
    """The small Llama trained for each trial, and the trunk that all of them start from."""

    size: Literal["custom", "tiny", "1m", "10m", "30m", "62m", "132m", "350m"] = Field(
        "custom", description="Shape by name (parameters); custom: layers, hidden, ffn, heads and kv_heads as below."
    )
    start: str = Field(
        "",
        description="A Llama checkpoint (hub id, folder or GGUF file) that the trunk starts from, as in the paper. It "
        "brings its shape, and tokens.tokenizer must be its own. Empty: random weights.",
    )
    layers: int = Field(2, ge=1, le=1000, description="Transformer layers.")
    hidden: int = Field(64, ge=8, le=65_536, description="Width of the residual stream.")
    ffn: int = Field(176, ge=8, le=262_144, description="Width of the SwiGLU feed-forward.")
    heads: int = Field(4, ge=1, le=1024, description="Attention heads.")
    kv_heads: int = Field(2, ge=1, le=1024, description="Key and value heads (grouped-query attention).")
    rope_theta: float = Field(10_000.0, gt=1, description="Base of the rotary position embedding.")
    tie_embeddings: bool = Field(True, description="One matrix for input and output embeddings.")
    sequence_length: int = Field(256, ge=8, le=131_072, description="Tokens per training sequence.")
    batch_size: int = Field(16, ge=1, le=65_536, description="Sequences per step.")
    trunk_tokens: int = Field(
        2_000_000,
        ge=0,
        le=1_000_000_000_000,
        description="Trunk: trained once on the natural mixture, the start of every proxy; 0: none.",
    )
    trunk_learning_rate: float = Field(
        3e-3, gt=0, description="Peak learning rate of the trunk (warm-up, then constant)."
    )
    tokens: int = Field(500_000, ge=1, le=1_000_000_000_000, description="Tokens per proxy on its own mixture.")
    learning_rate: float = Field(
        2e-3, gt=0, description="Learning rate at the start of a proxy's decay (peak, when there is no trunk)."
    )
    final_learning_rate: float = Field(
        0.1, ge=0, le=1, description="Learning rate at the end, as a fraction of learning_rate."
    )
    warmup: float = Field(
        0.02, ge=0, lt=1, description="Share of the steps that warm up, when training starts from scratch."
    )
    weight_decay: float = Field(0.1, ge=0, description="AdamW weight decay on matrices.")
    gradient_clip: float = Field(1.0, gt=0, description="Each proxy's gradient norm is clipped to this.")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the initial weights, and of all data orders.")

    @property
    def shape(self) -> dict[str, int]:
        """Layers, widths and heads: those of ``size``, or with a size of 'custom' those given one by one."""
        own = {name: getattr(self, name) for name in PROXY_SIZES["tiny"]}
        return PROXY_SIZES.get(self.size, own)

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        fields = type(self).model_fields
        own = [name for name in PROXY_SIZES["tiny"] if getattr(self, name) != fields[name].default]
        if self.start and (own or self.size != "custom"):
            raise ValueError(
                "the checkpoint of start decides the shape; leave out size, " + ", ".join(PROXY_SIZES["tiny"])
            )
        if own and self.size != "custom":
            raise ValueError(
                f"size = {self.size!r} decides the shape; leave out {', '.join(own)}, or set size = 'custom'"
            )
        return self

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise ValueError("hidden must be heads times an even number")
        if self.heads % self.kv_heads:
            raise ValueError("heads must be a multiple of kv_heads")
        return self


class SearchConfig(Section):
    """Domains to a mixture: the CLIMB iterations."""

    method: Literal["bayesian", "climb", "regmix", "random"] = Field(
        "bayesian",
        description="'bayesian': Gaussian processes, the best measured; 'climb': the paper's loop; "
        "'regmix': RegMix's single regression; 'random': the best of random draws.",
    )
    predictor: Literal["default", "gp", "lightgbm", "regmix", "ridge", "loglinear", "extratrees", "auto"] = Field(
        "default",
        description="Mixture to score. 'default': the method's own (gp, lightgbm, regmix, gp); "
        "'auto': chosen by cross-validation on the trials.",
    )
    by_metric: bool = Field(
        True, description="With method 'bayesian': learn every metric of the score by itself, not only their sum."
    )
    folds: int = Field(
        5, ge=0, le=1000, description="Cross-validate the predictor in this many parts at the end; 0: not."
    )
    iterations: tuple[int, ...] = Field(
        (32, 16, 16, 16, 16, 16),
        min_length=1,
        max_length=MOST_ITERATIONS,
        description="Trials per iteration. With method 'climb' the paper's are 64, 32, 16; with 'regmix' it is one.",
    )
    prior: dict[str, float] = Field(
        default_factory=dict, description="Centre of the first mixtures, by domain; empty: share^prior_exponent."
    )
    prior_exponent: float = Field(
        0.5, ge=0, le=1, description="First mixtures spread around share^exponent: 1 is natural, 0 uniform."
    )
    max_ratio: float = Field(15.0, gt=1, description="No domain weighs more than this many times its natural share.")
    min_weight: dict[str, float] = Field(default_factory=dict, description="Lowest weight, by domain.")
    max_weight: dict[str, float] = Field(default_factory=dict, description="Highest weight, by domain.")
    token_budget: int = Field(
        0,
        ge=0,
        le=1_000_000_000_000_000,
        description="Tokens of the training run that the mixture is for; 0: not stated.",
    )
    max_repeats: float = Field(
        0.0, ge=0, description="Read no domain more often than this in token_budget; 0: no limit."
    )
    max_divergence: float = Field(0.0, ge=0, description="Largest KL divergence from natural (nats); 0: no limit.")
    candidates: int = Field(
        100_000, ge=100, le=10_000_000, description="Mixtures drawn and ranked by prediction per iteration."
    )
    top: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Draw an iteration from the best this many candidates; 0: its trials squared, at least 128.",
    )
    reference_runs: int = Field(
        3, ge=0, le=1000, description="Runs of the natural mixture with different seeds: the reference, and the noise."
    )
    confirm: int = Field(
        3, ge=0, le=1000, description="At the end, re-run the chosen mixture with this many fresh seeds."
    )
    confirm_best: int = Field(
        1, ge=1, le=1000, description="Re-run this many of the best mixtures so, and choose on all measurements."
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of all draws of the search.")

    @field_validator("iterations")
    @classmethod
    def _of_some_size(cls, iterations: tuple[int, ...]) -> tuple[int, ...]:
        if min(iterations) < 1:
            raise ValueError("every iteration needs at least 1 trial")
        if max(iterations) > MOST_TRIALS:
            raise ValueError(f"an iteration takes at most {MOST_TRIALS:,} trials (got {max(iterations):,})")
        return iterations


class MachineConfig(Section):
    """How this machine does the work. Never part of an address: the same work elsewhere is the same work."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda, cuda:N or mps.")
    stack: int = Field(0, ge=0, le=10_000, description="Proxies trained as one program; 0: chosen for the device.")
    threads: int = Field(0, ge=0, le=4096, description="CPU threads; 0: all.")
    jobs_at_once: int = Field(
        1,
        ge=1,
        le=1000,
        description="Jobs of all runs that work at the same time; a further one waits its turn in the queue.",
    )
    runner: Literal["local", "ray"] = Field(
        "local",
        description="Where proxies train: 'local' is this machine's one device; 'ray' is all GPUs of the cluster that "
        "RAY_ADDRESS names, or of this machine.",
    )


class RunConfig(Section):
    """Everything that is wanted of a run."""

    corpus: CorpusConfig = CorpusConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    clustering: ClusteringConfig = ClusteringConfig()
    quality: QualityConfig = QualityConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    domains: DomainsConfig = DomainsConfig()
    projection: ProjectionConfig = ProjectionConfig()
    tokens: TokensConfig = TokensConfig()
    target: TargetConfig = TargetConfig()
    proxy: ProxyConfig = ProxyConfig()
    search: SearchConfig = SearchConfig()
    machine: MachineConfig = MachineConfig()

    @model_validator(mode="after")
    def _given(self) -> Self:
        given, there = self.clustering.given, ("source", *self.corpus.keep_columns)
        if given and given not in there:
            raise ValueError(
                f"clustering.given = {given!r}: the corpus keeps no such column, only {', '.join(there)}; "
                "name it in corpus.keep_columns as well"
            )
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "config") -> Self:
        """Validate nested values; the first fault becomes a ClimbError that names the knob."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ClimbError(f"{where}: {_faults(error, cls)}") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a ``config.toml``."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ClimbError(f"{path}: no such file; 'climb init' writes one") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ClimbError(f"{path}: not valid TOML: {error}") from error
        return cls.parse(values, str(path))

    def to_toml(self) -> str:
        """The whole config as TOML, each knob below its help."""
        import tomlkit

        document = tomlkit.document()
        for name in type(self).model_fields:
            section: Section = getattr(self, name)
            table = tomlkit.table()
            table.comment((type(section).__doc__ or "").strip().splitlines()[0])
            for key, value in section.model_dump(mode="json").items():
                table.add(tomlkit.comment(type(section).model_fields[key].description or ""))
                table.add(key, _toml_value(value))
            document.add(name, table)
        return tomlkit.dumps(document)

    def with_values(self, assignments: Mapping[str, Any], where: str = "--set") -> Self:
        """A copy with dotted knobs set, for example ``{"clustering.n_clusters": 100}``."""
        values = self.model_dump(mode="json")
        for dotted, value in assignments.items():
            node = values
            *parents, last = dotted.split(".")
            for part in parents:
                node = node.setdefault(part, {})
                if not isinstance(node, dict):
                    raise ClimbError(f"{where}: {dotted}: {part} is no section")
            node[last] = value
        return self.parse(values, where)


def knobs(section: BaseModel) -> dict[str, Any]:
    """A section's values as plain JSON, without those that are only history: what an address is made of."""
    values: dict[str, Any] = {}
    for name, spec in type(section).model_fields.items():
        extra = spec.json_schema_extra
        if isinstance(extra, dict) and extra.get("history"):
            continue
        value = getattr(section, name)
        if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            values[name] = [knobs(item) for item in value]
        else:
            values[name] = section.model_dump(mode="json", include={name})[name]
    return values


def differing(before: RunConfig, after: RunConfig) -> Iterator[tuple[str, str]]:
    """The knobs, each as its section and its name, that have another value in one config than in the other."""
    for section in RunConfig.model_fields:
        one, other = getattr(before, section), getattr(after, section)
        for name in type(other).model_fields:
            if getattr(one, name) != getattr(other, name):
                yield section, name


def unfit(section: type[BaseModel], name: str, value: Any) -> str:
    """Why a knob of a section cannot have this value by itself; "" where it can."""
    try:
        section.model_validate({name: value})
    except ValidationError as error:
        return next((in_words(fault) for fault in error.errors() if fault["loc"][:1] == (name,)), "")
    return ""


def nearest(word: str, words: Any) -> str:
    """'; did you mean x?' when a known word is close, else the list of the known words."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(words))}"


def _faults(error: ValidationError, model: type[BaseModel]) -> str:
    """The first faults in words; of a list that is too short for its faulty entries only these."""
    faults = error.errors()
    parents = {fault["loc"][:-1] for fault in faults}
    told = [fault for fault in faults if not (fault["type"] == "too_short" and fault["loc"] in parents)]
    return "; ".join(_explain(fault, model) for fault in told[:5])


def _explain(error: Any, model: type[BaseModel]) -> str:
    location = [str(part) for part in error["loc"]]
    dotted = ".".join(location)
    owner = _owner(location, model)
    if error["type"] == "extra_forbidden":
        return f"there is no knob {dotted}{nearest(location[-1], owner.model_fields)}"
    message = in_words(error)
    if error["type"] == "string_pattern_mismatch":
        message = f"does not fit; it is: {owner.model_fields[location[-1]].description}"
    shown = error.get("input")
    got = f" (got {_cut(repr(shown))})" if isinstance(shown, (str, int, float, bool)) else ""
    return f"{dotted}: {message}{got}" if dotted else message  # of several sections at once


def _owner(location: list[str], model: type[BaseModel]) -> type[BaseModel]:
    """The section that a knob is in."""
    owner = model
    for part in location[:-1]:
        annotation = owner.model_fields[part].annotation if part in owner.model_fields else None
        owner = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else owner
        if part == "overrides":
            owner = Override
    return owner


def _cut(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else f"{text[:longest]} …"


def _toml_value(value: Any) -> Any:
    import tomlkit

    if isinstance(value, list) and value and isinstance(value[0], dict):
        tables = tomlkit.array()
        for item in value:
            inline = tomlkit.inline_table()
            inline.update({k: v for k, v in item.items() if v not in (None, "")})
            tables.append(inline)
        return tables.multiline(True)
    if isinstance(value, dict):
        inline = tomlkit.inline_table()
        inline.update(value)
        return inline
    return value
