"""Kept documents to tokens by domain: a tokenizer, and a held-out slice of every domain that no proxy trains on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from climb_engine.config import TokensConfig
from climb_engine.types import ClimbError, Ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"
_END_TOKENS = (END_OF_TEXT, "</s>", "<eos>", "[SEP]", "<|end_of_text|>", "<|im_end|>")


@dataclass(frozen=True)
class TokenPart:
    """The tokens of one part's kept documents, ordered by domain and then by document."""

    tokens: npt.NDArray[np.unsignedinteger]  # every document ends with the end-of-text token
    documents: Ids  # (r,) ids
    domains: npt.NDArray[np.int32]  # (r,)
    lengths: npt.NDArray[np.int64]  # (r,) tokens, the end-of-text token counted
    heldout: npt.NDArray[np.bool_]  # (r,)
    bytes: npt.NDArray[np.int64]  # (r,) UTF-8 bytes of the text

    @property
    def starts(self) -> Ids:
        """Where each document begins in ``tokens``, shape (r,)."""
        return (
            np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64) if len(self.lengths) else self.lengths
        )


def uniform(ids: Ids, seed: int) -> npt.NDArray[np.float64]:
    """One number in [0, 1) per document, from its id and the seed alone (splitmix64)."""
    mask = np.uint64(0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        x = (
            ids.astype(np.uint64)
            + np.uint64(seed % 2**32) * np.uint64(0x9E3779B97F4A7C15)
            + np.uint64(0x9E3779B97F4A7C15)
        )
        x = ((x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)) & mask
        x = ((x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)) & mask
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE (GPT-2's pre-tokeniser); id 0 is the end-of-text token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(name: str) -> Tokenizer:
    """A tokenizer by path (``tokenizer.json`` or its folder) or hub id; ClimbError when it cannot be found."""
    from tokenizers import Tokenizer

    path = Path(name).expanduser()
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.is_file():
            return Tokenizer.from_file(str(file))
        return Tokenizer.from_pretrained(name)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ClimbError(
            f"tokens.tokenizer: {name!r} could not be loaded ({str(error).splitlines()[0][:200]}); "
            "give the path of a tokenizer.json, or 'bpe' to train one on the corpus"
        ) from error


def end_of_text(tokenizer: Tokenizer) -> int:
    """The id of the token that ends a document."""
    for token in _END_TOKENS:
        found = tokenizer.token_to_id(token)
        if found is not None:
            return int(found)
    raise ClimbError(f"the tokenizer has no end-of-text token; it needs one of {', '.join(_END_TOKENS)}")


def heldout_fractions(characters: Sequence[int], config: TokensConfig, chars_per_token: float = 4.0) -> list[float]:
    """The share of each domain's documents to hold out: about ``heldout_tokens``, at most a tenth."""
    wanted = config.heldout_tokens * chars_per_token
    return [min(0.1, wanted / max(1, count)) for count in characters]


def tokenize_part(
    texts: Sequence[str],
    ids: Ids,
    domains: npt.NDArray[np.int32],
    fractions: Sequence[float],
    tokenizer: Tokenizer,
    seed: int,
) -> TokenPart:
    """Tokenise the kept documents of a part.

    texts, ids (n,), domains (n,), -1 where pruned; fractions (m,): the share of each domain to hold out. Which
    documents are held out depends on their ids and the seed alone.
    """
    order = np.lexsort((ids, domains))
    order = order[domains[order] >= 0]
    encoded = tokenizer.encode_batch_fast([texts[i] for i in order], add_special_tokens=False)
    end = end_of_text(tokenizer)
    rows = [[*encoding.ids, end] for encoding in encoded]
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 2**16 else np.uint32
    share = np.asarray(fractions, dtype=np.float64)
    return TokenPart(
        tokens=np.fromiter((token for row in rows for token in row), dtype=dtype, count=sum(map(len, rows))),
        documents=ids[order],
        domains=domains[order],
        lengths=np.array([len(row) for row in rows], dtype=np.int64),
        heldout=uniform(ids[order], seed) < share[domains[order]],
        bytes=np.array([len(texts[i].encode()) for i in order], dtype=np.int64),
    )
