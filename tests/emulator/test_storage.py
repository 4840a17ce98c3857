"""Uploads and downloads as fal's hosts offer them."""

import hashlib
from datetime import datetime

import httpx
import pytest

from kling_batch.emulator import Settings
from kling_batch.emulator.inprocess import InProcessTransport

REST, CDN = "https://rest.fal.ai", "https://v3.fal.media"
DATA = bytes(range(256)) * 40


@pytest.fixture
def settings():
    return Settings(profile="instant", start_latency=0.0, media="template")


@pytest.fixture
async def web(world):
    async with httpx.AsyncClient(transport=InProcessTransport(world)) as client:
        yield client


async def token(web):
    answer = await web.post(
        f"{REST}/storage/auth/token?storage_type=fal-cdn-v3",
        headers={"Authorization": "Key k"},
        json={},
    )
    body = answer.json()
    assert datetime.fromisoformat(body["expires_at"]).tzinfo is not None
    assert body["base_url"] == CDN
    return {"Authorization": f"{body['token_type']} {body['token']}"}


async def upload(web, data=DATA, **headers):
    headers = {**await token(web), "Content-Type": "image/png", **headers}
    answer = await web.post(f"{CDN}/files/upload", content=data, headers=headers)
    return answer.json()["access_url"]


pytestmark = pytest.mark.anyio


async def test_an_upload_comes_back_unchanged(web, world):
    url = await upload(web, **{"X-Fal-File-Name": "a b/?.png"})
    answer = await web.get(url)

    assert url.startswith("https://v3.fal.media/files/b/")
    assert url.endswith("_a_b__.png")
    assert (answer.content, answer.headers["content-type"]) == (DATA, "image/png")
    assert world.books.uploads == {hashlib.sha256(DATA).hexdigest(): 1}


async def test_files_need_no_key_and_uploads_do(web, world):
    url = await upload(web)
    no_token = await web.post(f"{CDN}/files/upload", content=DATA)
    no_key = await web.post(f"{REST}/storage/auth/token", json={})

    assert (await web.get(url)).status_code == 200
    assert [no_token.status_code, no_key.status_code] == [401, 401]
    assert sum(world.books.uploads.values()) == 1


async def test_an_initiated_upload(web, world):
    answer = await web.post(
        f"{REST}/storage/upload/initiate?storage_type=gcs",
        headers={"Authorization": "Key k"},
        json={"file_name": "a.mp4", "content_type": "video/mp4"},
    )
    urls = answer.json()
    await web.put(urls["upload_url"], content=DATA, headers={"Content-Type": "video/mp4"})
    forged = await web.put(urls["upload_url"].replace("signature=", "signature=0"), content=b"")
    got = await web.get(urls["file_url"])

    assert forged.status_code == 403
    assert (got.content, got.headers["content-type"]) == (DATA, "video/mp4")
    assert sum(world.books.uploads.values()) == 1


@pytest.mark.parametrize("body", [b"{nonsense", b"[]"])
async def test_an_upload_cannot_be_initiated_with_nonsense(web, body):
    answer = await web.post(
        f"{REST}/storage/upload/initiate", headers={"Authorization": "Key k"}, content=body
    )

    assert answer.status_code == 400


