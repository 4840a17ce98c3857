"""Models of a manifest: which keys it has and what each may hold; the schema for editors.

The only home of `pydantic`. The models check the keys, and the values that may not be templates;
the catalogue checks the others once their templates are rendered. What is plainly valid is read by
`frame.py` alone; this module says what is wrong with the rest. Must not expand, render or look
anything up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic_core import ErrorDetails

from kling_batch.catalog.json_schema import (
    Schema,
    by_default_model,
    by_mode,
    definitions,
    model_definitions,
    parameter_names,
    parameter_schema,
    parameters_named,
    shared,
)
from kling_batch.catalog.registry import default_model, models, modes, tiers
from kling_batch.core import jobs as core
from kling_batch.core.diagnostics import nearest, show
from kling_batch.core.jobs import JSON
from kling_batch.core.quantities import (
    FailureLimit,
    MicroUSD,
    parse_duration,
    parse_failure_limit,
    parse_rate,
    parse_start_timeout,
    parse_window,
)
from kling_batch.errors import ArgumentPath, Problem
from kling_batch.manifest import fields
from kling_batch.manifest.cut_mistakes import CUT, cut
from kling_batch.manifest.frame import AUTHORS, JOB_KEYS, OWN_KEYS, Manifest, copied
from kling_batch.manifest.paths import DEFAULT_PATH
from kling_batch.manifest.recipes import SCHEMA as RECIPE
from kling_batch.manifest.recipes import read_name, read_recipe

# --- values -------------------------------------------------------------------------------------

Money = Annotated[MicroUSD, BeforeValidator(fields.money), WithJsonSchema(fields.MONEY)]
Seconds = Annotated[float, BeforeValidator(parse_duration), WithJsonSchema(fields.SECONDS)]
StartTimeout = Annotated[
    float, BeforeValidator(parse_start_timeout), WithJsonSchema(fields.START_TIMEOUT)
]
Window = Annotated[float, BeforeValidator(parse_window), WithJsonSchema(fields.WINDOW)]
Rate = Annotated[float, BeforeValidator(parse_rate), WithJsonSchema(fields.RATE)]
Requests = Annotated[
    int, BeforeValidator(fields.between(1, 10_000)), WithJsonSchema(fields.whole(1, 10_000))
]
Workers = Annotated[
    int, BeforeValidator(fields.between(1, 64)), WithJsonSchema(fields.whole(1, 64))
]
Attempts = Annotated[
    int, BeforeValidator(fields.between(1, 100)), WithJsonSchema(fields.whole(1, 100))
]
OnDoubt = Annotated[str, BeforeValidator(fields.on_doubt), WithJsonSchema({"const": "hold"})]
Failures = Annotated[
    FailureLimit, BeforeValidator(parse_failure_limit), WithJsonSchema(fields.FAILURES)
]
Version = Annotated[int, BeforeValidator(fields.version), WithJsonSchema({"const": 1})]
Text = Annotated[str, BeforeValidator(fields.text), WithJsonSchema(fields.TEXT)]
Word = Annotated[str, BeforeValidator(fields.text), WithJsonSchema(fields.WORD)]
Variables = Annotated[
    Mapping[str, Any], BeforeValidator(fields.variables), WithJsonSchema(fields.NAMED)
]
Environment = Annotated[
    Mapping[str, str], BeforeValidator(fields.environment), WithJsonSchema(fields.ENVIRONMENT)
]
Retry = Annotated[int | None, BeforeValidator(fields.retry), WithJsonSchema(fields.RETRY)]
Hooks = Annotated[core.Hooks, BeforeValidator(fields.hooks), WithJsonSchema(fields.HOOKS)]
Notify = Annotated[tuple[str, ...], BeforeValidator(fields.notify), WithJsonSchema(fields.NOTIFY)]
Matrix = Annotated[Mapping[str, Any], BeforeValidator(fields.matrix), WithJsonSchema(fields.MATRIX)]
RecipeName = Annotated[str, BeforeValidator(read_name)]
RecipeModel = Annotated[Any, BeforeValidator(read_recipe), WithJsonSchema(RECIPE)]
Object = Annotated[
    Mapping[str, Any], BeforeValidator(fields.mapping), WithJsonSchema(fields.OBJECT)
]

# May be templates, so only rendering shows whether they are right.
AnyText = Annotated[Any, WithJsonSchema(fields.TEXT)]
AnyWord = Annotated[Any, WithJsonSchema(fields.WORD)]
AnyTags = Annotated[Any, WithJsonSchema(fields.TAGS)]
AnyRecipes = Annotated[Any, WithJsonSchema(fields.TAGS)]
AnyModel = Annotated[Any, WithJsonSchema(fields.templated({"enum": [*models()]}))]
AnyMode = Annotated[Any, WithJsonSchema(fields.templated({"enum": [*modes()]}))]
AnyTier = Annotated[Any, WithJsonSchema(fields.templated({"enum": [*tiers()]}))]
AnyTakes = Annotated[Any, WithJsonSchema(fields.templated(fields.whole(1, fields.MOST_TAKES)))]
AnyPrice = Annotated[Any, WithJsonSchema(fields.templated(fields.MONEY))]
Condition = Annotated[
    Any,
    BeforeValidator(fields.condition),
    WithJsonSchema({"type": ["string", "boolean", "number"]}),
]

# --- models -------------------------------------------------------------------------------------


def _key(doc: str, **more: Any) -> Any:
    return Field(None, description=doc, **more)


class _Model(BaseModel):
    """An unknown key is an error."""

    model_config = ConfigDict(extra="forbid")


class Limits(_Model):
    """Limits of the batch; a command-line flag overrides them."""

    concurrency: Requests | None = _key("Open requests at most; by default 8.")
    rate: Rate | None = _key(
        "Submissions at most, such as 60/min; by default `concurrency` a second, at least 10/s."
    )
    max_cost: Money | None = _key("US dollars at most for this batch, over all its runs.")
    max_cost_per_day: Money | None = _key("US dollars at most in any 24 hours.")
    account_max_per_day: Money | None = _key("US dollars a day over all hosts; takes an admin key.")
    deadline: Seconds | None = _key("How long a run may last, such as 3h.")
    on_doubt: OnDoubt | None = _key(
        "A submission whose fate stays unknown is held; nothing else exists."
    )
    doubt_wait: Seconds | None = _key("How long to look for a trace of one.")
    start_timeout: StartTimeout | None = _key(
        "Give up, unpaid, what fal has not begun so long after its submission, such as 1h."
    )
    reuse: Window | None = _key(
        "How old a request may be to be collected, not bought again; 7d if not said, 0: none."
    )
    retry_attempts: Attempts | None = _key("The same as `retry: {attempts: 3}`.")
    workers: Workers | None = _key(
        "Processes that make renditions; by default one for every two processors."
    )
    max_failures: Failures | None = _key(
        "Buy nothing more in a run after so many failures in a row of a kind, or a share: 20%."
    )


#: API parameters, which stand in a job (or in `defaults:`) under their API names.
_PARAMETERS: dict[str, Any] = {
    name: (
        Annotated[Any, WithJsonSchema(parameter_schema(found))] | None,
        _key(found[0].doc),
    )
    for name in parameter_names()
    if (found := parameters_named(name))
}


class _RenderKeys(_Model):
    """Keys that say what is rendered, without the API parameters."""

    model: AnyModel | None = _key(f"The Kling generation; {default_model()} if not said.")
    mode: AnyMode | None = _key("What kind of render.")
    tier: AnyTier | None = _key("Quality and price; pro if not said.")
    params: Object | None = _key("Parameters that the catalogue does not know: passed on.")


_Stage: Any = create_model("Stage", __base__=_RenderKeys, **_PARAMETERS)


class Review(_Model):
    """A draft now, and a final once a person has approved the draft."""

    draft: _Stage | None = _key("What differs in the draft, such as {tier: standard}.")
    final: _Stage | None = _key("What differs in the final, such as {tier: pro}.")


class _SharedKeys(_RenderKeys):
    """Keys of a job that `defaults:` may have too, without the API parameters."""

    takes: AnyTakes | None = _key("How many renderings of the same job are wanted.")
    tags: AnyTags | None = _key("Words to select jobs by.")
    renditions: AnyRecipes | None = _key(
        "Which of the renditions are made of its files; all if not said, null: none."
    )


class _JobKeys(_SharedKeys):
    """Keys of a job, without the API parameters."""

    id: AnyText = _key("The job's name: part of its file names, and what others refer to.")
    from_: Word | None = _key(
        "A table (CSV, TSV, JSONL): a row is a job, columns are variables.", alias="from"
    )
    matrix: Matrix | None = _key("Lists of values: every combination is a job.")
    when: Condition | None = _key("The job exists only where this holds.")
    review: Review | None = _key("Draft and final of this job; null: neither.")
    endpoint: AnyWord | None = _key("Any fal endpoint, instead of `mode`.")
    input: Object | None = _key(
        "The whole input of such an endpoint, held against fal's schema of it."
    )
    price: AnyPrice | None = _key("US dollars for one attempt at such an endpoint.")


_Defaults: Any = create_model("Defaults", __base__=_SharedKeys, **_PARAMETERS)
_Job: Any = create_model("Job", __base__=_JobKeys, **_PARAMETERS)


class Document(_Model):
    """A batch of jobs for `kling-batch run`."""

    version: Version | None = _key("The version of this language: 1.")
    name: Text | None = _key("The batch's name; the file's name if not said.")
    output: Text | None = _key(
        "The folder for everything, relative to the working folder; or an address in an object "
        "store (docs/stores.md)."
    )
    path: Word | None = _key("Where artifacts land below it: {batch}/{mode}/{job}{suffix}{ext}")
    vars: Variables | None = _key("Values that templates name.")
    env: Environment | None = _key(
        "Variables that are taken from environment variables: {market: CAMPAIGN_MARKET}."
    )
    retry: Retry | None = _key(
        "How often a job is tried after failures that fal does not bill: {attempts: 3}."
    )
    renditions: dict[RecipeName, RecipeModel] | None = _key(
        "What is made of each saved file, by name: free, and again at any time."
    )
    hooks: Hooks | None = _key(
        "Commands that a run starts beside its work: {on_saved: [./publish.sh], on_finished: [..]}."
    )
    notify: Notify | None = _key(
        "Where the end of a run is told (needs kling-batch[notify]): addresses, or $VARIABLE."
    )
    limits: Limits | None = None
    review: Review | None = _key("Draft and final of every job that has no `review` of its own.")
    defaults: _Defaults | None = None
    jobs: list[_Job] = Field(min_length=1, description="The renders to be had.")


def _names(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())


# --- reading ------------------------------------------------------------------------------------


def read_manifest(value: JSON) -> tuple[Manifest, list[Problem]]:
    """The valid part of a document, and a problem for everything else."""
    problems: list[Problem] = []
    if not isinstance(value, Mapping):
        message = f"a manifest is a mapping with `jobs:`, not {show(value)}"
        problems.append(Problem.about((), message, "wrong-type"))
        frame = {"jobs": [CUT]}
    else:
        frame = copied(value)
    for round_ in range(2 * _NAMES_ONE_BY_ONE):
        try:
            return _manifest(Document.model_validate(frame), frame), problems
        except ValidationError as error:
            for each in error.errors(include_url=False):
                problems.append(_problem(each))
                cut(frame, _place_of(each) if round_ < _NAMES_ONE_BY_ONE else _key_of(each))
    raise AssertionError(f"never valid: {problems[-1]}")


#: Bad names under one key that are told each by itself; then the whole key is left out.
_NAMES_ONE_BY_ONE = 20


def _manifest(document: Document, frame: Mapping[str, JSON]) -> Manifest:
    given = document.limits
    limits = {
        name: getattr(given, name, None) for name in Limits.model_fields if name != "on_doubt"
    }
    if limits.get("retry_attempts") is None:
        limits["retry_attempts"] = document.retry
    return Manifest(
        name=document.name,
        output=document.output,
        path=document.path or DEFAULT_PATH,
        limits=core.Limits(**limits),
        hooks=document.hooks or core.Hooks(),
        notify=document.notify or (),
        renditions=document.renditions or {},
        vars=document.vars or {},
        env=document.env or {},
        defaults=frame.get("defaults") or {},
        review=frame.get("review"),
        entries=tuple(None if job is CUT else job for job in frame["jobs"]),
    )


def _key_of(error: ErrorDetails) -> ArgumentPath:
    """The key that an error is about."""
    return tuple(part for part in error["loc"] if part != "[key]")


def _place_of(error: ErrorDetails) -> ArgumentPath:
    """Where an error is: as far inside the value as whoever read it could tell."""
    wrong = error.get("ctx", {}).get("error")
    return (*_key_of(error), *getattr(wrong, "path", ()))


def _problem(error: ErrorDetails) -> Problem:
    path = _key_of(error)
    name = path[-1] if path else ""
    value = error["input"]
    match error["type"], path:
        case "value_error", ("renditions", *_):
            message = f"the rendition `{name}`: {error['ctx']['error']}"
            return Problem.about(_place_of(error), message, "wrong-value")
        case "value_error", _:
            return Problem.about(_place_of(error), f"`{name}` {_sentence(error)}", "wrong-value")
        case "extra_forbidden", _:
            return _unknown(path)
        case (("missing" | "list_type" | "too_short"), _):
            message = "`jobs` must be a list with at least one job"
            return Problem.about(path, message, "missing", "- id: …")
        case _, ("jobs", int()):
            message = f"a job is a mapping with `id:` and more, not {show(value)}"
            return Problem.about(path, message, "wrong-type")
        case _:
            return Problem.about(
                path, f"`{name}` must be a mapping, not {show(value)}", "wrong-type"
            )


def _sentence(error: ErrorDetails) -> str:
    text = str(error["ctx"]["error"])
    return text if text.startswith(("must", "has", "contains", "names")) else f"is wrong: {text}"


def _unknown(path: ArgumentPath) -> Problem:
    known: Iterable[str]
    match path:
        case (*_, "review", _):
            known, where = _names(Review), "`review`"
        case (*_, "review", stage, _):
            known, where = _names(_Stage), f"`{stage}`"
        case ("jobs", _, _):
            known, where = JOB_KEYS, "a job"
        case ("limits", _):
            known, where = _names(Limits), "`limits`"
        case ("defaults", _):
            known, where = _names(_Defaults), "`defaults`"
        case _:
            known, where = _names(Document), "a manifest"
    hint = nearest(path[-1], known)
    if path[-1] in JOB_KEYS:  # but not here
        hint = "say it at the top, or at a job" if path[-1] == "review" else "say it at the job"
    if not hint and path[0] in ("jobs", "defaults"):
        hint = "new parameters of the API go into `params:`"
    return Problem.about(path, f"{where} has no key `{path[-1]}`", "unknown-key", hint)


# --- the schema for editors ---------------------------------------------------------------------


@cache
def schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a manifest."""
    made = Document.model_json_schema()
    job = made["$defs"]["Job"]
    # `id` first: editors suggest keys in this order.
    keys = job["properties"]
    job["properties"] = {name: keys[name] for name in sorted(keys, key=lambda n: n not in OWN_KEYS)}
    job["allOf"] = by_mode()
    job["anyOf"] = [{"required": [name]} for name in ("id", "from", "matrix")]
    made |= {"required": ["jobs"], "patternProperties": {AUTHORS: True}}
    made["allOf"] = by_default_model()
    parts = {**made.pop("$defs"), **definitions(), **model_definitions()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_tidy(made),
        "title": "kling-batch manifest",
        "$defs": {name: _tidy(part) for name, part in parts.items()},
    }


def _tidy(part: Schema) -> Schema:
    """Without pydantic's titles and null defaults, and with references instead of repetition."""
    part = {name: shared(inner) for name, inner in part.items() if name != "title"}
    for inner in part.get("properties", {}).values():
        inner.pop("title", None)
        if inner.get("default", ...) is None:
            del inner["default"]
    return part
