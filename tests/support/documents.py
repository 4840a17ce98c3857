"""Tables of the documents that are made from the code: manifest, emulator, help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import click
import yaml

from kling_batch.catalog.parameter import Parameter
from kling_batch.catalog.registry import index, models, models_with, modes
from kling_batch.cli.main import cli
from kling_batch.emulator import control, faults, settings
from kling_batch.manifest import fields
from kling_batch.manifest.schema import schema


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def code(value: object) -> str:
    return f"`{value}`"


def cell(text: str) -> str:
    """A text in a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


# -- the manifest ------------------------------------------------------------------------------

#: Default and example of each key that is no parameter of the API. A test holds the keys against
#: the schema, and validates the examples.
KEYS: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "manifest": {
        "version": ("1", 1),
        "name": ("the file's name without its suffix", "spring"),
        "output": ("`outputs`", "renders"),
        "path": ("`{batch}/{mode}/{job}{suffix}{ext}`", "{job}{suffix}{ext}"),
        "vars": ("none", {"brand": "Acme"}),
        "env": ("none", {"market": "CAMPAIGN_MARKET"}),
        "retry": ("`{attempts: 3}`", {"attempts": 5}),
        "renditions": ("none", {"poster": {"format": "jpg", "at": "1s", "width": 640}}),
        "hooks": ("none", {"on_finished": ["./tell.sh"]}),
        "notify": ("nobody", ["$SLACK_URL"]),
        "review": ("none", {"draft": {"tier": "standard"}, "final": {"tier": "pro"}}),
        "limits": ("none", {"max_cost": 40}),
        "defaults": ("none", {"mode": "text-to-video"}),
        "jobs": ("required", [{"id": "hero"}]),
    },
    "limits": {
        "concurrency": ("8", 16),
        "rate": ("`concurrency` a second, at least 10/s", "60/min"),
        "max_cost": ("no cap", 40),
        "max_cost_per_day": ("no cap", 50),
        "account_max_per_day": ("no cap", 80),
        "deadline": ("none", "3h"),
        "on_doubt": ("`hold`", "hold"),
        "doubt_wait": ("1h", "30m"),
        "start_timeout": ("none", "1h"),
        "reuse": ("7d", "30d"),
        "retry_attempts": ("3", 5),
        "max_failures": ("none", "20%"),
        "workers": ("half of the processors", 4),
    },
    "shared": {
        "model": ("`o3`", "v4"),
        "mode": ("required, here or in `defaults`, or `endpoint`", "text-to-image"),
        "tier": ("`pro`, or the only one", "standard"),
        "takes": ("1", 3),
        "tags": ("none", ["hero", "web"]),
        "renditions": ("all that can be made of its files", ["poster"]),
        "params": ("none", {"camera_style": "handheld"}),
    },
    "job": {
        "id": ("required; for a table or a matrix made of its values", "hero"),
        "from": ("none", "products.csv"),
        "matrix": ("none", {"shape": ["square", "portrait"]}),
        "review": ("that at the top", {"draft": {"tier": "standard"}, "final": {"tier": "pro"}}),
        "when": ("always", "market == 'de'"),
        "endpoint": ("that of model, mode and tier", "fal-ai/kling-video/o3/pro/text-to-video"),
        "input": ("empty", {"prompt": "Snow falls", "duration": "3"}),
        "price": ("unknown", 0.25),
    },
}

#: An example of each parameter of the API.
PARAMETERS: Mapping[str, Any] = {
    "aspect_ratio": "16:9",
    "audio_url": "speech.mp3",
    "cfg_scale": 0.7,
    "character_orientation": "image",
    "duration": 5,
    "elements": [{"frontal_image_url": "face.png", "reference_image_urls": ["side.png"]}],
    "end_image_url": "last.png",
    "generate_audio": True,
    "image_url": {"job": "hero"},
    "image_urls": ["a.png", "b.png"],
    "keep_audio": False,
    "keep_original_sound": False,
    "middle_image_urls": ["middle.png"],
    "tail_image_url": "last.png",
    "input_image_urls": ["cat.png", "hat.png"],
    "static_mask_url": "still.png",
    "dynamic_masks": [{"mask_url": "ball.png", "trajectories": [{"x": 10, "y": 20}]}],
    "camera_control": "forward_up",
    "advanced_camera_control": {"movement_type": "zoom", "movement_value": 5},
    "human_image_url": "model.png",
    "garment_image_url": "coat.png",
    "sound_effect_prompt": "Rain on a roof",
    "background_music_prompt": "A slow piano",
    "asmr_mode": True,
    "multi_prompt": [{"prompt": "A box", "duration": 3}],
    "negative_prompt": "text, logos",
    "num_images": 4,
    "output_format": "webp",
    "prompt": "A red lighthouse",
    "resolution": "2K",
    "result_type": "series",
    "series_amount": 4,
    "shot_type": "customize",
    "start_image_url": "first.png",
    "sync_mode": False,
    "text": "Good morning",
    "video_url": "clip.mp4",
    "video_urls": ["clip.mp4"],
    "voice_id": "oversea_male1",
    "voice_ids": ["narrator"],
    "voice_language": "en",
    "voice_speed": 1.2,
    "voice_url": "narrator.mp3",
}


