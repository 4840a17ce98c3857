"""Jobs and batches, and the key that identifies a paid render.

Every ledger depends on `canonical_json` and `job_key`: changing either would buy every render
again. A future algorithm gets a new prefix. Must not do I/O or read the clock. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple, NewType, TypeAlias
from unicodedata import is_normalized, normalize

from kling_batch.core.quantities import FailureLimit, MicroUSD
from kling_batch.core.recipes import Recipe
from kling_batch.core.urls import unsigned
from kling_batch.errors import ArgumentPath, Place, Problem

JobKey = NewType("JobKey", str)
"""`k1:` and 32 hexadecimal digits; see `job_key`."""

JSON: TypeAlias = Any
Arguments: TypeAlias = Mapping[str, JSON]
"""JSON whose leaves may also be a `LocalFile` or an `OutputOf`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A local input, identified by its content, not by its path or upload URL."""

    path: str
    sha256: str
    size: int
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOf:
    """An output of another job as an input, identified by that job's key, not by its URL."""

    key: JobKey
    job_id: str
    take: int
    index: int = 0
    #: Whether a person's pick chose the take, and not the manifest.
    picked: bool = field(default=False, compare=False)


#: Where a key would be, in a reference to the take that somebody has yet to pick.
_UNPICKED = "picked:"
#: `take: picked` of a reference, until the take is known.
PICKED = 0


def unpicked_key(batch: str, job_id: str) -> JobKey:
    """Stands for the key of a take that nobody has picked yet; no job has such a key."""
    return JobKey(f"{_UNPICKED}{batch}/{job_id}")


def is_unpicked(key: str) -> bool:
    """Whether a reference waits for a pick, so that its job cannot be paid for yet."""
    return key.startswith(_UNPICKED)


def prompt_of(arguments: Mapping[str, Any]) -> str:
    """The prompt among arguments, or those of the shots, one a line."""
    if prompt := arguments.get("prompt"):
        return str(prompt)
    given = arguments.get("multi_prompt")
    shots = given if isinstance(given, list | tuple) else ()  # of an `endpoint:` job it is anything
    return "\n".join(str(shot.get("prompt", "")) for shot in shots if isinstance(shot, dict))


def awaited_job(key: str) -> str:
    """The job of which a take is yet to be picked; an id has no slash."""
    return key.rpartition("/")[2]


#: What the id of a draft adds to that of its final. No job of a manifest may end in it.
DRAFT_SUFFIX = "~draft"


def draft_id(job_id: str) -> str:
    """The id of the drafts of a job with `review:`; a take of the one is a take of the other."""
    return f"{job_id}{DRAFT_SUFFIX}"


def is_draft_id(job_id: str) -> bool:
    """Whether an id is that of drafts."""
    return job_id.endswith(DRAFT_SUFFIX)


def final_id(job_id: str) -> str:
    """The id without what makes it that of drafts."""
    return job_id.removesuffix(DRAFT_SUFFIX)


def job_label(job_id: str, take: int) -> str:
    """The name that people type for a job: the id, with `#n` for takes after the first."""
    return job_id if take == 1 else f"{job_id}#{take}"


def output_suffix(index: int) -> str:
    """The part of a file's name for the `index`-th output (from 0): `-2` for the second."""
    return "" if index == 0 else f"-{index + 1}"


def take_suffix(take: int) -> str:
    """The part of a file's name for a take (from 1): `-t2` for the second."""
    return "" if take == 1 else f"-t{take}"


