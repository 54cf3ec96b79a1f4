"""The connection to object storage, and what its refusals mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from jobs import errors
from jobs.settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ABSENT = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})
OURS_ALREADY = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


def connect(settings: S3Settings, endpoint: str) -> "S3Client":
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=3,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 4},
            max_pool_connections=40,
        ),
    )


@contextmanager
def named_errors(what: str) -> Iterator[None]:
    """Whatever the client library raises leaves as StorageUnavailable."""
    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise errors.StorageUnavailable(
            f"Object storage could not {what}: {error}", hint="Try again later; PRUNERY_S3_… says where it should be."
        ) from error


def is_absent(error: ClientError) -> bool:
    """Whether the storage answered that there is no such object or bucket."""
    return _code(error) in ABSENT


def is_ours_already(error: ClientError) -> bool:
    """Whether somebody else made the bucket just before us."""
    return _code(error) in OURS_ALREADY


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
