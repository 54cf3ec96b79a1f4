"""The header of a GGUF file, read front to back without its weights, as the configuration that it stands for.

Format: the GGUF specification of the ggml project, versions 2 and 3, little-endian.
"""

import struct
from collections.abc import Iterator
from typing import Any

from jobs import errors, gguf_headers

MAGIC = b"GGUF"
VERSIONS = (2, 3)
LONGEST_HEADER = 32 * 2**20
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9

CONFIG_KEYS = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "vocab_size": "vocab_size",
}


def config(chunks: Iterator[bytes]) -> dict[str, Any]:
    """What config.json would say of the model; `chunks` are the file's bytes from its start.

    Raises:
        BaseModelIncomplete: this is no GGUF file, or not a whole one.
        UnsupportedArchitecture: the engine could not read it as it is.
    """
    header = _Header(chunks)
    if header.take(4) != MAGIC:
        raise errors.BaseModelIncomplete("This is not a GGUF file: it does not begin with GGUF.")
    version = header.scalar("I")
    if version not in VERSIONS:
        raise errors.BaseModelIncomplete(f"GGUF version {version} cannot be read, only {VERSIONS}.")
    tensors, pairs = header.scalar("Q"), header.scalar("Q")
    values = {header.string(): header.value(header.scalar("I")) for _ in range(pairs)}
    names = {header.tensor_name() for _ in range(tensors)}
    architecture = values.get("general.architecture")
    gguf_headers.check(architecture, values.get(f"{architecture}.rope.scaling.type"), names)
    found = {key: values.get(f"{architecture}.{name}") for key, name in CONFIG_KEYS.items()}
    if found["vocab_size"] is None:
        found["vocab_size"] = values.get("tokenizer.ggml.tokens")
    return {**found, "model_type": architecture, "tie_word_embeddings": "output.weight" not in names}


class _Header:
    """Reads forward only, and refuses to go on beyond any sensible header."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = memoryview(b"")
        self._taken = 0

    def take(self, count: int) -> bytes:
        parts = []
        self._taken += count
        if self._taken > LONGEST_HEADER:
            raise errors.BaseModelIncomplete("The GGUF header makes no sense: it does not end.")
        while count:
            if not self._buffer:
                self._buffer = memoryview(next(self._chunks, b""))
            if not self._buffer:
                raise errors.BaseModelIncomplete("The GGUF file ends within its header.", hint="Copy it again.")
            part = self._buffer[:count]
            self._buffer = self._buffer[count:]
            count -= len(part)
            parts.append(bytes(part))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def scalar(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def string(self) -> str:
        return self.take(self.scalar("Q")).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A value; of a list only its length, which is all that is of use here."""
        if kind in SCALARS:
            return self.scalar(SCALARS[kind])
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            raise errors.BaseModelIncomplete(f"The GGUF header makes no sense: there is no type {kind}.")
        member, length = self.scalar("I"), self.scalar("Q")
        if member == ARRAY:
            raise errors.BaseModelIncomplete("The GGUF header makes no sense: no model has lists of lists.")
        if member in SCALARS:
            self.take(length * struct.calcsize(f"<{SCALARS[member]}"))
            return length
        for _ in range(length):
            self.value(member)
        return length

    def tensor_name(self) -> str:
        name = self.string()
        dimensions = self.scalar("I")
        self.take(dimensions * 8 + 4 + 8)
        return name
