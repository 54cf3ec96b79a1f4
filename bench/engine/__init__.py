"""What the engine promises on one small real model: quality at equal size, speed, memory.

The protocol is fixed, so that figures of different tools compare: SmolLM2-135M-Instruct and its multi-head twin (every
KV head repeated, the same logits), WikiText-2 `valid.txt` to train and calibrate on, 100 steps of 4 × 256 tokens,
perplexity on the first 40 windows of 512 tokens of `test.txt`, no begin-of-text token, in float32.
"""