class Job(NamedTuple):
    """A render to be paid for: endpoint, normalised arguments, take.

    Only `endpoint`, `arguments` and `take` are in the key; the other fields name the job, its
    files and its expected cost.
    """

    #: The identity of the render, `job_key(endpoint, arguments, take)`.
    key: JobKey
    #: The id of a fal endpoint, such as `fal-ai/kling-video/o3/pro/text-to-video`.
    endpoint: str
    #: The normalised input: defaults filled in, files and other jobs' outputs as references.
    arguments: Arguments
    #: Which rendering of the same request, from 1.
    take: int
    #: The id of the manifest, shared by all takes.
    id: str
    #: The name of the batch.
    batch: str
    #: Mode and tier of the catalogue; empty for a raw `endpoint:` job.
    mode: str
    tier: str
    #: The files' path below the output folder: a `str.format` template whose only fields left are
    #: `{output}` (empty, or `-2`, `-3`… for further files) and `{ext}`.
    path: str
    #: Upper bound of the price of one attempt.
    estimate: MicroUSD
    #: Why the estimate is not exact; empty where it is.
    estimate_note: str = ""
    #: The manifest's line, or the table's row, that the job comes from.
    place: Place = Place("")
    #: The tags that `--tag` selects by.
    tags: tuple[str, ...] = ()
    #: The index of its entry in the manifest's `jobs:`, from 0.
    entry: int = 0
    #: The id of its drafts: it is paid for once the one of the same take is approved. Empty for
    #: a job without review.
    draft: str = ""
    #: Names of the renditions that its files get; None: all that can be made of them.
    renditions: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """The name that people type for it."""
        return job_label(self.id, self.take)

    def output_path(self, index: int, ext: str) -> str:
        """Relative path of the `index`-th output (from 0), `ext` with its dot."""
        return self.path.format(output=output_suffix(index), ext=ext)


class Limits(NamedTuple):
    """A manifest's `limits:`; None where the manifest does not set one."""

    concurrency: int | None = None
    #: Submissions per second.
    rate: float | None = None
    max_cost: MicroUSD | None = None
    max_cost_per_day: MicroUSD | None = None
    #: Over every host of the account.
    account_max_per_day: MicroUSD | None = None
    #: Seconds.
    deadline: float | None = None
    doubt_wait: float | None = None
    #: Seconds within which fal must begin a request, its queue included.
    start_timeout: float | None = None
    retry_attempts: int | None = None
    #: Seconds back in which a request that fal lists is collected instead of bought again.
    reuse: float | None = None
    max_failures: FailureLimit | None = None
    #: Processes that make renditions.
    workers: int | None = None


class Hooks(NamedTuple):
    """Commands of the user's own that a run starts beside its work, each as a list of words."""

    #: For each job whose files are in place.
    on_saved: tuple[str, ...] = ()
    #: Once, at the end.
    on_finished: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A loaded manifest: its name, its limits and every job it expands to, parents first."""

    name: str
    source: str
    jobs: tuple[Job, ...]
    limits: Limits = field(default=Limits())
    #: The manifest and the tables that it was read from.
    files: tuple[str, ...] = field(default=(), repr=False)
    #: Every variable that it declares, with what was given for it; None: as the manifest has it.
    variables: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    #: Whether some job needs a take that somebody has yet to pick.
    unpicked: bool = False
    #: `output:` as written, or None.
    output: str | None = None
    warnings: tuple[Problem, ...] = ()
    hooks: Hooks = field(default=Hooks())
    #: Where the end of a run is told: addresses for apprise, which are secrets, or `$NAME` for one
    #: that an environment variable holds.
    notify: tuple[str, ...] = field(default=(), repr=False)
    #: What is made of each saved file, by name.
    renditions: Mapping[str, Recipe] = field(default_factory=dict)
    #: Job and path of an argument → its place; None where nothing more is known than `Job.place`.
    locate: Callable[[Job, ArgumentPath], Place] | None = field(
        default=None, repr=False, compare=False
    )

    def place_of(self, job: Job, loc: Sequence[str | int]) -> Place:
        """The place of an argument that fal names as `detail[].loc`; the job's without one."""
        if self.locate is None or not loc:
            return job.place
        return self.locate(job, tuple(loc[1:] if loc[0] == "body" else loc))


def _reference(value: object) -> JSON:
    """The canonical form of the two leaves that JSON does not know."""
    if isinstance(value, LocalFile):
        return {"$file": f"sha256:{value.sha256}"}
    if isinstance(value, OutputOf):
        return {"$output": [value.key, value.index]}
    raise TypeError(f"not JSON: {type(value).__name__}")


_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_reference
).encode


#: The start of a URL in JSON text.
_HOLDS_URL = re.compile(r'"https?://', re.IGNORECASE)


def canonical_json(value: JSON) -> str:
    """One spelling for equal values: sorted keys, no spaces, references by content.

    URLs lose what only signs them, and text is in Unicode's form NFC, so this never holds a
    signature or a password.
    """
    text = _encode(value)
    composed = text.isascii() or is_normalized("NFC", text)
    if composed and ("://" not in text or _HOLDS_URL.search(text) is None):
        return text
    return _encode(_canonical(value))


