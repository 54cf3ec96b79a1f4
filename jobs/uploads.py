"""An upload to object storage that is fed piece by piece, hashed on the way, and whole or not there at all."""

import hashlib
import logging
from dataclasses import dataclass
from mmap import mmap
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self, cast

from jobs import errors, s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 * 2**20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """What an upload became."""

    bytes: int
    sha256: str


class Upload:
    """One upload, as a context manager: unless `finish` was reached, leaving the block discards what was sent."""

    def __init__(self, client: "S3Client", bucket: str, key: str, limit: int | None) -> None:
        self._s3, self._bucket, self._key, self._limit = client, bucket, key, limit
        self._hash = hashlib.sha256()
        self._bytes = 0
        # Mapped, because the allocator keeps large pieces that a thread has freed, for each thread anew.
        self._part = mmap(-1, PART_BYTES)
        self._upload_id: str | None = None
        self._parts: list[CompletedPartTypeDef] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part.close()
        if self._upload_id is None:
            return
        upload, self._upload_id = self._upload_id, None
        try:
            with s3.named_errors(f"discard the upload of {self._key}"):
                self._s3.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=upload)
        except errors.StorageUnavailable as failure:
            # The error that ended the upload is the one to report; the parts are invisible either way.
            logger.warning("%s", failure)

    def write(self, chunk: bytes) -> None:
        """Takes a piece of any size; blocks while a full part is sent. Raises BodyTooLarge beyond the limit."""
        self._bytes += len(chunk)
        if self._limit is not None and self._bytes > self._limit:
            raise errors.BodyTooLarge(f"The body is larger than {self._limit} bytes, the limit.")
        self._hash.update(chunk)
        rest = memoryview(chunk)
        while rest:
            taken = self._part.write(rest[: PART_BYTES - self._part.tell()])
            rest = rest[taken:]
            if self._part.tell() == PART_BYTES:
                self._send()

    def finish(self) -> Stored:
        """Makes the object visible under its key."""
        if self._upload_id is None:
            with s3.named_errors(f"store {self._key}"):
                self._s3.put_object(Bucket=self._bucket, Key=self._key, Body=self._part[: self._part.tell()])
        else:
            if self._part.tell():
                self._part.resize(self._part.tell())
                self._send()
            with s3.named_errors(f"store {self._key}"):
                self._s3.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=self._key,
                    UploadId=self._upload_id,
                    MultipartUpload={"Parts": self._parts},
                )
            self._upload_id = None
        return Stored(self._bytes, self._hash.hexdigest())

    def _send(self) -> None:
        self._part.seek(0)
        with s3.named_errors(f"store {self._key}"):
            if self._upload_id is None:
                begun = self._s3.create_multipart_upload(Bucket=self._bucket, Key=self._key)
                self._upload_id = begun["UploadId"]
            number = len(self._parts) + 1
            body = cast("IO[bytes]", self._part)
            sent = self._s3.upload_part(
                Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, PartNumber=number, Body=body
            )
            self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        self._part.seek(0)
