"""`renditions:` of a manifest: what a recipe may say, checked and normalised, and its schema.

Must not open a file or import a codec: what an installation cannot encode is told elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kling_batch.core.diagnostics import InvalidValue, nearest, show
from kling_batch.core.jobs import JSON
from kling_batch.core.quantities import parse_duration
from kling_batch.core.recipes import (
    CODECS,
    COMMAND_TIMEOUT,
    CRF,
    FITS,
    FORMATS,
    INPUT,
    MOST_FRAMES,
    MOST_PIXELS,
    OUTPUT,
    Kind,
    Media,
    Recipe,
    rows_of,
    too_large,
    too_long,
)

_GEOMETRY = ("width", "height", "fit", "crop")
_CLIP = ("start", "length", "fps")
_KEYS: dict[Kind, frozenset[str]] = {
    Kind.STILL: frozenset({"format", "for", "at", "quality", *_GEOMETRY}),
    Kind.STRIP: frozenset({"format", "for", "frames", "columns", "quality", *_GEOMETRY}),
    Kind.LOOP: frozenset({"format", "for", "loop", "quality", *_CLIP, *_GEOMETRY}),
    Kind.VIDEO: frozenset({"format", "for", "codec", "crf", "mute", *_CLIP, *_GEOMETRY}),
    Kind.COMMAND: frozenset({"command", "ext", "timeout", "for"}),
}
ALL_KEYS = frozenset().union(*_KEYS.values())

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_EXT = re.compile(r"\.[A-Za-z0-9]{1,10}")
_CROP = re.compile(r"(\d+):(\d+)|(\d+)x(\d+)(?:\+(\d+)\+(\d+))?")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)%")


def read_name(value: JSON) -> str:
    """The name of a recipe, which becomes a part of file names."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidValue(
            f"{show(value)} cannot be part of a file name: use letters, digits, - and _"
        )
    return value


def read_recipes(value: JSON) -> dict[str, Recipe]:
    """All recipes of a manifest by name."""
    if not isinstance(value, Mapping):
        raise InvalidValue(f"must be a mapping of recipes by name, not {show(value)}")
    return {read_name(name): read_recipe(recipe) for name, recipe in value.items()}


def read_recipe(value: JSON) -> Recipe:
    """One recipe. Raises `InvalidValue` with the path of what is wrong."""
    if not isinstance(value, Mapping):
        raise InvalidValue(f"must be a mapping such as {{format: jpg}}, not {show(value)}")
    given = {name: each for name, each in value.items() if each is not None}
    kind = _kind(given)
    for name in given:
        if name not in _KEYS[kind]:
            raise _unknown(name, kind)
    if kind is Kind.COMMAND:
        return _command(given)
    settings = {"format": given["format"], **_settings(given)}
    _check_together(kind, settings)
    return Recipe(kind=kind, ext=f".{settings['format']}", settings=settings)


def _settings(given: Mapping[str, JSON]) -> dict[str, JSON]:
    """The values of a recipe, each as its reader gives it."""
    settings: dict[str, JSON] = {}
    for name, reader in _READERS.items():
        if name in given:
            try:
                settings[name] = reader(given[name])
            except ValueError as error:
                raise _wrong(name, str(error)) from None
    return settings


def _check_together(kind: Kind, settings: dict[str, JSON]) -> None:
    """Fill in what others decide; refuse what does not go together."""
    if kind is Kind.VIDEO:
        _check_codec(settings)
    if kind is Kind.STRIP:
        settings.setdefault("columns", settings["frames"])
    if "quality" in settings and settings["format"] in ("png", "gif"):
        raise _wrong("quality", f"`quality` means nothing for {settings['format']}")
    if "fit" in settings and not {"width", "height"} <= settings.keys():
        raise _wrong("fit", "`fit` needs `width` and `height`")
    _check_size(kind, settings)


def _check_size(kind: Kind, settings: Mapping[str, JSON]) -> None:
    """Refuse a picture that its format cannot hold, as far as the recipe alone says its size."""
    columns, rows = 1, 1
    if kind is Kind.STRIP:
        columns, rows = rows_of(settings["frames"], settings["columns"])
    wide, high = _each(settings)
    wrong = {
        side: f"{_times(number, word, each)}: {why}"
        for side, number, word, each in (
            ("width", columns, "columns", wide),
            ("height", rows, "rows", high),
        )
        if (why := too_long(settings["format"], number * each))
    }
    if _fits_into(settings) and len(wrong) < 2:
        return  # the file decides which of the sides becomes that long
    for side, message in wrong.items():
        raise _wrong(side if side in settings else "crop", message)
    if kind is Kind.STRIP and (why := too_large(wide * columns, high * rows)):
        size = f"{columns} x {rows} pictures of {wide:,.0f} x {high:,.0f} pixels"
        raise _wrong("frames", f"{size}: {why}")


