"""Control plane under /_emulator/: settings, faults, clock and books. fal has nothing like it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.responses import JSONResponse, Response

from .faults import Fault, parse_plan
from .http import Incoming, refused
from .records import Request
from .world import World

Answer = dict[str, Any]


async def handle(incoming: Incoming) -> Response:
    """Answer a request to the control plane; no key is needed."""
    found = _ROUTES.get((incoming.method, "/".join(incoming.path[1:])))
    if found is None:
        raise refused(404, "Not Found")
    try:
        body = await incoming.json() if incoming.method in ("POST", "PATCH") else None
        if not isinstance(body, dict | None) and found is not _add_faults:
            raise refused(400, "The body must be a JSON object")
        return JSONResponse(found(incoming.world, {} if body is None else body))
    except ValueError as error:
        raise refused(400, str(error)) from None


def _index(world: World, _body: Any) -> Answer:
    paths = [f"{method} /_emulator/{path}" for method, path in _ROUTES]
    return {"emulator": "fal.ai", "now": world.now(), "paths": paths}


def _reset(world: World, body: Any) -> Answer:
    world.reset(body.get("seed"))
    return {"now": world.now()}


def _seed(world: World, body: Any) -> Answer:
    world.change_settings({"seed": body.get("seed")})
    world.faults.seed(world.settings.seed)
    return {"seed": world.settings.seed}


def _show_faults(world: World, _body: Any) -> Answer:
    return {"faults": world.faults.report()}


def _add_faults(world: World, body: Any) -> Answer:
    single = isinstance(body, dict) and "stage" in body
    faults, seed = ([Fault.from_mapping(body)], None) if single else parse_plan(body)
    if seed is not None:
        world.faults.seed(seed)
    world.faults.add(*faults)
    return _show_faults(world, None)


def _clear_faults(world: World, _body: Any) -> Answer:
    world.faults.clear()
    return _show_faults(world, None)


def _books(world: World, _body: Any) -> Answer:
    return books_json(world)


def _show_settings(world: World, _body: Any) -> Answer:
    """Every setting except the keys."""
    values = {**world.settings.as_dict(), "service_times": dict(world.settings.service_times)}
    return {name: value for name, value in values.items() if name not in ("keys", "admin_keys")}


def _change_settings(world: World, body: Any) -> Answer:
    world.change_settings(body)
    return _show_settings(world, None)


def _advance(world: World, body: Any) -> Answer:
    seconds = body.get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise ValueError("seconds must be a number")  # noqa: TRY004 (handled like every other bad value)
    world.advance(seconds)
    return {"now": world.now()}


def _complete(world: World, body: Any) -> Answer:
    return {"completed": world.complete_now(_text(body, "request_id"))}


def _expire(world: World, body: Any) -> Answer:
    return {"expired": world.files.expire(world.now(), _text(body, "path"))}


def _text(body: Any, name: str) -> str | None:
    value = body.get(name)
    if not isinstance(value, str | None):
        raise ValueError(f"{name} must be a string")  # noqa: TRY004 (handled like every other bad value)
    return value


_ROUTES: Mapping[tuple[str, str], Callable[[World, Any], Answer]] = {
    ("GET", ""): _index,
    ("POST", "reset"): _reset,
    ("POST", "seed"): _seed,
    ("GET", "faults"): _show_faults,
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "books"): _books,
    ("GET", "settings"): _show_settings,
    ("PATCH", "settings"): _change_settings,
    ("POST", "advance"): _advance,
    ("POST", "complete"): _complete,
    ("POST", "files/expire"): _expire,
}


def books_json(world: World) -> dict[str, Any]:
    """The whole record as JSON."""
    books = world.books
    return {
        "requests": [_request_json(request) for request in books.accepted],
        "posts": [asdict(post) for post in books.posts],
        "cancels": [asdict(cancel) for cancel in books.cancels],
        "charges": books.charges(),
        "acceptances": books.acceptances(),
        "result_gets": dict(books.result_gets),
        "status_gets": dict(books.status_gets),
        "downloads": dict(books.downloads),
        "uploads": dict(books.uploads),
        "totals": {
            "posts": len(books.posts),
            "accepted": len(books.accepted),
            "charged_micro_usd": books.total_charged_micro_usd,
            "committed_micro_usd": books.total_committed_micro_usd,
        },
    }


def _request_json(request: Request) -> dict[str, Any]:
    values = asdict(request)
    values["committed_micro_usd"] = request.committed_micro_usd
    for name in ("planned", "service", "due_at", "eligible_at", "output"):
        del values[name]
    return values
