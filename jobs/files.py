"""Object storage: every byte that outlives a process goes through here."""

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from jobs import errors, s3
from jobs.settings import S3Settings
from jobs.uploads import PART_BYTES, Stored, Upload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

CHUNK_BYTES = 2**20

# Below these keys lie contents by their hash, uploaded files by their id, and what attempts leave, by the job's id.
BLOBS, UPLOADS, JOBS = "blobs/sha256/", "uploads/", "jobs/"
OWN_FOLDERS = frozenset({"blobs", "jobs", "uploads"})  # all of our bucket that the service itself writes to

OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class StoredObject:
    """One object below a prefix; `name` is its path relative to the prefix."""

    bucket: str
    key: str
    name: str
    bytes: int


@dataclass(frozen=True)
class OldObject:
    """An object that was not written lately."""

    key: str
    bytes: int


def blob_key(sha256: str) -> str:
    """Where content with this hash is kept."""
    return f"{BLOBS}{sha256[:2]}/{sha256}"


def upload_folder(file_id: str) -> str:
    """Where an uploaded file is kept: this folder holds one object, under the name that the file was given."""
    return f"{UPLOADS}{file_id}"


def upload_key(file_id: str, name: str) -> str:
    """The key of an uploaded file; its id alone leads there, through `upload_folder` and a listing."""
    return f"{upload_folder(file_id)}/{name}"


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


