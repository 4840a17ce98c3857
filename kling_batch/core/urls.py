"""URLs of inputs: without what only signs them, and whether fal could reach them at all.

The same object at a newly signed URL is the same input.

Keys, ledger, sidecars and messages use this form; only the request itself has the URL as written.
Parameters that no listed scheme knows stay, since they may choose the object. Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

URL_START = re.compile(r"https?://", re.IGNORECASE)

_URL = re.compile(r"(https?://)([^/?#\s\"]*)([^?#\s]*)(\?[^#\s]*)?(.*)", re.IGNORECASE | re.DOTALL)
#: User and password of an address, whatever it is for: `ftp://me:secret@host`.
_USER = re.compile(r"(?<=://)[^\s/?#\"'<>`]*@")
_IN_TEXT = re.compile(r"https?://[^\s\"'<>`]+", re.IGNORECASE)
#: `;` parts parameters, too, in a few old signatures; none of the schemes below uses it.
_PARTS = "&"


class Scheme(NamedTuple):
    """One way to sign a URL: it is in use where all `marks` are there; `names` then sign only."""

    marks: frozenset[str]
    names: frozenset[str]


def _scheme(marks: str, more: str = "") -> Scheme:
    return Scheme(frozenset(marks.split()), frozenset(f"{marks} {more}".split()))


#: Names in lower case. A common word (`expires`, `token`) counts only together with its marks.
_SCHEMES = (
    _scheme("x-amz-signature", "x-id"),
    _scheme("x-goog-signature"),
    # S3 and its relatives before version 4: Amazon, Google, Alibaba, Huawei.
    _scheme("signature awsaccesskeyid", "expires x-amz-security-token"),
    _scheme("signature googleaccessid", "expires"),
    _scheme("signature ossaccesskeyid", "expires security-token"),
    _scheme("signature accesskeyid", "expires x-obs-security-token"),
    _scheme(
        "x-oss-signature",
        "x-oss-signature-version x-oss-credential x-oss-date x-oss-expires"
        " x-oss-additional-headers x-oss-security-token",
    ),
    _scheme(
        "q-signature",
        "q-sign-algorithm q-ak q-sign-time q-key-time q-header-list q-url-param-list"
        " x-cos-security-token",
    ),
    # Azure: shared access signatures of an account, a service and a user's delegation.
    _scheme(
        "sig sv",
        "ss srt sp se st spr sip sr si sdd ses skoid sktid skt ske sks skv saoid suoid scid",
    ),
    # CloudFront, Google's CDN, Akamai, Bunny.
    _scheme("signature key-pair-id", "policy expires hash-algorithm"),
    _scheme("signature keyname", "expires urlprefix"),
    _scheme("hdnts"),
    _scheme("hdnea"),
    _scheme("__token__"),
    _scheme("__gda__"),
    _scheme("token expires", "token_path token_countries"),
    _scheme("bcdn_token", "expires token_path"),
    # Discord, Backblaze.
    _scheme("hm is ex"),
    _scheme("sig exp"),
    _scheme("authorization"),
    # Credentials by name.
    _scheme("access_token"),
    _scheme("api_key"),
    _scheme("apikey"),
    _scheme("jwt"),
)
#: All of a family signs: `X-Amz-Date`, `X-Goog-Expires`…
_FAMILIES = {"x-amz-signature": "x-amz-", "x-goog-signature": "x-goog-"}
#: A `token` that is a JSON Web Token (Supabase and others), or Firebase's download token.
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
_FIREBASE = re.compile(r"/v0/b/[^/]+/o/")


def unsigned(url: str) -> str:
    """A URL without user, password and signature; every other text unchanged."""
    if URL_START.match(url) is None:
        return url
    match = _URL.match(url)
    if match is None:
        return url
    scheme, host, path, query, rest = (part or "" for part in match.groups())
    _, _, host = host.rpartition("@")
    return f"{scheme}{host}{path}{_query(query, path)}{rest}"


def without_signatures(text: str) -> str:
    """Text with every URL in it `unsigned`, and no address with its user and password."""
    if "://" not in text:
        return text
    return _USER.sub("", _IN_TEXT.sub(lambda match: unsigned(match[0]), text))


@lru_cache(1024)
def host_of(url: str) -> str:
    """The host of an address, whoever wrote it; empty where it names none that can be."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    labels = host.removesuffix(".").split(".")
    return host if all(0 < len(label) < _LONGEST_LABEL for label in labels) else ""


#: Characters that a part of a name in the DNS, between two dots, does not reach.
_LONGEST_LABEL = 64


#: Names that only a network of one's own knows.
_LOCAL_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".intranet", ".corp")


def unreachable(url: str) -> str:
    """Why fal cannot fetch an http address, judged by its text; empty where it may be able to."""
    if URL_START.match(url) is None:
        return ""
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        return "holds a blank; write %20 for it"
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return "is no valid address"
    try:
        public = ip_address(host.partition("%")[0]).is_global
    except ValueError:
        public = "." in host and not host.endswith(_LOCAL_NAMES)
    return "" if public else f"is an address of your own network (`{host}`), which fal cannot reach"


def _query(query: str, path: str) -> str:
    """The query with its question mark, without what signs; empty where nothing is left."""
    if not query:
        return ""
    parts = query[1:].split(_PARTS)
    names = [part.partition("=")[0].lower() for part in parts]
    signing = _signing(frozenset(names))
    families = tuple(prefix for mark, prefix in _FAMILIES.items() if mark in names)
    kept = [
        part
        for part, name in zip(parts, names, strict=True)
        if name not in signing
        and not (families and name.startswith(families))
        and not (name == "token" and _is_credential(part, path))
    ]
    if len(kept) == len(parts):
        return query
    return f"?{_PARTS.join(kept)}" if kept else ""


def _signing(names: frozenset[str]) -> frozenset[str]:
    found = [scheme.names for scheme in _SCHEMES if scheme.marks <= names]
    return frozenset().union(*found)


def _is_credential(part: str, path: str) -> bool:
    _, _, value = part.partition("=")
    return _JWT.match(value) is not None or _FIREBASE.match(path) is not None
