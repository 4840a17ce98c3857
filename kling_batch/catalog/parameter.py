"""The `Parameter` type: one input of an endpoint, as data.

Must not read values: `parameters.py` does. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from kling_batch.catalog.media import MediaLimits
from kling_batch.core.jobs import JSON

#: Kinds of parameters that take another job's output.
REFERENCES = frozenset({"url", "voice"})
#: Of `Parameter.fal_default`: fal fills in what is sent anyway.
AS_SENT: Final = object()
#: Longer lists of choices are cut short in a message.
_MOST_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One input of an endpoint (or of one of its nested types), as data."""

    name: str
    #: A name of `READERS`: text, choice, whole, decimal, flag, url, voice, list or object.
    kind: str
    doc: str
    #: Names that other endpoints have for the same thing: a job may use them.
    also: tuple[str, ...] = ()
    required: bool = False
    #: Required here on purpose, where fal itself fills in what nobody would want.
    insisted: bool = False
    default: JSON = None
    #: What fal itself fills in, where it is known not to be `default`; None where nobody knows. It
    #: counts where an input is sent as it is written, so parameters that differ in it alone take
    #: the same.
    fal_default: JSON = field(default=AS_SENT, compare=False)
    choices: tuple[str, ...] = ()
    #: Other spellings of some choices (`square` → `1:1`).
    aliases: Mapping[str, str] = field(default_factory=dict)
    #: A value outside `choices` or beyond `maximum` only warns: fal's own pages disagree, or only
    #: others state the limit.
    open: bool = False
    #: Why it is not certain that fal takes it as described; a job that has it is warned.
    doubt: str = ""
    #: Of the number, of the characters or of the items, by kind.
    minimum: float | None = None
    maximum: float | None = None
    #: What a url points to: image, video, audio or any. Of a voice: voice.
    media: str = ""
    limits: MediaLimits | None = None
    #: Limits that depend on another parameter: its name, and the limits by its value.
    limits_by: tuple[str, Mapping[str, MediaLimits]] | None = None
    #: Of a list.
    item: Parameter | None = None
    #: Of an object.
    fields: tuple[Parameter, ...] = ()

    @cached_property
    def inner(self) -> tuple[Parameter, ...]:
        """The parameters inside a list or an object."""
        return self.fields if self.item is None else (self.item,)

    @cached_property
    def holds_urls(self) -> bool:
        """Whether it, or a part of it, may be a local file or another job's output."""
        return self.kind in REFERENCES or any(parameter.holds_urls for parameter in self.inner)

    @cached_property
    def as_fal_fills_it(self) -> Parameter:
        """The same with fal's own defaults, inner ones included."""
        return replace(
            self,
            default=self.default if self.fal_default is AS_SENT else self.fal_default,
            item=None if self.item is None else self.item.as_fal_fills_it,
            fields=tuple(each.as_fal_fills_it for each in self.fields),
        )

    def limits_with(self, arguments: Mapping[str, JSON]) -> MediaLimits | None:
        """The limits of a file for it, beside these arguments."""
        if self.limits_by is None:
            return self.limits
        name, limits = self.limits_by
        return limits.get(str(arguments.get(name)), self.limits)

    @cached_property
    def spellings(self) -> Mapping[str, str]:
        """Every accepted lower-case spelling of a choice → the choice."""
        return {choice.lower(): choice for choice in self.choices} | dict(self.aliases)

    @cached_property
    def allowed(self) -> str:
        """The choices as listed in a message."""
        numbers = [int(choice) for choice in self.choices if choice.isdecimal()]
        if len(numbers) == len(self.choices) > 2:
            return f"{numbers[0]} to {numbers[-1]}"
        if len(self.choices) > _MOST_LISTED:
            return f"{', '.join(self.choices[:3])} and {len(self.choices) - 3} more"
        words = f" (or {', '.join(self.aliases)})" if self.aliases else ""
        return ", ".join(self.choices) + words


#: What a parameter of some media takes; a clip carries sound, too.
_MEDIA = {
    "image": ("image",),
    "video": ("video",),
    "audio": ("audio",),
    "audio or video": ("audio", "video"),
    "voice": ("voice",),
}


def media_taken(media: str, output: str) -> bool:
    """Whether a parameter of this media takes an output of that kind."""
    return media not in _MEDIA or output in _MEDIA[media]
