"""Drivers of stores: connections of threads, servers that are known, what failures mean."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import paramiko
import pytest
from botocore.exceptions import ParamValidationError
from support.stores import FailingStore

from kling_batch.core.locations import ObjectAddress
from kling_batch.output import drivers
from kling_batch.output.objects import ObjectStore
from kling_batch.output.store_errors import StoreError, store_error

AT = ObjectAddress("flaky://server/clip.mp4")
SSH = ObjectAddress("sftp://someone@server/clip.mp4")


def elsewhere(at: ObjectAddress) -> Any:
    """The file system that another thread has."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(drivers.file_system(at)))
    thread.start()
    thread.join()
    return found[0]


def test_threads_share_no_connection() -> None:
    mine = drivers.file_system(AT)

    assert drivers.file_system(AT) is mine
    assert elsewhere(AT) is not mine


def test_threads_share_what_has_no_connection() -> None:
    at = ObjectAddress("memory://server/clip.mp4")

    assert elsewhere(at) is drivers.file_system(at)


def test_after_a_failure_a_thread_connects_anew() -> None:
    before = drivers.file_system(AT)

    def broken(_what: str, _path: str) -> None:
        raise ConnectionResetError("reset by peer")

    FailingStore.fail = staticmethod(broken)
    with pytest.raises(StoreError, match="reset by peer"):
        ObjectStore().listed(AT.parent)
    FailingStore.clear()

    assert drivers.file_system(AT) is not before


def test_a_folder_that_another_thread_made_is_no_failure() -> None:
    class Late:
        made = False

        def makedirs(self, _folder: str, exist_ok: bool) -> None:
            self.made = not self.made
            raise OSError("Failure")

        def isdir(self, _folder: str) -> bool:
            return self.made

    server = Late()
    drivers.make_folder(server, "/spring")
    with pytest.raises(OSError, match="Failure"):
        drivers.make_folder(server, "/spring")


def test_only_servers_in_known_hosts_are_talked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    key, other = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    rule = drivers._known_hosts()
    with pytest.raises(PermissionError, match=r"\[server\]:2222 .* not in known_hosts"):
        rule.missing_host_key(None, "[server]:2222", key)

    (tmp_path / ".ssh").mkdir()
    line = f"[server]:2222 {key.get_name()} {key.get_base64()}\n"
    (tmp_path / ".ssh/known_hosts").write_text(line)

    rule.missing_host_key(None, "[server]:2222", key)
    with pytest.raises(PermissionError):
        rule.missing_host_key(None, "[server]:2222", other)


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (paramiko.AuthenticationException("Authentication failed."), False),
        (paramiko.SSHException("No authentication methods available"), False),
        (paramiko.AuthenticationException("Authentication failed: transport shut down"), True),
        (paramiko.AuthenticationException("Authentication timeout."), True),
        (paramiko.SSHException("Server connection dropped"), True),
        (OSError("Forbidden: https://storage.googleapis.com/upload"), False),
        (OSError("Could not reach the service"), True),
    ],
)
def test_a_server_that_refuses_is_told_from_one_that_went_away(
    error: Exception, passing: bool
) -> None:
    told = store_error(error, SSH)

    assert told.passing == passing
    assert ("give it a key in your SSH agent" in str(told)) != passing


def test_what_a_driver_says_on_its_second_line_is_told() -> None:
    error = ParamValidationError(report=f'Invalid bucket name "a,b": {BUCKETS}')

    told = store_error(error, ObjectAddress("s3://a,b/x"))

    assert told.strerror == 'Parameter validation failed: Invalid bucket name "a,b"'


BUCKETS = (
    'Bucket name must match the regex "^[a-zA-Z0-9.\\-_]{1,255}$" or be an ARN matching the regex '
    '"^arn:(aws).*:(s3|s3-object-lambda):[a-z\\-0-9]*:[0-9]{12}:accesspoint[/:][a-zA-Z0-9\\-.]{1,63}$"'
)


@pytest.mark.parametrize("scheme", ["dir", "reference", "simplecache"])
def test_a_driver_that_wants_more_than_an_address_is_told_so(scheme: str) -> None:
    with pytest.raises(StoreError) as raised:
        ObjectStore().listed(ObjectAddress(f"{scheme}://x/y"))

    told = f"the driver of `{scheme}://` cannot be used by an address alone; give a folder"
    assert str(raised.value.strerror).startswith(told)
    assert not raised.value.passing


def test_the_checksum_is_the_one_that_the_store_made() -> None:
    assert drivers.sum_of({"ETag": '"5d41"'}) == "5d41"
    assert drivers.sum_of({"md5Hash": "XUE="}) == "5d41"
    assert drivers.sum_of({"content_settings": {"content_md5": bytearray(b"\x5d\x41")}}) == "5d41"
    assert drivers.sum_of({"content_settings": {"content_md5": None}, "etag": "1"}) == "none"


@pytest.mark.parametrize("error", [AttributeError("no private key"), ValueError("no account key")])
def test_credentials_that_cannot_sign_give_no_links(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sign(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(FailingStore, "sign", sign)

    assert ObjectStore().signed(AT, 60) is None
