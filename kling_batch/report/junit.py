"""A run as JUnit XML: a pure function of its report, or of why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from kling_batch.core.lifecycle import STATUSES
from kling_batch.core.quantities import usd_number
from kling_batch.core.text import clean
from kling_batch.errors import EXIT_MEANINGS, ExitCode
from kling_batch.report.run_report import JobLine, RunReport

_COUNTED = {"failure": "failures", "error": "errors", "skipped": "skipped"}


def junit(report: RunReport) -> str:
    """A test suite a batch, a test case a job, and one more suite for a run that stopped."""
    root = ET.Element("testsuites", {"name": "kling-batch", "time": _seconds(report.seconds)})
    when = {"time": _seconds(report.seconds), "timestamp": report.started_at[:19]}
    for batch in report.batches:
        suite = _suite(root, when, clean(batch))
        for line in report.lines:
            if line.batch == batch:
                _case(suite, line)
        _total(suite)
    if report.reasons and report.exit_code is not ExitCode.OK:
        # Jobs that never started are no failures, but a run that stopped must not pass.
        _stop(_suite(root, when, "kling-batch"), report.exit_code, report.meaning, report.reasons)
    return _written(root)


def junit_of_stop(code: ExitCode, reasons: Sequence[str], time: str) -> str:
    """The same of a run without a report: it ended with an error."""
    root = ET.Element("testsuites", {"name": "kling-batch", "time": _seconds(0)})
    suite = _suite(root, {"time": _seconds(0), "timestamp": time[:19]}, "kling-batch")
    _stop(suite, code, EXIT_MEANINGS[code], reasons)
    return _written(root)


def _stop(suite: ET.Element, code: ExitCode, meaning: str, reasons: Sequence[str]) -> None:
    case = ET.SubElement(suite, "testcase", {"classname": "kling-batch", "name": "run"})
    kind = {"message": meaning, "type": _word(code.name)}
    ET.SubElement(case, "error", kind).text = "\n".join(map(clean, reasons))
    _total(suite)


def _written(root: ET.Element) -> str:
    for name in ("tests", *_COUNTED.values()):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, when: Mapping[str, str], name: str) -> ET.Element:
    return ET.SubElement(root, "testsuite", {"name": name, **when})


def _case(suite: ET.Element, line: JobLine) -> None:
    attributes = {"classname": clean(line.batch), "name": clean(line.job)}
    attributes["time"] = _seconds(line.seconds or 0)
    if line.place.file:
        attributes["file"] = clean(line.place.file)
    if line.place.line:
        attributes["line"] = str(line.place.line)
    case = ET.SubElement(suite, "testcase", attributes)
    facts = {"ending": line.outcome.value, "cost_usd": f"{usd_number(line.cost):.3f}"}
    facts |= {"mode": line.mode, "tier": line.tier, "request_id": line.request_id}
    properties = ET.SubElement(case, "properties")
    for name, value in facts.items():
        if value:
            ET.SubElement(properties, "property", {"name": name, "value": clean(value)})
    if verdict := STATUSES[line.status].junit:
        message = clean(line.message) or line.status.value
        found = ET.SubElement(case, verdict, {"message": message, "type": _word(line.outcome.name)})
        if verdict != "skipped":
            found.text = _details(line)
    if line.files:
        ET.SubElement(case, "system-out").text = "\n".join(map(clean, line.files))


def _details(line: JobLine) -> str:
    """Status, place, request and prompt, for whoever opens the failure."""
    prompt = clean(line.prompt)
    facts = [
        f"{line.status}: {clean(line.message)}",
        f"at {clean(str(line.place))}" if line.place.file else "",
        f"request {clean(line.request_id)}" if line.request_id else "",
        f"prompt: {prompt}" if prompt else "",
    ]
    return "\n".join(fact for fact in facts if fact)


def _total(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite)))
    for verdict, name in _COUNTED.items():
        suite.set(name, str(len(suite.findall(f"testcase/{verdict}"))))


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"


def _word(name: str) -> str:
    return name.lower().replace("_", "-")
