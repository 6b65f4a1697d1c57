"""A GRU that trains faster on a CPU than PyTorch's, with the same parameters, states and gradients.

Three things make the difference. The matrix products are oneDNN's, in float32 as well, where PyTorch takes those of
MKL, which are slower for the shapes of a GRU step. The gradient of the recurrent weights is one product for the whole
batch, instead of a sum of as many matrices as there are words. The gates are worked on in place.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class FastGRU(nn.GRU):
    """`nn.GRU` of one layer and one direction, batch first. On a GPU, and for packed sequences, it is PyTorch's own.

    Under autocast its matrix products and states are in the lower precision.
    """

    @staticmethod
    def suits(gru: nn.GRU) -> bool:
        """Whether there is a fast GRU for it: one layer, one direction, the batch first, with biases."""
        return gru.num_layers == 1 and not gru.bidirectional and gru.batch_first and gru.bias

    @classmethod
    def of(cls, gru: nn.GRU) -> FastGRU:
        """Return a fast GRU that shares the parameters of `gru`.

        Raises:
            ValueError: it does not suit.
        """
        if not cls.suits(gru):
            raise ValueError(f"a fast GRU has one layer, one direction, the batch first and biases, got {gru}")
        fast = cls(gru.input_size, gru.hidden_size, batch_first=True, device="meta")
        for name, parameter in gru.named_parameters():
            setattr(fast, name, parameter)
        return fast

    @torch.compiler.disable  # which would make a graph for every length
    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the states (B, L, H) of (B, L, D) vectors, and the last ones (1, B, H); all start at `state` or 0."""
        if not isinstance(inputs, Tensor) or inputs.ndim != 3 or inputs.is_cuda or state is not None:
            return super().forward(inputs, state)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else inputs.dtype
        parts = [inputs.transpose(0, 1), self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0]
        states = _States.apply(*(part.to(dtype) for part in parts)).transpose(0, 1)
        return states, states[None, :, -1]


class _States(torch.autograd.Function):
    """The states (L, B, H) of a GRU from (L, B, D) vectors; gates are in the order reset, update, candidate."""

    @staticmethod
    def forward(ctx, inputs, input_weight, weight, input_bias, bias):
        length, batch, size = *inputs.shape[:2], weight.shape[1]
        flat = inputs.reshape(length * batch, -1)
        of_inputs = product(flat, input_weight, input_bias).view(length, batch, 3 * size)
        states = inputs.new_zeros(length + 1, batch, size)
        candidates, gates = inputs.new_empty(length, batch, size), []
        for step, (of_input, candidate) in enumerate(zip(of_inputs, candidates, strict=True)):
            gate = product(states[step], weight, bias)
            gate[:, : 2 * size].add_(of_input[:, : 2 * size]).sigmoid_()
            reset, update, of_state = gate.chunk(3, 1)
            torch.addcmul(of_input[:, 2 * size :], reset, of_state, out=candidate).tanh_()
            torch.lerp(candidate, states[step], update, out=states[step + 1])
            gates.append(gate)
        ctx.save_for_backward(flat, input_weight, weight, states, candidates, *gates)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx, of_states):
        inputs, input_weight, weight, states, candidates, *gates = ctx.saved_tensors
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
            flowing = product(found[step, :, size:], transposed).add_(kept)
        of_input, of_state = (found.flatten(0, 1)[:, part] for part in (slice(3 * size), slice(size, None)))
        rolled = input_weight.roll(size, 0)  # candidate, reset, update
        return (
            product(of_input, rolled.T.contiguous()).view(length, batch, -1) if ctx.needs_input_grad[0] else None,
            (of_input.T @ inputs).roll(-size, 0),
            of_state.T @ states[:-1].flatten(0, 1),
            of_input.sum(0).roll(-size, 0),
            of_state.sum(0),
        )


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `inputs @ weight.T + bias` of matrices on a CPU, by oneDNN where PyTorch has it and it has the type."""
    if torch.backends.mkldnn.is_available() and inputs.dtype in (torch.float32, torch.bfloat16):
        return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return F.linear(inputs, weight, bias)
