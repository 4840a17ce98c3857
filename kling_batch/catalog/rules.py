"""Rules between the parameters of one request: which exclude each other, which must add up.

A rule also gets arguments some of which have errors already, so anything may be missing. Must not
know endpoints or files. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from kling_batch.catalog.parameters import UNREAD
from kling_batch.core.diagnostics import Collector
from kling_batch.core.jobs import JSON, Arguments
from kling_batch.errors import ArgumentPath

Rule = Callable[[Arguments, Collector], None]

_MENTION = re.compile(r"(?<![\w@])@(Image|Element|Video)(\d*)(?!\w)")
#: The argument that each mention of a prompt refers to.
_LISTS = {"Image": "image_urls", "Element": "elements", "Video": "video_url"}
_THINGS = {"Image": "reference images", "Element": "elements", "Video": "source video"}
#: Dated: schema text says 4 (with a video), the 4k page 7; upstream's rule reconciles them.
_REFERENCES_WITH_VIDEO = 4
_REFERENCES = 7


def prompt_or_shots(arguments: Arguments, problems: Collector) -> None:
    """Exactly one of `prompt` and `multi_prompt`."""
    prompt, shots = "prompt" in arguments, "multi_prompt" in arguments
    if prompt and shots:
        message = "`prompt` and `multi_prompt` exclude each other"
        problems.error(("multi_prompt",), message, "conflict", "keep one of them")
    elif not prompt and not shots:
        problems.error((), "`prompt` (or `multi_prompt`) is missing", "missing")


def shots_add_up(arguments: Arguments, problems: Collector) -> None:
    """The shots last as long as the clip, and the clip 3 to 15 seconds."""
    if "multi_prompt" not in arguments or (total := shot_seconds(arguments)) is None:
        return
    wanted = arguments.get("duration")
    if not 3 <= total <= 15:
        message = f"the shots add up to {total} s; allowed: 3 to 15"
        problems.error(("multi_prompt",), message, "wrong-sum")
    elif isinstance(wanted, str) and wanted.isdecimal() and int(wanted) != total:
        message = f"the shots add up to {total} s, but `duration` is {wanted}"
        hint = f"leave `duration` out or make it {total}; a shot without one lasts 5 s"
        problems.error(("multi_prompt",), message, "wrong-sum", hint)


def shot_seconds(arguments: Arguments) -> int | None:
    """The length of all shots together, if it is known."""
    shots = arguments.get("multi_prompt")
    if not isinstance(shots, list):
        return None
    seconds = [shot.get("duration") if isinstance(shot, Mapping) else None for shot in shots]
    if not all(isinstance(each, str) and each.isdecimal() for each in seconds):
        return None
    return sum(int(each) for each in seconds if each is not None)


def mentions_of_frames(arguments: Arguments, problems: Collector) -> None:
    """As `mentions`, but fal's own page offers `@Image1` for the frames of image-to-video."""
    found = Collector()
    mentions(arguments, found)
    for problem in found.errors:
        if "@Image" in problem.message:
            message = "`@Image1` is not documented to name a frame of image-to-video"
            problems.warn(problem.path, message, "undocumented", "describe the picture instead")
        else:
            problems.error(problem.path, problem.message, problem.code, problem.hint)


def mentions(arguments: Arguments, problems: Collector) -> None:
    """Every `@Image3`, `@Element1` and `@Video1` of a prompt names something that is there."""
    if "multi_prompt" not in arguments and "@" not in str(arguments.get("prompt")):
        return
    for path, text in _prompts(arguments):
        for thing, number in sorted(set(_MENTION.findall(text))):
            there = _count(arguments.get(_LISTS[thing]))
            if there is None:
                continue
            if there == 0:
                message = f"the prompt names @{thing}{number}, but the job has no {_THINGS[thing]}"
                problems.error(path, message, "unknown-mention")
            elif number and not 1 <= int(number[:9]) <= there:
                message = f"the prompt names @{thing}{number}, but `{_LISTS[thing]}` has {there}"
                problems.error(path, message, "unknown-mention", "they count from 1")
            elif not number and there > 1:
                message = f"the prompt names @{thing}, but `{_LISTS[thing]}` has {there}"
                problems.error(
                    path, message, "unknown-mention", f"write @{thing}1 to @{thing}{there}"
                )


def references_of_clip(arguments: Arguments, problems: Collector) -> None:
    """Elements and images together: 7, or 4 where an element carries a video (one at most)."""
    elements = _mappings(arguments.get("elements"))
    videos = [n for n, element in enumerate(elements) if "video_url" in element]
    if len(videos) > 1:
        message = "only one element of a request may carry a video"
        problems.error(("elements", videos[1], "video_url"), message, "too-many")
    most = _REFERENCES_WITH_VIDEO if videos else _REFERENCES
    _cap(arguments, problems, most, " when an element carries a video" if videos else "")
    if len(elements) > _REFERENCES_WITH_VIDEO:
        message = f"users report errors with more than {_REFERENCES_WITH_VIDEO} elements"
        problems.warn(("elements",), message, "reported")


def references_with_video(arguments: Arguments, problems: Collector) -> None:
    """Elements and images together beside a source video: 4."""
    _cap(arguments, problems, _REFERENCES_WITH_VIDEO, " beside a source video")


