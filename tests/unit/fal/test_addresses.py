"""Addresses of fal's queue."""

from __future__ import annotations

import pytest
from yarl import URL

from kling_batch.errors import UsageError
from kling_batch.fal.addresses import check_hosts, handle_of


@pytest.mark.parametrize("name", ["..", ".", "a/../b", "a b", "%2e%2e", "?x", "#x", "…"])
def test_no_request_id_leads_out_of_the_path_of_its_app(name: str) -> None:
    handle = handle_of("fal-ai/kling-video/o3/pro/text-to-video", name)

    assert handle.request_id == name
    path = URL(handle.status_url).raw_path
    assert path.startswith("/fal-ai/kling-video/requests/")
    assert path.endswith("/status")
    assert path.count("/") == 5


@pytest.mark.parametrize("host", ["queue.fal.run", "localhost:8443", "127.0.0.1:1", "[::1]:8443"])
def test_a_host_with_or_without_a_port_is_one(host: str) -> None:
    check_hosts({"FAL_QUEUE_RUN_HOST": host, "FAL_RUN_HOST": host})


@pytest.mark.parametrize("host", ["h:99999", "h:0", "a b", "h:x", "", "me:pw@h", "h/x", "a..b"])
def test_what_can_be_no_host_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match=r"^FAL_RUN_HOST is no host: "):
        check_hosts({"FAL_RUN_HOST": host})
