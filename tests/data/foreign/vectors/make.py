"""Made with: gensim 4.4.0, by `python tests/data/foreign/vectors/make.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gensim.models import KeyedVectors

FOLDER = Path(__file__).parent
WORDS = ["the", "été", ",", "New_York", "42", "日本"]

vectors = KeyedVectors(vector_size=5)
vectors.add_vectors(WORDS, np.random.default_rng(0).standard_normal((6, 5), dtype=np.float32))
vectors.save_word2vec_format(str(FOLDER / "word2vec.txt"))
vectors.save_word2vec_format(str(FOLDER / "word2vec.bin"), binary=True)
vectors.save_word2vec_format(str(FOLDER / "glove.txt"), write_header=False)
np.save(FOLDER / "expected.npy", vectors.vectors)
