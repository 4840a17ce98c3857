"""A key file that others may read is told, once, without the key; nothing fails for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.cli import run_command
from support.process import environment

from kling_batch.errors import AuthError
from kling_batch.fal.credentials import authorization
from kling_batch.fal.key_file import KEYS, key_file_warning, read_key_file, unread_key_file

SECRET = "key-id:very-secret"
MANIFEST = "version: 1\ndefaults: {mode: text-to-image}\njobs:\n  - {id: a, prompt: x}\n"

if os.name != "posix":
    pytest.skip("permissions are another matter there", allow_module_level=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "key.yaml").write_text(MANIFEST)
    write(tmp_path, 0o644)
    return tmp_path


def write(folder: Path, mode: int, text: str = f"FAL_KEY={SECRET}\n") -> None:
    (folder / ".env").write_text(text)
    (folder / ".env").chmod(mode)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o777])
def test_a_key_that_others_may_read_is_reported(tmp_path: Path, mode: int) -> None:
    write(tmp_path, mode)

    assert "chmod 600 .env" in key_file_warning(tmp_path)
    assert "secret" not in key_file_warning(tmp_path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700, 0o622])
def test_a_key_that_only_its_owner_may_read_is_not(tmp_path: Path, mode: int) -> None:
    write(tmp_path, mode)

    assert key_file_warning(tmp_path) == ""


@pytest.mark.parametrize("text", ["", "OTHER=x\n", "FAL_KEY=\n", "# FAL_KEY=a:b\n", "FAL_KEY"])
def test_a_file_without_a_key_may_be_read_by_all(tmp_path: Path, text: str) -> None:
    assert key_file_warning(tmp_path) == ""  # nor is there one at all
    write(tmp_path, 0o644, text)

    assert key_file_warning(tmp_path) == ""


def test_only_fals_variables_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"HOME": "/h"})
    write(tmp_path, 0o600, "FAL_KEY_ID=a\nFAL_KEY_SECRET=b\nPATH=/evil\nFAL_KEY=\n")

    read_key_file(tmp_path)

    assert os.environ == {"HOME": "/h", "FAL_KEY_ID": "a", "FAL_KEY_SECRET": "b"}
    assert set(os.environ) - {"HOME"} < set(KEYS)


def test_run_warns_in_one_line_and_goes_on(folder: Path) -> None:
    # With nothing to submit nobody is asked anything.
    words = ("run", "key.yaml", "--limit", "0")
    done = run_command(*words, cwd=folder)

    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if ".env" in line]
    assert lines == [
        "warning: .env holds the fal key, and other users may read it; type: chmod 600 .env"
    ]
    assert "secret" not in done.stdout + done.stderr
    assert ".env" not in run_command(*words, "--quiet", cwd=folder).stderr
    write(folder, 0o600)
    assert ".env" not in run_command(*words, cwd=folder).stderr


def test_run_on_the_emulator_needs_no_key_and_says_nothing_of_it(folder: Path) -> None:
    done = run_command("run", "key.yaml", "--limit", "0", "--emulator", cwd=folder)

    assert done.returncode == 0, done.stderr
    assert ".env" not in done.stderr


@pytest.mark.parametrize("extra", [{}, {"FAL_KEY": "another:key"}], ids=["file", "environment"])
def test_doctor_warns_and_is_otherwise_content(folder: Path, extra: dict[str, str]) -> None:
    done = run_command("doctor", "--emulator", cwd=folder, env=environment(**extra))

    assert done.returncode == 0, done.stdout
    assert "warning  key file: .env holds the fal key" in done.stdout
    assert "PROBLEM" not in done.stdout
    assert "secret" not in done.stdout + done.stderr
    write(folder, 0o600)
    assert "warning" not in run_command("doctor", "--emulator", cwd=folder).stdout


@pytest.mark.parametrize(
    "typed",
    [
        " an-id:a-secret",
        "an-id:a-secret \t",
        '"an-id:a-secret"',
        "'an-id:a-secret'\r",
        "\u201can-id:a-secret\u201d",
        "\ufeffan-id:a-\u200bsecret",
        "Key an-id:a-secret",
        'FAL_KEY="an-id:a-secret"',
        "export FAL_KEY=an-id:a-secret",
        "\u00a0an-id: a-secret",
        '"an-id":"a-secret"',
    ],
    ids=ascii,
)
def test_a_pasted_key_is_used_without_what_no_key_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, typed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAL_KEY", typed)

    assert authorization() == "Key an-id:a-secret"


@pytest.mark.parametrize("typed", [" ", '""', "\u200b"], ids=ascii)
def test_a_key_of_nothing_is_no_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, typed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAL_KEY", typed)

    with pytest.raises(AuthError, match="fal key"):
        authorization()


def test_a_key_file_with_nul_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_bytes(b"FAL_KEY=a\0b\n")

    with pytest.raises(AuthError, match=r"\.env holds a NUL character"):
        read_key_file(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("FAL_KEY=a:b\r\n".encode("utf-16"), "not UTF-8 text"),
        (b'FAL_KEY="a:b\n', "has no key that can be read"),
        (b"export FAL_KEY=\n", "has no key that can be read"),
        (b"OTHER=1\n", "set FAL_KEY"),
    ],
)
def test_a_key_file_that_gives_no_key_is_told_from_none(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "m.yaml").write_text("jobs: [{id: a, mode: text-to-image, prompt: x}]\n")
    (tmp_path / ".env").write_bytes(content)

    done = run_command("run", "m.yaml", "--yes", cwd=tmp_path)

    assert done.returncode == 3
    assert reason in done.stderr.splitlines()[-1]


def test_a_mark_before_the_text_is_no_part_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("FAL_KEY=a:b\n", "utf-8-sig")
    monkeypatch.setattr(os, "environ", {})

    read_key_file(tmp_path)

    assert os.environ == {"FAL_KEY": "a:b"}


def test_a_folder_called_like_the_key_file_is_none(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()  # as a virtual environment often is

    assert unread_key_file(tmp_path) == ""


def test_a_host_that_can_be_none_is_a_usage_error_before_anything_is_sent(folder: Path) -> None:
    env = environment(FAL_KEY=SECRET, FAL_QUEUE_RUN_HOST="localhost:99999")

    done = run_command("run", "key.yaml", "--yes", cwd=folder, env=env)

    assert done.returncode == 2
    assert 'FAL_QUEUE_RUN_HOST is no host: "localhost:99999"; nothing was sent' in done.stderr
