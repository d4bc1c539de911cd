"""The file wing: bytes, HDF5 and the index; it knows no network."""
