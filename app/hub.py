"""What the model hub says of a repository, in seconds. Its silence is no answer: then the worker will see."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.pointers import at
from jobs import errors

TIMEOUT_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Silent(Exception):
    """The hub did not answer, or not in a way that settles anything."""


class HubFolder:
    """The files of a model repository at one revision."""

    def __init__(self, id: str, revision: str | None) -> None:
        self.id, self.revision = id, revision

    def names(self) -> list[str]:
        """Also has `revision` be the commit from now on.

        Raises:
            BaseModelNotFound, BaseModelGated: the hub says so.
            Silent
        """
        from huggingface_hub import HfApi  # most requests never need it

        with _named_errors(self.id, errors.BaseModelNotFound, errors.BaseModelGated):
            info = HfApi().model_info(self.id, revision=self.revision, timeout=TIMEOUT_SECONDS)
        self.revision = info.sha or self.revision
        return [entry.rfilename for entry in info.siblings or ()]

    def read(self, name: str, limit: int) -> bytes:
        """At most `limit` bytes of a file. Raises as `names` does."""
        from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        url = hf_hub_url(self.id, name, revision=self.revision)
        content = bytearray()
        with (
            _named_errors(self.id, errors.BaseModelNotFound, errors.BaseModelGated),
            get_session().stream(
                "GET", url, headers=build_hf_headers(), timeout=TIMEOUT_SECONDS, follow_redirects=True
            ) as answer,
        ):
            if answer.is_error:
                answer.read()
            hf_raise_for_status(answer)
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) >= limit:
                    break
        return bytes(content[:limit])


def check_dataset(id: str, revision: str | None) -> None:
    """
    Raises:
        DatasetNotFound: the hub says that there is none, or that it is not for everybody.
    """
    from huggingface_hub import HfApi

    try:
        with _named_errors(id, errors.DatasetNotFound, errors.DatasetNotFound):
            HfApi().dataset_info(id, revision=revision, timeout=TIMEOUT_SECONDS)
    except Silent as silence:
        logger.info("the hub is silent about the data set %s: %s", id, silence)


@contextmanager
def _named_errors(id: str, not_found: type[errors.PruneryError], gated: type[errors.PruneryError]) -> Iterator[None]:
    import httpx2
    from huggingface_hub import errors as hub

    try:
        yield
    except hub.GatedRepoError as error:
        hint = f"Ask on the page of {id}, then set HF_TOKEN for the services."
        with at("/id"):
            raise gated(f"{id} is gated: its owner wants to be asked first.", hint=hint) from error
    except hub.RevisionNotFoundError as error:
        with at("/revision"):
            raise not_found(f"{id} has no such revision.") from error
    except (hub.RepositoryNotFoundError, hub.DisabledRepoError) as error:
        hint = "If it is private, set HF_TOKEN for the services."
        with at("/id"):
            raise not_found(f"There is no {id} on the hub.", hint=hint) from error
    except hub.HFValidationError as error:
        with at("/id"):
            raise not_found(f"{id} cannot be the name of a repository.") from error
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise Silent(str(error)) from error
