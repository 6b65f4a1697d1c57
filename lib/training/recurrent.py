"""A GRU that trains faster on a CPU than PyTorch's, with the same parameters, states and gradients.

PyTorch makes the gradient of the recurrent weights word by word, and adds up as many matrices of their size (12 MB at
1,024 states, in and out of memory for every word). Here the gradients of all gates are kept, and one matrix product
makes it from those of the whole batch. The gates are worked on in place.
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
        # The input's share of all gates at once, the candidate's first: then the gates' gradients lie as they are used.
        size = self.hidden_size
        weight, bias = (part.roll(size, 0) for part in (self.weight_ih_l0, self.bias_ih_l0))
        of_inputs = F.linear(inputs.transpose(0, 1).contiguous(), weight, bias)
        dtype = of_inputs.dtype
        states = _Steps.apply(of_inputs, self.weight_hh_l0.to(dtype), self.bias_hh_l0.to(dtype)).transpose(0, 1)
        return states, states[None, :, -1]


class _Steps(torch.autograd.Function):
    """All steps of a GRU from the input's share of the gates (L, B, 3 H): candidate, reset, update."""

    @staticmethod
    def forward(ctx, of_inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        length, batch, size = *of_inputs.shape[:2], weight.shape[1]
        states = of_inputs.new_zeros(length + 1, batch, size)
        candidates = of_inputs.new_empty(length, batch, size)
        gates = of_inputs.new_empty(length, batch, 3 * size)  # reset, update, the state's share of the candidate
        for step, (gate, candidate) in enumerate(zip(gates, candidates, strict=True)):
            torch.addmm(bias, states[step], weight.T, out=gate)
            reset, update, of_state = gate.chunk(3, 1)
            gate[:, : 2 * size].add_(of_inputs[step, :, size:]).sigmoid_()
            torch.addcmul(of_inputs[step, :, :size], reset, of_state, out=candidate).tanh_()
            torch.lerp(candidate, states[step], update, out=states[step + 1])
        ctx.save_for_backward(weight, states, candidates, gates)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx, of_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, states, candidates, gates = ctx.saved_tensors
        length, batch, size = candidates.shape
        found = gates.new_empty(length, batch, 4 * size)  # of candidate, reset, update, the state's share of the first
        flowing = torch.zeros_like(states[0])
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
            flowing = kept.addmm_(found[step, :, size:], weight)
        of_gates = found[:, :, size:].flatten(0, 1)
        of_weight = of_gates.T @ states[:-1].flatten(0, 1)
        return found[:, :, : 3 * size], of_weight, of_gates.sum(0)
