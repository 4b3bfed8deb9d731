"""``python -m benchmarks [NAME ...]``: run benchmarks, write results and README blocks."""

from __future__ import annotations

import sys

from benchmarks import quality

BENCHMARKS = {"quality": quality.main}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