#: An escape in JSON text that may be half of a character beyond 16 bits.
_MAY_BE_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def whole_characters(value: JSON, text: str) -> JSON:
    """What was read from this JSON text, with a question mark for each half of a character.

    JavaScript cuts emoji in two, Python reads the halves, and no ledger can store them.
    """
    if _MAY_BE_HALF.search(text) is None:
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _canonical(value: JSON) -> JSON:
    """A value whose texts have one spelling; names of arguments are fal's and stay."""
    if isinstance(value, str):
        return unsigned(normalize("NFC", value))
    if isinstance(value, Mapping):
        return {name: _canonical(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value


def job_key(endpoint: str, arguments: Arguments, take: int = 1) -> JobKey:
    """The key of a render: made of everything that is paid for and nothing else.

    `arguments` must be normalised (defaults filled in, spellings unified) by the catalogue.
    """
    return keyed(endpoint, canonical_json(arguments), take)


def keyed(endpoint: str, canonical: str, take: int) -> JobKey:
    """The key from arguments that are canonical JSON already, as the ledger keeps them."""
    text = f"{endpoint}\n{take}\n{canonical}"
    return JobKey("k1:" + sha256(text.encode()).hexdigest()[:32])


class KeyTemplate:
    """The keys of renders that differ in one text: the rest is encoded once.

    Measured at 100,000 rows: a tenth of loading and planning.
    """

    __slots__ = ("_after", "_before", "_endpoint")

    def __init__(self, endpoint: str, arguments: Arguments, name: str) -> None:
        """`name` is the argument that differs; its value here does not matter.

        Raises what `job_key` raises of arguments that are no JSON.
        """
        canonical = canonical_json({**arguments, name: "\0"})
        canonical.encode()  # lone surrogates have no bytes
        parts = canonical.split(r'"\u0000"')
        # A second mark would be another argument with the same odd text; then no text fits.
        self._before, self._after = parts if len(parts) == 2 else ("", "")
        self._endpoint = endpoint

    def fits(self, text: str) -> bool:
        """Whether `key` may be asked: the text is canonical as it is."""
        return bool(self._before) and text.isascii() and "://" not in text

    def key(self, text: str, take: int) -> JobKey:
        """As `job_key` with this text."""
        return keyed(self._endpoint, f"{self._before}{_encode(text)}{self._after}", take)


class Render(NamedTuple):
    """What is paid for, without its take: endpoint, and arguments as plain JSON."""

    endpoint: str
    arguments: JSON


def differences(before: Render, after: Render) -> dict[str, tuple[JSON, JSON]]:
    """By name, both values of what differs: the endpoint first, then the arguments."""
    found: dict[str, tuple[JSON, JSON]] = {}
    if before.endpoint != after.endpoint:
        found["endpoint"] = (before.endpoint, after.endpoint)
    for name in sorted({*before.arguments, *after.arguments}):
        values = (before.arguments.get(name), after.arguments.get(name))
        if values[0] != values[1]:
            found[name] = values
    return found


def parents(value: Arguments) -> tuple[OutputOf, ...]:
    """Every output of another job that these arguments need."""
    if _PLAIN.issuperset(map(type, value.values())):  # nearly all; measured: a tenth of a plan
        return ()
    return tuple(leaf for leaf in _references(value) if isinstance(leaf, OutputOf))


def local_files(value: JSON) -> tuple[LocalFile, ...]:
    """Every local file that these arguments need."""
    return tuple(leaf for leaf in _references(value) if isinstance(leaf, LocalFile))


#: The types of most arguments; no reference is inside one.
_PLAIN = frozenset({str, bool, int, float, type(None)})


def _references(value: JSON) -> list[LocalFile | OutputOf]:
    """All files and outputs of other jobs inside a value, in order."""
    if isinstance(value, LocalFile | OutputOf):
        return [value]
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return []
    holders = [item for item in value if type(item) not in _PLAIN]
    return [leaf for item in holders for leaf in _references(item)]


def leaves(value: JSON) -> list[JSON]:
    """All scalar leaves, in order."""
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def substitute(value: JSON, urls: Mapping[object, JSON]) -> JSON:
    """The arguments as fal gets them: each `LocalFile` and `OutputOf` replaced by its URL."""
    if isinstance(value, Mapping):
        return {name: substitute(item, urls) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [substitute(item, urls) for item in value]
    return urls[value] if isinstance(value, LocalFile | OutputOf) else value
