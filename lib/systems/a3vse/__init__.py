"""Annotation efficient retrieval with adversarial attentive alignment (Huang et al., ACM MM 2019), a reconstruction."""

from lib.systems.a3vse.adversarial import domain_accuracy, domain_loss, reversal_ramp, reverse_gradient
from lib.systems.a3vse.domains import maximum_mean_discrepancy, proxy_a_distance
from lib.systems.a3vse.losses import soft_alignment, weighted_hinges
from lib.systems.a3vse.model import A3VSE, AttentivePooling, DomainDiscriminator, region_word_similarity, word_attention
from lib.systems.a3vse.objective import A3VSEChoices, A3VSEObjective, SparseBatch, SparsePairs, clues
from lib.systems.a3vse.words import word_table

__all__ = [
    "A3VSE",
    "A3VSEChoices",
    "A3VSEObjective",
    "AttentivePooling",
    "DomainDiscriminator",
    "SparseBatch",
    "SparsePairs",
    "clues",
    "domain_accuracy",
    "domain_loss",
    "maximum_mean_discrepancy",
    "proxy_a_distance",
    "region_word_similarity",
    "reversal_ramp",
    "reverse_gradient",
    "soft_alignment",
    "weighted_hinges",
    "word_attention",
    "word_table",
]
