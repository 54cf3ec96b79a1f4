"""How much is to be left after each event of the schedule, layer by layer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import assert_never

from jobs import widths
from jobs.goals import Goal
from jobs.shapes import ModelShape
from jobs.specs import LoraPruneSpec
from jobs.widths import Layout
from worker.engine import allocation, influence
from worker.engine.allocation import Room
from worker.engine.plan import Plan, Scores


class Budget:
    """Shares what is to go at each event; the same scores and influences give the same plan on every process."""

    def __init__(
        self,
        shape: ModelShape,
        goal: Goal,
        spec: LoraPruneSpec,
        *,
        per_parameter: bool,
        influences: Callable[[], Sequence[float]],
    ) -> None:
        """
        Args:
            per_parameter: how scores of different layers and kinds compare, as their scorer has it.
            influences: measures how much each block of the model changes its input now.
        """
        self._shape = shape
        self._goal = goal
        self._spec = spec
        self._per_parameter = per_parameter
        self._influences = influences

    def without_layers(self, current: Plan) -> Plan:
        """The plan without the layers that are to go as a whole: all of them at once, at the first event."""
        too_many = len(current.layers) - self._goal.layers
        if not too_many:
            return current
        gone = influence.least(current, self._influences(), too_many)
        return Plan(tuple(layer for layer in current.layers if layer.index not in gone))

    def layout(self, fraction: float, current: Plan, scores: Scores) -> Layout:
        """What each layer keeps after `fraction` (0 to 1) of the way."""
        final = self._goal.layout
        if final is not None:
            multiple = self._spec.ffn_multiple
            return tuple(widths.between(self._shape, layer, fraction, round_ffn_to=multiple) for layer in final)
        wanted, room = round(fraction * self._from_units), self._room(current)
        match self._spec.budget.allocation:
            case "global":
                return allocation.by_score(room, scores, wanted, per_parameter=self._per_parameter)
            case "adaptive":
                amplitude = self._spec.budget.amplitude
                return allocation.by_influence(room, self._influences(), wanted, amplitude=amplitude)
            case "uniform" | "protected":
                raise AssertionError("their widths are known from the start")
            case _:
                assert_never(self._spec.budget.allocation)

    def met(self, current: Plan) -> bool:
        """Whether this is the end of the way: exactly, or to the least that can go where scores decide."""
        if self._goal.layout is not None:
            return current.layout == self._goal.layout
        apart = abs(current.removed(self._shape) - self._goal.removed)
        return len(current.layers) == self._goal.layers and apart <= self._room(current).finest(current.layout)

    def _room(self, current: Plan) -> Room:
        multiple, share = self._spec.ffn_multiple, self._spec.budget.heads_share
        return Room(self._shape, current.layout, self._goal.floor, multiple, share)

    @property
    def _from_units(self) -> int:
        """Parameters to take from the layers that stay."""
        left = replace(self._shape, layers=self._goal.layers)
        return self._goal.removed - (self._shape.block_parameters - left.block_parameters)
