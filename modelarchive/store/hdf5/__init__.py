"""HDF5's metadata in the form that archives have, written without the HDF5 library.

The bytes of a file's groups, datasets, links and attributes follow from what the file holds and where. So the
writer needs no library that asks for each object in turn, and a verifier that writes them again and finds the
same bytes knows what every HDF5 reader will see.

Source: the HDF5 File Format Specification, version 3.0, whose names are used here; what it leaves open is as
HDF5 1.8 writes it.
"""

from modelarchive.store.hdf5.attributes import group_attributes
from modelarchive.store.hdf5.metadata import Metadata

__all__ = ["Metadata", "group_attributes"]
