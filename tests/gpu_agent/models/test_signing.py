"""SigV4 against the examples AWS publishes ("Examples: Signature Calculations", S3 API reference)."""

from datetime import UTC, datetime

import pytest

from gpu_agent.models.signing import Credentials, encoded, signed_get

KEYS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
THEN = datetime(2013, 5, 24, tzinfo=UTC)
BUCKET = "https://examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("url", "headers", "signature"),
    [
        (
            f"{BUCKET}/test.txt",
            {"Range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (f"{BUCKET}/?lifecycle", {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            f"{BUCKET}/?max-keys=2&prefix=J",
            {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_published_examples_are_signed_as_published(
    url: str, headers: dict[str, str], signature: str
) -> None:
    signed = signed_get(url, KEYS, region="us-east-1", now=THEN, headers=headers)
    assert signed["authorization"].endswith(f"Signature={signature}")
    assert signed["x-amz-date"] == "20130524T000000Z"


def test_temporary_keys_send_and_sign_their_session() -> None:
    keys = Credentials(KEYS.key_id, KEYS.secret, "session")
    signed = signed_get(f"{BUCKET}/test.txt", keys, region="us-east-1", now=THEN)
    assert signed["x-amz-security-token"] == "session"
    assert "x-amz-security-token" in signed["authorization"]
    assert "wJalr" not in repr(keys)


def test_a_key_is_encoded_once_and_slashes_stay() -> None:
    assert encoded("loras/film grain (v1)+ü.pt") == "loras/film%20grain%20%28v1%29%2B%C3%BC.pt"
