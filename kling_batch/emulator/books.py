"""Record of the platform: submissions, acceptances, charges, cancellations, reads, downloads.

Tests make their decisive assertions here, never on the client's ledger. Must not decide anything.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .records import Request
from .store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A submission as received, accepted or not."""

    at: float
    endpoint: str
    payload_hash: str
    request_id: str | None  # None: not accepted
    status: int | None  # HTTP status of the response; None: no response was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """A cancellation as received."""

    at: float
    request_id: str
    answer: str


def payload_hash(
    endpoint: str, payload: object, content_of: Callable[[str], str | None] = lambda _url: None
) -> str:
    """Digest of a payload; equal for equal content, also if it was uploaded again.

    `content_of` returns the digest of the file at a URL, if it is known.
    """

    def settled(value: object) -> object:
        if isinstance(value, str):
            return content_of(value) or value
        if isinstance(value, Mapping):
            return {name: settled(each) for name, each in value.items()}
        return [settled(each) for each in value] if isinstance(value, list) else value

    text = json.dumps([endpoint, settled(payload)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Books:
    """Lists and counts, oldest first. Reading them first processes everything that is due."""

    def __init__(self, store: Store, catch_up: Callable[[], None]) -> None:
        self._store = store
        self._catch_up = catch_up
        self._accepted: list[Request] = []
        self.posts: list[Post] = []
        self.cancels: list[Cancel] = []
        self.result_gets: Counter[str] = Counter()  # by request id
        self.status_gets: Counter[str] = Counter()  # by request id; not kept in the state file
        self.downloads: Counter[str] = Counter()  # by path
        self.uploads: Counter[str] = Counter()  # by sha256 of the content
        for kind, body in store.notes():
            self._enter(kind, body)

    # -- reading --

    @property
    def accepted(self) -> list[Request]:
        """Every accepted request, in its state at this moment."""
        self._catch_up()
        return list(self._accepted)

    @property
    def refused(self) -> list[Post]:
        """Every submission that was not accepted."""
        return [post for post in self.posts if post.request_id is None]

    def charges(self) -> dict[str, int]:
        """How often each payload has been or will be charged; more than 1 is a double payment."""
        return dict(Counter(r.payload_hash for r in self.accepted if r.committed_micro_usd))

    def acceptances(self) -> dict[str, int]:
        """How often each payload was accepted, charged or not."""
        return dict(Counter(r.payload_hash for r in self._accepted))

    @property
    def total_charged_micro_usd(self) -> int:
        """Cost of all finished requests."""
        return sum(request.charged_micro_usd for request in self.accepted)

    @property
    def total_committed_micro_usd(self) -> int:
        """Cost of finished requests plus what the unfinished ones will cost."""
        return sum(request.committed_micro_usd for request in self.accepted)

    # -- writing: only for `World` and the routes --

    def accept(self, request: Request) -> None:
        """Record an accepted request."""
        self._accepted.append(request)

    def post(self, post: Post) -> None:
        """Record a submission."""
        self._note("post", asdict(post))

    def cancel(self, cancel: Cancel) -> None:
        """Record a cancellation."""
        self._note("cancel", asdict(cancel))

    def count(self, kind: str, subject: str) -> None:
        """Count a `result_get`, `download` or `upload`."""
        self._note(kind, {"subject": subject})

    def clear(self) -> None:
        """Delete every entry."""
        for each in (self._accepted, self.posts, self.cancels):
            each.clear()
        for counter in (self.result_gets, self.status_gets, self.downloads, self.uploads):
            counter.clear()

    def _note(self, kind: str, body: Mapping[str, Any]) -> None:
        self._store.add_note(kind, body)
        self._enter(kind, body)

    def _enter(self, kind: str, body: Mapping[str, Any]) -> None:
        match kind:
            case "post":
                self.posts.append(Post(**body))
            case "cancel":
                self.cancels.append(Cancel(**body))
            case "result_get":
                self.result_gets[body["subject"]] += 1
            case "download":
                self.downloads[body["subject"]] += 1
            case "upload":
                self.uploads[body["subject"]] += 1
            case _:
                raise ValueError(f"unknown entry in the books: {kind}")
