"""Speed of the text room on one thread, in one run: tokenising, counting co-occurrences, training GloVe.

    python -m tests.benchmarks.text [--words 2000000] [--rounds 3] [--dims 100 400] [--epochs 5]

Text is drawn from Zipf's law over made-up words, in captions of 12. Times are processor seconds, the median of the
rounds; GloVe's include its start, and its dimensions take turns. Prints rates and ratios and passes no judgement.
"""

import argparse
import re
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from nltk.tokenize import TweetTokenizer, wordpunct_tokenize

from lib.text import tokenize
from lib.text.cooccurrence import count_cooccurrences
from lib.text.glove_training import Glove
from lib.text.preprocessing import preprocess
from tests.benchmarks.floor import memory_rate

VOCABULARY, LENGTH = 30_000, 12
WORD = re.compile(r"\w+")


def seconds(work: Callable, rounds: int) -> float:
    """Processor seconds of a round, the median."""
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dims", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    random = np.random.default_rng(0)
    shares = 1 / np.arange(1, VOCABULARY + 1)
    ids = random.choice(VOCABULARY, arguments.words // LENGTH * LENGTH, p=shares / shares.sum()).astype(np.int32)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(random.choice(letters, 2 + int(random.geometric(0.3)))) for _ in range(VOCABULARY)]
    texts = [" ".join(words[i] for i in line).capitalize() + " ." for line in ids.reshape(-1, LENGTH)]

    print(f"{len(ids):,} words in captions of {LENGTH}, one thread")
    tweets = TweetTokenizer().tokenize
    rates = {}
    for name, split in {"lib tokenize": tokenize, "lib preprocess": preprocess, "re \\w+, no lower case": WORD.findall,
                        "NLTK wordpunct": wordpunct_tokenize, "NLTK TweetTokenizer": tweets}.items():  # fmt: skip
        some = texts[:: 50 if split is tweets else 5]
        taken = seconds(lambda split=split, some=some: [split(text) for text in some], arguments.rounds)
        rates[name] = len(some) * LENGTH / taken
        print(f"  {name:24}{rates[name] / 1e6:6.2f} million words a second")
    ratio = rates["lib tokenize"] / rates["NLTK TweetTokenizer"]
    print(f"  lib tokenize is {ratio:.0f} times as fast as NLTK's for tweets")

    lengths = np.full(len(ids) // LENGTH, LENGTH)
    counts = count_cooccurrences(ids, lengths, VOCABULARY)
    taken = seconds(lambda: count_cooccurrences(ids, lengths, VOCABULARY), arguments.rounds)
    print(f"co-occurrences: {counts.nnz:,} non-zeros, {counts.nnz / taken / 1e6:.1f} million a second")
    found: dict[int, list[float]] = {dim: [] for dim in arguments.dims}
    for _ in range(arguments.rounds):
        for dim, speeds in found.items():
            glove = Glove(dim=dim, epochs=arguments.epochs, device="cpu")
            taken = seconds(lambda glove=glove: glove.optimise(counts), 1)
            speeds.append(arguments.epochs * counts.nnz / taken / 1e6)
    memory = memory_rate()
    for dim, speeds in found.items():
        rate = statistics.median(speeds)
        bound = memory / (2 * 2 * 2 * 4 * dim) / 1e6  # two vectors and their squares, read and written, float32
        print(
            f"GloVe, {dim} dimensions: {rate:.2f} million non-zeros a second, rounds from {min(speeds):.2f} to "
            f"{max(speeds):.2f}; {bound / rate:.1f} times the time that memory takes for them"
        )


if __name__ == "__main__":
    main()
