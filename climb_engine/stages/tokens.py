"""The kept documents as tokens by domain, with a slice held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from climb_engine.clusters import domains_of_documents, removes_duplicates
from climb_engine.stages.work import Work
from climb_engine.types import ClimbError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


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
