import pytest
from huggingface_hub.utils import HFValidationError, validate_repo_id
from hypothesis import given
from hypothesis import strategies as st

from jobs import repository_names


@pytest.mark.parametrize(
    "part",
    [
        "a",
        "_a_",
        "SmolLM2-135M-p50",
        "a.b_c-d",
        "a" * 96,
        "-a",
        "a-",
        ".a",
        "a.",
        "a--b",
        "a..b",
        "a.git",
        "",
        "é",
        "a/b",
        "a" * 97,
    ],
)
def test_a_valid_name_is_one_that_the_hubs_own_client_takes(part: str) -> None:
    assert repository_names.is_valid(part) == _taken(f"space/{part}")


@given(st.text(max_size=200))
def test_a_slug_is_a_valid_name_or_nothing(text: str) -> None:
    slug = repository_names.slug(text)
    assert slug == "" or repository_names.is_valid(slug)


def test_a_slug_keeps_letters_and_digits() -> None:
    assert repository_names.slug("Team (NLP): SmolLM2_135M") == "team-nlp-smollm2-135m"


def _taken(repo: str) -> bool:
    try:
        validate_repo_id(repo)
    except HFValidationError:
        return False
    return repo.count("/") == 1 and len(repo) <= len("space/") + 96
