"""ONNX models as bytes, well-formed or not, written field by field."""

import struct


def varint(number):
    number &= 2**64 - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def field(number, value):
    """One field: an int, a float, a text, or bytes (a message among them)."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name, shape, raw=None, *, code=1, external=None):
    found = b"".join(field(1, size) for size in shape) + field(2, code) + field(8, name)
    if raw is not None:
        found += field(9, raw)
    if external is not None:
        found += b"".join(field(13, field(1, key) + field(2, str(value))) for key, value in external.items())
        found += field(14, 1)
    return found


def value(name, shape, code=1):
    dims = b"".join(field(1, field(2, size) if isinstance(size, str) else field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, code) + field(2, dims)))


def node(op, inputs, outputs, *attributes, name="", domain=""):
    found = b"".join(field(1, each) for each in inputs) + b"".join(field(2, each) for each in outputs)
    found += field(3, name) + field(4, op) + b"".join(field(5, each) for each in attributes)
    return found + (field(7, domain) if domain else b"")


def graph(nodes=(), stored=(), inputs=(), outputs=()):
    found = b"".join(field(1, each) for each in nodes) + field(2, "graph")
    found += b"".join(field(5, each) for each in stored) + b"".join(field(11, each) for each in inputs)
    return found + b"".join(field(12, each) for each in outputs)


def function(name, nodes, inputs, outputs, domain="mine"):
    found = field(1, name) + b"".join(field(4, each) for each in inputs) + b"".join(field(5, each) for each in outputs)
    found += b"".join(field(7, each) for each in nodes) + field(9, field(1, "") + field(2, 21))
    return found + field(10, domain)


def model(the_graph, functions=(), opset=21):
    found = field(1, 10) + field(7, the_graph) + field(8, field(1, "") + field(2, opset))
    return found + b"".join(field(25, each) for each in functions)
