"""Files of the CDN: uploads are stored, outputs are rendered again on demand. No HTTP."""

from __future__ import annotations

import hashlib
import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from . import media
from .media import Recipe, Shape
from .records import Request
from .settings import Settings
from .store import Store

OUTPUT_HOST = "v3b.fal.media"
UPLOAD_HOST = "v3.fal.media"
HOSTS = frozenset({OUTPUT_HOST, UPLOAD_HOST, "fal.media"})
_CACHE_BYTES = 64 * 1024 * 1024


@dataclass(slots=True, kw_only=True, eq=False)
class File:
    """A file of the CDN: uploaded bytes, or the recipe of an output."""

    path: str
    content_type: str
    created_at: float
    expires_at: float = math.inf
    sha256: str = ""  # uploads
    data: bytes | None = field(default=None, repr=False)
    recipe: Recipe | None = None
    request: Request | None = None

    @property
    def name(self) -> str:
        """Last component of the path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def url(self) -> str:
        """URL in responses."""
        return f"https://{UPLOAD_HOST if self.recipe is None else OUTPUT_HOST}{self.path}"


@dataclass(slots=True)
class Multipart:
    """A multipart upload that is not complete yet."""

    path: str
    content_type: str
    lifetime: float | None
    parts: dict[int, bytes] = field(default_factory=dict)


class Files:
    """All files of the CDN."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._files: dict[str, File] = {}
        self._cache: OrderedDict[Recipe, bytes] = OrderedDict()
        self._cached = 0
        self._shapes: dict[str, Shape | None] = {}
        self._multiparts: dict[str, Multipart] = {}
        for path, values, data in store.uploads():
            self._files[path] = File(path=path, data=data, **values)
        # Continues over restarts, so that no path is used twice.
        self._tokens = round(store.fact("tokens", 0))

    def clear(self) -> None:
        """Delete every file."""
        for each in (self._files, self._cache, self._shapes, self._multiparts):
            each.clear()
        self._cached = self._tokens = 0

    # -- uploads --

    def reserve(self, name: str) -> str:
        """New path for an upload of this name."""
        token = self._token(name)
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[-80:]
        return f"/files/b/{token[:8]}/{token[8:]}_{safe}"

    def upload(
        self, path: str, data: bytes, content_type: str, now: float, lifetime: float | None
    ) -> File:
        """Store uploaded bytes."""
        file = File(
            path=path,
            content_type=content_type,
            created_at=now,
            expires_at=math.inf if lifetime is None else now + lifetime,
            sha256=hashlib.sha256(data).hexdigest(),
            data=data,
        )
        self._files[path] = file
        self._keep(file)
        return file

    def begin(self, name: str, content_type: str, lifetime: float | None) -> tuple[str, str]:
        """Start a multipart upload; returns its future path and its id."""
        path, upload_id = self.reserve(name), self._token("multipart")
        self._multiparts[upload_id] = Multipart(path, content_type, lifetime)
        return path, upload_id

    def multipart(self, path: str, upload_id: str) -> Multipart | None:
        """Multipart upload with this path and id, or None."""
        found = self._multiparts.get(upload_id)
        return found if found is not None and found.path == path else None

    def finish(self, upload_id: str, numbers: list[int], now: float) -> File:
        """Join these parts by number; raises KeyError if one was not uploaded."""
        found = self._multiparts[upload_id]
        data = b"".join(found.parts[number] for number in sorted(numbers))
        del self._multiparts[upload_id]
        return self.upload(found.path, data, found.content_type, now, found.lifetime)

    # -- outputs --

    def shelve(self, request: Request, recipes: list[Recipe], now: float) -> list[File]:
        """Files of a request's outputs; idempotent."""
        return [self._shelve(request, recipe, number, now) for number, recipe in enumerate(recipes)]

    def _shelve(self, request: Request, recipe: Recipe, number: int, now: float) -> File:
        secret = f"{request.seed}/{request.request_id}/{number}"
        token = hashlib.sha256(secret.encode()).hexdigest()
        name = f"{token[8:29]}_output" if recipe.suffix == ".mp4" else token[8:29]
        path = f"/files/b/{token[:8]}/{name}{recipe.suffix}"
        if path not in self._files:
            ttl = self._settings.file_ttl
            expires_at = math.inf if ttl is None else now + ttl
            self._files[path] = File(
                path=path,
                content_type=recipe.content_type,
                created_at=now,
                expires_at=self._store.fact(f"expired {path}", expires_at),
                recipe=recipe,
                request=request,
            )
        return self._files[path]

    def _token(self, what: str) -> str:
        """Unused token of 24 hex digits, reproducible for the same seed and order of calls."""
        self._tokens += 1
        self._store.set_fact("tokens", self._tokens)
        secret = f"{self._settings.seed}/{self._tokens}/{what}"
        return hashlib.sha256(secret.encode()).hexdigest()[:24]

    # -- reading --

    def find(self, url: str, now: float) -> File | None:
        """File at this URL or path, or None if there is none or it has expired."""
        parts = _parts(url)
        if parts is None:
            return None
        path = parts.path
        first, _, rest = path.lstrip("/").partition("/")
        if first in HOSTS:  # on a loopback port the path names the host
            path = f"/{rest}"
        elif parts.hostname is not None and parts.hostname not in HOSTS:
            return None
        file = self._files.get(path)
        return file if file is not None and now < file.expires_at else None

    def is_ours(self, url: str) -> bool:
        """Whether this URL belongs to the CDN, also if there is no such file."""
        parts = _parts(url)
        if parts is None:
            return False
        return parts.hostname in HOSTS or parts.path.lstrip("/").partition("/")[0] in HOSTS

    def data(self, file: File) -> bytes:
        """Content of the file."""
        if file.data is not None:
            return file.data
        assert file.recipe is not None
        return self._made(file.recipe)

    def shape(self, file: File) -> Shape | None:
        """Dimensions and length, or None if it is neither image nor video."""
        if isinstance(file.recipe, media.Clip):
            return Shape(file.recipe.width, file.recipe.height, file.recipe.seconds)
        if isinstance(file.recipe, media.Sound):
            return Shape(0, 0, file.recipe.seconds)
        if isinstance(file.recipe, media.Picture):
            return Shape(file.recipe.width, file.recipe.height)
        if file.path not in self._shapes:
            self._shapes[file.path] = media.probe(self.data(file))
        return self._shapes[file.path]

    def expire(self, now: float, url: str | None = None) -> int:
        """Expire the file at a URL or path, or all files; returns how many."""
        chosen = list(self._files.values()) if url is None else [self.find(url, now)]
        gone = [file for file in chosen if file is not None and now < file.expires_at]
        for file in gone:
            file.expires_at = now
            if file.data is None:
                self._store.set_fact(f"expired {file.path}", now)
            else:
                self._keep(file)
        return len(gone)

    def _made(self, recipe: Recipe) -> bytes:
        if recipe in self._cache:
            self._cache.move_to_end(recipe)
            return self._cache[recipe]
        data = media.make(recipe, template=self._settings.media == "template")
        self._cache[recipe] = data
        self._cached += len(data)
        while self._cached > _CACHE_BYTES and len(self._cache) > 1:
            self._cached -= len(self._cache.popitem(last=False)[1])
        return data

    def _keep(self, file: File) -> None:
        values: Mapping[str, object] = {
            "content_type": file.content_type,
            "created_at": file.created_at,
            "expires_at": file.expires_at,
            "sha256": file.sha256,
        }
        assert file.data is not None
        self._store.save_upload(file.path, values, file.data)


def _parts(url: str) -> SplitResult | None:
    """Parts of a URL; None for a text that only begins like one, as a prompt may (`//[fox`)."""
    try:
        return urlsplit(url)
    except ValueError:
        return None
