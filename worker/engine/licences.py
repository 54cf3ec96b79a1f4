"""What a base model's licence wants said of a model that is made from it."""

NOTICES = {
    "llama": "Built with Llama. The base model's licence and its policy of acceptable use hold for this model too.",
    "gemma": "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms.",
}
"""By the first letters of the licence's name on the hub."""


def notice(licence: str | None, base: str) -> str:
    """A paragraph for the model card."""
    if licence is None:
        return f"{base} does not state a licence; find out what its owner allows before you pass this model on."
    begin = f"{base} comes under the licence `{licence}`, which holds for this model too."
    words = next((words for key, words in NOTICES.items() if licence.lower().startswith(key)), None)
    return begin if words is None else f"{words}\n\n{begin}"