def written(value: Any) -> str:
    """A value as it is written in a manifest, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def key_schemas(place: str) -> dict[str, Any]:
    """Every key of a place of the manifest with its schema, without the API's parameters."""
    made = schema()
    defaults, job = (made["$defs"][name]["properties"] for name in ("Defaults", "Job"))
    shared = {name: each for name, each in defaults.items() if name not in index().users}
    return {
        "manifest": made["properties"],
        "limits": made["$defs"]["Limits"]["properties"],
        "shared": shared,
        "job": {name: each for name, each in job.items() if name not in defaults},
    }[place]


def manifest_keys(place: str) -> str:
    rows = [
        (
            code(name),
            value_of(each),
            KEYS[place][name][0],
            code(written(KEYS[place][name][1])),
            cell(each.get("description", _SECTIONS.get(name, ""))),
        )
        for name, each in key_schemas(place).items()
    ]
    return table(("key", "value", "default", "example", "meaning"), rows)


#: Of keys whose value has a table of its own.
_SECTIONS = {
    "limits": "Limits of the batch: see [limits](#limits).",
    "defaults": "What jobs have that do not say otherwise: see [jobs and defaults](#jobs).",
}


def value_of(part: Mapping[str, Any]) -> str:
    """What a key may hold, in words."""
    return " or ".join(dict.fromkeys([*_choices(_enumerated(part)), *_words(part)]))


def _enumerated(part: Mapping[str, Any]) -> list[str]:
    """The words that any form of a value lists, as they are written."""
    match part:
        case {"anyOf": list(options)}:
            found = [each for option in options for each in _enumerated(option)]
            return list(dict.fromkeys(found))
        case {"$ref": str(name)} if not name.endswith(("template", "reference")):
            return _enumerated(schema()["$defs"][name.rpartition("/")[2]])
        case {"enum": [*values]}:
            return [str(each) for each in values if each is not False]
    return []


def _words(part: Mapping[str, Any]) -> Iterator[str]:
    match part:
        case {"anyOf": list(options)}:
            for option in options:
                yield from _words(option)
        case {"$ref": str(name)} if name.endswith("reference"):
            yield "output of another job"
        case {"$ref": str(name)} if name.endswith("template"):
            return
        case {"$ref": str(name)}:
            yield from _words(schema()["$defs"][name.rpartition("/")[2]])
        case {"type": "null"} | {"title": "a template"}:
            return
        case {"const": value}:
            yield code(value)
        case {"enum": _}:
            return
        case {"type": "string"}:
            yield _text(part)
        case {"type": ("integer" | "number") as kind}:
            yield ("whole number" if kind == "integer" else "number") + _range(part)
        case {"type": "array"}:
            yield "list"
        case {"type": "object"}:
            yield "mapping"
        case {"type": "boolean"}:
            yield "`true`, `false`"
        case {"type": [*kinds]}:
            yield from _words({"anyOf": [{"type": kind} for kind in kinds]})


#: What a text is that has a pattern of these.
_PATTERNS = {
    fields._DURATION: "duration",
    fields._RATE: "rate",
    fields._DOLLARS: "amount",
    fields.FAILURES["anyOf"][1]["pattern"]: "share",
}


def _text(part: Mapping[str, Any]) -> str:
    return str(part.get("title", _PATTERNS.get(part.get("pattern", ""), "text")))


def _choices(values: list[str]) -> Iterator[str]:
    if values:
        shown = ", ".join(map(code, values[:14]))
        yield shown if len(values) <= 14 else f"{shown} and {len(values) - 14} more"


def _range(part: Mapping[str, Any]) -> str:
    low = part.get("minimum", part.get("exclusiveMinimum"))
    high = part.get("maximum")
    if high is not None and high >= 100_000:
        high = None
    if low is not None and high is not None:
        return f" {low:g} to {high:,}"
    return f" up to {high:,}" if high is not None else ""


def manifest_parameters() -> str:
    properties = schema()["$defs"]["Job"]["properties"]
    rows = [
        (
            code(name),
            value_of(properties[name]),
            _defaults(name),
            code(written(PARAMETERS[name])),
            cell(_definitions(name)[0].doc),
        )
        for name in sorted(index().users)
    ]
    return table(("key", "value", "default", "example", "meaning"), rows)


def _definitions(name: str) -> list[Parameter]:
    found = [endpoint.by_any_name[name] for endpoint in index().users[name]]
    return sorted(found, key=lambda each: each.name != name)


