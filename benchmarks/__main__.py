"""``python -m benchmarks [gateway] [quality]``: run benchmarks, write results and README blocks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.gateway import run as gateway

NAMES = ("gateway", "quality")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; or all")
    parser.add_argument("--quick", action="store_true", help="gateway: small sizes, no README")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=gateway.SCENARIOS,
        metavar="SCENARIO",
        help=f"gateway: {', '.join(gateway.SCENARIOS)}; may be repeated; no README",
    )
    parser.add_argument(
        "--growth", type=int, metavar="N", help="gateway: requests over which memory is watched"
    )
    given = parser.parse_args(arguments)
    names = given.names or NAMES
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}")
    code = 0
    if "gateway" in names:
        code = gateway.main(quick=given.quick, only=given.only, growth_requests=given.growth)
    if "quality" in names:
        from benchmarks import quality

        quality.main()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
