"""How many networks that people have come in whole: ``python -m tests.coverage``."""