def _times(number: int, word: str, each: float) -> str:
    if number == 1:
        return f"{each:,.0f} pixels"
    return f"{number} {word} of {each:,.0f} are {number * each:,.0f} pixels"


def _fits_into(settings: Mapping[str, JSON]) -> bool:
    """Whether both sides are only the most that a picture may have."""
    both = {"width", "height"} <= settings.keys() and "crop" not in settings
    return both and settings.get("fit", FITS[0]) == FITS[0]


def _each(settings: Mapping[str, JSON]) -> tuple[float, float]:
    """Width and height of one picture, as far as the recipe says them; else 0."""
    wide, high = settings.get("width", 0), settings.get("height", 0)
    if (crop := _CROP.fullmatch(settings.get("crop", ""))) is None:
        return wide, high
    across, down = (int(part) for part in crop.groups()[:4] if part)
    if not wide and not high:
        return (across, down) if "x" in crop[0] else (0, 0)
    if wide and high and settings.get("fit", FITS[0]) != FITS[0]:
        return wide, high
    scale = min(side / of for side, of in ((wide, across), (high, down)) if side)
    return across * scale, down * scale


def _kind(given: Mapping[str, JSON]) -> Kind:
    if "command" in given:
        return Kind.COMMAND
    written = given.get("format")
    if written is None:
        raise InvalidValue("needs `format:` or `command:`", code="missing")
    if written not in FORMATS:
        hint = nearest(written, FORMATS) or f"one of {', '.join(FORMATS)}"
        raise _wrong("format", f"{show(written)} is no format that can be made here ({hint})")
    if written in CODECS:
        return Kind.VIDEO
    if written == "gif" or (written == "webp" and given.get("loop")):
        return Kind.LOOP
    return Kind.STRIP if "frames" in given else Kind.STILL


def _unknown(name: object, kind: Kind) -> InvalidValue:
    path = (str(name),)
    if name in ALL_KEYS:
        what = {Kind.COMMAND: "a command", Kind.LOOP: "a loop"}.get(kind, f"a {kind}")
        return InvalidValue(f"`{name}` means nothing for {what}", code="unknown-key", path=path)
    hint = nearest(name, _KEYS[kind])
    message = f"has no key `{name}`" + (f"; {hint}" if hint else "")
    return InvalidValue(message, code="unknown-key", path=path)


def _wrong(name: str, message: str) -> InvalidValue:
    written = message if message.startswith("`") else f"`{name}`: {message}"
    return InvalidValue(written, path=(name,))


def _check_codec(settings: dict[str, JSON]) -> None:
    """Fill in codec and quality; refuse what the container or the codec does not know."""
    container = settings["format"]
    codec = settings.setdefault("codec", CODECS[container][0])
    if codec not in CODECS[container]:
        able = ", ".join(CODECS[container])
        raise _wrong("codec", f"{container} cannot hold {codec} here; it holds {able}")
    default, worst = CRF[codec]
    if settings.setdefault("crf", default) > worst:
        raise _wrong("crf", f"{settings['crf']} is more than {codec} knows: 0 to {worst}")


def _command(given: Mapping[str, JSON]) -> Recipe:
    words, ext = given["command"], given.get("ext")
    if (
        not isinstance(words, Sequence)
        or isinstance(words, str)
        or not words
        or not all(isinstance(word, str | int | float) for word in words)
    ):
        raise _wrong("command", "must be a list of words, such as [ffmpeg, -i, '{input}', …]")
    texts = [word if isinstance(word, str) else show(word) for word in words]
    if any("\x00" in text for text in texts) or not texts[0]:
        raise _wrong("command", "must begin with a program, without NUL characters")
    for placeholder in (INPUT, OUTPUT):
        if not any(placeholder in text for text in texts[1:]):
            raise _wrong("command", f"must name {placeholder}: there the file's path is put")
    if not isinstance(ext, str) or not _EXT.fullmatch(ext):
        raise _wrong("ext", "a command needs `ext:`, the ending of its output, such as .webm")
    settings: dict[str, JSON] = {"command": texts, "timeout": COMMAND_TIMEOUT}
    try:
        if "timeout" in given:
            settings["timeout"] = parse_duration(given["timeout"])
    except ValueError as error:
        raise _wrong("timeout", str(error)) from None
    if "for" in given:
        settings["for"] = _one_of(tuple(Media))(given["for"])
    return Recipe(kind=Kind.COMMAND, ext=ext.lower(), settings=settings)


