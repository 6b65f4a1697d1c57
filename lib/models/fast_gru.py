"""A sentence encoder that trains faster on a CPU than `GRUEncoder`, with the same parameters, states and gradients.

Four things make the difference. A word that occurs many times in a batch meets the input weights once. The matrix
products are oneDNN's, in float32 as well, where PyTorch takes those of MKL, which are slower for the shapes of a GRU
step. The gradient of the recurrent weights is one product for the whole batch, instead of a sum of as many matrices as
there are words. The gates are worked on in place.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.autograd.function import once_differentiable

from lib.models.gru import GRUEncoder


class FastGRUEncoder(nn.Module):
    """A `GRUEncoder` of one direction that shares the parts of `plain`. On a GPU it does what the plain one does.

    Under autocast its matrix products and states are in the lower precision.

    Raises:
        ValueError: `plain` reads in both directions.
    """

    def __init__(self, plain: GRUEncoder):
        super().__init__()
        if plain.gru.bidirectional:
            raise ValueError(f"a fast encoder reads in one direction, got {plain.gru}")
        self.embed, self.gru = plain.embed, plain.gru

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the (B, L, hidden) states of (B, L) word ids; only the first `lengths[b]` of row b mean anything."""
        # Compiled it would be a graph for every length. (torch.compiler.disable loads the compiler at import.)
        return self._uncompiled(tokens) if torch.compiler.is_compiling() else self._states(tokens)

    @_disable_dynamo
    def _uncompiled(self, tokens: Tensor) -> Tensor:
        return self._states(tokens)

    def _states(self, tokens: Tensor) -> Tensor:
        if tokens.is_cuda:
            return self.gru(self.embed(tokens))[0]
        distinct, places = tokens.T.unique(return_inverse=True)
        words = self.embed(distinct)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else words.dtype
        return _States.apply(places, *(part.to(dtype) for part in (words, *self.gru.parameters()))).transpose(0, 1)


class _States(torch.autograd.Function):
    """The states (L, B, H) of a GRU from (L, B) places in (V, D) word vectors.

    Gates are in the order reset, update, candidate.
    """

    @staticmethod
    def forward(ctx, places, words, input_weight, weight, input_bias, bias):
        (length, batch), size = places.shape, weight.shape[1]
        of_words = product(words, input_weight, input_bias)
        states = words.new_zeros(length + 1, batch, size)
        candidates, gates = words.new_empty(length, batch, size), []
        for step, candidate in enumerate(candidates):
            of_input = of_words[places[step]]
            gate = product(states[step], weight, bias) if step else bias.repeat(batch, 1)  # the first state is 0
            gate[:, : 2 * size].add_(of_input[:, : 2 * size]).sigmoid_()
            reset, update, of_state = gate.chunk(3, 1)
            torch.addcmul(of_input[:, 2 * size :], reset, of_state, out=candidate).tanh_()
            torch.lerp(candidate, states[step], update, out=states[step + 1])
            gates.append(gate)
        ctx.save_for_backward(places, words, input_weight, weight, states, candidates, *gates)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx, of_states):
        places, words, input_weight, weight, states, candidates, *gates = ctx.saved_tensors
        length, batch, size = candidates.shape
        # Gradients of the candidate, reset, update, and of the state's share of the candidate: what the input's share
        # of the gates needs and what the state's needs both lie side by side.
        found = candidates.new_empty(length, batch, 4 * size)
        transposed, flowing = weight.T.contiguous(), torch.zeros_like(states[0])
        for step in reversed(range(length)):
            flowing += of_states[step]
            reset, update, of_state = gates[step].chunk(3, 1)
            of_candidate, of_reset, of_update, of_share = found[step].chunk(4, 1)
            kept = flowing * update
            torch.sub(states[step], candidates[step], out=of_update).mul_(flowing)
            torch.ops.aten.sigmoid_backward.grad_input(of_update, update, grad_input=of_update)
            torch.sub(flowing, kept, out=of_candidate)
            torch.ops.aten.tanh_backward.grad_input(of_candidate, candidates[step], grad_input=of_candidate)
            torch.mul(of_candidate, reset, out=of_share)
            torch.mul(of_candidate, of_state, out=of_reset)
            torch.ops.aten.sigmoid_backward.grad_input(of_reset, reset, grad_input=of_reset)
            if step:
                flowing = product(found[step, :, size:], transposed).add_(kept)
        of_input, of_state = (found.flatten(0, 1)[:, part] for part in (slice(3 * size), slice(size, None)))
        order, counts = places.flatten().argsort(), places.flatten().bincount()
        of_words = F.embedding_bag(order, of_input, counts.cumsum(0) - counts, mode="sum").roll(-size, 1)
        return (
            None,
            product(of_words, input_weight.T.contiguous()) if ctx.needs_input_grad[1] else None,
            of_words.T @ words,
            of_state[batch:].T @ states[1:-1].flatten(0, 1),
            of_words.sum(0),
            of_state.sum(0),
        )


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `inputs @ weight.T + bias` of matrices on a CPU, by oneDNN where PyTorch has it and it has the type."""
    if torch.backends.mkldnn.is_available() and inputs.dtype in (torch.float32, torch.bfloat16):
        return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return F.linear(inputs, weight, bias)
