"""A sentence encoder in safetensors becomes one ONNX file: int8, pooled, of unit length.

The graph holds the encoder, mean pooling over the tokens and L2 normalisation; its weights are
quantised to int8 per channel (activations at run time). torch and transformers run in a child.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from inhouse.inference.engines.children import main_of, require, run_once

_PROBES = (
    "Shares rose after the company reported a record profit.",
    "The inquest opens on Tuesday.",
    "Operating profit fell to EUR 12.7 mn from EUR 16.9 mn a year earlier, the firm said.",
)
_OPSET = 17
_LEAST_COSINE = 0.98


def export(base_dir: Path, target_dir: Path) -> dict[str, Any]:
    """Export the encoder in ``base_dir`` (config.json, model.safetensors, tokenizer.json).

    ``target_dir`` receives ``encoder.onnx`` (inputs input_ids, attention_mask, token_type_ids, all
    int64 [n, t]; output embedding, float32 [n, d]) and ``tokenizer.json``. Returns format, dtype,
    dimensions, max_tokens and the lowest cosine between the export and the original over some
    sentences.

    Raises:
        Unavailable: the extra ``train`` is not installed (``missing-extra``).
        BackendError: the export failed, or strays from the original (``child-failed``).
    """
    require("train", "torch", "transformers", "onnx", "onnxruntime", "tokenizers")
    return run_once(__name__, [str(base_dir), str(target_dir)])


def convert(source_dir: Path, target_dir: Path) -> dict[str, Any]:
    """Everything in ``source_dir``, and its export beside it, into ``target_dir``: what a base
    needs to be served, to carry heads, and to be trained further. Raises as ``export``."""
    shutil.copytree(source_dir, target_dir, dirs_exist_ok=True)
    return export(source_dir, target_dir)


def run(base: str, target: str) -> dict[str, Any]:
    """The child's work."""
    import torch
    from transformers import AutoModel

    torch.set_num_threads(1)
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    model = AutoModel.from_pretrained(base, attn_implementation="eager").eval()
    whole = folder / "encoder.fp32.onnx"
    unit = partial(torch.nn.functional.normalize, dim=1)
    write_graph(model, unit, whole, "embedding")
    quantise(whole, folder / "encoder.onnx")
    whole.unlink()
    if folder != Path(base):
        shutil.copyfile(Path(base) / "tokenizer.json", folder / "tokenizer.json")
    cosine = _parity(model, Path(base), folder)
    if cosine < _LEAST_COSINE:
        raise ValueError(f"the export strays from the original: cosine {cosine:.4f}")
    return {
        "format": "onnx",
        "dtype": "int8",
        "dimensions": int(model.config.hidden_size),
        "lowest_cosine": round(cosine, 5),
    }


def write_graph(model: Any, head: Callable[[Any], Any], path: Path, output: str) -> None:
    """Export ``head(mean of the last hidden states over the tokens)`` of a BERT-like model, in
    evaluation mode; ``model`` runs with eager attention. The output is float32 [n, d]."""
    import torch

    class Pooled(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.head = head

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            states = self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(states.dtype)
            return self.head((states * mask).sum(1) / mask.sum(1))

    ids = torch.ones((2, 8), dtype=torch.int64)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(
        Pooled().eval(),
        (ids, ids, ids * 0),
        str(path),
        input_names=names,
        output_names=[output],
        dynamic_axes={name: {0: "n", 1: "t"} for name in names} | {output: {0: "n"}},
        opset_version=_OPSET,
        dynamo=False,
    )


def quantise(source: Path, target: Path) -> None:
    """A graph's weights as int8, per channel; its activations are quantised at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)


def _parity(model: Any, base: Path, folder: Path) -> float:
    """Lowest cosine between the export and the original, one sentence at a time."""
    import numpy as np
    import torch
    from tokenizers import Tokenizer

    from inhouse.inference.engines.encoder import Encoder

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_padding()
    found = []
    for text, vector in zip(_PROBES, Encoder(folder).embed(_PROBES), strict=True):
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            mean = model(input_ids=ids).last_hidden_state.mean(1)[0]
        whole = (mean / mean.norm()).numpy()
        found.append(float(np.dot(whole, vector)))
    return min(found)


if __name__ == "__main__":
    main_of(run, sys.argv[1:])
