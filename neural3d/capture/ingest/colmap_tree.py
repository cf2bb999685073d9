"""Which of very many photos look alike: a vocabulary tree of COLMAP's, trained on the capture's own descriptors.

Comparing each photo with each other grows with the square of their number; looking words up in an index does not. Runs
in the worker's process; imports nothing of neural3d.

Source: Nister and Stewenius 2006, Scalable Recognition with a Vocabulary Tree; COLMAP's VisualIndex.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

TRAINING_PHOTOS = 600
TRAINING_FEATURES = 100
"""Of each of those photos, its largest."""
FEATURES_PER_WORD = 40
"""What k-means wants of examples for each word."""
WORDS = 64, 4096
"""Fewest and most."""
ITERATIONS, ROUNDS = 10, 1
"""Of k-means: words need not be the best ones to tell photos apart."""
INDEXED_FEATURES = 1024
"""Of a photo, its largest."""
_DESCRIPTOR, _EMBEDDING = 128, 64
"""Numbers of a SIFT descriptor, and bits that tell features of one word apart."""


def tree_pairs(
    database: Any, names: list[str], image_ids: dict[str, int], *, count: int, threads: int, work: Path
) -> set[tuple[int, int]]:
    """Each of the photos `names` with the `count` others that share most words with it; pairs of places in the list."""
    largest = [largest_descriptors(database, image_ids[name]) for name in _spread(names, TRAINING_PHOTOS)]
    examples = np.concatenate(largest) if largest else np.zeros((0, _DESCRIPTOR), dtype=np.uint8)
    if len(examples) < WORDS[0]:
        return set()  # there is nothing to be alike in
    index = work / "words.bin"
    _train(examples, threads, index)
    options = pycolmap.VocabTreePairingOptions()
    options.vocab_tree_path = str(index)
    options.num_images, options.max_num_features, options.num_threads = count, INDEXED_FEATURES, threads
    found = pycolmap.VocabTreePairGenerator(options, database).all_pairs()
    place = {image_ids[name]: number for number, name in enumerate(names)}
    pairs = ((place[a], place[b]) for a, b in found if a in place and b in place and a != b)
    return {(min(pair), max(pair)) for pair in pairs}


def largest_descriptors(database: Any, image_id: int) -> np.ndarray:
    """Descriptors of a photo's largest features, a row each."""
    if not database.exists_descriptors(image_id):
        return np.zeros((0, _DESCRIPTOR), dtype=np.uint8)
    points = np.asarray(database.read_keypoints(image_id))
    descriptors = np.asarray(database.read_descriptors(image_id).data)
    sizes = np.hypot(points[:, 2], points[:, 4]) if len(points) else np.zeros(0)
    return descriptors[np.argsort(-sizes, kind="stable")[:TRAINING_FEATURES]]


def _spread(names: list[str], count: int) -> list[str]:
    return [names[int(place)] for place in np.unique(np.linspace(0, len(names) - 1, count).round())] if names else []


def _train(examples: np.ndarray, threads: int, index: Path) -> None:
    options = pycolmap.VisualIndex.BuildOptions()
    options.num_visual_words = int(np.clip(len(examples) // FEATURES_PER_WORD, *WORDS))
    options.num_iterations, options.num_rounds, options.num_threads = ITERATIONS, ROUNDS, threads
    kind = pycolmap.FeatureExtractorType.SIFT
    tree = pycolmap.VisualIndex.create(_DESCRIPTOR, _EMBEDDING)
    tree.build(options, pycolmap.FeatureDescriptors(type=kind, data=examples).to_float())
    tree.write(str(index))
