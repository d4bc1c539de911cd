"""The normative JSON Schemas of the vocabulary; data, for every language to use."""
