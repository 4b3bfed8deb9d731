"""Which files a version may hold: data that a loader reads, never code that a loader runs."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec

from inhouse.core.errors import Invalid

MEDIA_TYPES = {
    ".safetensors": "application/vnd.safetensors",
    ".gguf": "application/vnd.gguf",
    ".onnx": "application/vnd.onnx",
    ".model": "application/vnd.sentencepiece",
    ".json": "application/json",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".jinja": "text/plain",
}
_PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".npy", ".npz"})
_DTYPES = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "I8": "int8"}


def media_type_of(path: Path) -> str:
    """The media type of a staged file, from its name and its first bytes.

    Raises Invalid: ``pickle`` for a file that can hold a pickle, whatever its name; ``file-format``
    for a name that is not on the list, or bytes that do not fit the name.
    """
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(8)
    if suffix in _PICKLES or head.startswith(b"PK\x03\x04") or _is_pickle(head):
        raise Invalid(
            f"{path.name} can hold a pickle, which runs code when it is loaded",
            code="pickle",
            hint="save the weights as safetensors, GGUF or ONNX and the rest as JSON",
        )
    known = MEDIA_TYPES.get(suffix)
    if known is None:
        raise Invalid(
            f"{path.name} is not of a format that a model may hold",
            code="file-format",
            hint=f"these may be published: {', '.join(sorted(MEDIA_TYPES))}",
        )
    if suffix == ".gguf" and not head.startswith(b"GGUF"):
        raise Invalid(f"{path.name} does not begin as a GGUF file does", code="file-format")
    if suffix == ".safetensors":
        safetensors_dtype(path)
    return known


def _is_pickle(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def safetensors_dtype(path: Path) -> str:
    """The element type that most tensors of a safetensors file have, such as ``bf16``.

    The file begins with the length of its JSON header (8 bytes, little endian) and the header:
    https://github.com/huggingface/safetensors. Raises Invalid when it does not.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError("the header is longer than the file")  # noqa: TRY301
            header = msgspec.json.decode(file.read(length), type=dict[str, dict[str, object]])
        kinds = [str(entry["dtype"]) for key, entry in header.items() if key != "__metadata__"]
    except (ValueError, KeyError, struct.error) as error:
        raise Invalid(
            f"{path.name} is not a safetensors file: {error}", code="file-format"
        ) from None
    common = max(sorted(set(kinds)), key=kinds.count, default="none")
    return _DTYPES.get(common, common.lower())
