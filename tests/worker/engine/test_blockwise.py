"""Block by block and in pieces is the same as all at once, in every family that is at hand."""

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from jobs import widths
from jobs.specs import LoraSpec
from jobs.widths import Widths
from tests.models import random_model
from worker.engine import adapters, blockwise, compensated_cut, plan
from worker.engine.architectures import Kind, family
from worker.engine.blockwise import Stream
from worker.engine.plan import Plan
from worker.engine.reconstruction import HELD_OUT, SecondMoments


def ids(windows: int, length: int = 24) -> Tensor:
    return torch.randint(96, (windows, length), generator=torch.Generator().manual_seed(0))


def decoder(model_type: str) -> tuple[PreTrainedModel, list[nn.Module]]:
    """Families whose decoders hand their blocks different things: a mask each, two rotations, positional arguments."""
    sizes = {
        "vocab_size": 96,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    }
    wide = sizes | {"intermediate_size": 40, "num_key_value_heads": 2, "head_dim": 8}
    fields = {
        "gemma2": wide | {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]},
        "gemma3_text": wide | {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]},
        "gpt2": {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        "opt": sizes | {"ffn_dim": 40, "word_embed_proj_dim": 32},
        "gpt_neox": sizes | {"intermediate_size": 40},
    }[model_type]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **fields)).eval()
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return model, list(max(lists, key=len))


@pytest.mark.parametrize("model_type", ["gemma2", "gemma3_text", "gpt2", "opt", "gpt_neox"])
@torch.no_grad()
def test_a_stream_ends_where_the_decoder_does(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, blocks = decoder(model_type)
    last: list[Tensor] = []
    hook = blocks[-1].register_forward_hook(lambda block, arguments, output: last.append(output))
    model(input_ids=ids(5), use_cache=False)
    hook.remove()
    streamed: list[Tensor] = []
    monkeypatch.setattr(blockwise, "CALIBRATION_TOKENS", 48)  # two windows at a time, and one that is left
    stream = Stream(model, blocks, ids(5))
    other = stream.copy()
    for index in range(len(blocks)):
        other.advance(index)  # the one does not know of the other
        if index == len(blocks) - 1:
            blocks[-1].register_forward_hook(lambda block, arguments, output: streamed.append(output))
        stream.advance(index)
    assert len(streamed) == 3
    torch.testing.assert_close(torch.cat(streamed), last[0])
    assert not any("forward" in vars(block) for block in blocks)


def test_moments_do_not_know_the_pieces() -> None:
    draw = torch.Generator().manual_seed(0)
    inputs_NS, errors_NO = torch.randn(500, 6, generator=draw), torch.randn(500, 3, generator=draw)
    pieces = SecondMoments(6, 3, inputs_NS.device, window=100)
    for part_NS, part_NO in zip(inputs_NS.split(37), errors_NO.split(37), strict=True):
        pieces.add(part_NS, part_NO)
    judging_N = torch.stack([(window + torch.arange(100)) % HELD_OUT == 0 for window in range(5)]).flatten()
    for gram_SS, cross_OS, chosen_N in (
        (pieces.shaping_SS, pieces.shaping_OS, ~judging_N),
        (pieces.judging_SS, pieces.judging_OS, judging_N),
    ):
        exact_NS, exact_NO = inputs_NS[chosen_N].double(), errors_NO[chosen_N].double()
        torch.testing.assert_close(gram_SS, exact_NS.T @ exact_NS, rtol=1e-6, atol=1e-4)
        torch.testing.assert_close(cross_OS, exact_NO.T @ exact_NS, rtol=1e-6, atol=1e-4)


def test_a_compensated_cut_in_pieces_is_the_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(batch_tokens: int) -> dict[str, Tensor]:
        model, shape = random_model()
        fam = family(shape)
        adapters.attach(model, fam, LoraSpec(dropout=0.0), seed=0)
        dense = Plan.dense(shape)
        draw = torch.Generator().manual_seed(0)
        scores = {
            Kind.KV_GROUP: [torch.rand(shape.kv_heads, generator=draw) for _ in range(shape.layers)],
            Kind.FFN_CHANNEL: [torch.rand(shape.ffn, generator=draw) for _ in range(shape.layers)],
        }
        chosen = plan.narrow(dense, scores, widths.alike(shape, Widths(1, 24)))
        monkeypatch.setattr(blockwise, "CALIBRATION_TOKENS", batch_tokens)
        compensated_cut.cut(model, fam, shape, dense, chosen, None, ids(20), bfloat16=False)
        return model.state_dict()

    at_once, in_pieces = cut(20 * 24), cut(3 * 24)
    plain = random_model()[0].state_dict()
    assert at_once.keys() == in_pieces.keys()
    for name, tensor in at_once.items():
        torch.testing.assert_close(in_pieces[name], tensor, rtol=1e-4, atol=1e-5)
    gate = "model.layers.0.mlp.down_proj"
    kept = plain[f"{gate}.weight"]
    assert not torch.isin(at_once[f"{gate}.base_layer.weight"][0], kept[0]).all()  # something was mended
