"""Command line as a value: repeated, changed by one option, and quoted for the shell. Pure.

People paste what is printed as the next command; an argument that comes out differently, or an
option that is lost, pays for something else. Must not know which commands there are.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import NamedTuple

from kling_batch.core.urls import without_signatures


class TypedOption(NamedTuple):
    """One option as typed; a flag has no value."""

    name: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A command, its arguments, and the options that were typed."""

    #: `kling-batch`, the command's name, its arguments; empty where there is no such command.
    head: tuple[str, ...]
    options: tuple[TypedOption, ...] = ()
    #: Every option that it takes; None where it came as one text.
    takes: frozenset[str] | None = None

    @classmethod
    def parsed(cls, text: str) -> Command:
        """A command that came as one text, of whose options nothing is known."""
        return cls(tuple(shlex.split(text)))

    def value(self, name: str) -> str | None:
        """What an option was last given."""
        return next((o.value for o in reversed(self.options) if o.name == name), None)

    def says(self, name: str) -> bool:
        """Whether an option was given."""
        return any(option.name == name for option in self.options)

    def can(self, name: str) -> bool:
        """Whether the command is known to take this option."""
        return self.takes is not None and name in self.takes

    def without(self, name: str) -> Command:
        """The same without an option."""
        return replace(self, options=tuple(o for o in self.options if o.name != name))

    def having(self, name: str, value: str | None = None) -> Command:
        """The same with an option, once, at the end."""
        rest = self.without(name)
        return replace(rest, options=(*rest.options, TypedOption(name, value)))

    def as_command(self, name: str) -> Command:
        """Another command on the same arguments with the same options."""
        program, _, *arguments = self.head
        return Command((program, name, *arguments), self.options)

    def __str__(self) -> str:
        arguments = [*self.head]
        for name, value in self.options:
            arguments += [name] if value is None else [name, value]
        # A signature must not get into logs; the URL without it is the same job.
        return " ".join(quoted(without_signatures(argument)) for argument in arguments)


#: What is run again cannot be said in one command.
NO_COMMAND = Command((), takes=frozenset())


def argument(text: str) -> str:
    """An argument that is not mistaken for an option."""
    return f"./{text}" if text.startswith("-") else text


def path_argument(path: object) -> str:
    """A path that is mistaken neither for an option nor for one in a home folder."""
    text = str(path)
    return f"./{text}" if text.startswith(("-", "~")) else text


def quoted(argument: str) -> str:
    """An argument quoted for the shell, on one line, so that it is read back exactly.

    Line ends, controls and what hides or reorders text would not survive being shown or pasted:
    such an argument is spelt `$'…'`, which bash, zsh, ksh and POSIX of 2024 read.
    """
    if argument.isprintable():
        return shlex.quote(argument)
    return "$'" + "".join(map(_escaped, argument)) + "'"


def _escaped(char: str) -> str:
    code = ord(char)
    if char in "\\'":
        return f"\\{char}"
    if char.isprintable():
        return char
    if 0xDC80 <= code <= 0xDCFF:  # a byte of the command line that was no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\{code:03o}"  # a fixed number of digits: the next character may be one
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
