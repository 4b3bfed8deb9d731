"""The processes of this machine, as a test looks for those of a training run."""

from __future__ import annotations

from pathlib import Path


def processes_naming(text: str) -> list[int]:
    """Ids of the processes whose command line holds the text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
