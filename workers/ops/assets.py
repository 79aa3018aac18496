"""Static files, addressed by a hash of their content so that browsers keep them for ever."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aiohttp import web

from infra.web.errors import not_found

FOLDER = Path(__file__).parent / "static"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript"}
HASH_DIGITS = 16
IMMUTABLE = "public, max-age=31536000, immutable"  # RFC 8246


@dataclass(frozen=True, slots=True)
class Asset:
    """A file: its address, its bytes and its media type."""

    url: str
    body: bytes
    media_type: str


def load_assets(folder: Path = FOLDER) -> dict[str, Asset]:
    """Read the files of the folder, by name."""
    return {
        path.name: _load(path) for path in sorted(folder.iterdir()) if path.suffix in MEDIA_TYPES
    }


def serve_asset(assets: dict[str, Asset], request: web.Request) -> web.Response:
    """Respond with a file; raises an ``HttpError`` (404) for another name or hash."""
    found = assets.get(request.match_info["name"])
    if found is None or found.url != request.path:
        raise not_found("file")
    return web.Response(
        body=found.body,
        content_type=found.media_type,
        charset="utf-8",
        headers={"Cache-Control": IMMUTABLE},
    )


def _load(path: Path) -> Asset:
    body = path.read_bytes()
    digest = sha256(body).hexdigest()[:HASH_DIGITS]
    return Asset(f"/static/{digest}/{path.name}", body, MEDIA_TYPES[path.suffix])
