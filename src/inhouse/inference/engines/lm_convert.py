"""GGUF into what the language-model engine loads: bf16 safetensors, a tokenizer, configs.

Reads GGUF files of the Llama architecture with a byte-level BPE vocabulary (SmolLM2 and its kin).
The same source gives the same bytes. No torch: the tensors are dequantised by ``gguf`` and written
as they come, one at a time.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inhouse.core.errors import Invalid
from inhouse.inference.engines.children import main_of, require, run_once

_PRE_TOKENIZERS = {"smollm"}
_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER_NAMES = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}


def convert(source_dir: Path, target_dir: Path) -> dict[str, Any]:
    """Convert the one ``*.gguf`` under ``source_dir`` into ``target_dir``, in a child process.

    ``target_dir`` (made if missing) receives ``model.safetensors``, ``config.json``,
    ``generation_config.json``, ``tokenizer.json``, ``tokenizer_config.json`` and
    ``chat_template.jinja``. Returns what a manifest says about the model: architecture, dtype,
    context_length, parameters, chat_template_digest, source_file.

    Raises:
        Invalid: there is not exactly one GGUF file (``gguf-not-found``).
        Unavailable: the extra ``lm`` is not installed (``missing-extra``).
        BackendError: the conversion failed (``child-failed``), such as on a foreign architecture.
    """
    require("lm", "gguf", "numpy", "tokenizers")
    return run_once(__name__, [str(_gguf_in(source_dir)), str(target_dir)])


def _gguf_in(source_dir: Path) -> Path:
    found = sorted(source_dir.rglob("*.gguf"))
    if len(found) != 1:
        raise Invalid(
            f"expected one .gguf file, found {len(found)}: {[path.name for path in found]}",
            code="gguf-not-found",
        )
    return found[0]


def convert_file(source: str, target: str) -> dict[str, Any]:
    """The conversion itself; see ``convert``. ``source`` is a GGUF file or a folder with one."""
    from gguf import GGUFReader

    path = Path(source) if source.endswith(".gguf") else _gguf_in(Path(source))
    reader = GGUFReader(path)
    fields = {
        name: field.contents() for name, field in reader.fields.items() if "GGUF." not in name
    }
    if fields["general.architecture"] != "llama" or fields["tokenizer.ggml.model"] != "gpt2":
        raise Invalid("only Llama models with a byte-level BPE vocabulary can be converted")
    out = Path(target)
    out.mkdir(parents=True, exist_ok=True)
    parameters, tied = _write_weights(reader, fields, out / "model.safetensors")
    _write_json(out / "config.json", _config(fields, tied))
    _write_json(out / "generation_config.json", _generation_config(fields))
    _tokenizer(fields).save(str(out / "tokenizer.json"))
    _write_json(out / "tokenizer_config.json", _tokenizer_config(fields))
    template = str(fields["tokenizer.chat_template"])
    (out / "chat_template.jinja").write_text(template, encoding="utf-8")
    return {
        "architecture": "LlamaForCausalLM",
        "dtype": "bfloat16",
        "context_length": fields["llama.context_length"],
        "parameters": parameters,
        "chat_template_digest": hashlib.sha256(template.encode()).hexdigest(),
        "source_file": path.name,
    }


def _write_weights(reader: Any, fields: Mapping[str, Any], path: Path) -> tuple[int, bool]:
    """Write all tensors as bf16 safetensors, one at a time; returns the number of parameters, and
    whether input and output embeddings are one.

    The format: the length of the header (8 bytes, little endian), the header as JSON padded with
    spaces to a multiple of 8, the tensors' bytes.
    """
    tensors = sorted((_name_of(tensor.name), tensor) for tensor in reader.tensors)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors:
        start, end = end, end + 2 * int(tensor.n_elements)
        shape = [int(size) for size in reversed(tensor.shape)]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for _, tensor in tensors:
            file.write(_bfloat16(_values_of(tensor, fields)).tobytes())
    return end // 2, "lm_head.weight" not in header


def _name_of(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    _, layer, rest = name.split(".", 2)
    return f"model.layers.{layer}.{_LAYER_NAMES[rest]}"


def _values_of(tensor: Any, fields: Mapping[str, Any]) -> Any:
    """One tensor as float32 in the row order of the original model.

    GGUF stores the rows of a query or key head interleaved for its own rotary embedding, (pair,
    half); the original order is (half, pair).
    """
    from gguf.quants import dequantize

    values = dequantize(tensor.data, tensor.tensor_type).reshape(
        tuple(map(int, tensor.shape))[::-1]
    )
    heads = {
        "attn_q.weight": fields["llama.attention.head_count"],
        "attn_k.weight": fields["llama.attention.head_count_kv"],
    }.get(tensor.name.split(".", 2)[-1])
    if heads is None:
        return values
    rows, columns = values.shape
    pairs = values.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _bfloat16(values: Any) -> Any:
    """The upper half of each float32, rounded to nearest, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounding = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + rounding) >> np.uint32(16)).astype("<u2")


def _config(fields: Mapping[str, Any], tied: bool) -> dict[str, Any]:
    heads = fields["llama.attention.head_count"]
    width = fields["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_size": width,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": fields.get("llama.rope.dimension_count", width // heads),
        "hidden_act": "silu",
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": fields["llama.rope.freq_base"],
        "tie_word_embeddings": tied,
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        **_token_ids(fields),
    }


def _token_ids(fields: Mapping[str, Any]) -> dict[str, int]:
    return {
        f"{role}_token_id": fields[f"tokenizer.ggml.{source}_token_id"]
        for role, source in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }


def _generation_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"do_sample": False, **_token_ids(fields)}


def _tokenizer(fields: Mapping[str, Any]) -> Any:
    """The byte-level BPE of the file, with the pre-tokeniser that its name stands for."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    if fields["tokenizer.ggml.pre"] not in _PRE_TOKENIZERS:
        raise Invalid(f"unknown pre-tokeniser {fields['tokenizer.ggml.pre']!r}")
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = fields["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == 3]
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in control]
    )
    return tokenizer


def _tokenizer_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    tokens = fields["tokenizer.ggml.tokens"]
    named = {role.removesuffix("_id"): tokens[index] for role, index in _token_ids(fields).items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": fields["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        **named,
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main_of(convert_file, sys.argv[1:])
