"""Training steps a second beside VSE++-style code: GRU of 1,024, frozen features of 2,048, batches of 128, one thread.

    python -m tests.benchmarks.training [--steps 10] [--batch 128] [--hidden 1024] [--rounds 3]

One model (linear map of the picture, GRU over words of 300, its last state), the same weights at the start, the max of
hinges, gradients clipped, Adam; captions of 5 to 25 words, drawn by Zipf's law. The peer draws batches at random, packs
them and takes the plain Adam, as the field's code does; the second row gives it our batches, of about one length. Ours:
those batches without packing, `FastGRUEncoder`, the fused optimiser, then bfloat16 autocast where the CPU has it. The
losses of one batch before training are printed: they must agree. Methods take turns; median of the processor seconds.
The column of the floor is the time over that of the matrix products that the model needs, at the rate of large ones in
the same precision, measured in the same run. Peak memory is what a pass adds (Linux). No judgement is passed.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lib.losses import max_of_hinges
from lib.models import JointEmbedding
from lib.models.gru import GRUEncoder
from lib.models.joint_embedding import PooledBranch, Projection
from lib.models.pooling import last_pool
from lib.training import Pairs
from lib.training.batches import Batch
from lib.training.throughput import fast_recurrence, fused_adamw, train_step
from tests.benchmarks.floor import product_rate
from tests.benchmarks.losses import vse_hardest
from tests.benchmarks.memory import reset_peak, status

WORDS, WORD_DIM, FEATURES = 8_000, 300, 2_048


class Peer(nn.Module):
    """The encoders as VSE++ has them, with the weights of ours: packed captions, the last state."""

    def __init__(self, ours: JointEmbedding):
        super().__init__()
        self.image, encoder = nn.Linear(FEATURES, ours.image[1].out_features), ours.sentence.encoder
        self.embed = nn.Embedding(WORDS, WORD_DIM)
        self.gru = nn.GRU(WORD_DIM, encoder.gru.hidden_size, batch_first=True)
        for mine, theirs in ((self.image, ours.image[1]), (self.embed, encoder.embed), (self.gru, encoder.gru)):
            mine.load_state_dict(theirs.state_dict())

    def forward(self, images: Tensor, words: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        states, _ = pad_packed_sequence(
            self.gru(pack_padded_sequence(self.embed(words), lengths, batch_first=True))[0], batch_first=True
        )
        last = states.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]
        return normalize(self.image(images), dim=1), normalize(last, dim=1)


def step_of_peer(peer: Peer, parts: tuple[Tensor, Tensor, Tensor], adam: torch.optim.Optimizer) -> float:
    """One step of VSE++; its loss over the size of the batch, since ours is the mean."""
    value = vse_hardest(*peer(*parts))
    adam.zero_grad()
    value.backward()
    nn.utils.clip_grad_norm_(peer.parameters(), 2.0)
    adam.step()
    return float(value.detach()) / len(parts[0])


def longest_first(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, words and lengths of a batch, side by side and in the order that packing wants."""
    words, lengths = batch.texts
    order = lengths.argsort(descending=True)
    return batch.images[torch.searchsorted(batch.image_ids, batch.text_ids[order])], words[order], lengths[order]


def products(words: int, distinct: int, pairs: int, batch: int, hidden: int) -> int:
    """Floating point operations of the matrix products of one pass, forward and backward, no padding counted.

    A word that occurs again in its batch meets the input weights once: `distinct` is the sum over batches.
    """
    gates, similarity = 3 * hidden * (words * hidden + distinct * WORD_DIM), batch * hidden
    return 2 * (3 * gates + 2 * pairs * FEATURES * hidden + 3 * pairs * similarity)


def main(arguments: list[str] | None = None) -> list[dict]:
    """Measure, print the table and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=1_024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    n = options.steps * options.batch
    lengths = torch.randint(5, 26, (n,))
    zipf = 1 / torch.arange(1, WORDS - 3)
    words = (4 + zipf.multinomial(25 * n, replacement=True).view(n, 25)) * (torch.arange(25) < lengths[:, None])
    pairs = Pairs(torch.randn(n, FEATURES), words, torch.arange(n), lengths)
    of_one_length = list(pairs.epoch(options.batch, 0, 0))
    at_random = [pairs.batch(rows) for rows in torch.randperm(n).split(options.batch)]
    packed = [[longest_first(batch) for batch in batches] for batches in (at_random, of_one_length)]
    distinct = sum(len(batch.texts[0].unique()) for batch in of_one_length)
    needed = products(int(lengths.sum()), distinct, n, options.batch, options.hidden)
    print(f"{int(lengths.sum()):,} words, {distinct:,} of them the first of their kind in the batch")

    sentence = PooledBranch(GRUEncoder(WORDS, WORD_DIM, options.hidden), last_pool)
    model = JointEmbedding(Projection(FEATURES, options.hidden), sentence)
    peer = Peer(model)
    fast_recurrence(model)
    adam = torch.optim.Adam(peer.parameters(), 2e-4, foreach=False)
    optimiser = fused_adamw(model.parameters(), 2e-4)

    def theirs(batches: list) -> list[float]:
        return [step_of_peer(peer, parts, adam) for parts in batches]

    def ours(bf16: bool) -> list[float]:
        return [float(train_step(model, batch, max_of_hinges, optimiser, bf16)) for batch in of_one_length]

    runs = {
        "VSE++ style": (lambda: theirs(packed[0]), torch.float32),
        "VSE++ style, batches of one length": (lambda: theirs(packed[1]), torch.float32),
        "lib.training, float32": (lambda: ours(False), torch.float32),
    }
    if torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        runs["lib.training, bfloat16"] = (lambda: ours(True), torch.bfloat16)
    else:
        print("this CPU has no bfloat16 instructions")
    with torch.no_grad():
        batch = of_one_length[0]
        value = vse_hardest(*peer(*longest_first(batch))) / len(batch.images)
        own = max_of_hinges(model(batch.images, batch.texts), batch.positives)
    print(f"loss of one batch before training: VSE++ style {float(value):.6f}, lib.training {float(own):.6f}")

    rate = {dtype: product_rate(dtype) for dtype in {dtype for _, dtype in runs.values()}}
    seconds, peak = {name: [] for name in runs}, dict.fromkeys(runs, 0.0)
    for _ in range(options.rounds):
        for name, (run, _) in runs.items():
            before, start = reset_peak(), time.thread_time()
            run()
            seconds[name].append(time.thread_time() - start)
            peak[name] = max(peak[name], status("VmHWM") - before)
    taken = {name: statistics.median(found) for name, found in seconds.items()}
    print(f"\ntraining: batch {options.batch}, GRU {options.hidden}, one thread, median of {options.rounds}")
    print(f"{'':40s}{'pairs a second':>16s}{'ratio':>8s}{'/ floor':>9s}{'peak MB':>9s}")
    rows = [
        {"method": name, "pairs_a_second": n / taken[name], "ratio": taken["VSE++ style"] / taken[name],
         "over_floor": taken[name] * rate[dtype] / needed, "peak_mb": peak[name]}
        for name, (_, dtype) in runs.items()
    ]  # fmt: skip
    for row in rows:
        print(
            f"{row['method']:40s}{row['pairs_a_second']:16.0f}{row['ratio']:8.2f}{row['over_floor']:9.2f}"
            f"{row['peak_mb']:9.0f}",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    main()
