"""What the metrics are called, how many digits they are shown with, and which direction is better."""

DIRECTIONS = {"i2t": "image to text", "t2i": "text to image"}
_RANKS = {"medr": "median rank", "meanr": "mean rank"}
_OTHER = {"pmrp": "PMRP", "mapr": "mAP@R"}
_TAUS = {"tau_c_expert": "Kendall tau-c, experts", "tau_b_crowd": "Kendall tau-b, crowd"}
_FRACTIONS = ("map", "p5", "tau")  # between 0 and 1 (tau: -1 and 1); recalls are percent, ranks are ranks
_P5 = {"all": "P@5", "simple": "P@5, one concept", "complex": "P@5, two concepts"}


def metric_name(metric: str) -> str:
    """The name people read: `i2t_r10` -> `image to text R@10`; a name without a known form is returned unchanged."""
    if metric.endswith("_difference"):
        return f"{metric_name(metric.removesuffix('_difference'))}, difference"
    validation, name = ("validation ", metric[4:]) if metric.startswith("val_") else ("", metric)
    first, _, rest = name.partition("_")
    if name == "rsum":
        return validation + "recall sum"
    if first == "map" and rest in (*DIRECTIONS, "avg"):
        return f"{validation}{DIRECTIONS.get(rest, 'average')} mAP"
    if first == "p5" and rest in _P5:
        return validation + _P5[rest]
    if name in _TAUS:
        return validation + _TAUS[name]
    known = _RANKS | _OTHER
    if first in DIRECTIONS and (rest in known or (rest[:1] == "r" and rest[1:].isdigit())):
        return f"{validation}{DIRECTIONS[first]} {known.get(rest, f'R@{rest[1:]}')}"
    return metric


def heading(metric: str) -> str:
    """A short column heading: `i2t_r10` -> `I→T R@10`, `map_t2i` -> `T→I mAP`, `rsum` -> `RSUM`."""
    text = metric_name(metric).replace("recall sum", "RSUM").replace("median", "med.")
    return text.replace("image to text", "I→T").replace("text to image", "T→I")


def decimals(metric: str) -> int:
    """Digits after the point: three for fractions (mAP, precision at 5, tau), one for percent and ranks."""
    return 3 if metric.startswith(_FRACTIONS) else 1


def higher_is_better(metric: str) -> bool:
    """False for ranks (`i2t_medr`, `t2i_meanr`), True for every other metric."""
    return not metric.endswith(tuple(_RANKS))
