"""The peers and the floors: their environments, their configurations, their processes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.gateway.processes import Processes, free_port, http_status
from benchmarks.gateway.targets import Target, Upstream
from benchmarks.gateway.texts import PEER_MODEL, Asking
from benchmarks.report import ROOT

ENVIRONMENTS: Final = ROOT / ".cache" / "bench"
LITELLM: Final = "1.109.1"
TENSORZERO: Final = "2026.6.0"
_FILES: Final = Path(__file__).parent / "peers"
_KEY: Final = "sk-benchmark-of-this-machine-only"
_START_S: Final = 120.0
_INSTALL_S: Final = 420.0


class Missing(Exception):
    """A peer's environment cannot be made; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway of somebody else: what it needs and how it starts.

    ``alone`` is installed last and without its dependencies.
    """

    name: str
    requirements: str
    start: Callable[[Processes, Path, Path, Upstream], Target]
    alone: Sequence[str] = ()

    def python(self) -> Path:
        """The Python of its environment, made when it is missing. Raises Missing."""
        folder = ENVIRONMENTS / f"venv-{self.name}"
        python = folder / "bin" / "python"
        wanted = (_FILES / self.requirements).read_bytes() + " ".join(self.alone).encode()
        mark, digest = folder / "made-from", hashlib.sha256(wanted).hexdigest()
        if mark.exists() and mark.read_text("utf-8") == digest:
            return python
        print(f"gateway: installing {self.name} into {folder.relative_to(ROOT)}", flush=True)
        log = ENVIRONMENTS / f"{self.name}.log"
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-input"]
        steps = [
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [*pip, "-r", str(_FILES / self.requirements)],
            *([[*pip, "--no-deps", *self.alone]] if self.alone else []),
        ]
        for step in steps:
            _run(step, log)
        mark.write_text(digest, "utf-8")
        return python


def _run(command: Sequence[str], log: Path) -> None:
    with log.open("ab") as out:
        try:
            subprocess.run(command, stdout=out, stderr=out, check=True, timeout=_INSTALL_S)
        except (OSError, subprocess.SubprocessError) as error:
            kind = type(error).__name__
            raise Missing(f"not installed ({kind}, see {log.relative_to(ROOT)})") from None


def _start_litellm(processes: Processes, folder: Path, python: Path, upstream: Upstream) -> Target:
    config = folder / "litellm.yaml"
    config.write_text(_litellm_config(upstream), encoding="utf-8")
    port = free_port()
    quiet = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
    }
    where = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    process = processes.start(
        "litellm",
        [str(python.with_name("litellm")), "--config", str(config), *where],
        env={**os.environ, **quiet},
        cwd=folder,
    )
    ready = process.wait_ready(port, "/health/liveliness", _START_S)
    return Target(
        name="litellm",
        about=f"LiteLLM {LITELLM}, 1 worker, key, nothing recorded",
        process=process,
        asking=Asking(
            host="127.0.0.1",
            port=port,
            path="/v1/chat/completions",
            model="bench",
            headers={"authorization": f"Bearer {_KEY}"},
        ),
        ready_s=ready,
        rss_mb=process.rss_mb(),
        streams=True,
        failing={"dead-litellm": "dead", "hang-litellm": "hang"},
    )


def _litellm_config(upstream: Upstream) -> str:
    """Pairs of a failing and a healthy deployment with retries: the set-up in which it leaks
    least."""
    pairs = [("bench", PEER_MODEL), ("dead", "dead-litellm"), ("dead", PEER_MODEL)]
    pairs += [("hang", "hang-litellm"), ("hang", PEER_MODEL)]
    models = "".join(
        f"  - model_name: {name}\n"
        f"    litellm_params: {{model: openai/{model}, api_base: '{upstream.base_url}', "
        f"api_key: none, timeout: {1 if model.startswith('hang') else 30}}}\n"
        for name, model in pairs
    )
    return (
        f"model_list:\n{models}litellm_settings: {{drop_params: true, telemetry: false}}\n"
        f"router_settings: {{num_retries: 2}}\ngeneral_settings: {{master_key: {_KEY}}}\n"
    )


def _start_tensorzero(
    processes: Processes, folder: Path, python: Path, upstream: Upstream
) -> Target:
    config, address = folder / "tensorzero.toml", folder / "tensorzero.url"
    config.write_text(_tensorzero_config(upstream), encoding="utf-8")
    address.unlink(missing_ok=True)
    process = processes.start(
        "tensorzero",
        [str(python), str(_FILES / "serve_tensorzero.py"), str(config), str(address)],
        env={**os.environ, "TENSORZERO_DISABLE_PSEUDONYMOUS_USAGE_ANALYTICS": "1"},
    )
    process.wait(address.exists, _START_S)
    place, _, path = address.read_text("utf-8").removeprefix("http://").partition("/")
    port = int(place.rpartition(":")[2])
    ready = process.wait(lambda: http_status(port, "/") != 0, _START_S)
    prefix = "tensorzero::model_name::"
    return Target(
        name="tensorzero",
        about=f"TensorZero {TENSORZERO} (Rust), no key, recording off",
        process=process,
        asking=Asking(
            host="127.0.0.1",
            port=port,
            path=f"/{path.strip('/')}/chat/completions",
            model=f"{prefix}bench",
        ),
        ready_s=ready,
        rss_mb=process.rss_mb(),
        streams=True,
        failing={"dead-tensorzero": f"{prefix}dead", "hang-tensorzero": f"{prefix}hang"},
    )


def _tensorzero_config(upstream: Upstream) -> str:
    lines = ["[gateway]", "observability.enabled = false"]
    for name in ("bench", "dead", "hang"):
        chain = ([] if name == "bench" else [f"{name}-tensorzero"]) + [PEER_MODEL]
        lines += [f"[models.{name}]", f"routing = {chain}"]
        for model in chain:
            lines += [
                f"[models.{name}.providers.{model}]",
                'type = "openai"',
                f'model_name = "{model}"',
                f'api_base = "{upstream.base_url}/"',
                'api_key_location = "none"',
            ]
            if model.startswith("hang"):
                lines.append("timeouts.non_streaming.total_ms = 1000")
    return "\n".join(lines) + "\n"


PEERS: Final = (
    Peer("litellm", "litellm.txt", _start_litellm, (f"litellm=={LITELLM}",)),
    Peer("tensorzero", "tensorzero.txt", _start_tensorzero),
)


def start_floor(processes: Processes, folder: Path, upstream: Upstream, mode: str) -> Target:
    """A floor: ``off`` passes through, ``fast`` and ``durable`` record as we do."""
    port = free_port()
    name = "floor" if mode == "off" else f"floor-{mode}"
    module = [sys.executable, "-m", "benchmarks.gateway.floors"]
    database = str(folder / f"{name}.db")
    process = processes.start(
        name, [*module, str(port), str(upstream.port), mode, database], cwd=ROOT
    )
    ready = process.wait_ready(port, "/")
    recording = "nothing recorded" if mode == "off" else f"recording {mode} to SQLite"
    return Target(
        name=name,
        about=f"bare ASGI + httptools + own pool, {recording}",
        process=process,
        asking=Asking(host="127.0.0.1", port=port, path="/v1/chat/completions", model=PEER_MODEL),
        ready_s=ready,
        rss_mb=process.rss_mb(),
    )


def start_mock(processes: Processes) -> Upstream:
    """The mock, ready."""
    port = free_port()
    process = processes.start(
        "mock", [sys.executable, "-m", "benchmarks.gateway.mock", str(port)], cwd=ROOT
    )
    process.wait_ready(port, "/stats")
    return Upstream(process, port)
