"""Llama checkpoints of ``transformers``: a stack of one read from one, a proxy written as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from climb_engine.search.llama import LlamaShape, ProxyStack
from climb_engine.types import ClimbError

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]


def from_hf(model: Any) -> ProxyStack:
    """A stack of one from a Llama of ``transformers``: a hub id, a folder, a GGUF file, or a LlamaForCausalLM.

    Raises ClimbError for a model that is no plain Llama.
    """
    if isinstance(model, (str, Path)):
        model = _read_hf(str(model))
    shape = _shape_of_hf(model.config)
    return ProxyStack.load(shape, _from_hf_names(shape, model.state_dict()))


def save_hf(
    stack: ProxyStack,
    index: int,
    folder: Path,
    tokenizer_file: Path | None = None,
    end_of_text: str | None = None,
    sequence_length: int = 2048,
) -> None:
    """Write the proxy at ``index`` as a LlamaForCausalLM that ``transformers`` loads by its folder.

    ``tokenizer_file`` is a ``tokenizer.json``; ``end_of_text`` the token of it that begins and ends a document.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: w[index] for name, w in stack.state().items()}
    end = _save_tokenizer(folder, tokenizer_file, end_of_text) if tokenizer_file else None
    _hf_config(stack.shape, end, sequence_length).save_pretrained(folder)
    save_file(_to_hf_names(stack.shape, weights), folder / "model.safetensors", metadata={"format": "pt"})


def _read_hf(path_or_id: str) -> Any:
    from transformers import AutoModelForCausalLM

    path, gguf = Path(path_or_id), {}
    if path.suffix == ".gguf":
        path_or_id, gguf = str(path.parent), {"gguf_file": path.name}
    try:
        return AutoModelForCausalLM.from_pretrained(path_or_id, dtype="float32", **gguf)
    except (OSError, ValueError, ImportError) as error:
        raise ClimbError(
            f"{path}: transformers could not load a causal language model from it ({error}); give the id or "
            "the folder of a Llama checkpoint, or a .gguf file"
        ) from error


def _shape_of_hf(config: Any) -> LlamaShape:
    rope = config.rope_parameters or {}
    heads = config.num_attention_heads
    plain = {
        "model_type": (config.model_type, "llama"),
        "hidden_act": (config.hidden_act, "silu"),
        "attention_bias": (getattr(config, "attention_bias", False), False),
        "mlp_bias": (getattr(config, "mlp_bias", False), False),
        "head_dim": (getattr(config, "head_dim", None) or config.hidden_size // heads, config.hidden_size // heads),
        "rope_type": (rope.get("rope_type", "default"), "default"),
    }
    odd = [f"{name} is {got!r}, not {wanted!r}" for name, (got, wanted) in plain.items() if got != wanted]
    if odd:
        raise ClimbError(f"a proxy starts from a plain Llama only: {'; '.join(odd)}")
    return LlamaShape(
        vocab=config.vocab_size,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        ffn=config.intermediate_size,
        heads=heads,
        kv_heads=config.num_key_value_heads,
        rope_theta=float(rope.get("rope_theta", 10_000.0)),
        tie_embeddings=bool(config.tie_word_embeddings),
        norm_eps=config.rms_norm_eps,
    )


def _hf_config(shape: LlamaShape, end: int | None, sequence_length: int) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        rms_norm_eps=shape.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tie_embeddings,
        max_position_embeddings=sequence_length,
        bos_token_id=end,
        eos_token_id=end,
        dtype="float32",
    )


def _save_tokenizer(folder: Path, tokenizer_file: Path, end_of_text: str | None) -> int | None:
    """Put a tokenizer beside the model; the id of its end of text."""
    from transformers import PreTrainedTokenizerFast

    special = {} if end_of_text is None else {"bos_token": end_of_text, "eos_token": end_of_text}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), **special)
    tokenizer.save_pretrained(folder)
    return None if end_of_text is None else int(tokenizer.convert_tokens_to_ids(end_of_text))


def _hf_parts(shape: LlamaShape) -> dict[str, tuple[tuple[str, int], ...]]:
    """For each parameter of a layer: the ``transformers`` matrices that lie in it, and their rows."""
    q, kv = shape.hidden, shape.kv_heads * shape.head_size
    return {
        "attention_norm": (("input_layernorm", q),),
        "qkv": (("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)),
        "attention_out": (("self_attn.o_proj", q),),
        "mlp_norm": (("post_attention_layernorm", q),),
        "gate_up": (("mlp.gate_proj", shape.ffn), ("mlp.up_proj", shape.ffn)),
        "down": (("mlp.down_proj", q),),
    }


def _hf_outer(shape: LlamaShape) -> dict[str, str]:
    outer = {"embedding": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight"}
    return {name: there for name, there in outer.items() if name in shape.tensors}


def _to_hf_names(shape: LlamaShape, weights: Tensors) -> Tensors:
    named = {there: weights[name].clone() for name, there in _hf_outer(shape).items()}
    for name, parts in _hf_parts(shape).items():
        for i, stacked in enumerate(weights[name]):
            pieces = stacked.split([rows for _, rows in parts])
            for (there, _), piece in zip(parts, pieces, strict=True):
                named[f"model.layers.{i}.{there}.weight"] = piece.clone()
    return named


def _from_hf_names(shape: LlamaShape, named: Tensors) -> Tensors:
    import torch

    weights = {name: named[there].detach().float() for name, there in _hf_outer(shape).items()}
    for name, parts in _hf_parts(shape).items():
        layers = [
            torch.cat([named[f"model.layers.{i}.{there}.weight"].detach().float() for there, _ in parts])
            for i in range(shape.layers)
        ]
        weights[name] = torch.stack(layers)
    return {name: w.unsqueeze(0).clone() for name, w in weights.items()}
