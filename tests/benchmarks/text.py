"""Speed of the text room on one thread, in one run: tokenising, counting co-occurrences, training GloVe.

    python -m tests.benchmarks.text [--words 2000000] [--rounds 3] [--dim 100]

Text is drawn from Zipf's law over made-up words, in captions of 12. Times are processor seconds, best round. Prints
rates and ratios and passes no judgement.
"""

import argparse
import re
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
    """Processor seconds of the fastest round."""
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dim", type=int, default=100)
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
    for dim in (arguments.dim, 400):
        glove = Glove(dim=dim, epochs=2, device="cpu")
        taken = seconds(lambda glove=glove: glove.optimise(counts), 1)
        bound = memory_rate() / (2 * 2 * 2 * 4 * dim)  # two vectors and their squares, read and written, float32
        rate = 2 * counts.nnz / taken
        print(f"GloVe, {dim} dimensions: {rate / 1e6:.1f} million non-zeros a second, ", end="")
        print(f"{bound / rate:.1f} times the time that memory takes for them")


if __name__ == "__main__":
    main()