class TestMultipart:
    async def begin(self, web):
        headers = await token(web)
        answer = await web.post(
            f"{CDN}/files/upload/multipart",
            headers={**headers, "Content-Type": "video/mp4", "X-Fal-File-Name": "big.mp4"},
        )
        body = answer.json()
        return headers, body["access_url"], f"{body['access_url']}/multipart/{body['uploadId']}"

    async def put(self, web, headers, base, number, data):
        answer = await web.put(f"{base}/{number}", headers=headers, content=data)
        return {"partNumber": number, "etag": answer.headers["etag"]}

    async def test_parts_are_joined_by_number_not_by_arrival(self, web):
        headers, url, base = await self.begin(web)
        last = await self.put(web, headers, base, 2, b"world")
        first = await self.put(web, headers, base, 1, b"hello ")
        parts = {"parts": [last, first]}
        done = await web.post(f"{base}/complete", headers=headers, json=parts)

        assert done.status_code == 200
        assert (await web.get(url)).content == b"hello world"

    async def test_before_completion_there_is_no_file(self, web):
        headers, url, base = await self.begin(web)
        await self.put(web, headers, base, 1, b"hello")

        assert (await web.get(url)).status_code == 404

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"parts": [{"partNumber": 2, "etag": '"x"'}]},
            {"parts": [{"partNumber": 1, "etag": '"x"'}]},
        ],
    )
    async def test_a_wrong_list_of_parts_is_refused(self, web, body):
        headers, url, base = await self.begin(web)
        await self.put(web, headers, base, 1, b"hello")
        answer = await web.post(f"{base}/complete", headers=headers, json=body)

        assert answer.status_code == 400
        assert (await web.get(url)).status_code == 404

    async def test_an_unknown_upload_is_not_found(self, web):
        headers, _, base = await self.begin(web)

        assert (await web.put(f"{base}x/1", headers=headers, content=b"")).status_code == 404


async def test_a_file_lives_as_long_as_its_uploader_wished(web, clock):
    short = await upload(web, **{"X-Fal-Object-Lifecycle": '{"expiration_duration_seconds": 60}'})
    kept = await upload(web, **{"X-Fal-Object-Lifecycle": '{"expiration_duration_seconds": null}'})
    clock.now += 61

    assert [(await web.get(url)).status_code for url in (short, kept)] == [404, 200]


async def test_outputs_expire_when_the_settings_say_so(web, world, clock):
    world.settings.file_ttl = 100.0
    request = world.accept(world.endpoint("fal-ai/kling-image/o3/text-to-image"), {"prompt": "x"})
    world.catch_up()
    url = world.output(request)["images"][0]["url"]

    assert (await web.get(url)).status_code == 200

    clock.now += 101

    assert (await web.get(url)).status_code == 404


class TestDownloads:
    @pytest.mark.parametrize(
        ("asked", "status", "part", "shown"),
        [
            ("bytes=0-", 206, slice(0, None), "0-10239"),
            ("bytes=100-199", 206, slice(100, 200), "100-199"),
            ("bytes=10000-99999", 206, slice(10000, None), "10000-10239"),
            ("bytes=-5", 206, slice(-5, None), "10235-10239"),
            ("bytes=10240-", 416, slice(0, 0), "*"),
            ("bytes=-0", 416, slice(0, 0), "*"),
            ("bytes=5-2", 200, slice(None), None),
            ("bytes=0-1,5-6", 200, slice(None), None),
            ("pages=1", 200, slice(None), None),
        ],
    )
    async def test_ranges(self, web, asked, status, part, shown):
        answer = await web.get(await upload(web), headers={"Range": asked})

        assert (answer.status_code, answer.content) == (status, DATA[part])
        assert answer.headers["content-length"] == str(len(DATA[part]))
        expected = None if shown is None else f"bytes {shown}/10240"
        assert answer.headers.get("content-range") == expected

    async def test_a_range_of_another_version_is_not_served(self, web):
        url = await upload(web)
        etag = (await web.get(url)).headers["etag"]
        same = await web.get(url, headers={"Range": "bytes=5-", "If-Range": etag})
        other = await web.get(url, headers={"Range": "bytes=5-", "If-Range": '"other"'})

        assert [same.status_code, other.status_code] == [206, 200]

    async def test_looking_is_not_downloading(self, web, world):
        url = await upload(web)
        head = await web.head(url)

        assert head.headers["content-length"] == str(len(DATA))
        assert (head.content, sum(world.books.downloads.values())) == (b"", 0)

        await web.get(url)

        assert sum(world.books.downloads.values()) == 1

    @pytest.mark.parametrize("host", ["v3.fal.media", "v3b.fal.media", "fal.media"])
    async def test_all_hosts_have_the_same_files(self, web, host):
        url = (await upload(web)).replace("v3.fal.media", host)

        assert (await web.get(url)).content == DATA

    async def test_what_was_never_there_is_not_found(self, web):
        assert (await web.get(f"{CDN}/files/b/0/none.png")).status_code == 404
