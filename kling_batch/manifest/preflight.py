"""Whether fal would take a local picture or clip: format, sides, shape, length, size.

Where published limits disagree or are dated, the wider one forbids and the narrower one warns.
Reads files only through `probe.py`.
"""

from __future__ import annotations

from kling_batch.catalog.parameters import Findings, Path
from kling_batch.core.jobs import LocalFile
from kling_batch.manifest.probe import Clip, Picture, clip, picture

_MB = 1_000_000
#: Named everywhere; the others are taken by the playground only.
_IMAGE_SURE = frozenset({"JPEG", "PNG", "MPO"})
_IMAGE_TAKEN = _IMAGE_SURE | {"WEBP", "GIF", "AVIF"}
#: mp4 and mov are one family to FFmpeg.
_VIDEO_TAKEN = "mov,mp4,m4a,3gp,3g2,mj2"
_VIDEO_ENDS = (".mp4", ".mov", ".m4v")
#: A container's length and the length of its frames differ by a frame or so.
_TOLERANCE = 0.05


def judge_media(file: LocalFile, media: str, path: Path, findings: Findings) -> None:
    """Every complaint and doubt about a local file at `path` of a job."""
    if media == "image":
        _judge_image(file, path, findings)
    elif media == "video":
        _judge_video(file, path, findings)


def seconds_of(file: LocalFile) -> float | None:
    """How long a local clip is, if its header says so."""
    found = clip(file)
    return found.seconds or None if isinstance(found, Clip) else None


def _judge_image(file: LocalFile, path: Path, findings: Findings) -> None:
    found = picture(file)
    if isinstance(found, str):
        findings.error(path, f"`{file.path}` {found}", "media", "give a JPEG or a PNG")
        return
    name = f"`{file.path}` ({found.width}×{found.height} {found.format})"
    if found.format not in _IMAGE_TAKEN:
        findings.error(path, f"{name}: fal does not take this format", "media", "save it as PNG")
    elif found.format not in _IMAGE_SURE:
        message = f"{name}: documented for certain are JPEG and PNG only"
        findings.doubt(path, message, "media")
    _judge_sides(found, name, path, findings)
    if file.size > 50 * _MB:
        message = f"{name} has {file.size / _MB:.1f} MB; at most 50 MB"
        findings.error(path, message, "media", "save it smaller")
    elif file.size > 10 * _MB:
        message = f"{name} has {file.size / _MB:.1f} MB; a page of February 2026 says at most 10 MB"
        findings.doubt(path, message, "dated-limit")


def _judge_sides(found: Picture, name: str, path: Path, findings: Findings) -> None:
    if min(found.width, found.height) < 300:
        findings.error(path, f"{name}: each side needs at least 300 pixels", "media")
    if not 0.4 <= found.width / max(found.height, 1) <= 2.5:
        ratio = found.width / max(found.height, 1)
        message = f"{name}: width ÷ height is {ratio:.2f}; allowed: 0.40 to 2.50"
        findings.error(path, message, "media", "crop it")


def _judge_video(file: LocalFile, path: Path, findings: Findings) -> None:
    if file.size > 200 * _MB:
        message = f"`{file.path}` has {file.size / _MB:.0f} MB; at most 200 MB"
        findings.error(path, message, "media")
    found = clip(file)
    if isinstance(found, str):
        findings.error(path, f"`{file.path}` {found}", "media", "give an mp4 or a mov")
        return
    name = f"`{file.path}` ({found.width}×{found.height}, {found.seconds:.2f} s)"
    if found.container != _VIDEO_TAKEN or not file.path.lower().endswith(_VIDEO_ENDS):
        findings.error(path, f"{name}: fal takes .mp4 and .mov only", "media")
    _judge_length(found, name, path, findings)
    _judge_frame(found, name, path, findings)


def _judge_length(found: Clip, name: str, path: Path, findings: Findings) -> None:
    if not found.seconds:
        findings.doubt(path, f"{name}: its length cannot be told; allowed: 3 to 15 s", "media")
    elif not 3 - _TOLERANCE <= found.seconds <= 15 + _TOLERANCE:
        findings.error(path, f"{name}: allowed are 3 to 15 s", "media", "cut it")
    elif found.seconds > 10 + _TOLERANCE:
        message = f"{name}: pages of early 2026 say at most 10 s, later ones 15 s"
        findings.doubt(path, message, "dated-limit")


def _judge_frame(found: Clip, name: str, path: Path, findings: Findings) -> None:
    short, long = sorted((found.width, found.height))
    if short < 720 or long > 3840:
        findings.error(path, f"{name}: each side needs 720 to 3840 pixels", "media")
    elif long > 2160:
        message = f"{name}: pages of early 2026 say at most 2160 pixels a side, later ones 3840"
        findings.doubt(path, message, "dated-limit")
    if found.fps and not 23.9 <= found.fps <= 60.1:
        message = f"{name} has {found.fps:.2f} frames a second; pages of early 2026 say 24 to 60"
        findings.doubt(path, message, "dated-limit")
