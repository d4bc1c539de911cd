"""The tests; they mirror the house."""

import os
from pathlib import Path

#: The repository. What runs in a process of its own takes it from here: tests.conftest imports what tests run with.
ROOT = Path(__file__).resolve().parents[1]

# Keras would take TensorFlow, which is not installed.
os.environ.setdefault("KERAS_BACKEND", "torch")
