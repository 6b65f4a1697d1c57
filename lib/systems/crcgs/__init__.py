"""Contrastive learning with generative features and support sets (Zhang et al., SIGIR 2022), and what it beats."""

from lib.systems.crcgs.baselines import contrastive, dcmh, discriminative, dscmr, projection
from lib.systems.crcgs.generators import (
    FeatureGenerator,
    FeaturePairs,
    Generators,
    fit_generators,
    generation,
    generation_config,
)
from lib.systems.crcgs.hashing import HashedNetwork, fit_hash_layer, hashing
from lib.systems.crcgs.items import LabelledItems, SearchedItems, category_config, embed, words_present
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
from lib.systems.crcgs.objective import PUBLISHED_RUNS, CrcgsObjective, CrcgsWeights, PublishedRun

__all__ = [
    "PUBLISHED_RUNS",
    "CategoryNetwork",
    "CrcgsObjective",
    "CrcgsWeights",
    "Discriminator",
    "FeatureGenerator",
    "FeaturePairs",
    "Generators",
    "HashLayer",
    "HashedNetwork",
    "LabelledItems",
    "LinearHash",
    "PublishedRun",
    "SearchedItems",
    "category_config",
    "contrastive",
    "dcmh",
    "discrimination_loss",
    "discriminative",
    "dscmr",
    "embed",
    "feature_distillation",
    "fit_generators",
    "fit_hash_layer",
    "fooling_loss",
    "generation",
    "generation_config",
    "generative_contrast",
    "hashing",
    "noise_contrast",
    "projection",
    "support_set_loss",
    "support_weights",
    "words_present",
]
