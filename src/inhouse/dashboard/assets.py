"""Static files: read once, named by their content, kept by browsers for good."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from inhouse.core.errors import NotFound
from inhouse.dashboard.security import HEADERS

router = APIRouter()
_FOLDER: Final = Path(__file__).parent / "static"
_FOREVER: Final = "public, max-age=31536000, immutable"
_A_DAY: Final = "public, max-age=86400"
_ICON: Final = "house.svg"
_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Asset:
    """A file: its bytes, its type, and the start of its SHA-256."""

    content: bytes
    kind: str
    digest: str


@cache
def _assets() -> dict[str, Asset]:
    return {path.name: _read(path) for path in sorted(_FOLDER.iterdir()) if path.is_file()}


def static_url(name: str) -> str:
    """The address of a file, which changes with its content."""
    return f"/static/{_assets()[name].digest}/{name}"


@router.get("/static/{digest}/{name}")
async def static(digest: str, name: str, request: Request) -> Response:
    """A static file, open to everybody. Raises NotFound (code ``no-such-path``)."""
    asset = _assets().get(name)
    if asset is None or asset.digest != digest:
        raise NotFound(
            f"there is no file {name} of that content",
            code="no-such-path",
            hint="reload the page that asked for it",
        )
    tag = f'"{asset.digest}"'
    headers = {**HEADERS, "cache-control": _FOREVER, "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.kind, headers=headers)


@router.get("/favicon.ico")
async def favicon() -> Response:
    """The icon of the pages, for what is no page: a browser asks for it beside JSON."""
    return RedirectResponse(static_url(_ICON), headers={**HEADERS, "cache-control": _A_DAY})


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(content, kind, sha256(content).hexdigest()[:_DIGITS])
