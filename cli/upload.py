"""`prunery upload`."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from cli.byte_bar import ByteBar
from cli.client import Client, ClientError, Refused, is_outage
from cli.follow import PAUSES
from cli.registry import MODELS, Version, own_namespace
from cli.resources import Resource
from cli.service import with_client
from jobs.errors import NameTaken, OffsetMismatch
from jobs.repository_names import slug

UPLOADS = "/v1/uploads"
PIECE_BYTES = 64 * 2**20
NOT_SENT = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")  # the service reads safetensors


class Upload(Resource):
    """What the service has of a file."""

    id: str
    bytes: int
    offset: int
    part_bytes: int
    completed_at: str | None = None


@dataclass(frozen=True)
class LocalFile:
    """A file to send, and its path in the model."""

    place: Path
    path: str
    bytes: int
    sha256: str


@click.command(
    epilog="""\b
Example:
  prunery upload ./llama-1b --as llama-1b
  prunery submit --model registry:nlp/llama-1b --data train.jsonl --ratio 0.3
\b
What was sent stays: after a broken connection, or Ctrl-C, the same command goes on where it was.
\b
Exit codes: 0 the model is there, 1 the service does not answer, 2 the folder holds no model that a job could take.
"""
)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--as", "name", help="Name of the model; that of the folder if not given.")
@click.option("--title", default="Uploaded", show_default=True, help="Of this version.")
@click.option("--json", "as_json", is_flag=True, help="Print the version as JSON.")
@with_client
def upload(client: Client, folder: Path, name: str | None, title: str, as_json: bool) -> None:
    """Send the model in FOLDER (config.json, safetensors, tokenizer) to the service, to be the base of jobs."""
    name = name or slug(folder.resolve().name)
    namespace = own_namespace(client)
    with ByteBar(Console(stderr=True)) as bar:
        files = [_local(folder, place) for place in _places(folder)]
        for file in files:
            _send(client, file, bar)
    try:
        client.call(Resource, "POST", MODELS, json={"name": name})
    except Refused as refusal:
        if refusal.problem.code != NameTaken.code:
            raise
    wanted = {"title": title, "files": [{"path": file.path, "sha256": file.sha256} for file in files]}
    version = client.call(Version, "POST", f"{MODELS}/{namespace}/{name}/versions", json=wanted)
    if as_json:
        click.echo(version.model_dump_json(indent=2))
        return
    click.echo(f"registry:{namespace}/{name}@{version.commit}")


def _places(folder: Path) -> list[Path]:
    """A model's folder is flat; what is hidden or deeper is somebody's checkpoint or cache."""
    found = sorted(place for place in folder.iterdir() if place.is_file() and not place.name.startswith("."))
    sent = [place for place in found if place.suffix not in NOT_SENT]
    if not sent:
        raise click.BadParameter(f"{folder} has no files to send.", param_hint="FOLDER")
    return sent


def _local(folder: Path, place: Path) -> LocalFile:
    with place.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return LocalFile(place, place.relative_to(folder).as_posix(), place.stat().st_size, digest)


def _send(client: Client, file: LocalFile, bar: ByteBar) -> None:
    """All that the service does not have yet; what breaks off is gone on with, for as long as anything gets through."""
    pauses = iter(PAUSES)
    while True:
        try:
            begun = client.call(Upload, "POST", UPLOADS, json={"bytes": file.bytes, "sha256": file.sha256})
            bar.begin(file.path, file.bytes, begun.offset)
            if begun.completed_at is not None:
                return
            _send_piece(client, file, begun)
            pauses = iter(PAUSES)
        except ClientError as error:
            moved = isinstance(error, Refused) and error.problem.code == OffsetMismatch.code
            pause = next(pauses, None)
            if pause is None or not (moved or is_outage(error)):
                raise
            bar.note(f"{error} Going on in {pause:g} s.")
            time.sleep(pause)


def _send_piece(client: Client, file: LocalFile, begun: Upload) -> None:
    with file.place.open("rb") as opened:
        opened.seek(begun.offset)
        piece = opened.read(max(PIECE_BYTES, begun.part_bytes))
    headers = {"Upload-Offset": str(begun.offset), "Content-Type": "application/octet-stream"}
    client.call(Upload, "PATCH", f"{UPLOADS}/{begun.id}", content=piece, headers=headers)