class Files:
    """A bucket. Safe to share between threads; keys are of the settings' bucket unless another is named.

    Every method raises StorageUnavailable if the storage does not answer or refuses us.
    """

    def __init__(self, settings: S3Settings, public_endpoint: str | None = None) -> None:
        """`public_endpoint`: the same storage as clients reach it, for presigned links."""
        self.bucket = settings.s3_bucket
        self._s3 = s3.connect(settings, settings.s3_endpoint)
        self._public = s3.connect(settings, public_endpoint) if public_endpoint else self._s3
        # Two threads and small parts keep memory flat on both ends of the wire.
        self._transfer = TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=2
        )

    @property
    def client(self) -> "S3Client":
        """For what only one module needs of S3; a second client would take a dozen MB of memory."""
        return self._s3

    def ensure_bucket(self) -> None:
        """Makes the bucket if there is none."""
        with s3.named_errors(f"make the bucket {self.bucket}"):
            try:
                self._s3.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if not s3.is_absent(error):
                    raise
                self._create_bucket()

    def reachable(self) -> None:
        """Raises StorageUnavailable unless the bucket is there and answers."""
        with s3.named_errors(f"reach the bucket {self.bucket}"):
            self._s3.head_bucket(Bucket=self.bucket)

    def put_file(self, path: Path, key: str, on_bytes: OnBytes | None = None) -> None:
        """`on_bytes` hears the size of each piece sent; an error that it raises ends the upload and passes through."""
        with s3.named_errors(f"store {key}"):
            self._s3.upload_file(str(path), self.bucket, key, Callback=on_bytes, Config=self._transfer)

    def put_bytes(self, key: str, data: bytes) -> None:
        """Stores a small object."""
        with s3.named_errors(f"store {key}"):
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def put_stream(self, chunks: Iterable[bytes], key: str, limit: int | None = None) -> Stored:
        """Stores what comes; nothing is stored if `chunks` raises or there are over `limit` bytes."""
        with self.upload(key, limit) as upload:
            for chunk in chunks:
                upload.write(chunk)
            return upload.finish()

    def upload(self, key: str, limit: int | None = None) -> Upload:
        """An upload that is fed piece by piece; `limit` is in bytes."""
        return Upload(self._s3, self.bucket, key, limit)

    def open_range(self, key: str, start: int, end: int, bucket: str | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in pieces; closing the iterator frees the connection.

        Raises:
            NotFound: there is no such object. Raised here, before the first piece.
        """
        if start >= end:
            return iter(())
        with s3.named_errors(f"read {key}"):
            answer = self._get(bucket or self.bucket, key, f"bytes={start}-{end - 1}")
        body = answer["Body"]

        def pieces() -> Iterator[bytes]:
            try:
                with s3.named_errors(f"read {key}"):
                    yield from body.iter_chunks(CHUNK_BYTES)
            finally:
                body.close()

        return pieces()

    def read(self, key: str, limit: int, bucket: str | None = None) -> bytes:
        """The first `limit` bytes of an object, or all if there are fewer. Raises NotFound."""
        with s3.named_errors(f"read {key}"):
            if self.size(key, bucket) == 0:  # no range of an empty object can be satisfied
                return b""
            body = self._get(bucket or self.bucket, key, f"bytes=0-{limit - 1}")["Body"]
            try:
                return body.read()
            finally:
                body.close()

    def size(self, key: str, bucket: str | None = None) -> int | None:
        """Bytes of an object; None if there is none."""
        with s3.named_errors(f"look up {key}"):
            try:
                return self._s3.head_object(Bucket=bucket or self.bucket, Key=key)["ContentLength"]
            except ClientError as error:
                if s3.is_absent(error):
                    return None
                raise

    def get_file(self, key: str, path: Path, on_bytes: OnBytes | None = None, bucket: str | None = None) -> None:
        """Downloads to `path`, which appears only when complete; `on_bytes` as in put_file.

        Raises:
            NotFound: there is no such object.
            OutOfDisk: it does not fit.
        """
        with s3.named_errors(f"fetch {key}"):
            try:
                self._s3.download_file(bucket or self.bucket, key, str(path), Callback=on_bytes, Config=self._transfer)
            except ClientError as error:
                raise (errors.NotFound(f"There is no object {key}.") if s3.is_absent(error) else error) from error
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    raise errors.OutOfDisk(f"{path} does not fit on the disk.") from error
                raise

    def list_prefix(self, uri: str, limit: int = 10_000) -> list[StoredObject]:
        """At most `limit` objects of the folder that `s3://bucket/prefix` names; none if there is no such bucket."""
        bucket, key = split_uri(uri)
        prefix = key.rstrip("/") + "/"
        found: list[StoredObject] = []
        with s3.named_errors(f"list {uri}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, PaginationConfig={"MaxItems": limit}
            )
            try:
                for page in pages:
                    for entry in page.get("Contents", ()):
                        name = entry["Key"].removeprefix(prefix)
                        found.append(StoredObject(bucket, entry["Key"], name, entry["Size"]))
            except ClientError as error:
                if not s3.is_absent(error):
                    raise
        return [entry for entry in found if entry.name]

    def older(self, prefix: str, before: datetime) -> Iterator[OldObject]:
        """The objects below a prefix that were last written before then."""
        with s3.named_errors(f"list {prefix}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            for page in pages:
                for entry in page.get("Contents", ()):
                    if entry["LastModified"] < before:
                        yield OldObject(entry["Key"], entry["Size"])

    def unfinished(self, before: datetime) -> Iterator[tuple[str, str]]:
        """Key and id of each upload in parts that was begun before then and has not ended."""
        with s3.named_errors("list unfinished uploads"):
            for page in self._s3.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < before:
                        yield upload["Key"], upload["UploadId"]

    def abort(self, key: str, upload_id: str) -> None:
        """Discards an unfinished upload."""
        with s3.named_errors(f"discard the upload of {key}"):
            self._s3.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)

    def delete(self, key: str) -> None:
        """Removes an object, if it is there."""
        with s3.named_errors(f"delete {key}"):
            self._s3.delete_object(Bucket=self.bucket, Key=key)

    def presign(self, key: str, filename: str, expires: int = 6 * 3600) -> str:
        """A link at the public endpoint that downloads the object as `filename` for `expires` seconds."""
        disposition = attachment(filename)
        parameters = {"Bucket": self.bucket, "Key": key, "ResponseContentDisposition": disposition}
        with s3.named_errors(f"sign a link to {key}"):
            return self._public.generate_presigned_url("get_object", Params=parameters, ExpiresIn=expires)

    def _get(self, bucket: str, key: str, byte_range: str) -> "GetObjectOutputTypeDef":
        try:
            return self._s3.get_object(Bucket=bucket, Key=key, Range=byte_range)
        except ClientError as error:
            raise (errors.NotFound(f"There is no object {key}.") if s3.is_absent(error) else error) from error

    def _create_bucket(self) -> None:
        try:
            self._s3.create_bucket(Bucket=self.bucket)
        except ClientError as error:
            if not s3.is_ours_already(error):
                raise


def attachment(filename: str) -> str:
    """A Content-Disposition that saves under this name, with an ASCII stand-in for old clients."""
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\' else "_" for letter in filename
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
