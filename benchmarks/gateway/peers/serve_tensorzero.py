"""Run by the Python of TensorZero's environment: its HTTP gateway from the wheel.

``serve_tensorzero.py CONFIG URL_FILE``. The wheel offers the server by a private function only, and
it chooses its port; the address is written to URL_FILE.
"""

import sys
import threading
from pathlib import Path

from tensorzero.tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1],
    clickhouse_url=None,
    postgres_url=None,
    valkey_url=None,
    async_setup=False,
)
target = Path(sys.argv[2])
written = target.with_suffix(".new")
written.write_text(str(gateway.base_url), encoding="utf-8")
written.rename(target)
threading.Event().wait()
