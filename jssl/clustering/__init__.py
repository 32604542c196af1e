"""Clustering of features: k-means, PCA-whitening before it, and optimal assignment to classes of equal size.

For methods (when they refresh their labels), evaluators and users alike: arrays in, arrays out. Nothing here knows of
a network, a method or a config; imports parallel and types.
"""

from jssl.clustering.assignment import Assignment, optimal_assignment
from jssl.clustering.k_means import KMeans, k_means
from jssl.clustering.whitening import Whitening, pca_whitening

__all__ = ["Assignment", "KMeans", "Whitening", "k_means", "optimal_assignment", "pca_whitening"]
