"""Models that map image and text features into one space; torch only."""

from lib.models.cca import CCA
from lib.models.cross_attention import CrossAttention, cross_attention_similarity
from lib.models.joint_embedding import JointEmbedding, PooledBranch, Projection
from lib.models.pooling import GeneralizedPooling, last_pool, max_pool, mean_pool
from lib.models.text_regression import CosineRegression, SigmoidRegression, TextRegression, min_max
from lib.models.webly import webly_embedding

__all__ = [
    "CCA",
    "CosineRegression",
    "CrossAttention",
    "GeneralizedPooling",
    "JointEmbedding",
    "PooledBranch",
    "Projection",
    "SigmoidRegression",
    "TextRegression",
    "cross_attention_similarity",
    "last_pool",
    "max_pool",
    "mean_pool",
    "min_max",
    "webly_embedding",
]
