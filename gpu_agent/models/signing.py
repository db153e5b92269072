"""AWS Signature Version 4 for reading one object: the headers an S3 store wants to see.

Source: AWS, "Authenticating Requests: Using the Authorization Header"; the tests hold its published examples.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlsplit

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
ALGORITHM = "AWS4-HMAC-SHA256"
UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys of an object store. `session_token` is "" unless they are temporary."""

    key_id: str
    secret: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def signed_get(
    url: str,
    credentials: Credentials,
    *,
    region: str,
    now: datetime,
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """`headers` with those that sign a GET of `url`, whose path must be percent-encoded already.

    `now` is in UTC; stores refuse requests that are 15 minutes off.
    """
    parts = urlsplit(url)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    sent = {name.lower(): " ".join(value.split()) for name, value in (headers or {}).items()}
    sent |= {"host": parts.netloc, "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": stamp}
    if credentials.session_token:
        sent["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(sent))
    request = "\n".join(
        [
            "GET",
            parts.path or "/",
            _canonical_query(parts.query),
            *(f"{name}:{sent[name]}" for name in sorted(sent)),
            "",
            names,
            EMPTY_SHA256,
        ]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for word in (*scope.split("/"), to_sign):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    proof = f"Credential={credentials.key_id}/{scope},SignedHeaders={names},Signature={key.hex()}"
    return {**sent, "authorization": f"{ALGORITHM} {proof}"}


def encoded(path: str) -> str:
    """A path as S3 signs it: every byte but letters, digits, -_.~ and / percent-encoded once."""
    return quote(path, safe=f"/{UNRESERVED}")


def _canonical_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    words = sorted((quote(name, safe=UNRESERVED), quote(value, safe=UNRESERVED)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in words)
