"""The page's own files, and the headers that let a browser do with them only what is meant."""

from __future__ import annotations

from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from luna.forensics.report import page

_KINDS = {"js": "text/javascript", "css": "text/css", "html": "text/html"}
_SCRIPTS = ("page.js", "talk.js", "compare.js", "grow.js", "line.js")
_FILES = {"/": "studio.html", "/studio.css": "studio.css"} | {f"/{name}": name for name in _SCRIPTS}
_SHARED = {"/theme.css": page.theme, "/shared.js": page.shared}
#: They tell nothing of the repository, and a browser asks for them before it has the token.
OPEN = frozenset({*_FILES, *_SHARED})
HEADERS = {
    # Scripts and styles are these files alone; what a model or a file says can start nothing.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def routes() -> list[Route]:
    """A route for each file."""
    return [Route(path, _file, methods=["GET"]) for path in (*_FILES, *_SHARED)]


async def _file(request: Request) -> Response:
    path = request.url.path
    name = _FILES.get(path, path)
    if path in _SHARED:
        text = _SHARED[path]()
    else:
        text = (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")
    return Response(text, media_type=_KINDS[name.rpartition(".")[2]], headers=HEADERS)
