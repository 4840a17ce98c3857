"""Errors of stores: what a driver raises, in words, and whether it is worth another try.

Must not import a driver: its exceptions are told by their class and number.
"""

from __future__ import annotations

import errno
import re

from kling_batch.core.locations import ObjectAddress
from kling_batch.core.text import clean
from kling_batch.core.urls import without_signatures

#: The extra that brings the driver of a scheme.
EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "azure"),
    **dict.fromkeys(("sftp", "ssh"), "sftp"),
}

#: How each kind of store is told who asks.
_CREDENTIALS = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with the right to write",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS, with the right to write",
    "azure": "AZURE_STORAGE_CONNECTION_STRING, with the right to write",
    "sftp": "a key in your SSH agent, and the host in known_hosts",
}

#: Classes of exceptions of drivers that say that there are no credentials, or that they are wrong.
_REFUSED = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"),
        *("NoAuthTokenError", "ProfileNotFound", "TokenRetrievalError", "SSOTokenLoadError"),
        *("UnauthorizedSSOTokenError", "DefaultCredentialsError", "RefreshError"),
        *("ClientAuthenticationError", "AuthenticationException", "BadAuthenticationType"),
        *("PasswordRequiredException", "BadHostKeyException"),
    }
)
#: The same, of paramiko, where the class does not tell; and what it means by that class besides.
_NO_KEY = "No authentication methods available"
_CUT_OFF = ("transport shut down", "Authentication timeout")
#: What botocore says of an argument, behind the reason: which patterns it does not match.
_PATTERNS = re.compile(r":[^:]*\bregex\b.*")
#: What stores answer that are full, where there is no number for it.
_FULL = ("storagefull", "insufficientstorage", "quotaexceeded", "quota exceeded", "507")


class StoreError(OSError):
    """A store does not do what it was asked; what was to be put is safe on this machine.

    `passing`: another try may succeed. Its number says how much else cannot be written, as that of
    every `OSError` does (`files.extent_of`).
    """

    def __init__(
        self, text: str, at: ObjectAddress, *, number: int = errno.EACCES, passing: bool = False
    ) -> None:
        """Of an object or a folder."""
        super().__init__(number, text, str(at))
        self.passing = passing

    def with_file_kept(self) -> StoreError:
        """The same, of a render that is paid for and lies on this machine."""
        text = (
            f"{self.strerror}; its file is safe on this machine, and the same command puts it "
            "there without paying again"
        )
        kept = StoreError(text, ObjectAddress(str(self.filename)), passing=self.passing)
        kept.errno = self.errno
        return kept


def store_error(error: Exception, at: ObjectAddress) -> StoreError:
    """What a driver has raised, in words."""
    detail = _detail(error)
    if _is_refusal(error, detail):
        how = _CREDENTIALS.get(EXTRAS.get(at.scheme, ""), "its credentials")
        return StoreError(
            f"the store refuses access ({detail}); give it {how}, then run the same command", at
        )
    if isinstance(error, FileNotFoundError):
        gone = at.root if at.scheme != "memory" else at
        return StoreError(f"there is no {gone} any more, or not yet ({detail})", at)
    if is_unknown(error):
        return StoreError(f"`{at.scheme}://` is no store that fsspec knows", at)
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or any(w in detail.lower() for w in _FULL):
        return StoreError(f"the store is full ({detail})", at, number=errno.ENOSPC)
    return StoreError(detail, at, passing=True)


def _is_refusal(error: Exception, detail: str) -> bool:
    if any(words in detail for words in _CUT_OFF):
        return False
    if isinstance(error, PermissionError) or type(error).__name__ in _REFUSED:
        return True
    # Azure's driver has the status, Google's a number or this word of it.
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    return status in (401, 403) or detail.startswith((_NO_KEY, "Forbidden"))


def is_unknown(error: Exception) -> bool:
    """Whether fsspec has no driver of this scheme."""
    return isinstance(error, ValueError) and str(error).startswith("Protocol not known")


def missing_driver(at: ObjectAddress, error: ImportError) -> StoreError:
    """The driver of a scheme is not installed."""
    extra = EXTRAS.get(at.scheme)
    if extra is None:
        return StoreError(f"its driver is not installed ({_detail(error)})", at)
    return StoreError(f"needs a driver; pip install 'kling-batch[{extra}]'", at)


def unusable_driver(at: ObjectAddress) -> StoreError:
    """The driver of a scheme wants to be told more than an address."""
    return StoreError(
        f"the driver of `{at.scheme}://` cannot be used by an address alone; give a folder or the "
        "address of another store",
        at,
    )


def _detail(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "it did not answer in time"
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    lines = str(said).strip().splitlines() or [type(error).__name__]
    # Of botocore, the reason follows on a second line.
    first = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    return without_signatures(clean(_PATTERNS.sub("", first)))[:200]
