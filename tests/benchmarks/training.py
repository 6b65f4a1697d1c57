"""Training steps a second beside VSE++-style code: GRU of 1,024, frozen features of 2,048, batches of 128, one thread.

    python -m tests.benchmarks.training [--steps 4] [--batch 128] [--hidden 1024]

The peer packs captions of random lengths, takes the plain hinges and unfused Adam, as the field's code does. Ours:
batches of about one length, no packing, the fused optimiser; then bfloat16 autocast where the CPU has it. Both see the
same captions, 5 to 25 words. Methods take turns, best processor seconds of the steps. No judgement is passed.
"""

import argparse
import time

import torch
from torch import nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lib.losses import max_of_hinges
from lib.models import JointEmbedding
from lib.models.joint_embedding import PooledBranch, Projection
from lib.models.pooling import mean_pool
from lib.text.gru import GRUEncoder
from lib.training import Pairs
from lib.training.throughput import fused_adamw, pad_to_multiple, train_step
from tests.benchmarks.losses import vse_hardest

WORDS, FEATURES = 8_000, 2_048


class Peer(nn.Module):
    """The encoders as VSE++ has them: packed captions, the last state."""

    def __init__(self, hidden: int):
        super().__init__()
        self.image, self.embed = nn.Linear(FEATURES, hidden), nn.Embedding(WORDS, 300)
        self.gru = nn.GRU(300, hidden, batch_first=True)

    def forward(self, images, words, lengths):
        states, _ = pad_packed_sequence(
            self.gru(pack_padded_sequence(self.embed(words), lengths, batch_first=True))[0], batch_first=True
        )
        last = states.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]
        return normalize(self.image(images), dim=1), normalize(last, dim=1)


def main(arguments: list[str] | None = None) -> list[dict]:
    """Measure, print the table and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=1_024)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    n = options.steps * options.batch
    lengths = torch.randint(5, 26, (n,))
    words = torch.randint(4, WORDS, (n, 25)) * (torch.arange(25) < lengths[:, None])
    pairs = Pairs(torch.randn(n, FEATURES), words, torch.arange(n), lengths)

    peer = Peer(options.hidden)
    adam = torch.optim.Adam(peer.parameters(), 2e-4, foreach=False)

    def plain() -> None:
        for rows in torch.randperm(n).split(options.batch):
            rows = rows[lengths[rows].argsort(descending=True)]
            x, y = peer(pairs.images[rows], words[rows, : int(lengths[rows].max())], lengths[rows])
            adam.zero_grad()
            vse_hardest(x, y).backward()
            nn.utils.clip_grad_norm_(peer.parameters(), 2.0)
            adam.step()

    sentence = PooledBranch(GRUEncoder(WORDS, 300, options.hidden), mean_pool)
    model = JointEmbedding(Projection(FEATURES, options.hidden), sentence)
    optimiser = fused_adamw(model.parameters(), 2e-4)

    def ours(bf16: bool) -> None:
        for batch in pairs.epoch(options.batch, 0, 0):
            train_step(model, pad_to_multiple(batch, 4), max_of_hinges, optimiser, bf16)

    runs = {"VSE++ style": plain, "lib.training, float32": lambda: ours(False)}
    if torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        runs["lib.training, bf16"] = lambda: ours(True)
    else:
        print("this CPU has no bfloat16 instructions")
    seconds = {name: [] for name in runs}
    for _ in range(3):
        for name, run in runs.items():
            start = time.thread_time()
            run()
            seconds[name].append(time.thread_time() - start)
    best = {name: min(taken) for name, taken in seconds.items()}
    print(f"\ntraining: batch {options.batch}, GRU {options.hidden}, one thread, best of 3")
    rows = [{"method": name, "pairs_a_second": n / taken, "ratio": best["VSE++ style"] / taken}
            for name, taken in best.items()]  # fmt: skip
    for row in rows:
        print(f"{row['method']:30s}{row['pairs_a_second']:8.0f} pairs a second{row['ratio']:7.2f}", flush=True)
    return rows


if __name__ == "__main__":
    main()
