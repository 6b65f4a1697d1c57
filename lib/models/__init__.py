"""Models that map image and text features into one space; torch only."""

from lib.models.cca import CCA
from lib.models.cross_attention import CrossAttention, cross_attention_similarity
from lib.models.dropout import Dropout
from lib.models.interface import RetrievalModel, Texts, Tokens
from lib.models.joint_embedding import JointEmbedding, PooledBranch, Projection
from lib.models.pooling import GeneralizedPooling, last_pool, max_pool, mean_pool

__all__ = [
    "CCA",
    "CrossAttention",
    "Dropout",
    "GeneralizedPooling",
    "JointEmbedding",
    "PooledBranch",
    "Projection",
    "RetrievalModel",
    "Texts",
    "Tokens",
    "cross_attention_similarity",
    "last_pool",
    "max_pool",
    "mean_pool",
]
