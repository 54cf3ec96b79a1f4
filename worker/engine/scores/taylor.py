"""True first-order importance of every entry, from the true gradient of one matrix at a time.

The gradient of a frozen weight is G = (∂ℓ/∂y)ᵀ x. It is worked out in the backward pass, some rows at once, for each
sequence by itself, and gone at once.

Legend: B sequences, T tokens, O output channels, I input channels, U units; o, a chunk of O.
"""

from collections.abc import Iterator
from functools import partial

from torch import Tensor, nn

from jobs.shapes import ModelShape
from worker.engine import adapters, ranks
from worker.engine.architectures import Family, Kind, Member
from worker.engine.plan import Plan, Scores
from worker.engine.precision import at_least_float32
from worker.engine.scores import comparison, entries
from worker.engine.scores.entries import Norm
from worker.engine.scores.scorer import Scorer
from worker.engine.scores.watching import Sequences, watch_layer

MORE = 4
"""Times as many rows at once as where nothing but entries is read: each chunk's product reads all tokens anew."""


class Taylor(Scorer):
    """Collects Σ_b Σ |G_b ∘ (W + s·BA)| over the entries of each unit (or squares, `l2`), with sequences as samples.

    Summed sequence by sequence, since the gradient of a whole batch would have to be held until its end. So it depends
    neither on micro-batches nor on the number of processes.

    Source: LLM-Pruner, arXiv:2305.11627 (element-wise, first order), here with the sum over samples outside of |x|.
    """

    per_parameter = True

    def __init__(self, model: nn.Module, family: Family, shape: ModelShape, *, norm: Norm) -> None:
        self._model = model
        self._family = family
        self._shape = shape
        self._norm = norm
        self._sums: dict[tuple[nn.Module, Kind], Tensor] = {}
        self._sequences = Sequences(model)
        self._hooks = [self._sequences.hook]
        self._hooks += [
            watch_layer(block.get_submodule(member.path), partial(self._add, block, member))
            for block in family.layers(model)
            for member in family.members
        ]

    def take(self, plan: Plan) -> Scores:
        blocks = list(self._family.layers(self._model))
        found = iter(ranks.summed([self._sums[block, kind] for kind in self._family.kinds for block in blocks]))
        self._sums.clear()
        return comparison.of_one_length({kind: [next(found) for _ in blocks] for kind in self._family.kinds})

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _add(self, block: nn.Module, member: Member, hidden: Tensor, gradient: Tensor) -> None:
        def taylor(part: slice) -> Iterator[Tensor]:
            weight_oI = adapted.rows(part)
            for hidden_TI, gradient_TO in zip(hidden_BTI, gradient_BTO, strict=True):
                slope_oI = gradient_TO[:, part].T @ hidden_TI.to(gradient_TO.dtype)
                yield slope_oI.to(at_least_float32(slope_oI)).mul_(weight_oI)

        hidden_BTI, gradient_BTO = self._sequences.apart(hidden), self._sequences.apart(gradient)
        adapted = adapters.read(block, member)
        chunk = MORE * entries.rows_at_once(adapted.size[1], adapted.device)
        channels = entries.channel_sums(taylor, adapted.size, member.axis, norm=self._norm, chunk=chunk)
        sums_U = entries.by_unit(channels, member, self._shape)
        place = block, member.kind
        self._sums[place] = self._sums[place] + sums_U if place in self._sums else sums_U
