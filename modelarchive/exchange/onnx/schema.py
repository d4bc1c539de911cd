"""The messages of ONNX (onnx.proto3 of IR version 13): number of a field -> its name and what it holds."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.onnx.protobuf import Field, Table

#: What changes nothing that a model computes: words for people and tools, and shapes that follow from the rest.
_DOCUMENTATION: Final = Field("doc_string", None)
_REMARKS: Final = Field("metadata_props", None)
_INFERRED: Final = Field("value_info", None)

_PAIR: Final[Table] = {1: Field("key", "text"), 2: Field("value", "text")}
_OPSET: Final[Table] = {1: Field("domain", "name"), 2: Field("version", "int")}
TENSOR: Final[Table] = {
    1: Field("dims", "int", repeated=True),
    2: Field("data_type", "int"),
    3: Field("segment", "span"),
    4: Field("float_data", "data"),
    5: Field("int32_data", "data"),
    6: Field("string_data", "span", repeated=True),
    7: Field("int64_data", "data"),
    8: Field("name", "name"),
    9: Field("raw_data", "span"),
    10: Field("double_data", "data"),
    11: Field("uint64_data", "data"),
    13: Field("external_data", _PAIR, repeated=True),
    14: Field("data_location", "int"),
    12: _DOCUMENTATION,
    16: _REMARKS,
}
_DIMENSION: Final[Table] = {1: Field("dim_value", "int"), 2: Field("dim_param", "name"), 3: Field("denotation", None)}
_SHAPE: Final[Table] = {1: Field("dim", _DIMENSION, repeated=True)}
_TENSOR_TYPE: Final[Table] = {1: Field("elem_type", "int"), 2: Field("shape", _SHAPE)}
_TYPE: Final[Table] = {
    1: Field("tensor_type", _TENSOR_TYPE),
    4: Field("sequence_type", "span"),
    5: Field("map_type", "span"),
    8: Field("sparse_tensor_type", "span"),
    9: Field("optional_type", "span"),
    6: Field("denotation", None),
    7: Field("opaque_type", "span"),
}
_VALUE: Final[Table] = {1: Field("name", "name"), 2: Field("type", _TYPE), 3: _DOCUMENTATION, 4: _REMARKS}
_ATTRIBUTE: Final[Table] = {
    1: Field("name", "name"),
    2: Field("f", "float"),
    3: Field("i", "int"),
    4: Field("s", "bytes"),
    5: Field("t", TENSOR),
    7: Field("floats", "float", repeated=True),
    8: Field("ints", "int", repeated=True),
    9: Field("strings", "bytes", repeated=True),
    10: Field("tensors", TENSOR, repeated=True),
    14: Field("tp", "span"),
    15: Field("type_protos", "span", repeated=True),
    20: Field("type", "int"),
    21: Field("ref_attr_name", "name"),
    22: Field("sparse_tensor", "span"),
    23: Field("sparse_tensors", "span", repeated=True),
    13: _DOCUMENTATION,
}
_NODE: Final[Table] = {
    1: Field("input", "name", repeated=True),
    2: Field("output", "name", repeated=True),
    3: Field("name", "name"),
    4: Field("op_type", "name"),
    5: Field("attribute", _ATTRIBUTE, repeated=True),
    7: Field("domain", "name"),
    8: Field("overload", "name"),
    6: _DOCUMENTATION,
    9: _REMARKS,
    10: Field("device_configurations", None),
}
_GRAPH: Final[Table] = {
    1: Field("node", _NODE, repeated=True),
    2: Field("name", "name"),
    5: Field("initializer", TENSOR, repeated=True),
    11: Field("input", _VALUE, repeated=True),
    12: Field("output", _VALUE, repeated=True),
    14: Field("quantization_annotation", "span", repeated=True),
    15: Field("sparse_initializer", "span", repeated=True),
    10: _DOCUMENTATION,
    13: _INFERRED,
    16: _REMARKS,
}
# Branches and bodies of loops are graphs inside attributes.
_ATTRIBUTE.update({6: Field("g", _GRAPH), 11: Field("graphs", _GRAPH, repeated=True)})
_FUNCTION: Final[Table] = {
    1: Field("name", "name"),
    4: Field("input", "name", repeated=True),
    5: Field("output", "name", repeated=True),
    6: Field("attribute", "name", repeated=True),
    7: Field("node", _NODE, repeated=True),
    9: Field("opset_import", _OPSET, repeated=True),
    10: Field("domain", "name"),
    11: Field("attribute_proto", _ATTRIBUTE, repeated=True),
    13: Field("overload", "name"),
    8: _DOCUMENTATION,
    12: _INFERRED,
    14: _REMARKS,
}
MODEL: Final[Table] = {
    1: Field("ir_version", "int"),
    2: Field("producer_name", "text"),
    3: Field("producer_version", "text"),
    6: Field("doc_string", "text"),
    7: Field("graph", _GRAPH),
    8: Field("opset_import", _OPSET, repeated=True),
    14: Field("metadata_props", _PAIR, repeated=True),
    20: Field("training_info", "span", repeated=True),
    25: Field("functions", _FUNCTION, repeated=True),
    4: Field("domain", None),
    5: Field("model_version", None),
    26: Field("configuration", None),
}
