"""Send the texts that a recipe names on this machine, and name them as the service does."""

from copy import deepcopy

from rich.console import Console

from cli.byte_bar import ByteBar
from cli.client import Client
from cli.recipe import Recipe, moved, uploads
from cli.validation import check


def upload_texts(client: Client, recipe: Recipe) -> Recipe:
    """The recipe with each text to upload replaced by the uploaded file.

    Raises:
        InvalidSpec: something is wrong with the recipe; then nothing was sent.
    """
    sent = deepcopy(recipe)
    waiting = list(uploads(sent))
    if not waiting:
        return sent
    for parent, key, _ in waiting:
        parent[key] = moved(parent[key], {"source": "file", "id": "file_to_come"})
    check(sent)
    with ByteBar(Console(stderr=True)) as bar:
        for parent, key, path in waiting:
            bar.begin(path.name, path.stat().st_size)
            parent[key]["id"] = client.upload(path, bar.advance).id
    return sent
