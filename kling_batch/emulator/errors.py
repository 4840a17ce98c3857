"""Errors of renders as fal reports them: error types, HTTP codes and response bodies.

Sources: docs/fal-api.md#request-errors, docs/fal-api.md#model-errors. Must not decide when an
error occurs; that is up to `World` and the fault plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class EmulatorError(Exception):
    """Failure of the emulator itself, with a message for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed render: what its status and its result report."""

    http: int
    body: Mapping[str, Any]
    error: str
    error_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


REQUEST_ERRORS: Mapping[str, tuple[int, str]] = {
    "request_timeout": (504, "Request timed out"),
    "startup_timeout": (504, "Runner did not start in time"),
    "runner_scheduling_failure": (503, "No runner could be scheduled"),
    "runner_connection_timeout": (503, "Connection to the runner timed out"),
    "runner_disconnected": (503, "Runner disconnected"),
    "runner_connection_refused": (503, "Runner refused the connection"),
    "runner_connection_error": (503, "Connection to the runner failed"),
    "runner_incomplete_response": (502, "Runner sent an incomplete response"),
    "runner_server_error": (500, "Runner failed"),
    "internal_error": (500, "Internal error"),
    "client_disconnected": (499, "Client disconnected"),
    "client_cancelled": (499, "Request was cancelled by the client"),
    "bad_request": (400, "Bad request"),
}
"""Failures of the platform: {"detail": text, "error_type": …} and the header X-Fal-Error-Type."""

MODEL_ERRORS: Mapping[str, tuple[int, str, Mapping[str, Any]]] = {
    "internal_server_error": (500, "Internal server error", {}),
    "generation_timeout": (504, "Generation timed out", {}),
    "downstream_service_error": (400, "Downstream service error", {}),
    "downstream_service_unavailable": (500, "Downstream service unavailable", {}),
    "content_policy_violation": (422, "The content was flagged by a content checker", {}),
    "no_media_generated": (422, "No media was generated", {}),
    "image_too_small": (422, "Image is too small", {"min_height": 300, "min_width": 300}),
    "image_too_large": (422, "Image is too large", {"max_height": 8000, "max_width": 8000}),
    "image_aspect_ratio_error": (422, "Image aspect ratio must be between 0.40 and 2.50", {}),
    "image_load_error": (422, "Image could not be loaded", {}),
    "file_download_error": (422, "File could not be downloaded", {}),
    "face_detection_error": (422, "No face was detected", {}),
    "file_too_large": (422, "File is too large", {"max_size": 10485760}),
    "greater_than": (422, "Input should be greater than 0", {"gt": 0}),
    "greater_than_equal": (422, "Input should be greater than or equal to 1", {"ge": 1}),
    "less_than": (422, "Input should be less than 10", {"lt": 10}),
    "less_than_equal": (422, "Input should be less than or equal to 9", {"le": 9}),
    "multiple_of": (422, "Input should be a multiple of 1", {"multiple_of": 1}),
    "sequence_too_short": (422, "Sequence is too short", {"min_length": 1}),
    "sequence_too_long": (422, "Sequence is too long", {"max_length": 4}),
    "one_of": (422, "Input should be one of the permitted values", {"expected": []}),
    "feature_not_supported": (422, "Feature is not supported", {}),
    "invalid_archive": (422, "Archive is invalid", {"supported_extensions": ["zip"]}),
    "archive_file_count_below_minimum": (
        422,
        "Archive has too few files",
        {"min_count": 1, "provided_count": 0},
    ),
    "archive_file_count_exceeds_maximum": (
        422,
        "Archive has too many files",
        {"max_count": 1, "provided_count": 2},
    ),
    "audio_duration_too_long": (
        422,
        "Audio is too long",
        {"max_duration": 30.0, "provided_duration": 31.0},
    ),
    "audio_duration_too_short": (
        422,
        "Audio is too short",
        {"min_duration": 5.0, "provided_duration": 1.0},
    ),
    "video_duration_too_long": (
        422,
        "Video is too long",
        {"max_duration": 15.0, "provided_duration": 16.0},
    ),
    "video_duration_too_short": (
        422,
        "Video is too short",
        {"min_duration": 3.0, "provided_duration": 1.0},
    ),
    "unsupported_audio_format": (
        422,
        "Audio format is not supported",
        {"supported_formats": ["mp3", "wav"]},
    ),
    "unsupported_image_format": (
        422,
        "Image format is not supported",
        {"supported_formats": ["jpg", "png"]},
    ),
    "unsupported_video_format": (
        422,
        "Video format is not supported",
        {"supported_formats": ["mp4", "mov"]},
    ),
    "partner_validation_failed": (422, "The partner refused the input", {"reason": "unknown"}),
}
"""Failures of the model: {"detail": [{loc, msg, type, url, ctx}]}."""


def detail(
    kind: str,
    msg: str,
    loc: Sequence[str | int],
    *,
    given: object = None,
    ctx: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One entry of a 422 detail list."""
    entry: dict[str, Any] = {"loc": ["body", *loc], "msg": msg, "type": kind, "input": given}
    entry["url"] = f"https://docs.fal.ai/errors#{kind}"
    if ctx:
        entry["ctx"] = dict(ctx)
    return entry


def invalid(details: Sequence[Mapping[str, Any]]) -> Failure:
    """Failure of a render whose input the runner refused."""
    return Failure(
        http=422,
        body={"detail": list(details)},
        error=str(details[0]["msg"]),
        error_type=str(details[0]["type"]),
    )


def named_failure(kind: str, http: int | None = None, given: object = None) -> Failure:
    """Failure of this error type (platform) or detail type (model)."""
    if kind in REQUEST_ERRORS:
        code, text = REQUEST_ERRORS[kind]
        body = {"detail": text, "error_type": kind}
        return Failure(
            http=http or code,
            body=body,
            error=text,
            error_type=kind,
            headers={"X-Fal-Error-Type": kind},
        )
    if kind not in MODEL_ERRORS:
        raise ValueError(f"unknown render failure: {kind}")
    code, text, ctx = MODEL_ERRORS[kind]
    entry = detail(kind, text, ["prompt"], given=given, ctx=ctx)
    return Failure(http=http or code, body={"detail": [entry]}, error=text, error_type=kind)
