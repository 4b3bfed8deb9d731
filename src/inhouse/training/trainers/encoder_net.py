"""The network of ``encoder``: a sentence encoder and a linear head on the mean of its last states.

Imports torch: only what runs in the child process imports this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModel

from inhouse.training.trainers.base import TrainingFailed
from inhouse.training.trainers.encoder_texts import Window, batches

_FILES = ("config.json", "model.safetensors", "tokenizer.json")
_HEAD_STD = 0.02
PREDICT_BATCH = 32


def check_base(base: Path, most: int) -> None:
    """Raise TrainingFailed for a folder that holds no BERT-like encoder for such windows."""
    missing = [name for name in _FILES if not (base / name).is_file()]
    if missing:
        raise TrainingFailed(f"the base holds no encoder to train: no {', '.join(missing)}")
    config = json.loads((base / "config.json").read_text("utf-8"))
    if config.get("model_type") != "bert":
        raise TrainingFailed(f"the base is of type {config.get('model_type')!r}, not 'bert'")
    room = int(config["max_position_embeddings"])
    if most > room:
        raise TrainingFailed(f"the base reads {room} pieces at once; max_tokens is {most}")


class Net:
    """The network, and the moving average of its weights, which is what predicts.

    Word embeddings stay as the base has them: few of them occur in the examples. With
    ``frozen_layers`` the other embeddings and that many of the lowest layers stay too.
    ``shift`` and ``scale`` take the head's answer to the range of the targets. ``depths`` says of
    each of the ``weights`` how many layers lie above its own.
    """

    def __init__(
        self,
        base: Path,
        outputs: int,
        *,
        frozen_layers: int,
        decay: float,
        shift: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        self._base = base
        self._encoder = AutoModel.from_pretrained(
            base, attn_implementation="sdpa", add_pooling_layer=False, local_files_only=True
        )
        self._head = torch.nn.Linear(self._encoder.config.hidden_size, outputs)
        torch.nn.init.normal_(self._head.weight, std=_HEAD_STD)
        torch.nn.init.zeros_(self._head.bias)
        self._dropout = torch.nn.Dropout(self._encoder.config.hidden_dropout_prob)
        self._decay, self.shift, self.scale = decay, shift, scale
        for name, weight in self._encoder.named_parameters():
            weight.requires_grad_(not _is_frozen(name, frozen_layers))
        layers = int(self._encoder.config.num_hidden_layers)
        trained = [
            (weight, _depth(name, layers))
            for name, weight in self._encoder.named_parameters()
            if weight.requires_grad
        ]
        trained += [(weight, 0) for weight in self._head.parameters()]
        self.weights = [weight for weight, _ in trained]
        self.depths = [depth for _, depth in trained]
        self._average: list[Any] = []

    def train(self) -> None:
        """Learn from now on: dropout on."""
        self._encoder.train()
        self._dropout.train()

    def answers(self, windows: Sequence[Window]) -> Any:
        """The head's answers [n, k] before ``shift`` and ``scale``, as the weights are now."""
        return self._head(self._dropout(self._means(windows)))

    def _means(self, windows: Sequence[Window]) -> Any:
        """The mean of the last states of each window, [n, d]."""
        width = max(len(window.pieces) for window in windows)
        ids = torch.zeros((len(windows), width), dtype=torch.int64)
        mask = torch.zeros((len(windows), width), dtype=torch.int64)
        for row, window in enumerate(windows):
            ids[row, : len(window.pieces)] = torch.tensor(window.pieces)
            mask[row, : len(window.pieces)] = 1
        states = self._encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        shares = mask.unsqueeze(-1).to(states.dtype)
        return (states * shares).sum(1) / shares.sum(1)

    def predict(self, texts: Sequence[Sequence[Window]], check: Callable[[], None]) -> Any:
        """What the network says to texts, float64 [n, k], their windows averaged by length.

        ``check`` is called before every batch.
        """
        found = self._averaged(texts, self.answers, self._head.out_features, check)
        return found * self.scale + self.shift

    def vectors(self, texts: Sequence[Sequence[Window]], check: Callable[[], None]) -> Any:
        """What the head is given of texts, float64 [n, d], averaged and checked as by ``predict``:
        the head is linear, so its answer to the average is the average of its answers."""
        return self._averaged(texts, self._means, self._head.in_features, check)

    def _averaged(
        self,
        texts: Sequence[Sequence[Window]],
        rows_of: Callable[[Sequence[Window]], Any],
        width: int,
        check: Callable[[], None],
    ) -> Any:
        self.evaluate()
        windows = [window for text in texts for window in text]
        owners = [place for place, text in enumerate(texts) for _ in text]
        found, total = np.zeros((len(texts), width)), np.zeros(len(texts))
        with torch.inference_mode():
            for at in batches(windows, PREDICT_BATCH):
                check()
                rows = rows_of([windows[each] for each in at]).numpy()
                for each, row in zip(at, rows, strict=True):
                    found[owners[each]] += row * windows[each].weight
                    total[owners[each]] += windows[each].weight
        return found / total[:, None]

    def put_head(self, weight: Any, bias: Any) -> None:
        """Answer by this head, [k, d] and [k], instead of the one that was drawn."""
        with torch.no_grad():
            self._head.weight.copy_(torch.as_tensor(weight))
            self._head.bias.copy_(torch.as_tensor(bias))

    def follow(self) -> None:
        """Take the weights into the moving average."""
        now = [weight.detach() for weight in self.weights]
        if self._average:
            torch._foreach_lerp_(self._average, now, 1.0 - self._decay)
        else:
            self._average = [weight.clone() for weight in now]

    def swap(self) -> None:
        """Put the moving average in the place of the weights, and back at the next call."""
        if not self._average:
            return
        with torch.no_grad():
            for weight, average in zip(self.weights, self._average, strict=True):
                kept = weight.detach().clone()
                weight.copy_(average)
                average.copy_(kept)

    def evaluate(self) -> None:
        """Answer from now on: dropout off."""
        self._encoder.eval()
        self._dropout.eval()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the network."""
        return {
            "weights": [weight.detach() for weight in self.weights],
            "average": self._average,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        with torch.no_grad():
            for weight, kept in zip(self.weights, state["weights"], strict=True):
                weight.copy_(kept)
        self._average = [kept.clone() for kept in state["average"]]

    def exportable(self) -> tuple[Any, Any]:
        """An encoder with plain attention and the head with shift and scale in it, in evaluation
        mode, with the weights as they are."""
        config = AutoConfig.from_pretrained(self._base, local_files_only=True)
        model = AutoModel.from_config(
            config, attn_implementation="eager", add_pooling_layer=False
        ).eval()
        model.load_state_dict(self._encoder.state_dict())
        head = torch.nn.Linear(self._head.in_features, self._head.out_features).eval()
        with torch.no_grad():
            head.weight.copy_(self._head.weight * self.scale)
            head.bias.copy_(self._head.bias * self.scale + self.shift)
        return model, head


def optimiser(net: Net, rate: float, layer_decay: float, weight_decay: float) -> Any:
    """AdamW without weight decay of biases and norms (Loshchilov and Hutter 2019).

    Every group has its highest rate as ``peak``: ``rate`` for the head and the top layer, and
    ``layer_decay`` times as much for each layer below (Howard and Ruder 2018).
    """
    groups: dict[tuple[int, bool], list[Any]] = {}
    for depth, weight in zip(net.depths, net.weights, strict=True):
        groups.setdefault((depth, weight.ndim > 1), []).append(weight)
    return torch.optim.AdamW(
        [
            {
                "params": weights,
                "weight_decay": weight_decay if is_matrix else 0.0,
                "peak": rate * layer_decay**depth,
            }
            for (depth, is_matrix), weights in groups.items()
        ],
        lr=rate,
        fused=True,
    )


def _is_frozen(name: str, frozen_layers: int) -> bool:
    if "word_embeddings" in name:
        return True
    if name.startswith("embeddings."):
        return frozen_layers > 0
    return name.startswith("encoder.layer.") and int(name.split(".")[2]) < frozen_layers


def _depth(name: str, layers: int) -> int:
    inside = name.startswith("encoder.layer.")
    return layers - 1 - int(name.split(".")[2]) if inside else layers
