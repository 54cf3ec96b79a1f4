"""Which objects of the storage a job may name: what the service keeps there belongs to the project that made it."""

from jobs.files import OWN_FOLDERS, split_uri


class NotAllowed(Exception):
    """The object is none that a job may name; the text says why."""


def allowed(uri: str, own_bucket: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`.

    Raises:
        NotAllowed: it lies, or might lie, where the service keeps files and models of projects.
    """
    bucket, key = split_uri(uri)
    # Some storages take a key for a path, so that dots and empty parts would lead anywhere.
    parts = [part for part in key.split("/") if part]
    if {".", ".."} & set(parts):
        raise NotAllowed(f"{uri} has dots in place of a name.")
    if bucket == own_bucket and (not parts or parts[0] in OWN_FOLDERS):
        raise NotAllowed(f"{uri} is where the service keeps what belongs to projects; name an uploaded file by its id.")
    return bucket, key