def _defaults(name: str) -> str:
    found = _definitions(name)
    texts = [
        written(each.default) if each.default is not None else "required" if each.required else ""
        for each in found
    ]
    values = [code(each) for each in dict.fromkeys(texts) if each not in ("", "required")]
    if not values:
        return "required" if all(each.required for each in found) else "none"
    return " or ".join(["required"] * ("required" in texts) + values)


def manifest_modes() -> str:
    """Which parameters each mode has, on which models."""
    rows = []
    for mode in modes():
        for model in models_with(mode):
            names = sorted(
                name
                for name, users in index().users.items()
                if any(
                    (user.mode, user.model) == (mode, model) and name in user.by_name
                    for user in users
                )
            )
            rows.append((code(mode), code(model), ", ".join(map(code, names))))
    assert {row[1].strip("`") for row in rows} == set(models())
    return table(("mode", "model", "parameters"), rows)


# -- commands ---------------------------------------------------------------------------


@cache
def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


# -- the emulator ------------------------------------------------------------------------------


def _members(literal: str) -> list[tuple[str, str]]:
    """The words of a `Literal` of the fault plan with their comments."""
    source = inspect.getsource(faults).partition(f"\n{literal} = Literal[")[2].partition("\n]")[0]
    return re.findall(r'^    "([\w.]+)",(?:  # (.*))?$', source, re.MULTILINE)


def fault_stages() -> str:
    return table(("stage", "applies"), [(code(n), cell(t)) for n, t in _members("Stage")])


def fault_kinds() -> str:
    return table(("what", "does"), [(code(n), cell(t)) for n, t in _members("What")])


def _fields(owner: type) -> list[tuple[str, str, str, str]]:
    """Name, type, default and comment of each field."""
    found = re.findall(
        r"^    (\w+): (.+?)(?: = (.+?))?(?:  # (.*))?$", inspect.getsource(owner), re.MULTILINE
    )
    return [(n, t, d, c) for n, t, d, c in found if not t.endswith("(")]


def fault_fields() -> str:
    rows = [
        (code(name), cell(code(kind.removesuffix(" | None"))), cell(comment))
        for name, kind, _, comment in _fields(faults.Fault)
        if name in faults.Fault.__dataclass_fields__
    ]
    return table(("field", "type", "note"), rows)


def emulator_settings() -> str:
    defaults = settings.Settings()
    rows = [
        (code(name), cell(code(written(_plain(getattr(defaults, name))))), cell(comment))
        for name, comment in _comments(settings.Settings).items()
        if hasattr(defaults, name)
    ]
    return table(("setting", "default", "note"), rows)


def _comments(owner: type) -> dict[str, str]:
    """The fields of a dataclass with their comments, also where the default takes three lines."""
    found: dict[str, str] = {}
    name = ""
    for line in inspect.getsource(owner).splitlines():
        if match := re.match(r"    (\w+): ", line):
            name = match[1]
            found[name] = ""
        if line.startswith("    def "):
            break
        if name and (comment := re.search(r"  # (?!--)(.+)$", line)) and not found[name]:
            found[name] = comment[1]
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset | tuple):
        return sorted(value)
    return dict(value) if isinstance(value, Mapping) else value


def emulator_routes() -> str:
    rows = [
        (code(f"{method} /_emulator/{path}"), ROUTES[method, path])
        for method, path in control._ROUTES
    ]
    return table(("request", "does"), rows)


#: What each request to the control plane is for.
ROUTES: Mapping[tuple[str, str], str] = {
    ("GET", ""): "lists these requests, and the emulator's clock",
    ("POST", "reset"): "forgets every request, file and charge; `{seed: 3}` also sets the seed",
    ("POST", "seed"): "sets the seed of renders and faults: `{seed: 3}`",
    ("GET", "faults"): "shows the faults, and how often each has matched and applied",
    ("POST", "faults"): "adds one fault, or a list or plan of them",
    ("DELETE", "faults"): "removes all faults",
    ("GET", "books"): "shows every request, POST, charge and download",
    ("GET", "settings"): "shows the settings, keys aside",
    ("PATCH", "settings"): "changes settings: `{concurrency: 8, profile: instant}`",
    ("POST", "advance"): "moves the clock on: `{seconds: 60}`",
    ("POST", "complete"): "ends all renders now, or the one named: `{request_id: …}`",
    ("POST", "files/expire"): "deletes the results' files, or the one named: `{path: …}`",
}


# -- the help of the commands ------------------------------------------------------------------


def helps() -> str:
    """The help of every command, as the program prints it."""
    parent = click.Context(cli, info_name="kling-batch", **cli.context_settings)
    parts = []
    for name, command in commands().items():
        vars(command)["_help_option"] = None  # click keeps that of the first context it met
        context = click.Context(
            command, info_name=name, parent=parent, terminal_width=90, max_content_width=90
        )
        text = re.sub(r"[ \t]+$", "", command.get_help(context), flags=re.MULTILINE)
        parts.append(f"## {name}\n\n```text\n{text}\n```")
    return "\n\n".join(parts)
