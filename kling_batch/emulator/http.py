"""Shared HTTP helpers of the routes: parsed requests, error responses, keys. No routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from .checking import read_json
from .settings import Settings
from .world import World


@dataclass(slots=True)
class Incoming:
    """An HTTP request with its fal host and path."""

    world: World
    http: HttpRequest
    host: str
    path: tuple[str, ...]
    ignore_range: bool = False

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.http.method

    def query(self, name: str) -> str | None:
        """Last value of a query parameter, or None."""
        return self.http.query_params.get(name)

    def queries(self, name: str) -> list[str]:
        """All values of a query parameter, repeated or separated by commas."""
        values = self.http.query_params.getlist(name)
        return [each for value in values for each in value.split(",") if each]

    async def json(self) -> Any:
        """Parsed body; raises ValueError if it is not JSON."""
        return read_json(await self.http.body() or b"null")


class Refusal(Exception):  # noqa: N818 (a response, not an error)
    """Raised to end a request with an error response."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def refused(status: int, detail: object, **more: object) -> Refusal:
    """Error response of the queue and the CDN: {"detail": …}."""
    return Refusal(JSONResponse({"detail": detail, **more}, status))


def platform_refused(status: int, kind: str, message: str) -> Refusal:
    """Error response of the platform API: {"error": {type, message}}."""
    return Refusal(JSONResponse({"error": {"type": kind, "message": message}}, status))


def key_problem(headers: Mapping[str, str], settings: Settings) -> str | None:
    """Reason why the key of a request is not accepted, or None."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() not in ("key", "bearer") or not key.strip():
        return "Authentication is required to access this application"
    return None if _known(key.strip(), settings) else "Invalid key credentials"


def is_admin(headers: Mapping[str, str], settings: Settings) -> bool:
    """Whether the key of a request has the ADMIN scope."""
    return headers.get("authorization", "").partition(" ")[2].strip() in settings.admin_keys


def require_key(incoming: Incoming) -> None:
    """Raise a 401 if a request to the queue or upload service has no valid key."""
    if problem := key_problem(incoming.http.headers, incoming.world.settings):
        raise refused(401, problem)


def _known(key: str, settings: Settings) -> bool:
    return settings.keys is None or key in settings.keys or key in settings.admin_keys
