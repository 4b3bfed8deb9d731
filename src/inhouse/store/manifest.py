"""What a version says about itself: its files with checksums, its variants, where it came from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from inhouse.core.errors import Invalid
from inhouse.core.hashing import canonical_json, digest_of
from inhouse.core.references import NAME
from inhouse.store.layout import CHECKSUM, MANIFEST, VERSION

_PATH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\Z")

Kind = Literal["base", "encoder"]
"""``base``: weights to build on (a general LLM, a sentence encoder). ``encoder``: an encoder with a
trained head, which answers a task."""

Format = Literal["onnx", "safetensors", "gguf"]


def check_path(path: str) -> str:
    """A path inside a version: relative, of ``A-Za-z0-9._-/``, no segment ``.`` or ``..``."""
    if not _PATH.match(path) or {".", ".."} & set(path.split("/")) or path in (MANIFEST, CHECKSUM):
        raise ValueError(f"{path!r} is not a path that a version may hold")
    return path


def _check_utc(value: datetime) -> datetime:
    if value.utcoffset() != timedelta(0):
        raise ValueError("the time must be in UTC")
    return value


def _check_label(text: str) -> str:
    if not NAME.match(text):
        raise ValueError(f"{text!r} is not 1 to 64 characters of a-z, 0-9, '.', '_' and '-'")
    return text


def _check_version(text: str) -> str:
    if not VERSION.match(text):
        raise ValueError(f"{text!r} is not written YYYYMMDDThhmmssZ-<8 hex digits>")
    return text


RelativePath = Annotated[str, AfterValidator(check_path)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Label = Annotated[str, AfterValidator(_check_label)]
VersionName = Annotated[str, AfterValidator(_check_version)]
UtcTime = Annotated[AwareDatetime, AfterValidator(_check_utc)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Part):
    """One file of a version; ``size`` in bytes."""

    path: RelativePath
    digest: Digest
    size: int = Field(ge=0)
    media_type: str


class VariantSpec(_Part):
    """A form of the weights: ``files`` are paths in the version, ``dtype`` such as ``bf16``."""

    id: Label
    format: Format
    dtype: Label
    files: tuple[RelativePath, ...] = Field(min_length=1)


class Variant(VariantSpec):
    """A variant as published; ``bytes`` is the sum of its files."""

    bytes: int = Field(ge=0)


class Lineage(_Part):
    """How a version came to be. Ids are opaque here; nothing walks them."""

    run_id: str | None = None
    snapshot_hash: str | None = None
    parents: tuple[Digest, ...] = ()
    seed: int | None = None
    code_version: str | None = None


class Draft(_Part):
    """What the publisher knows; the store adds name, version, time, checksums and sizes.

    ``metadata`` is the engine's own (labels, task, pooling). The first variant is the default one
    unless ``default_variant`` names another.
    """

    kind: Kind
    license: str = Field(min_length=1)
    variants: tuple[VariantSpec, ...] = Field(min_length=1)
    default_variant: str = ""
    source: dict[str, JsonValue] = Field(default_factory=dict)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    lineage: Lineage = Lineage()
    evaluation: dict[str, JsonValue] | None = None


class Manifest(_Part):
    """The description of a published version; its canonical JSON is what ``digest`` names."""

    schema_id: Literal["inhouse.model/1"] = Field(default="inhouse.model/1", alias="schema")
    kind: Kind
    name: Label
    version: VersionName
    created_at: UtcTime
    license: str = Field(min_length=1)
    source: dict[str, JsonValue]
    files: tuple[FileEntry, ...] = Field(min_length=1)
    default_variant: str
    variants: tuple[Variant, ...] = Field(min_length=1)
    metadata: dict[str, JsonValue]
    lineage: Lineage
    evaluation: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        sizes = {entry.path: entry.size for entry in self.files}
        if len({path.lower() for path in sizes}) != len(self.files):
            raise ValueError("two files have the same path (or differ only by case)")
        ids = [variant.id for variant in self.variants]
        if len(set(ids)) != len(ids) or self.default_variant not in ids:
            raise ValueError("variant ids must be unique and hold the default variant")
        for variant in self.variants:
            _check_variant(variant, sizes)
        return self

    def to_json(self) -> bytes:
        """The canonical JSON: what manifest.json holds, byte for byte."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the canonical JSON."""
        return f"sha256:{hashlib.sha256(self.to_json()).hexdigest()}"

    def variant(self, variant_id: str = "") -> Variant:
        """A variant by id, the default one without. Raises Invalid for an unknown id."""
        wanted = variant_id or self.default_variant
        for variant in self.variants:
            if variant.id == wanted:
                return variant
        known = ", ".join(variant.id for variant in self.variants)
        raise Invalid(
            f"{self.name}@{self.version} has no variant {wanted!r}",
            code="model-variant",
            hint=f"it has: {known}",
        )


def _check_variant(variant: Variant, sizes: Mapping[str, int]) -> None:
    if missing := [path for path in variant.files if path not in sizes]:
        raise ValueError(f"variant {variant.id} names files that are not there: {missing}")
    if not any(path.endswith(f".{variant.format}") for path in variant.files):
        raise ValueError(f"variant {variant.id} holds no .{variant.format} file")
    if variant.bytes != sum(sizes[path] for path in variant.files):
        raise ValueError(f"variant {variant.id} does not weigh {variant.bytes} bytes")


def compose(draft: Draft, name: str, created_at: datetime, files: list[FileEntry]) -> Manifest:
    """The manifest of a draft and its files. The version is the second of ``created_at`` and eight
    hex digits of the content (all but name and time). Raises Invalid (``manifest``)."""
    moment = created_at.replace(microsecond=0)
    sizes = {entry.path: entry.size for entry in files}
    content: dict[str, Any] = {
        "schema": "inhouse.model/1",
        **draft.model_dump(mode="json"),
        "default_variant": draft.default_variant or draft.variants[0].id,
        "files": [entry.model_dump() for entry in files],
        "variants": [
            {**spec.model_dump(), "bytes": sum(sizes.get(path, 0) for path in spec.files)}
            for spec in draft.variants
        ],
    }
    try:
        version = f"{moment:%Y%m%dT%H%M%SZ}-{digest_of(content)[:8]}"
        return Manifest.model_validate(
            {**content, "name": name, "version": version, "created_at": moment}
        )
    except ValueError as error:
        message = f"the manifest of {name} does not fit: {explain(error)}"
        raise Invalid(message, code="manifest") from None


def explain(error: Exception) -> str:
    """One line for what is wrong with a manifest."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        f"{'.'.join(map(str, part['loc']))}: {part['msg']}".lstrip(": ") for part in error.errors()
    )
