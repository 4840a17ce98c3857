"""Local files held against the limits that an endpoint has for pictures, clips and sounds.

The limits are data of the catalogue. Must not open files: `probe.py` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum, inf
from pathlib import Path
from typing import NamedTuple

from kling_batch.catalog.endpoint import Endpoint
from kling_batch.catalog.media import Bounds, MediaLimits, Range
from kling_batch.core.diagnostics import Collector
from kling_batch.core.jobs import LocalFile
from kling_batch.errors import ArgumentPath
from kling_batch.manifest.inputs import TYPES
from kling_batch.manifest.probe import Clip, Picture, clip, picture, sound

_MB = 1_000_000

#: Named everywhere; the others are taken by the playground only.
_IMAGE_SURE = frozenset({"JPEG", "PNG", "MPO"})
_IMAGE_TAKEN = _IMAGE_SURE | {"WEBP", "GIF", "AVIF"}

#: Named by every endpoint that takes sound.
_SOUND_SURE = frozenset({"mp3", "wav"})

#: mp4 and mov are one family to FFmpeg.
_VIDEO_TAKEN = "mov,mp4,m4a,3gp,3g2,mj2"
_VIDEO_ENDS = (".mp4", ".mov", ".m4v")

#: A container's length and the length of its frames differ by a frame or so.
_TOLERANCE = 0.05
_FPS_TOLERANCE = 0.1


class _Subject(NamedTuple):
    """A file that is checked, and where findings about it go."""

    name: str
    path: ArgumentPath
    problems: Collector


def check_media(
    file: LocalFile,
    media: str,
    limits: MediaLimits | None,
    path: ArgumentPath,
    problems: Collector,
) -> None:
    """Report every error and warning about a local file at `path` of a job."""
    claimed = TYPES.get(Path(file.path).suffix.lower(), "")
    if claimed not in ("", file.content_type):
        message = f"`{file.path}` is {file.content_type} by its content, and uploaded as that"
        problems.warn(path, message, "wrong-suffix", "give it the right suffix")
    limits = limits or MediaLimits()
    if other := _other_medium(file, media):
        message = f"`{file.path}` is {file.content_type} by its content, and no {other[0]}"
        problems.error(path, message, "media", other[1])
    elif media == "image":
        _check_image(file, limits, path, problems)
    elif media == "video" or (media and file.content_type.startswith("video/")):
        _check_video(file, limits, path, problems)
    elif media:
        _check_sound(file, limits, path, problems)


def _other_medium(file: LocalFile, media: str) -> tuple[str, str] | None:
    """What a field wants in place of this file, and what to give; None where the kinds agree."""
    kind, wanted = file.content_type.partition("/")[0], media.split(" or ")
    if kind not in _WANTED or kind in wanted:
        return None
    return _WANTED.get(wanted[0])


_WANTED = {
    "image": ("picture", "give a JPEG or a PNG"),
    "video": ("video", "give an mp4 or a mov"),
    "audio": ("sound", "give an mp3 or a wav"),
}


def seconds_of(file: LocalFile) -> float | None:
    """The length of a local clip or sound, if its header has it; None for a picture."""
    if file.content_type.startswith("image/"):
        return None
    found = sound(file) if file.content_type.startswith("audio/") else clip(file)
    return None if isinstance(found, str) else found.seconds or None


def check_together(
    endpoint: Endpoint, seconds: Mapping[ArgumentPath, float], problems: Collector
) -> None:
    """Warn where the clips of a request are longer than all of them may be together."""
    total, most = fsum(seconds.values()), endpoint.clips_together
    if most and len(seconds) > 1 and total > most + _TOLERANCE:
        message = f"the clips are {total:.2f} s together; {most} s at most are reported"
        problems.warn(next(iter(seconds)), message, "dated-limit", "cut them")


def _check_image(
    file: LocalFile, limits: MediaLimits, path: ArgumentPath, problems: Collector
) -> None:
    found = picture(file)
    if isinstance(found, str):
        if file.content_type not in (*TYPES.values(), "application/octet-stream"):
            found = f"{found}; by its content it is {file.content_type}"
        problems.error(path, f"`{file.path}` {found}", "media", "give a JPEG or a PNG")
        return
    name = f"`{file.path}` ({found.width}×{found.height} {found.format})"
    if found.format not in _IMAGE_TAKEN:
        problems.error(path, f"{name}: fal does not take this format", "media", "save it as PNG")
    elif found.format not in _IMAGE_SURE:
        message = f"{name}: documented for certain are JPEG and PNG only"
        problems.warn(path, message, "media")
    subject = _Subject(name, path, problems)
    _check_size(file, limits, subject)
    _check_frame(found, limits, subject)


def _check_video(
    file: LocalFile, limits: MediaLimits, path: ArgumentPath, problems: Collector
) -> None:
    _check_size(file, limits, _Subject(f"`{file.path}`", path, problems))
    found = clip(file)
    if isinstance(found, str):
        problems.error(path, f"`{file.path}` {found}", "media", "give an mp4 or a mov")
        return
    name = f"`{file.path}` ({found.width}×{found.height}, {found.seconds:.2f} s)"
    if found.container != _VIDEO_TAKEN or not file.path.lower().endswith(_VIDEO_ENDS):
        hint = "name it so" if found.container == _VIDEO_TAKEN else "convert it"
        problems.error(path, f"{name}: fal takes .mp4 and .mov only", "media", hint)
    subject = _Subject(name, path, problems)
    _check_length(found.seconds, limits, subject)
    _check_frame(found, limits, subject)
    hard, soft = limits.hard.fps, limits.soft.fps
    rate = f"{name} has {found.fps:.2f} frames a second"
    if found.fps and not _inside(found.fps, _spread(hard, _FPS_TOLERANCE)):
        problems.error(path, f"{rate}; allowed: {_words(hard)}", "media", "convert it")
    elif found.fps and not _inside(found.fps, _spread(soft, _FPS_TOLERANCE)):
        problems.warn(path, f"{rate}; {limits.soft_source} {_words(soft)}", "dated-limit")


def _check_sound(
    file: LocalFile, limits: MediaLimits, path: ArgumentPath, problems: Collector
) -> None:
    found = sound(file)
    if isinstance(found, str):
        problems.error(path, f"`{file.path}` {found}", "media", "give an mp3 or a wav")
        return
    subject = _Subject(f"`{file.path}` ({found.seconds:.2f} s)", path, problems)
    if found.container not in _SOUND_SURE:
        message = (
            f"{subject.name} is {found.container}: documented for certain are mp3 and wav only"
        )
        problems.warn(path, message, "media")
    _check_size(file, limits, subject)
    _check_length(found.seconds, limits, subject)


def _check_size(file: LocalFile, limits: MediaLimits, subject: _Subject) -> None:
    megabytes = file.size / _MB
    hard, soft = limits.hard.megabytes or inf, limits.soft.megabytes or inf
    shown = f"{subject.name} has {megabytes:.{0 if megabytes >= 100 else 1}f} MB"
    if megabytes > hard:
        message = f"{shown}; at most {hard:g} MB"
        subject.problems.error(subject.path, message, "media", "save it smaller")
    elif megabytes > soft:
        message = f"{shown}; {limits.soft_source} at most {soft:g} MB"
        subject.problems.warn(subject.path, message, "dated-limit")


def _check_length(seconds: float, limits: MediaLimits, subject: _Subject) -> None:
    hard, soft = limits.hard.seconds, limits.soft.seconds
    if not seconds:
        allowed = f"; allowed: {_words(hard)} s" if hard != (None, None) else ""
        subject.problems.warn(
            subject.path, f"{subject.name}: its length is unknown{allowed}", "media"
        )
    elif not _inside(seconds, _spread(hard, _TOLERANCE)):
        message = f"{subject.name}: allowed are {_words(hard)} s"
        subject.problems.error(subject.path, message, "media", "cut it")
    elif not _inside(seconds, _spread(soft, _TOLERANCE)):
        message = f"{subject.name}: {limits.soft_source} {_words(soft)} s"
        subject.problems.warn(subject.path, message, "dated-limit")


def _check_frame(found: Picture | Clip, limits: MediaLimits, subject: _Subject) -> None:
    """Report sides and ratio of a picture or a clip: doubts only where nothing is certain."""
    certain = Collector()
    _frame_problems(found, limits.hard, "", subject._replace(problems=certain))
    subject.problems.errors += certain.warnings
    if not certain:
        _frame_problems(found, limits.soft, limits.soft_source, subject)


def _frame_problems(found: Picture | Clip, bounds: Bounds, source: str, subject: _Subject) -> None:
    code, stated = ("dated-limit", f"{source} ") if source else ("media", "")
    if not all(_inside(side, bounds.side) for side in (found.width, found.height)):
        message = f"{subject.name}: {stated}{_side_words(bounds)}"
        subject.problems.warn(subject.path, message, code)
    ratio = found.width / max(found.height, 1)
    if not _inside(ratio, bounds.ratio):
        allowed = f"{stated or 'allowed: '}{_words(bounds.ratio, '.2f')}"
        message = f"{subject.name}: width ÷ height is {ratio:.2f}; {allowed}"
        subject.problems.warn(subject.path, message, code, "crop it")


def _side_words(bounds: Bounds) -> str:
    low, high = bounds.side
    if high is None:
        return f"each side needs at least {low:g} pixels"
    if low is None:
        return f"at most {high:g} pixels a side"
    return f"each side needs {_words(bounds.side)} pixels"


def _inside(value: float, bounds: Range) -> bool:
    low, high = bounds
    return (low is None or value >= low) and (high is None or value <= high)


def _spread(bounds: Range, by: float) -> Range:
    """The same range, a tolerance wider at each end."""
    low, high = bounds
    return (None if low is None else low - by, None if high is None else high + by)


def _words(bounds: Range, form: str = "g") -> str:
    """`3 to 15`, `at most 10`, `at least 3`."""
    low, high = bounds
    if low is None:
        return f"at most {high:{form}}"
    return f"at least {low:{form}}" if high is None else f"{low:{form}} to {high:{form}}"
