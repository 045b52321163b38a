"""The stages' bodies: each walks the parts, calls the functions of one module, and puts files.

A body knows the names of the files inside its own artifact and in those it needs; it skips what a stopped run has
put already. Which body feeds which is ``pipeline.STAGES``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from climb_engine.clusters import (
    WHOLE,
    by_domain,
    characters_by_domain,
    domains_content,
    domains_of_documents,
    from_tables,
    labelling,
    removes_duplicates,
    tallies,
)
from climb_engine.config import EmbeddingConfig, RunConfig, knobs
from climb_engine.curate.overrides import canonical
from climb_engine.runners import LocalRunner, Runner
from climb_engine.types import METRICS, ClimbError, Event, Ids, Report, Vectors, finite, silent
from climb_engine.workspace import Artifact, ArtifactWriter, read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from climb_engine.curate.embedding import Embedder
    from climb_engine.curate.quality import Rows
    from climb_engine.curate.ratings import Digests

GIVEN = "given"
"""Column of ``clusters.parquet`` with the value that a given cluster stands for; k-means clusters have none."""

_KEYWORD_DOCUMENTS = 100  # per cluster, for its keywords


@dataclass(frozen=True)
class Work:
    """What a stage's body is given. It returns the facts for the manifest."""

    config: RunConfig
    needs: Mapping[str, Artifact]
    out: ArtifactWriter
    report: Report
    stage: str
    runner: Runner = field(default_factory=LocalRunner)

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another machine: all but who waits for the work here."""
        return {**vars(self), "report": silent, "runner": LocalRunner()}

    def progress(self, done: float, total: float | None, unit: str = "documents", **facts: Any) -> None:
        """Report how far the stage is."""
        self.report(Event(self.stage, done, total, unit, facts))

    def remaining_parts(self, suffix: str) -> Iterator[int]:
        """The parts still to do, reporting the documents of those that are done."""
        corpus = self.needs["corpus"]
        sizes: Sequence[int] = corpus.facts["part_documents"]
        done = 0
        for part, size in enumerate(sizes):
            if not self.out.has(f"part-{part:05d}{suffix}"):
                self.progress(done, sum(sizes))
                yield part
            done += size
            self.progress(done, sum(sizes))

    def each_part(self, suffix: str, make: Callable[[Work, int], None]) -> None:
        """Make the parts still to do, on as many machines as the runner has.

        ``make`` reads what it needs of a part, computes and puts the part's file, and needs no other part for that.
        """
        sizes: Sequence[int] = self.needs["corpus"].facts["part_documents"]
        left = [part for part in range(len(sizes)) if not self.out.has(f"part-{part:05d}{suffix}")]
        done = sum(sizes) - sum(sizes[part] for part in left)
        self.progress(done, sum(sizes))
        for part in self.runner.each(functools.partial(make, self), left):
            done += sizes[part]
            self.progress(done, sum(sizes))


def corpus(work: Work) -> dict[str, Any]:
    """Read, check and de-duplicate documents: ``part-*.parquet`` (id, text, source, digest, kept columns)."""
    from climb_engine.curate.corpus import CorpusState, corpus_parts

    section, out = work.config.corpus, work.out
    state, sizes, characters = CorpusState(), [], 0
    finished = 0
    while out.has(f"part-{finished:05d}.json"):  # written after its part, so its part is whole
        saved = read_json(out.path(f"part-{finished:05d}.json"))
        state = CorpusState.from_json(saved["state"])
        sizes.append(saved["documents"])
        characters += saved["characters"]
        finished += 1
    digests = [out.table(part, ["digest"])["digest"].to_numpy() for part in range(finished)]
    for table, after in corpus_parts(section, state, digests):
        count = sum(len(text) for text in table["text"].to_pylist())
        out.put_table(finished, table)
        saved = {"state": after.as_json(), "documents": table.num_rows, "characters": count}
        out.put_json(finished, saved)
        state, finished, characters = after, finished + 1, characters + count
        sizes.append(table.num_rows)
        work.progress(sum(sizes), None, "documents", rejected=sum(state.rejected.values()))
    if not sum(sizes):
        reasons = ", ".join(f"{n} {reason}" for reason, n in state.rejected.items()) or "the inputs hold none"
        raise ClimbError(f"no document was accepted ({reasons}); check corpus.inputs and corpus.text_column")
    return {
        "documents": sum(sizes),
        "characters": characters,
        "part_documents": sizes,
        **{key: value for key, value in state.as_json().items() if key in ("rejected", "examples")},
    }


def embedding(work: Work) -> dict[str, Any]:
    """Embed every document: ``part-*.npy`` (n, d) float16, unit rows."""
    embedder = _embedder(work.config.embedding, work.config.machine.device)
    work.each_part(".npy", _embed)
    _embedder.cache_clear()
    return {"model": embedder.name, "dimensions": embedder.dimensions}


def _embed(work: Work, part: int) -> None:
    from climb_engine.curate.embedding import embed

    section, source = work.config.embedding, work.needs["corpus"]
    sizes = source.facts["part_documents"]
    texts = source.table(part, ["text"])["text"].to_pylist()
    seen = sum(sizes[:part])

    def on_batch(n: int) -> None:
        nonlocal seen
        seen += n
        work.progress(seen, sum(sizes))

    embedder = _embedder(section, work.config.machine.device)
    work.out.put_array(part, embed(texts, embedder, section.batch_size, on_batch))


@functools.lru_cache(maxsize=1)
def _embedder(section: EmbeddingConfig, device: str) -> Embedder:
    """Loaded once for all parts that this process embeds."""
    from climb_engine.curate.embedding import load_embedder

    return load_embedder(section, device)


def clustering_knobs(config: RunConfig) -> dict[str, Any]:
    """The knobs of ``clustering`` that it depends on: of clusters that are given, only those of the keywords."""
    values = knobs(config.clustering)
    if config.clustering.given:
        return {name: values[name] for name in ("given", "keywords", "seed")}
    del values["given"]
    return values


def clustering(work: Work) -> dict[str, Any]:
    """Clusters: ``centroids.npy``, ``part-*.parquet`` (cluster, distance), ``clusters.parquet`` (size, keywords).

    They are those of k-means, or the values of a column: these are in ``given.parquet`` and ``clusters.parquet``.
    """
    out, given = work.out, bool(work.config.clustering.given)
    sizes = work.needs["corpus"].facts["part_documents"]
    if not out.has("centroids.npy"):
        out.put_array("centroids", _given_centroids(work) if given else _kmeans(work))
    work.each_part(".parquet", _assign)
    tables = [out.table(part) for part in range(len(sizes))]
    clusters = np.concatenate([table["cluster"].to_numpy() for table in tables])
    distances = np.concatenate([table["distance"].to_numpy() for table in tables])
    k = len(out.array("centroids"))
    counts = np.bincount(clusters, minlength=k)
    totals = np.bincount(clusters, weights=distances, minlength=k)
    columns = {
        "cluster": np.arange(k),
        "documents": counts,
        "mean_distance": (totals / np.maximum(counts, 1)).astype(np.float32),
        "keywords": pa.array([list(words) for words in keywords_of(work, clusters, range(k))], pa.list_(pa.string())),
    }
    out.put_table("clusters", pa.table(columns | ({GIVEN: out.table("given")[GIVEN]} if given else {})))
    return {"clusters": k, "empty": int((counts == 0).sum()), "mean_distance": float(distances.mean())}


def _kmeans(work: Work) -> Vectors:
    from climb_engine.curate.clustering import sample_rows, train_centroids

    section, vectors = work.config.clustering, work.needs["embedding"]
    sizes = work.needs["corpus"].facts["part_documents"]
    work.progress(0, sum(sizes), note="training k-means")
    rows = sample_rows(sizes, section.n_clusters * section.points_per_cluster, section.seed)
    sample = np.concatenate([np.asarray(vectors.array(part)[mine], np.float32) for part, mine in enumerate(rows)])
    return train_centroids(sample, section)


def _given_centroids(work: Work) -> Vectors:
    """Put the values that the column has, which number the clusters, and return the mean vector of each."""
    from climb_engine.curate.clustering import distinct_values, means

    column, source = work.config.clustering.given, work.needs["corpus"]
    values = distinct_values((table[column] for table in source.tables([column])), column)
    work.out.put_table("given", pa.table({GIVEN: values}))
    pairs = ((work.needs["embedding"].array(part), _given_clusters(work, part)) for part in range(source.parts))
    return means(pairs, len(values))


def _given_clusters(work: Work, part: int) -> np.ndarray:
    from climb_engine.curate.clustering import given_clusters

    column = work.config.clustering.given
    return given_clusters(work.needs["corpus"].table(part, [column])[column], work.out.table("given")[GIVEN])


def _assign(work: Work, part: int) -> None:
    from climb_engine.curate.clustering import assign, distances_to

    vectors = np.asarray(work.needs["embedding"].array(part), np.float32)
    centroids = np.asarray(work.out.array("centroids"))
    if work.config.clustering.given:
        clusters = _given_clusters(work, part)
        distances = distances_to(vectors, centroids, clusters)
    else:
        clusters, distances = assign(vectors, centroids)
    work.out.put_table(part, pa.table({"cluster": clusters, "distance": distances}))


def keywords_of(work: Work, clusters: np.ndarray, chosen: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """The words that tell some clusters from each other, from a sample of their documents (n,)."""
    from climb_engine.curate.clustering import cluster_keywords, keyword_rows

    section, source = work.config.clustering, work.needs["corpus"]
    rows = keyword_rows(clusters, _KEYWORD_DOCUMENTS, section.seed)
    rows = rows[np.isin(clusters[rows], chosen)]
    place = {cluster: at for at, cluster in enumerate(chosen)}
    texts: list[str] = []
    first = 0
    for part, size in enumerate(source.facts["part_documents"]):
        mine = rows[(rows >= first) & (rows < first + size)] - first
        if len(mine):
            texts += source.table(part, ["text"])["text"].take(mine).to_pylist()
        first += size
    owners = np.array([place[int(cluster)] for cluster in clusters[rows]], dtype=np.int64)
    return cluster_keywords(texts, owners, len(chosen), section.keywords)


_SCORER_KNOBS: dict[str, tuple[str, ...]] = {
    "fasttext": ("fasttext",),
    "transformers": ("transformers", "max_tokens"),
    "annotator": (
        *("annotator_model", "annotator_documents", "annotator_seed", "annotator_chars"),
        "annotator_answer_tokens",
    ),
}
_HEAD = 2
"""Version of the head that learned scorers teach: whoever uses none of them need not score again for a better one."""


def quality_knobs(config: RunConfig) -> dict[str, Any]:
    """The knobs of ``quality`` that the scores depend on: of the scorers in use, and not how or from where."""
    from climb_engine.curate.quality import LEARNED

    values, used = knobs(config.quality), config.quality.scorers
    chosen = [name for scorer in used for name in _SCORER_KNOBS.get(scorer, ())]
    learned = {"head": _HEAD} if set(LEARNED) & set(used) else {}
    return {name: values[name] for name in ("scorers", "columns", *chosen)} | learned


def quality_needs(config: RunConfig) -> tuple[str, ...]:
    """Scorers that learn need the embeddings; the others do without, so that another embedder reruns none of them."""
    from climb_engine.curate.quality import LEARNED

    return ("embedding",) if set(LEARNED) & set(config.quality.scorers) else ()


def quality(work: Work) -> dict[str, Any]:
    """Score every document: ``part-*.parquet``, a column per metric, 0 to 5, and what each of several scorers said."""
    from climb_engine.curate.head import HeadScorer
    from climb_engine.curate.quality import load_scorers, score_documents

    rows = rows_of(work.needs["corpus"], work.needs.get("embedding"))
    scorers = load_scorers(work.config.quality, work.config.machine.device, rows, work.report)
    embedded = work.needs.get("embedding")
    for part in work.remaining_parts(".parquet"):
        vectors = np.asarray(embedded.array(part), np.float32) if embedded else None
        work.out.put_table(part, score_documents(work.needs["corpus"].table(part), scorers, vectors))
    metrics = [name for name in work.out.table(0).column_names if name in METRICS]
    learned = {scorer.name: dict(scorer.facts) for scorer in scorers if isinstance(scorer, HeadScorer)}
    return {"metrics": metrics} | ({"learned": learned} if learned else {})


def rows_of(source: Artifact, embedded: Artifact | None) -> Rows:
    """Documents by id, for those who learn from a few of them; ``source`` is the corpus."""
    from climb_engine.curate.quality import Rows

    sizes = source.facts["part_documents"]

    def by_part(ids: Ids) -> Iterator[tuple[int, Ids]]:
        ends = np.cumsum(sizes)
        for part, mine in enumerate(np.split(ids, np.searchsorted(ids, ends[:-1]))):
            if len(mine):
                yield part, mine - (ends[part] - sizes[part])

    def texts(ids: Ids) -> list[str]:
        columns = (source.table(part, ["text"])["text"].take(mine) for part, mine in by_part(ids))
        return [text for column in columns for text in column.to_pylist()]

    def vectors(ids: Ids) -> Vectors:
        assert embedded is not None, "this corpus was not embedded"
        pieces = [np.asarray(embedded.array(part)[mine], np.float32) for part, mine in by_part(ids)]
        return np.concatenate([embedded.array(0)[:0], *pieces], dtype=np.float32)

    def digest_parts() -> Iterator[Digests]:
        return (rows["digest"].to_numpy() for rows in source.tables(["digest"]))

    def digests(ids: Ids) -> Digests:
        columns = (source.table(part, ["digest"])["digest"].to_numpy()[mine] for part, mine in by_part(ids))
        return np.concatenate([np.empty(0, np.uint64), *columns])

    return Rows(sum(sizes), texts, vectors, digests, digest_parts)


def duplicates_knobs(config: RunConfig) -> dict[str, Any]:
    """The knobs of ``duplicates`` that find them; what becomes of them is the domains' and the tokens' matter."""
    return {name: value for name, value in knobs(config.duplicates).items() if name != "remove"}


def duplicates(work: Work) -> dict[str, Any]:
    """Find near-duplicates: ``part-*.npy`` (n, permutations) signatures, ``part-*.parquet`` (duplicate_of)."""
    from climb_engine.curate.duplicates import groups, signatures

    section, source, out = work.config.duplicates, work.needs["corpus"], work.out
    for part in work.remaining_parts(".npy"):
        out.put_array(part, signatures(source.table(part, ["text"])["text"].to_pylist(), section))
    found = groups([out.array(part) for part in range(source.parts)], section)
    for part, mine in enumerate(np.split(found, np.cumsum(source.facts["part_documents"])[:-1])):
        out.put_table(part, pa.table({"duplicate_of": mine}))
    copies = found[found >= 0]
    return {"documents": len(found), "duplicates": len(copies), "groups": len(np.unique(copies))}


def domains_knobs(config: RunConfig) -> dict[str, Any]:
    """The knobs of ``domains`` with what its overrides do: what a domain is called and notes decide nothing."""
    done = [knobs(override) for override in canonical(config.domains.overrides)[0]]
    removed = {"remove_duplicates": True} if removes_duplicates(config) else {}
    return knobs(config.domains) | {"overrides": done} | removed


def domains(work: Work) -> dict[str, Any]:
    """Prune and merge clusters: ``clusters.parquet`` (a decision each), ``domains.parquet``, ``linkage.npy``.

    Names of domains are those that they were made under. Clusters that were split are in ``whole.parquet`` too.
    """
    from climb_engine.curate.domains import decide

    total = work.needs["corpus"].facts["documents"]
    tables = tallies(work.needs, lambda done: work.progress(done, total))
    decided = decide(from_tables(tables, work.needs), work.config.domains)
    clusters, copies = work.needs[labelling(work.config)], work.needs.get("duplicates")
    without = copies.digest if copies and removes_duplicates(work.config) else None
    rows = pa.Table.from_pylist([asdict(decision) for decision in decided.decisions])
    for name in tables["clusters"].column_names:
        rows = rows.append_column(name, tables["clusters"][name])
    work.out.put_table("clusters", rows)
    if WHOLE in tables:
        work.out.put_table(WHOLE, tables[WHOLE])
    owner = decided.labels
    summary = _summary(work, owner, decided.names, tables["clusters"])
    work.out.put_table("domains", summary)
    work.out.put_array("linkage", decided.linkage)
    work.out.put_array("leaves", np.asarray(decided.leaves, np.int64))
    documents = rows["documents"].to_numpy()
    kept, pruned = int(np.sum(summary["documents"].to_numpy())), int(documents[owner < 0].sum())
    return {
        "content": domains_content(clusters.digest, without, decided),
        "names": list(decided.names),
        "automatic_names": list(decided.automatic_names),  # what a decision's automatic_domain counts in
        "ever": list(decided.ever),  # every domain that there was on the way, which a rename may name
        "cut": [finite(height) for height in decided.cut],
        "kept_clusters": int((owner >= 0).sum()),
        "pruned_clusters": int((owner < 0).sum()),
        "kept_documents": kept,
        "pruned_documents": pruned,
        "duplicate_documents": int(documents.sum()) - kept - pruned,  # left out of clusters that are kept
    }


def _summary(work: Work, owner: np.ndarray, names: Sequence[str], clusters: pa.Table) -> pa.Table:
    """A row per domain: its clusters, and what documents and characters are in it."""
    m = len(names)
    if removes_duplicates(work.config):
        placed = domains_of_documents(work.needs, owner, remove=True)
        documents = sum(by_domain(part, np.ones(len(part), np.int64), m) for part in placed)
        characters = characters_by_domain(work.needs, placed, m)
    else:
        documents, characters = (by_domain(owner, clusters[of].to_numpy(), m) for of in ("documents", "characters"))
    counted = by_domain(owner, np.ones(len(owner), np.int64), m)
    columns: dict[str, Any] = {"domain": np.arange(m), "name": list(names), "clusters": counted}
    return pa.table(columns | {"documents": documents, "characters": characters})


def projection(work: Work) -> dict[str, Any]:
    """A map: ``part-*.npy`` (n, 2), ``clusters.npy`` (k, 2) medians; ``rows.npy`` and ``fitted.npy``, the sample."""
    from climb_engine.curate.projection import medians, neighbour_index, place

    vectors, clustering, out = work.needs["embedding"], work.needs["clustering"], work.out
    sizes = work.needs["corpus"].facts["part_documents"]
    clusters = np.concatenate([table["cluster"].to_numpy() for table in clustering.tables(["cluster"])])
    if not out.has("fitted.npy"):
        _fit_projection(work, clusters)
    rows, fitted = np.asarray(out.array("rows")), np.asarray(out.array("fitted"))
    index = None
    for part in work.remaining_parts(".npy"):
        first = sum(sizes[:part])
        mine = (rows >= first) & (rows < first + sizes[part])
        others = np.setdiff1d(np.arange(sizes[part]), rows[mine] - first)
        positions = np.empty((sizes[part], 2), np.float32)
        positions[rows[mine] - first] = fitted[mine]
        if len(others):
            index = index or neighbour_index(_vectors_at(vectors, sizes, rows))
            section = work.config.projection
            positions[others] = place(vectors.array(part)[others], index, fitted, section.place_neighbours)
        out.put_array(part, positions)
    everywhere = np.concatenate([out.array(part) for part in range(len(sizes))])
    out.put_array("clusters", medians(everywhere, clusters, clustering.facts["clusters"]))
    return {"method": work.config.projection.method, "fitted": len(rows), "placed": len(clusters) - len(rows)}


def _fit_projection(work: Work, clusters: np.ndarray) -> None:
    from climb_engine.curate.projection import fit, stratified_rows

    section = work.config.projection
    sizes = work.needs["corpus"].facts["part_documents"]
    rows = stratified_rows(clusters, section.documents, section.seed)
    work.progress(0, None, "epochs", note=f"{section.method} of {len(rows):,} documents")
    sample = _vectors_at(work.needs["embedding"], sizes, rows)
    work.out.put_array("rows", rows)
    work.out.put_array("fitted", fit(sample, section, lambda done, of: work.progress(done, of, "epochs")))


def _vectors_at(vectors: Artifact, sizes: Sequence[int], rows: np.ndarray) -> np.ndarray:
    """The vectors (s, d) float32 of sorted rows, read part by part."""
    ends = np.cumsum(sizes, dtype=np.int64)
    pieces = np.split(rows, np.searchsorted(rows, ends[:-1]))
    starts = ends - np.asarray(sizes)
    found = [np.asarray(vectors.array(i)[mine - starts[i]], np.float32) for i, mine in enumerate(pieces)]
    return np.concatenate(found)


def tokens(work: Work) -> dict[str, Any]:
    """Tokenise what is kept: ``tokenizer.json``, ``part-*.npy`` (tokens), ``part-*.parquet`` (a row per document)."""
    from climb_engine.curate.tokens import end_of_text, tokenize_part

    source, section = work.needs["corpus"], work.config.tokens
    table = work.needs["domains"].table("domains")
    characters = table["characters"].to_pylist()
    owner = work.needs["domains"].table("clusters", ["domain"])["domain"].to_numpy()
    placed = domains_of_documents(work.needs, owner, removes_duplicates(work.config))
    tokenizer = _tokenizer(work, placed, sum(characters))
    fractions = _heldout(work, placed, characters)
    for part in work.remaining_parts(".parquet"):
        rows = source.table(part, ["id", "text"])
        made = tokenize_part(
            rows["text"].to_pylist(), rows["id"].to_numpy(), placed[part], fractions, tokenizer, section.seed
        )
        work.out.put_array(part, made.tokens)
        columns = {
            "id": made.documents,
            "domain": made.domains,
            "start": made.starts,
            "length": made.lengths,
            "heldout": made.heldout,
            "bytes": made.bytes,
        }
        work.out.put_table(part, pa.table(columns))
    sizes = {"vocab_size": tokenizer.get_vocab_size(), "end_of_text": end_of_text(tokenizer)}
    return sizes | _token_counts(work, len(characters))


def _tokenizer(work: Work, placed: Sequence[np.ndarray], characters: int) -> Tokenizer:
    from climb_engine.curate.tokens import load_tokenizer, train_bpe, uniform

    section, source = work.config.tokens, work.needs["corpus"]
    if not work.out.has("tokenizer.json"):
        share = section.training_chars / max(1, characters)

        def sample() -> Iterator[str]:
            for part in range(source.parts):
                rows = source.table(part, ["id", "text"])
                drawn = (uniform(rows["id"].to_numpy(), section.seed + 1) < share) & (placed[part] >= 0)
                yield from rows["text"].filter(pa.array(drawn)).to_pylist()

        work.progress(0, source.facts["documents"], note="training the tokenizer")
        made = (
            train_bpe(sample(), section.vocab_size) if section.tokenizer == "bpe" else load_tokenizer(section.tokenizer)
        )
        work.out.put_bytes("tokenizer.json", made.to_str().encode())
    return load_tokenizer(str(work.out.path("tokenizer.json")))


def _heldout(work: Work, placed: Sequence[np.ndarray], characters: Sequence[int]) -> list[float]:
    """The share of each domain that is held out, and never none of it: its first document by lot always is."""
    from climb_engine.curate.tokens import heldout_fractions, uniform

    section = work.config.tokens
    first = np.ones(len(characters))
    for part in range(work.needs["corpus"].parts):
        owner = placed[part]
        lots = uniform(work.needs["corpus"].table(part, ["id"])["id"].to_numpy(), section.seed)
        np.minimum.at(first, owner[owner >= 0], lots[owner >= 0])
    return [max(share, lot + 1e-12) for share, lot in zip(heldout_fractions(characters, section), first, strict=True)]


def _token_counts(work: Work, m: int) -> dict[str, Any]:
    """Training and held-out tokens and held-out bytes of every domain."""
    train, heldout, heldout_bytes = np.zeros(m, np.int64), np.zeros(m, np.int64), np.zeros(m, np.int64)
    for part in range(work.needs["corpus"].parts):
        rows = work.out.table(part, ["domain", "length", "heldout", "bytes"])
        owner, held = rows["domain"].to_numpy(), rows["heldout"].to_numpy()
        lengths, sizes = rows["length"].to_numpy(), rows["bytes"].to_numpy()
        np.add.at(train, owner[~held], lengths[~held])
        np.add.at(heldout, owner[held], lengths[held])
        np.add.at(heldout_bytes, owner[held], sizes[held])
    empty = [str(d) for d in np.flatnonzero(train == 0)]
    if empty:
        raise ClimbError(
            f"domain {', '.join(empty)} has no text left to train on beside its held-out slice; "
            "raise domains.min_documents or lower domains.n_domains"
        )
    return {"train": train.tolist(), "heldout": heldout.tolist(), "heldout_bytes": heldout_bytes.tolist()}


_TRAINING_KNOBS = (
    *("sequence_length", "batch_size", "trunk_tokens", "trunk_learning_rate"),
    *("warmup", "weight_decay", "gradient_clip", "seed"),
)


def trunk_knobs(config: RunConfig) -> dict[str, Any]:
    """The knobs of ``proxy`` that the trunk depends on; the others concern the decay that follows it.

    A size counts by the shape that it stands for, and a checkpoint to start from brings its own.
    """
    proxy, values = config.proxy, knobs(config.proxy)
    rope = {name: values[name] for name in ("rope_theta", "tie_embeddings")}
    model: dict[str, Any] = {"start": proxy.start} if proxy.start else proxy.shape | rope
    return model | {name: values[name] for name in _TRAINING_KNOBS}


def trunk(work: Work) -> dict[str, Any]:
    """Train what every proxy starts from: ``trunk.safetensors``. Not resumed within: it starts anew when stopped."""
    from safetensors.torch import save

    from climb_engine.training import train_trunk

    stack, losses = train_trunk(work.config, work.needs["tokens"], work.report)
    work.out.put_bytes("trunk.safetensors", save(stack.state()))
    tail = losses[-max(1, len(losses) // 20) :]
    return {
        "shape": asdict(stack.shape),
        "parameters": stack.shape.parameters,
        "steps": len(losses),
        "loss": float(np.mean(tail)) if tail else None,
    }
