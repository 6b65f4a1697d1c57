"""The measured numbers of a notebook, collected method by method.

results = Results(corpus, "test, 300 pictures", ("rsum", "t2i_r10"))
results.measure("InfoNCE", [model for model, _ in runs], pairs, "linear maps")
results.difference("InfoNCE", "CCA")  # paired bootstrap; shown by the notebook, and kept for metrics.json
"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from lib.evaluation import Scores, holm, paired_bootstrap
from lib.evaluation.bootstrap import Difference
from lib.report import rows as metrics
from lib.training import Pairs, validate


class Results:
    """Scores of methods, one a training seed, and the rows of metrics.json that they become.

    Args:
        corpus: name of the corpus.
        where: what was scored; every row's setting begins with it.
        names: the metrics that become rows.
        device: on which `measure` validates.

    Attributes:
        rows: of all methods, in the order in which they came.
        scores: method -> scores, one a seed.
        on_validation: method -> the number by which a method is chosen, where there is one.
        measured: method -> the models that `measure` scored, one a seed, and the pairs of each split.
        differences: (after, before, metric) -> paired bootstrap.
    """

    def __init__(self, corpus: str, where: str, names: Sequence[str], device: str = "auto"):
        self.corpus, self.where, self.names, self.device = corpus, where, names, device
        self.rows: list[dict] = []
        self.scores: dict[str, list] = {}
        self.on_validation: dict[str, float] = {}
        self.measured: dict[str, tuple[list[nn.Module], Mapping[str, Pairs]]] = {}
        self.differences: dict[tuple[str, str, str], Difference] = {}

    def add(
        self,
        method: str,
        scores: Sequence[Scores | Mapping[str, float]],
        setting: str = "",
        on_validation: float | None = None,
    ) -> None:
        """Keep the scores of a method, one a seed, and make them rows; `setting` follows what was scored."""
        setting = f"{self.where}; {setting}" if setting else self.where
        self.rows += metrics.rows(method, self.corpus, setting, scores, self.names)
        self.scores[method] = list(scores)
        if on_validation is not None:
            self.on_validation[method] = float(on_validation)

    def measure(self, method: str, models: Sequence[nn.Module], pairs: Mapping[str, Pairs], setting: str) -> None:
        """Score trained models, one a seed, on pairs["test"] and on pairs["val"] if there is one; print recall sums."""
        scores = [validate(model, pairs["test"], device=self.device) for model in models]
        reached, said = None, ""
        if "val" in pairs:
            on_val = [validate(model, pairs["val"], device=self.device).as_dict()["rsum"] for model in models]
            reached = float(np.mean(on_val))
            said = f"validation {reached:6.1f}"
        self.measured[method] = list(models), pairs
        self.add(method, scores, setting, reached)
        print(f"{method:<36} {said:<17}   test {np.mean([one.as_dict()['rsum'] for one in scores]):6.1f}")

    def difference(self, after: str, before: str, metric: str = "rsum") -> Difference:
        """Paired bootstrap of two methods over test pictures and seeds, kept in `differences`."""
        found = paired_bootstrap(self.scores[after], self.scores[before], metric)
        self.differences[after, before, metric] = found
        return found

    def difference_rows(self) -> list[dict]:
        """A row for every difference asked for: `after - before`, its metric with `_difference`, its interval.

        Their p-values, corrected for how many differences there are (Holm), stand in the note.
        """
        corrected = holm({asked: found.p for asked, found in self.differences.items()})
        made = []
        for (after, before, metric), found in self.differences.items():
            a, b = (np.array([of_seed.as_dict()[metric] for of_seed in self.scores[name]]) for name in (after, before))
            values = list(a - b) if len(a) == len(b) else [found.difference]
            seeds = " and ".join(map(str, dict.fromkeys(found.seeds)))
            setting = f"{self.where}; interval over pictures and seeds ({seeds})"
            note = f"p = {found.p:.2g}, of {len(corrected)} differences {corrected[after, before, metric]:.2g}"
            name = f"{after} - {before}"
            made.append(
                metrics.row(name, self.corpus, setting, f"{metric}_difference", values, (found.low, found.high), note)
            )
        return made
