"""Contrastive learning with generative features and support sets (Zhang et al., SIGIR 2022), and what it beats."""

from lib.systems.crcgs.categories import (
    CategoryConfig,
    HashedNetwork,
    LabelledItems,
    contrastive,
    dcmh,
    dscmr,
    embed,
    fit_categories,
    fit_hash_layer,
    hashing,
    projection,
)
from lib.systems.crcgs.generators import FeatureGenerator, Generators
from lib.systems.crcgs.linear_hash import LinearHash
from lib.systems.crcgs.losses import (
    discrimination_loss,
    feature_distillation,
    fooling_loss,
    generative_contrast,
    noise_contrast,
    support_set_loss,
    support_weights,
)
from lib.systems.crcgs.networks import CategoryNetwork, Discriminator, HashLayer
from lib.systems.crcgs.objective import PUBLISHED_RUNS, CrcgsObjective, CrcgsWeights, PublishedRun, fit_generator

__all__ = [
    "PUBLISHED_RUNS",
    "CategoryConfig",
    "CategoryNetwork",
    "CrcgsObjective",
    "CrcgsWeights",
    "Discriminator",
    "FeatureGenerator",
    "Generators",
    "HashLayer",
    "HashedNetwork",
    "LabelledItems",
    "LinearHash",
    "PublishedRun",
    "contrastive",
    "dcmh",
    "discrimination_loss",
    "dscmr",
    "embed",
    "feature_distillation",
    "fit_categories",
    "fit_generator",
    "fit_hash_layer",
    "fooling_loss",
    "generative_contrast",
    "hashing",
    "noise_contrast",
    "projection",
    "support_set_loss",
    "support_weights",
]
