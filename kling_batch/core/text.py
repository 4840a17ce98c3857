"""Text for people: sanitised foreign text, names, counts, and the tones of lines. Pure.

Prompts, ids and error messages come from outside; whatever is shown goes through `clean` first.
Must not print.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

#: Escape sequences a terminal acts on: CSI (colours, cursor), OSC (titles, links, clipboard), and
#: the remaining strings and two-byte ones.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
#: Nearly all text: nothing to remove.
_HARMLESS = re.compile(r"[ -~]*")


class Tone(StrEnum):
    """Tone of a line or part of it; displays decide how it looks."""

    PLAIN = "plain"
    TITLE = "title"
    GOOD = "good"
    BAD = "bad"
    WARNING = "warning"
    DIM = "dim"


def clean(text: str) -> str:
    """One line that cannot steer a terminal: no escape sequences, controls or bidi overrides."""
    if _HARMLESS.fullmatch(text):
        return text.strip()
    text = _SEQUENCE.sub("", text)
    return " ".join("".join(map(_visible, text)).split())


#: What steers or deceives a terminal: controls but for tab and line ends, bidi marks and overrides,
#: characters without width (but for joiners), line separators, tags, half characters.
_STEERING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]|\r(?!\n)"
)


def escaped(text: str) -> str:
    r"""The text with everything that could steer a terminal as `\uXXXX`.

    Such an escape means the same inside JSON, so that data keep their content. Cheap for text that
    has none: all output passes through it.
    """
    if text.isascii() and text.isprintable():
        return text
    return _STEERING.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    # `\x7f` to `\x9f` may stand in JSON as they are, so that `json.dumps` alone would keep them.
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def as_typed(command: str) -> str:
    """A command for display: unchanged, unless it could steer a terminal."""
    return command if command.isprintable() else clean(command)


def _visible(char: str) -> str:
    match unicodedata.category(char):
        case "Cc" | "Zl" | "Zp":
            return " "
        case "Cs" | "Cn" | "Co":
            return "\ufffd"
        case "Cf":
            # Joiners belong to emoji and to several scripts; every other format character hides
            # or reorders what stands around it.
            return char if char in "\u200c\u200d" else ""
        case _:
            return char


def with_certificate_hint(message: str) -> str:
    """The message of a network error, with what to do about an unknown certificate."""
    if "CERTIFICATE_VERIFY_FAILED" not in message:
        return message
    return (
        f"{message}; where a proxy inspects TLS, set SSL_CERT_FILE to a file with the certificate "
        "of its authority"
    )


def count(number: int, noun: str) -> str:
    """`1 job`, `1,200 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def full_name(batch: str, job: str, *, several: bool) -> str:
    """The name of a job where several batches may be shown together."""
    return clean(f"{batch}/{job}" if several and batch else job)
