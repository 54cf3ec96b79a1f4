"""Which files a model's folder needs, and what is refused with its reason."""

import pytest

from jobs import errors, model_files


@pytest.mark.parametrize(
    "names",
    [
        ["config.json", "model.safetensors"],
        ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"],
        ["config.json", "pytorch_model.bin", "model.safetensors"],
    ],
)
def test_safetensors_are_accepted_whole_and_sharded(names: list[str]) -> None:
    model_files.check(names)


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ([], errors.BaseModelIncomplete),
        (["model.safetensors"], errors.BaseModelIncomplete),
        (["config.json"], errors.BaseModelIncomplete),
        (["config.json", "adapter_model.safetensors"], errors.BaseModelIncomplete),
        (["config.json", "pytorch_model.bin"], errors.PickleWeights),
        (["config.json", "pytorch_model-00001-of-00002.bin"], errors.PickleWeights),
        (["config.json", "consolidated.00.pth"], errors.PickleWeights),
        (["config.json", "last.ckpt"], errors.PickleWeights),
    ],
)
def test_a_folder_without_config_or_safe_weights_is_refused(names: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        model_files.check(names)
