"""How far apart are two clouds of embeddings? The numbers beside an adversary's game."""

import torch
import torch.nn.functional as F
from torch import Tensor


def proxy_a_distance(a: Tensor, b: Tensor, steps: int = 200, seed: int = 0) -> float:
    """Return `2 (1 - 2 error)` of a linear classifier that tells two domains apart: 0 where it cannot, 2 at best.

    Ben-David et al. 2007. A logistic regression on standardised vectors with a little weight decay, trained on a random
    half of each domain and judged on the other; domains count equally. Negative values are luck.

    Args:
        a, b: (N, D) and (M, D) embeddings.
        steps: of gradient descent with the whole training half (Adam).
        seed: of the halves.

    Raises:
        ValueError: a domain has fewer than four members.
    """
    if min(len(a), len(b)) < 4:
        raise ValueError(f"domains of {len(a)} and {len(b)} members cannot be split into halves")
    generator = torch.Generator().manual_seed(seed)
    halves = []
    for domain in (a, b):
        order = torch.randperm(len(domain), generator=generator)
        halves.append([part.detach().float().cpu() for part in domain[order].tensor_split(2)])
    (train_a, test_a), (train_b, test_b) = halves
    both = torch.cat([train_a, train_b])
    mean, deviation = both.mean(0), both.std(0).clamp(min=1e-6)
    with torch.enable_grad():
        weight, bias = torch.zeros(both.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
        optimiser = torch.optim.AdamW([weight, bias], 0.05, weight_decay=0.01)

        def logits(x):
            return (x - mean) / deviation @ weight + bias

        for _ in range(steps):
            optimiser.zero_grad()
            (F.softplus(-logits(train_a)).mean() + F.softplus(logits(train_b)).mean()).backward()
            optimiser.step()
        error = ((logits(test_a) <= 0).float().mean() + (logits(test_b) > 0).float().mean()) / 2
    return 2 * (1 - 2 * float(error))


@torch.no_grad()
def maximum_mean_discrepancy(a: Tensor, b: Tensor, bandwidth: float | None = None) -> float:
    """Return the squared MMD of two samples with a Gaussian kernel, without bias: about 0 for one distribution.

    Gretton et al. 2012, Eq. 3: the mean kernel within each domain (without each point's own) minus twice the mean
    between them. Matrices of (N + M) squared: give a sample of a large domain.

    Args:
        a, b: (N, D) and (M, D) embeddings, at least two each.
        bandwidth: of the kernel `exp(-d^2 / (2 bandwidth^2))`; None for the median distance between the two samples.
    """
    distance = [torch.cdist(x.float(), y.float()) for x, y in ((a, a), (b, b), (a, b))]
    bandwidth = float(distance[2].median()) if bandwidth is None else bandwidth
    kernel = [torch.exp(-(d**2) / (2 * bandwidth**2)) for d in distance]
    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    return float(within[0] + within[1] - 2 * kernel[2].mean())
