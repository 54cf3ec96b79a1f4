"""From what a decoder answered to logits, for as few tokens as are needed at once.

Legend: D hidden channels, V vocabulary; t, some tokens.
"""

from collections.abc import Callable

from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from worker.engine.blockwise import forwarding

Head = Callable[[Tensor], Tensor]
"""What makes (t, V) logits of (t, D) hidden states."""


def of(model: PreTrainedModel) -> Head:
    """All that a model does behind its decoder, whatever its family scales or caps there."""
    decoder = model.get_decoder()

    def head(hidden_tD: Tensor) -> Tensor:
        answer = BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden_tD[None])
        with forwarding([decoder], [lambda *_, **__: answer]):
            logits_tV: Tensor = model(inputs_embeds=hidden_tD[None], use_cache=False).logits[0]
            return logits_tV

    return head
