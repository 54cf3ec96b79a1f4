"""Scores that mean nothing: what any other criterion has to beat."""

import torch
from torch import nn

from jobs.shapes import ModelShape
from worker.engine.architectures import family, units
from worker.engine.plan import Plan, Scores
from worker.engine.scores.scorer import Scorer


class Chance(Scorer):
    """One random order of all units, drawn from the seed alone: the same at every step, after a cut and a resume."""

    per_parameter = False

    def __init__(self, model: nn.Module, shape: ModelShape, *, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        device = next(model.parameters()).device
        self._drawn = {
            kind: torch.rand(shape.layers, units(shape, kind), generator=generator).to(device)
            for kind in family(shape).kinds
        }

    def take(self, plan: Plan) -> Scores:
        return {
            kind: [drawn_LU[layer.index][list(layer.kept(kind))] for layer in plan.layers]
            for kind, drawn_LU in self._drawn.items()
        }
