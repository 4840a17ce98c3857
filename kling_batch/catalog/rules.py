"""Rules between the parameters of one request: which exclude each other, which must add up.

A rule also gets arguments some of which have errors already, so anything may be missing. Must not
know endpoints or files. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from kling_batch.catalog.parameters import UNREAD, whole_number
from kling_batch.core.diagnostics import Collector
from kling_batch.core.jobs import JSON, Arguments
from kling_batch.errors import ArgumentPath

Rule = Callable[[Arguments, Collector], None]

_MENTION = re.compile(r"(?<![\w@])@(Image|Element|Video)(\d*)(?!\w)")
#: The arguments that each mention of a prompt counts through, where an endpoint says nothing else.
_LISTS = {"Image": ("image_urls",), "Element": ("elements",), "Video": ("video_url",)}
_THINGS = {"Image": "reference images", "Element": "elements", "Video": "source video"}
_VOICE = re.compile(r"<<<voice_(\d+)>>>")
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


def prompt_and_shots(arguments: Arguments, problems: Collector) -> None:
    """At least one of `prompt` and `multi_prompt`; whether both may be given is in doubt."""
    prompt, shots = "prompt" in arguments, "multi_prompt" in arguments
    if prompt and shots:
        message = "that `prompt` and `multi_prompt` may be given together is not documented"
        problems.warn(("multi_prompt",), message, "undocumented", "keep one of them")
    elif not prompt and not shots:
        problems.error((), "`prompt` (or `multi_prompt`) is missing", "missing")


def prompt_or_neither(arguments: Arguments, problems: Collector) -> None:
    """As `prompt_or_shots`, but that one of them is needed is in doubt."""
    found = Collector()
    prompt_or_shots(arguments, found)
    for each in found.errors:
        if each.code == "missing":
            problems.warn((), "the clip has no prompt", "undocumented", "say what happens in it")
        else:
            problems.errors.append(each)


def shots_within(shortest: int, longest: int) -> Rule:
    """A rule: the shots last as long as the clip, and the clip so many seconds."""

    def check(arguments: Arguments, problems: Collector) -> None:
        if "multi_prompt" not in arguments or (total := shot_seconds(arguments)) is None:
            return
        wanted = whole_number(arguments.get("duration"))
        if not shortest <= total <= longest:
            message = f"the shots add up to {total} s; allowed: {shortest} to {longest}"
            problems.error(("multi_prompt",), message, "wrong-sum")
        elif wanted is not None and wanted != total:
            message = f"the shots add up to {total} s, but `duration` is {wanted}"
            hint = f"leave `duration` out or make it {total}; a shot without one lasts 5 s"
            problems.error(("multi_prompt",), message, "wrong-sum", hint)

    return check


def shot_seconds(arguments: Arguments) -> int | None:
    """The length of all shots together, if it is known."""
    shots = arguments.get("multi_prompt")
    if not isinstance(shots, list):
        return None
    total = 0
    for shot in shots:
        seconds = whole_number(shot.get("duration")) if isinstance(shot, Mapping) else None
        if seconds is None or seconds < 1:
            return None
        total += seconds
    return total


#: No clip is longer; such a number passed on unchecked would be a price that no ledger can hold.
_DAY = 86_400


def ordered_seconds(arguments: Arguments) -> int | None:
    """The length that a clip is ordered with, as it is billed; None where it is not known.

    Of `duration` and shots that contradict each other, the longer: fal does not say which it takes.
    """
    asked: list[int | None] = []
    if arguments.get("duration") is not None:
        asked.append(whole_number(arguments["duration"]))
    if arguments.get("multi_prompt"):
        asked.append(shot_seconds(arguments))
    known = [each for each in asked if each is not None and 0 < each <= _DAY]
    return max(known) if known and len(known) == len(asked) else None


def doubtful(rule: Rule) -> Rule:
    """The same rule as a doubt: what it finds are warnings, for fal itself does not state it."""

    def check(arguments: Arguments, problems: Collector) -> None:
        found = Collector()
        rule(arguments, found)
        problems.warnings += found.warnings
        for each in found.errors:
            message = f"{each.message}, by what is reported of fal"
            problems.warn(each.path, message, "reported", each.hint)

    return check


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
    _check_mentions(arguments, problems, _LISTS)


def mentions_through(**lists: tuple[str, ...]) -> Rule:
    """The rule `mentions` for an endpoint whose things are in other arguments: `Image=(…)`."""
    counted = {**_LISTS, **lists}
    return lambda arguments, problems: _check_mentions(arguments, problems, counted)


def _check_mentions(
    arguments: Arguments, problems: Collector, lists: Mapping[str, tuple[str, ...]]
) -> None:
    if "multi_prompt" not in arguments and "@" not in str(arguments.get("prompt")):
        return
    for path, text in _prompts(arguments):
        for thing, number in sorted(set(_MENTION.findall(text))):
            counts = [_count(arguments.get(name)) for name in lists[thing]]
            if None in counts:
                continue
            there, name = sum(each or 0 for each in counts), " + ".join(lists[thing])
            if there == 0:
                message = f"the prompt names @{thing}{number}, but the job has no {_THINGS[thing]}"
                problems.error(path, message, "unknown-mention")
            elif number and not 1 <= int(number[:9]) <= there:
                message = f"the prompt names @{thing}{number}, but `{name}` has {there}"
                problems.error(path, message, "unknown-mention", "they count from 1")
            elif not number and there > 1:
                message = f"the prompt names @{thing}, but `{name}` has {there}"
                problems.error(
                    path, message, "unknown-mention", f"write @{thing}1 to @{thing}{there}"
                )


def voices_mentioned(arguments: Arguments, problems: Collector) -> None:
    """Each entry of `voice_ids` is named in the prompt as `<<<voice_1>>>`, and nothing else is."""
    there = _count(arguments.get("voice_ids"))
    if there is None:
        return
    named = {int(n[:9]) for _, text in _prompts(arguments) for n in _VOICE.findall(text)}
    if beyond := sorted(n for n in named if not 1 <= n <= there):
        message = f"the prompt names <<<voice_{beyond[0]}>>>, but `voice_ids` has {there}"
        problems.error(("prompt",), message, "unknown-mention", "they count from 1")
    for number in range(1, there + 1):
        if number not in named:
            message = f"the prompt does not name <<<voice_{number}>>>"
            problems.error(("voice_ids",), message, "unknown-mention")


def at_most(most: int, *names: str, when: str = "") -> Rule:
    """A rule: so many things in these arguments together."""

    def check(arguments: Arguments, problems: Collector) -> None:
        total = sum(_count(arguments.get(name)) or 0 for name in names)
        if total > most:
            listed = " and ".join(f"`{name}`" for name in names)
            message = f"{total} in {listed}; at most {most} in all{when}"
            first = next(name for name in reversed(names) if name in arguments)
            problems.error((first,), message, "too-many")

    return check


def only_with(name: str, other: str, value: JSON, why: str) -> Rule:
    """A rule: an argument is used only where another one has this value."""

    def check(arguments: Arguments, problems: Collector) -> None:
        given = arguments.get(other)
        if name in arguments and given is not UNREAD and given != value:
            message = f"`{name}` is used only with `{other}: {value}`"
            problems.error((name,), message, "conflict", why)

    return check


def not_among(name: str, values: tuple[str, ...], why: str) -> Rule:
    """A rule: an argument has none of these values."""

    def check(arguments: Arguments, problems: Collector) -> None:
        if arguments.get(name) in values:
            message = f"`{name}: {arguments[name]}` does not work"
            problems.error((name,), message, "wrong-value", why)

    return check


def not_with(name: str, other: str, value: JSON, why: str) -> Rule:
    """A rule: an argument is not used where another one has this value."""

    def check(arguments: Arguments, problems: Collector) -> None:
        if name in arguments and arguments.get(other) == value:
            message = f"`{name}` is not used with `{other}: {str(value).lower()}`"
            problems.error((name,), message, "conflict", why)

    return check


def references_of_clip(arguments: Arguments, problems: Collector) -> None:
    """Elements and images together: 7, or 4 where an element carries a video (one at most)."""
    elements = _mappings(arguments.get("elements"))
    videos = _clip_elements(arguments)
    one_clip(arguments, problems)
    most = _REFERENCES_WITH_VIDEO if videos else _REFERENCES
    _cap(arguments, problems, most, " when an element carries a video" if videos else "")
    if len(elements) > _REFERENCES_WITH_VIDEO:
        message = f"users report errors with more than {_REFERENCES_WITH_VIDEO} elements"
        problems.warn(("elements",), message, "reported")


def one_clip(arguments: Arguments, problems: Collector) -> None:
    """One element with a clip at most."""
    videos = _clip_elements(arguments)
    if len(videos) > 1:
        message = "only one element of a request may carry a video"
        problems.error(("elements", videos[1], "video_url"), message, "too-many")


def _clip_elements(arguments: Arguments) -> list[int]:
    """The numbers of the elements with a clip."""
    elements = _mappings(arguments.get("elements"))
    return [n for n, element in enumerate(elements) if "video_url" in element]


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
    _check_clip_elements(arguments, problems, silent=arguments.get("generate_audio") is not True)


def elements_of_sounding_clip(arguments: Arguments, problems: Collector) -> None:
    """As `elements_of_clip`, where a clip always has sound."""
    _check_clip_elements(arguments, problems, silent=False)


def _check_clip_elements(arguments: Arguments, problems: Collector, *, silent: bool) -> None:
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
