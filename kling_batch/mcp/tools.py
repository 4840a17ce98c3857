"""Tools of an assistant: what it may ask for, and the one way in which it may pay.

A run that pays needs the hash of a plan that this server has made, and a cap; `allowance` adds up
what all of them spend. The plan is kept
here; the run is handed it with `--plan`, and pays for nothing else. Must not know the protocol.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from kling_batch.core.jobs import JSON
from kling_batch.core.quantities import MicroUSD, parse_duration, parse_usd, seconds_text
from kling_batch.core.text import clean
from kling_batch.errors import UsageError
from kling_batch.mcp.allowance import Allowance, batches_of
from kling_batch.mcp.program import Answer, OnEvent, answer_of, passable
from kling_batch.output.files import lies_in
from kling_batch.planning.saved_plan import OF_A_TRIAL, hint
from kling_batch.settings import typed_path

#: A run leaves after this long unless asked otherwise: clients give up on a silent tool.
PATIENCE = "50s"


class Tools:
    """The tools, as coroutines that return JSON."""

    def __init__(self, folder: Path, plans: Path, ceiling: MicroUSD | None = None) -> None:
        """Work in `folder`, keep plans in `plans`; all runs together spend at most `ceiling`."""
        self._folder = folder.resolve()
        self._plans = plans
        self._allowance = Allowance(self._folder, ceiling)
        #: Programs that run now, and those that wait for none to.
        self._running = 0
        self._idle: anyio.Event | None = None

    async def idle(self) -> None:
        """Wait until no program runs."""
        while self._running:
            self._idle = self._idle or anyio.Event()
            await self._idle.wait()

    async def catalog(self, mode: str = "") -> dict[str, JSON]:
        """Modes, tiers, prices; of one mode also the parameters."""
        words = ["catalog", *([self._plain(mode)] if mode else []), "--json"]
        return await self._document(*words)

    async def validate(self, manifests: Sequence[str]) -> dict[str, JSON]:
        """Every problem of the manifests, each with its place."""
        return await self._document("validate", *self._inside(manifests), "--json")

    async def plan(
        self, manifests: Sequence[str], *, only: str = "", emulator: bool = False
    ) -> dict[str, JSON]:
        """What a run would do and cost; pays nothing. `plan` of the answer allows a run."""
        inside, made = self._inside(manifests), None
        # A folder for each call: several may be under way at once.
        with TemporaryDirectory(dir=self._plans) as folder:
            draft = Path(folder) / "draft.json"
            words = ["plan", *inside, "--json", "--save", str(draft)]
            answer = await self._ask(*words, *_selection(only), *_service(emulator))
            if answer.code == 0 and draft.exists():
                made = hashlib.sha256(draft.read_bytes()).hexdigest()
                draft.replace(self._kept(made, trial=emulator))
        answer = replace(
            answer, messages=answer.messages.replace(clean(hint(str(draft))), "").strip()
        )
        return answer.as_json(plan=made, document=answer.values[0] if answer.values else None)

    async def status(self, output: str = "") -> dict[str, JSON]:
        """State of every job, and the costs."""
        return await self._document("status", "--json", *self._output(output))

    async def show(self, job: str, output: str = "") -> dict[str, JSON]:
        """History of one job: attempts, costs, files."""
        return await self._document("show", self._plain(job), "--json", *self._output(output))

    async def run(
        self,
        manifests: Sequence[str],
        *,
        plan: str = "",
        max_cost: str = "",
        only: str = "",
        leave_after: str = PATIENCE,
        emulator: bool = False,
        on_event: OnEvent | None = None,
    ) -> dict[str, JSON]:
        """Render what the reviewed plan shows, within the cap.

        A trial on the emulator needs neither, and keeps to those that it is given.
        """
        words = ["run", *self._inside(manifests), "--json", *_selection(only), *_service(emulator)]
        words += ["--timeout", _seconds(leave_after)]
        if emulator:
            words += self._limits_of_trial(plan, max_cost)
            return _report(await self._ask(*words, on_event=on_event or _ignore))
        reviewed, cap = self._reviewed(plan, trial=False), _cap(max_cost, trial=False)
        payment = self._allowance.begin(batches_of(reviewed), cap)
        words += ["--plan", str(reviewed), "--max-cost", max_cost, *payment.words]
        said: list[Any] = []
        try:
            answer = await self._ask(*words, on_event=on_event or _ignore, said=said)
        except UsageError:
            said.append({"event": "error"})  # no program was started
            raise
        finally:
            self._allowance.end(payment, said)
        return _report(answer)

    async def collect(
        self,
        manifests: Sequence[str],
        *,
        leave_after: str = PATIENCE,
        emulator: bool = False,
        on_event: OnEvent | None = None,
    ) -> dict[str, JSON]:
        """Download what is paid for and still open; buys nothing."""
        words = ["run", *self._inside(manifests), "--collect", "--json", *_service(emulator)]
        words += ["--timeout", _seconds(leave_after), "--yes"]
        answer = await self._ask(*words, on_event=on_event or _ignore)
        if not emulator:
            self._allowance.hear(answer.values)
        return _report(answer)

    # -- what an assistant may name ------------------------------------------------------------

    def _inside(self, manifests: Sequence[str]) -> list[str]:
        """Paths of manifests, which must lie in the working folder."""
        if not manifests:
            raise UsageError("name at least one manifest")
        words = [self._plain(manifest) for manifest in manifests]
        for word in words:
            if not self._holds(typed_path(word)):
                raise UsageError(f"{word}: not inside {self._folder}")
        return words

    def _holds(self, path: Path) -> bool:
        return lies_in(self._folder / path, self._folder)

    def _output(self, output: str) -> list[str]:
        return ["--output", *self._inside([output])] if output else []

    def _plain(self, word: str) -> str:
        """A word that is no option."""
        if word.startswith("-"):
            raise UsageError(f"{word!r} looks like an option")
        return passable(word)

    def _kept(self, plan: str, *, trial: bool) -> Path:
        """Where the plan with this hash is kept; those of trials apart: they allow no payment."""
        return self._plans / f"{plan}{'.trial' if trial else ''}.json"

    def _reviewed(self, plan: str, *, trial: bool) -> Path:
        """File of the plan with this hash; that of a trial is for trials only."""
        if len(plan) == 64 and plan.isalnum():
            real, tried = (self._kept(plan, trial=each) for each in (False, True))
            if real.is_file():
                return real
            if trial and tried.is_file():
                return tried
            if tried.is_file():
                raise UsageError(OF_A_TRIAL)
        raise UsageError(
            f"{_takes(trial=trial)} `plan`: the hash that the plan tool gave. Make a plan, "
            "show a person its jobs and its cost, and pass the hash on; nothing was sent"
        )

    def _limits_of_trial(self, plan: str, max_cost: str) -> list[str]:
        """What a trial is held to: nothing, unless the caller says so."""
        words = ["--plan", str(self._reviewed(plan, trial=True))] if plan else []
        if max_cost:
            _cap(max_cost, trial=True)
            words += ["--max-cost", max_cost]
        return words

    async def _ask(
        self, *words: str, on_event: OnEvent | None = None, said: list[Any] | None = None
    ) -> Answer:
        self._running += 1
        try:
            return await answer_of(self._folder, *words, on_event=on_event, said=said)
        finally:
            self._running -= 1
            if not self._running and self._idle is not None:
                self._idle.set()
                self._idle = None

    async def _document(self, *words: str) -> dict[str, JSON]:
        answer = await self._ask(*words)
        return answer.as_json(document=answer.values[0] if answer.values else None)


def _selection(only: str) -> list[str]:
    return [f"--only={only}"] if only else []


def _service(emulator: bool) -> list[str]:
    return ["--emulator"] if emulator else []


def _takes(*, trial: bool) -> str:
    return "a trial takes" if trial else "paying needs"


def _cap(amount: str, *, trial: bool) -> MicroUSD:
    try:
        return parse_usd(amount)
    except ValueError as error:
        raise UsageError(
            f"{_takes(trial=trial)} max_cost in US dollars, such as 12.50 ({error}); "
            "nothing was sent"
        ) from None


def _seconds(text: str) -> str:
    """A length of time as an option."""
    try:
        return seconds_text(parse_duration(text))
    except ValueError as error:
        raise UsageError(f"leave_after: {error}") from None


def _report(answer: Answer) -> dict[str, JSON]:
    """The last line of a run's events is its report, which knows more than its exit code means."""
    report = next((v for v in reversed(answer.values) if v.get("event") == "report"), None)
    told = answer.as_json(report=report)
    if report is not None and report["exit_code"] == answer.code:
        told["exit_meaning"] = report["exit_meaning"]
    return told


async def _ignore(_event: dict[str, Any]) -> None:
    """Nobody follows the events."""
