"""``python -m benchmarks [gateway] [pages] [quality]``: run, write results and README blocks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks import quality
from benchmarks.gateway import run as gateway

PARTS = {"gateway": gateway.SCENARIOS, "pages": (), "quality": quality.PARTS}
NAMES = tuple(PARTS)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; or all")
    parser.add_argument(
        "--quick", action="store_true", help="gateway, pages: small sizes, no README"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=(*gateway.SCENARIOS, *quality.PARTS),
        metavar="PART",
        help=f"gateway: {', '.join(gateway.SCENARIOS)}; quality: {', '.join(quality.PARTS)}; "
        "may be repeated; no README",
    )
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="quality: parts at a time (2)"
    )
    parser.add_argument(
        "--growth", type=int, metavar="N", help="gateway: requests over which memory is watched"
    )
    given = parser.parse_args(arguments)
    meant = [name for name in NAMES if set(given.only) & set(PARTS[name])]
    names = given.names or meant or NAMES
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}")
    code = 0
    if "gateway" in names:
        only = [name for name in given.only if name in gateway.SCENARIOS]
        code = gateway.main(quick=given.quick, only=only, growth_requests=given.growth)
    if "pages" in names:
        from benchmarks.pages import run as pages

        code = max(code, pages.main(quick=given.quick))
    if "quality" in names:
        from benchmarks.quality import run

        only = [name for name in given.only if name in quality.PARTS]
        code = run.main(only, given.jobs) or code
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
