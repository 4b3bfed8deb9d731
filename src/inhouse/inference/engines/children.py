"""Child processes for native runtimes: how one is started, and how one that does a single thing
and ends is run. Whatever a runtime does (spin, leak, abort), it does it to its own process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from inhouse.core.errors import BackendError, Unavailable

_HINTS = {
    "encoder": "pip install 'inhouse[encoder]'",
    "train": "pip install 'inhouse[train]' (this installs torch)",
    "lm": "pip install 'inhouse[lm]' (this installs torch)",
}
_TAIL = 2000
_SPINS: Final = "1000"
"""How often a thread looks before it sleeps. Two threads learn a fifth faster than with none; with
many more they would stand in the way of everything else on a busy machine, and of each other."""


def require(extra: str, *modules: str) -> None:
    """Check, without importing them, that the modules of an extra are installed.

    Raises:
        Unavailable: code ``missing-extra``; the hint says what to install.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise Unavailable(
            f"this needs {', '.join(missing)}, which is not installed",
            code="missing-extra",
            hint=_HINTS[extra],
        )


def environment(threads: int) -> dict[str, str]:
    """The environment of a child: the parent's, with threads that spin for microseconds only and
    libraries that never look anything up on a network."""
    return {
        **os.environ,  # noqa: TID251  handed on to the child, not read
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": _SPINS,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONUNBUFFERED": "1",
    }


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of ours in a child; the folder that it runs in is not on
    its import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def run_once(module: str, arguments: Sequence[str], *, threads: int = 1) -> dict[str, Any]:
    """Run ``module`` in a child until it ends; its stdout is one JSON object.

    Raises:
        BackendError: code ``child-failed``; the message ends with the end of the child's stderr.
    """
    done = subprocess.run(
        command(module, *arguments), env=environment(threads), capture_output=True, check=False
    )
    if done.returncode != 0:
        tail = done.stderr.decode(errors="replace")[-_TAIL:].strip()
        raise BackendError(f"{module} ended with {done.returncode}: {tail}", code="child-failed")
    return msgspec.json.decode(done.stdout, type=dict[str, Any])


def main_of(step: Callable[..., Mapping[str, Any]], arguments: Sequence[str]) -> None:
    """The child's side of ``run_once``: run ``step``, print what it returns as JSON.

    Only that goes to stdout; what libraries print meanwhile goes to stderr.
    """
    stdout = os.dup(1)
    os.dup2(2, 1)
    result = step(*arguments)
    with os.fdopen(stdout, "wb") as out:
        out.write(msgspec.json.encode(result))