def elements_complete(arguments: Arguments, problems: Collector) -> None:
    """An element has an image or a clip, and its main view has further views."""
    for n, element in _readable_elements(arguments):
        if not _views(element) and "frontal_image_url" not in element:
            problems.error(("elements", n), "the element has no image", "missing")
        elif not _views(element):
            message = "reference-to-video refuses a main view without `reference_image_urls`"
            hint = "add at least one; it may be the same picture"
            problems.warn(("elements", n), f"{message}; here it is not known", "reported", hint)


def elements_of_clip(arguments: Arguments, problems: Collector) -> None:
    """An element is a clip, or a main view and further views; a voice belongs to a clip.

    fal checks the views only when the result is made: recorded answers (docs/fal-api.md
    #video-inputs). What it makes of voices is reported by users.
    """
    silent = arguments.get("generate_audio") is not True
    for n, element in _readable_elements(arguments):
        path = ("elements", n)
        clip, voice = "video_url" in element, "voice_id" in element
        main = "frontal_image_url" in element
        if not clip and not main and not _views(element):
            problems.error(path, "the element has no image and no clip", "missing")
        elif not clip and not (main and _views(element)):
            lacking = "`reference_image_urls`" if main else "`frontal_image_url`"
            message = f"fal refuses an element of pictures without {lacking}"
            problems.error(path, message, "missing", "the same picture may stand in both")
        if voice and not clip:
            message = "users report that `voice_id` works only on an element with a clip"
            problems.warn(path, message, "reported", "give the element a `video_url`")
        elif voice and silent:
            message = "users report that a voice is not heard without `generate_audio: true`"
            problems.warn(path, message, "reported")


def shots_alone(arguments: Arguments, problems: Collector) -> None:
    """What users report that fal refuses or ignores beside `multi_prompt`."""
    if "multi_prompt" not in arguments:
        return
    if "end_image_url" in arguments:
        message = "users report that fal refuses `end_image_url` with `multi_prompt`"
        problems.warn(("end_image_url",), message, "reported", "leave one of them out")
    if arguments.get("shot_type") == "intelligent":
        message = "users report that `shot_type: intelligent` is for a single prompt"
        problems.warn(("shot_type",), message, "reported", "leave it out, or use `prompt`")


def end_needs_start(arguments: Arguments, problems: Collector) -> None:
    """An end frame without a start frame is not documented to work."""
    if "end_image_url" in arguments and "start_image_url" not in arguments:
        message = "an end frame without a start frame is not documented"
        problems.warn(("end_image_url",), message, "undocumented", "give `start_image_url` too")


def single_or_series(arguments: Arguments, problems: Collector) -> None:
    """`num_images` counts for single images, `series_amount` for a series."""
    series = arguments.get("result_type") == "series"
    name = "num_images" if series else "series_amount"
    if arguments.get(name, 1) != 1:
        used = "single" if series else "series"
        message = f"`{name}` is used only with `result_type: {used}`"
        problems.warn((name,), message, "without-effect")


def kept_in_history(arguments: Arguments, problems: Collector) -> None:
    """`sync_mode` keeps the result out of the history that a lost answer is recovered from."""
    if arguments.get("sync_mode") is True:
        message = (
            "`sync_mode` keeps the result out of fal's history: a lost one cannot be recovered"
        )
        problems.warn(("sync_mode",), message, "not-recoverable")


def _readable_elements(arguments: Arguments) -> Iterator[tuple[int, Mapping[str, JSON]]]:
    """Every element that could be read, with its number."""
    elements = arguments.get("elements")
    for n, element in enumerate(elements if isinstance(elements, list) else []):
        if isinstance(element, Mapping):
            yield n, element


def _views(element: Mapping[str, JSON]) -> bool:
    """Whether the element has further views, or some that could not be read."""
    return bool(element.get("reference_image_urls"))


def _prompts(arguments: Arguments) -> Iterator[tuple[ArgumentPath, str]]:
    prompt = arguments.get("prompt")
    if isinstance(prompt, str):
        yield ("prompt",), prompt
    for n, shot in enumerate(_mappings(arguments.get("multi_prompt"))):
        if isinstance(shot.get("prompt"), str):
            yield ("multi_prompt", n, "prompt"), shot["prompt"]


def _mappings(value: JSON) -> list[Mapping[str, JSON]]:
    entries = value if isinstance(value, list) else []
    # A shot or an element that could not be read still counts, so that the numbers stay right.
    return [entry if isinstance(entry, Mapping) else {} for entry in entries]


def _count(value: JSON) -> int | None:
    """How many things a parameter holds; None where it could not be read."""
    if value is UNREAD:
        return None
    if isinstance(value, list):
        return len(value)
    return 0 if value is None else 1


def _cap(arguments: Arguments, problems: Collector, most: int, when: str) -> None:
    total = (_count(arguments.get("elements")) or 0) + (_count(arguments.get("image_urls")) or 0)
    if total > most:
        name = "image_urls" if "image_urls" in arguments else "elements"
        message = f"{total} elements and reference images; at most {most} in all{when}"
        problems.error((name,), message, "too-many")
