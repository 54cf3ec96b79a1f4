"""Contents on their way in: parts of an upload in object storage, and what becomes of them at its end."""

import hashlib
from collections.abc import Sequence

from jobs import s3
from jobs.errors import BodyMismatch
from jobs.files import Files, blob_key, upload_key

MIB = 2**20
SMALLEST_PART, MOST_PARTS = 8 * MIB, 9_000  # of an upload in parts, S3 takes 10,000
NAME = "content"


def part_bytes(total: int) -> int:
    """The size of every part but the last, in whole MiB."""
    return max(SMALLEST_PART, -(-total // MOST_PARTS // MIB) * MIB if total > MOST_PARTS * SMALLEST_PART else 0)


class Incoming:
    """The bucket, as it takes uploads. Safe to share between threads.

    Every method raises StorageUnavailable if the storage does not answer.
    """

    def __init__(self, files: Files) -> None:
        self._s3 = files.client
        self._files = files

    def begin(self, upload_id: str) -> str:
        """What object storage calls the upload."""
        with s3.named_errors("begin an upload"):
            begun = self._s3.create_multipart_upload(Bucket=self._files.bucket, Key=_key(upload_id))
        return begun["UploadId"]

    def send(self, upload_id: str, storage_id: str, number: int, part: bytes) -> str:
        """The tag of a part, counted from 1."""
        with s3.named_errors(f"store a part of {upload_id}"):
            sent = self._s3.upload_part(
                Bucket=self._files.bucket,
                Key=_key(upload_id),
                UploadId=storage_id,
                PartNumber=number,
                Body=part,
            )
        return sent["ETag"]

    def finish(self, upload_id: str, storage_id: str, etags: Sequence[str], size: int, sha256: str) -> None:
        """Have the content lie under its hash. May be done again if it was broken off.

        Raises:
            BodyMismatch: what was sent has another hash; nothing of it is left.
        """
        key = _key(upload_id)
        if self._files.size(key) != size:
            parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, start=1)]
            with s3.named_errors(f"store {upload_id}"):
                self._s3.complete_multipart_upload(
                    Bucket=self._files.bucket,
                    Key=key,
                    UploadId=storage_id,
                    MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
                )
        digest = hashlib.sha256()
        for piece in self._files.open_range(key, 0, size):
            digest.update(piece)
        if digest.hexdigest() != sha256:
            self._files.delete(key)
            raise BodyMismatch(
                f"What was sent has the SHA-256 {digest.hexdigest()}, not {sha256}.", hint="Begin the upload anew."
            )
        with s3.named_errors(f"store {upload_id} under its hash"):
            self._s3.copy({"Bucket": self._files.bucket, "Key": key}, self._files.bucket, blob_key(sha256))
        self._files.delete(key)

    def discard(self, upload_id: str, storage_id: str) -> None:
        """Forget what was sent of an upload that has not ended."""
        self._files.abort(_key(upload_id), storage_id)


def _key(upload_id: str) -> str:
    return upload_key(upload_id, NAME)