def _whole(low: int, high: int) -> Any:
    def read(value: JSON) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{show(value)} is not a whole number from {low} to {high:,}")
        return value

    return read


def _one_of(words: Sequence[str]) -> Any:
    def read(value: JSON) -> str:
        if value not in words:
            raise ValueError(f"{show(value)} is not one of {', '.join(words)}")
        return str(value)

    return read


def _seconds(value: JSON) -> float:
    """A time from the start of the video; 0 is one."""
    zero = not isinstance(value, bool) and value in (0, "0", "0s")
    return 0.0 if zero else parse_duration(value)


def _moment(value: JSON) -> JSON:
    """A time, or a share of the whole such as `50%`."""
    if isinstance(value, str) and (found := _PERCENT.fullmatch(value.strip())):
        if float(found[1]) > 100:
            raise ValueError(f"{show(value)} is after the end")
        return f"{float(found[1]):g}%"
    return _seconds(value)


def _fps(value: JSON) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 120:
        raise ValueError(f"{show(value)} is not a number of frames a second, 120 at most")
    return float(value)


def _crop(value: JSON) -> str:
    found = _CROP.fullmatch(value.replace(" ", "")) if isinstance(value, str) else None
    sides = [int(part) for part in found.groups()[:4] if part] if found else []
    if not found or not all(0 < side <= MOST_PIXELS for side in sides):
        raise ValueError(
            f"{show(value)} is no ratio such as 16:9 (in quotes), and no area such as 1080x400 or "
            "1080x400+0+120"
        )
    return found[0]


def _flag(value: JSON) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"{show(value)} is not true or false")
    return value


_READERS: dict[str, Any] = {
    "for": _one_of(tuple(Media)),
    "at": _moment,
    "frames": _whole(2, MOST_FRAMES),
    "columns": _whole(1, MOST_FRAMES),
    "quality": _whole(1, 100),
    "width": _whole(2, MOST_PIXELS),
    "height": _whole(2, MOST_PIXELS),
    "fit": _one_of(FITS),
    "crop": _crop,
    "start": _seconds,
    "length": parse_duration,
    "fps": _fps,
    "loop": _flag,
    "mute": _flag,
    "codec": _one_of(tuple(CRF)),
    "crf": _whole(0, 63),
}

# -- the schema for editors --------------------------------------------------------------------


def _integers(low: int, high: int) -> dict[str, JSON]:
    return {"type": "integer", "minimum": low, "maximum": high}


_TIME = {"type": ["string", "number"], "examples": ["1s"]}
SCHEMA: dict[str, JSON] = {
    "type": "object",
    "properties": {
        "format": {"enum": [*FORMATS], "description": "What is made."},
        "command": {
            "type": "array",
            "items": {"type": ["string", "number"]},
            "minItems": 3,
            "description": "A program and its words instead, with {input} and {output}; no shell.",
        },
        "ext": {"type": "string", "pattern": r"^\.[A-Za-z0-9]{1,10}$"},
        "timeout": _TIME,
        "for": {"enum": [*map(str, Media)], "description": "Only of such files."},
        "at": {**_TIME, "description": "Which moment a still shows: 1s, 50%."},
        "frames": {**_integers(2, MOST_FRAMES), "description": "A strip of so many frames."},
        "columns": _integers(1, MOST_FRAMES),
        "quality": _integers(1, 100),
        "width": _integers(2, MOST_PIXELS),
        "height": _integers(2, MOST_PIXELS),
        "fit": {"enum": [*FITS], "description": "With both sides: contain if not said."},
        "crop": {"type": "string", "description": "Before scaling: 1:1, 1080x400, 1080x400+0+9."},
        "start": _TIME,
        "length": _TIME,
        "fps": {"type": "number", "exclusiveMinimum": 0, "maximum": 120},
        "loop": {"type": "boolean", "description": "A WebP that moves."},
        "mute": {"type": "boolean", "description": "Without sound."},
        "codec": {"enum": [*CRF]},
        "crf": {**_integers(0, 63), "description": "Smaller is better and larger."},
    },
    "anyOf": [{"required": ["format"]}, {"required": ["command"]}],
    "additionalProperties": False,
}
