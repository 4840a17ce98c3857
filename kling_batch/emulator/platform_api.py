"""Routes of api.fal.ai/v1: prices, estimates, request lists, billing events, models, balance."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from starlette.responses import JSONResponse, Response

from .catalogue import CATALOGUE
from .checking import LARGEST
from .endpoints import Endpoint, is_on
from .faults import Call, Stage
from .http import Incoming, is_admin, key_problem, platform_refused
from .misbehaviour import guarded
from .prices import unit_price
from .records import Request, State
from .world import World

T = TypeVar("T")

_DAY = 86_400.0
_STATUSES = ("success", "error", "user_error")


async def handle(incoming: Incoming) -> Response:
    """Answer a request to the platform API."""
    path = "/".join(incoming.path)
    stage: Stage | None = "pricing" if path.startswith("v1/models/pricing") else None
    if path.startswith(("v1/models/requests", "v1/models/billing-events")):
        stage = "list"

    async def answer() -> Response:
        found = _ROUTES.get((incoming.method, path))
        if found is None:
            raise platform_refused(404, "not_found", f"No such operation: {path}")
        return JSONResponse(found(incoming, await _body(incoming)))

    if stage is None:
        return await answer()
    wanted = incoming.queries("endpoint_id")
    return await guarded(incoming, Call(stage=stage, endpoint=wanted[0] if wanted else ""), answer)


async def _body(incoming: Incoming) -> Any:
    try:
        return await incoming.json() if incoming.method == "POST" else None
    except ValueError:
        raise platform_refused(400, "validation_error", "The body is not JSON") from None


# -- prices --


def _pricing(incoming: Incoming, _body: Any) -> dict[str, Any]:
    _require_key(incoming)
    prices = []
    for endpoint in _endpoints_asked(incoming):
        price = unit_price(endpoint)
        prices.append(
            {
                "endpoint_id": endpoint.id,
                "unit_price": price.micro_usd / 1_000_000,
                "unit": price.unit,
                "currency": "USD",
            }
        )
    return {"prices": prices, "next_cursor": None, "has_more": False}


def _estimate(incoming: Incoming, body: Any) -> dict[str, Any]:
    _require_key(incoming)
    kind = body.get("estimate_type") if isinstance(body, Mapping) else None
    quantity = {"unit_price": "unit_quantity", "historical_api_price": "call_quantity"}.get(
        str(kind)
    )
    if quantity is None or not isinstance(body.get("endpoints"), Mapping):
        raise _invalid("estimate_type and endpoints are required")
    total = 0.0
    for endpoint_id, wanted in body["endpoints"].items():
        amount = wanted.get(quantity) if isinstance(wanted, Mapping) else None
        if not isinstance(amount, int | float) or not 0 < amount <= LARGEST:
            raise _invalid(f"{quantity} of {endpoint_id} must be a positive number")
        endpoint = _endpoint(incoming.world, endpoint_id)
        each = unit_price(endpoint).micro_usd
        if quantity == "call_quantity":
            each = _usual_price(incoming.world, endpoint) or each
        total += amount * each
    return {"estimate_type": kind, "total_cost": total / 1_000_000, "currency": "USD"}


def _usual_price(world: World, endpoint: Endpoint) -> int:
    paid = [r.charged_micro_usd for r in world.books.accepted if r.endpoint == endpoint.id]
    paid = [each for each in paid if each]
    return round(sum(paid) / len(paid)) if paid else 0


# -- request lists --


def _by_endpoint(incoming: Incoming, _body: Any) -> dict[str, Any]:
    _require_list(incoming)
    wanted = incoming.queries("endpoint_id")
    if not 1 <= len(wanted) <= 50:
        raise _invalid("endpoint_id: between 1 and 50 values are required")
    request_id, status = incoming.query("request_id"), incoming.query("status")
    if status is not None and status not in _STATUSES:
        raise _invalid(f"status must be one of {', '.join(_STATUSES)}")
    window = _window(incoming, 90 * _DAY if request_id else _DAY)
    found = [
        request
        for request in _indexed(incoming.world)
        if request.endpoint in wanted
        and request_id in (None, request.request_id)
        and status in (None, _verdict(request))
        and window[0] <= _listed_at(incoming.world, request) < window[1]
    ]
    orders: Mapping[str, Callable[[Request], float]] = {
        "ended_at": lambda r: r.finished_at or incoming.world.now(),
        "duration": _duration,
    }
    sort_by = incoming.query("sort_by") or "ended_at"
    if sort_by not in orders:
        raise _invalid("sort_by must be ended_at or duration")
    found.sort(key=orders[sort_by], reverse=True)
    return _page(incoming, found, "items", _item)


def _search(incoming: Incoming, _body: Any) -> dict[str, Any]:
    _require_list(incoming)
    wanted = incoming.queries("endpoint_id")
    found = [r for r in _indexed(incoming.world) if not wanted or r.endpoint in wanted]
    found.sort(key=lambda r: r.accepted_at, reverse=True)
    return _page(incoming, found, "results", lambda i, r: {**_item(i, r), "similarity": None})


def _indexed(world: World) -> list[Request]:
    """Requests that the index shows now. A queued one has no started_at and is never listed."""
    due = world.now() - world.settings.list_delay
    finished = [
        r
        for r in world.books.accepted
        if r.state is State.COMPLETED and r.started_at is not None and (r.finished_at or 0) <= due
    ]
    if not world.settings.list_unfinished:
        return finished
    running = [r for r in world.books.accepted if r.state is State.IN_PROGRESS]
    return finished + [r for r in running if (r.started_at or 0) <= due]


def _item(incoming: Incoming, request: Request) -> dict[str, Any]:
    done = request.state is State.COMPLETED
    item: dict[str, Any] = {
        "request_id": request.request_id,
        "endpoint_id": request.endpoint,
        "started_at": _iso(request.started_at),
        "sent_at": _iso(request.accepted_at),
        "ended_at": _iso(request.finished_at),
        "status_code": (request.failure.http if request.failure else 200) if done else None,
        "duration": round(_duration(request), 3) if done else None,
    }
    if "payloads" in incoming.queries("expand"):
        item["json_input"] = request.payload if request.store_io else None
        item["json_output"] = _stored_output(incoming.world, request)
    return item


def _stored_output(world: World, request: Request) -> Any:
    """Output in the history; None for inlined media, which fal does not store."""
    inlined = is_on(request.payload.get("sync_mode"))
    if not request.store_io or inlined or request.state is not State.COMPLETED:
        return None
    return dict(request.failure.body) if request.failure else world.listed_output(request)


def _verdict(request: Request) -> str | None:
    if request.state is not State.COMPLETED:
        return None
    if request.failure is None:
        return "success"
    return "error" if request.failure.http >= 500 else "user_error"


def _listed_at(world: World, request: Request) -> float:
    if world.settings.list_filter == "sent_at":
        return request.accepted_at
    return request.finished_at if request.finished_at is not None else request.started_at or 0.0


def _duration(request: Request) -> float:
    return (request.finished_at or 0.0) - (request.started_at or 0.0)


# -- account and catalogue --


def _billing_events(incoming: Incoming, _body: Any) -> dict[str, Any]:
    _require_admin(incoming)
    window = _window(incoming, _DAY)
    if window[1] - window[0] > 90 * _DAY + 1:
        raise _invalid("start and end may not be more than 90 days apart")
    wanted, ids = incoming.queries("endpoint_id"), incoming.queries("request_id")
    due = incoming.world.now() - incoming.world.settings.billing_delay
    if len(ids) > 50:
        raise _invalid("request_id: at most 50 values")
    found = [
        request
        for request in _indexed(incoming.world)
        if request.charged_micro_usd
        and (request.finished_at or 0) <= due
        and (not wanted or request.endpoint in wanted)
        and (not ids or request.request_id in ids)
        and window[0] <= (request.finished_at or 0) < window[1]
    ]
    return _page(incoming, found, "billing_events", _billing_event, most=10_000)


def _billing_event(_incoming: Incoming, request: Request) -> dict[str, Any]:
    cost = request.charged_micro_usd / 1_000_000
    return {
        "request_id": request.request_id,
        "endpoint_id": request.endpoint,
        "timestamp": _iso(request.finished_at),
        "output_units": request.charged_units,
        "unit_price": round(cost / request.charged_units, 6) if request.charged_units else None,
        "percent_discount": None,
        "cost_subtotal": cost,
        "cost_discount": 0.0,
        "cost_total": cost,
        "cost_estimate_nano_usd": request.charged_micro_usd * 1000,
    }


def _models(incoming: Incoming, _body: Any) -> dict[str, Any]:
    if incoming.queries("endpoint_id"):
        chosen = _endpoints_asked(incoming)
    else:
        chosen = [e for e in CATALOGUE.values() if (incoming.query("q") or "") in e.id]
    return _page(incoming, chosen, "models", _model)


def _model(_incoming: Incoming, endpoint: Endpoint) -> dict[str, Any]:
    return {
        "endpoint_id": endpoint.id,
        "metadata": {
            "display_name": endpoint.id.removeprefix("fal-ai/"),
            "category": endpoint.operation,
            "status": "active",
            "model_url": f"https://fal.run/{endpoint.id}",
        },
    }


def _account(incoming: Incoming, _body: Any) -> dict[str, Any]:
    _require_admin(incoming)
    answer: dict[str, Any] = {"username": "emulated-account"}
    if "credits" in incoming.queries("expand"):
        balance = incoming.world.balance_left
        answer["credits"] = {"current_balance": balance, "currency": "USD"}
    return answer


def _meta(_incoming: Incoming, _body: Any) -> dict[str, Any]:
    return {"webhook_ip_ranges": []}


_ROUTES: Mapping[tuple[str, str], Callable[[Incoming, Any], dict[str, Any]]] = {
    ("GET", "v1/models"): _models,
    ("GET", "v1/models/pricing"): _pricing,
    ("POST", "v1/models/pricing/estimate"): _estimate,
    ("GET", "v1/models/requests/by-endpoint"): _by_endpoint,
    ("GET", "v1/models/requests/search"): _search,
    ("GET", "v1/models/billing-events"): _billing_events,
    ("GET", "v1/account/billing"): _account,
    ("GET", "v1/meta"): _meta,
}


# -- parsing and paging --


def _require_key(incoming: Incoming) -> None:
    if problem := key_problem(incoming.http.headers, incoming.world.settings):
        raise platform_refused(401, "authorization_error", problem)


def _require_admin(incoming: Incoming) -> None:
    _require_key(incoming)
    if not is_admin(incoming.http.headers, incoming.world.settings):
        raise platform_refused(403, "authorization_error", "This operation needs an ADMIN key")


def _require_list(incoming: Incoming) -> None:
    _require_key(incoming)
    if not incoming.world.settings.list_allowed:
        raise platform_refused(403, "authorization_error", "This key may not read request history")


def _invalid(message: str) -> Exception:
    return platform_refused(400, "validation_error", message)


def _endpoint(world: World, endpoint_id: str) -> Endpoint:
    endpoint = world.endpoint(endpoint_id)
    if endpoint is None:
        raise platform_refused(404, "not_found", f"Endpoint {endpoint_id} was not found")
    return endpoint


def _endpoints_asked(incoming: Incoming) -> list[Endpoint]:
    wanted = incoming.queries("endpoint_id")
    if not 1 <= len(wanted) <= 50:
        raise _invalid("endpoint_id: between 1 and 50 values are required")
    return [_endpoint(incoming.world, each) for each in wanted]


def _page(
    incoming: Incoming,
    found: list[T],
    name: str,
    row: Callable[[Incoming, T], dict[str, Any]],
    *,
    most: int = 100,
) -> dict[str, Any]:
    """One page. The cursor encodes a page number, so pages shift while rows are added."""
    limit = incoming.query("limit") or "50"
    if not limit.isdecimal() or not 1 <= int(limit) <= most:
        raise _invalid(f"limit must be between 1 and {most}")
    size, number = int(limit), _page_number(incoming.query("cursor"))
    rows = found[number * size : (number + 1) * size]
    more = len(found) > (number + 1) * size
    return {
        name: [row(incoming, each) for each in rows],
        "next_cursor": base64.urlsafe_b64encode(str(number + 1).encode()).decode()
        if more
        else None,
        "has_more": more,
    }


def _page_number(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        number = int(base64.urlsafe_b64decode(cursor))
    except ValueError:
        number = -1
    if number < 0:
        raise _invalid("cursor is not one of ours")
    return number


def _window(incoming: Incoming, default_span: float) -> tuple[float, float]:
    now = incoming.world.now()
    start, end = _time(incoming.query("start")), _time(incoming.query("end"))
    # Default: everything up to now, including a request that ended at this instant.
    return now - default_span if start is None else start, now + 1 if end is None else end


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _invalid(f"{text!r} is not an ISO 8601 time") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
