"""A Datum as a tf.train.Example: a feature for each field that is set, and the key.

The features `channels`, `height`, `width`, `label`, `encoded` and `record_id` are lists
of one int64, `key` and `data` of one bytes, `float_data` is a list of floats.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from caffe2k.datasets.errors import Fault
from caffe2k.schema.caffe_pb2 import Datum

_NUMBERS = ("channels", "height", "width", "label", "encoded", "record_id")


def example_of(key: bytes, datum: Datum) -> bytes:
    """The bytes of the Example of a record."""
    example = _example_type()()
    features = example.features.feature
    features["key"].bytes_list.value.append(key)
    for name in _NUMBERS:
        if datum.HasField(name):
            features[name].int64_list.value.append(int(getattr(datum, name)))
    if datum.HasField("data"):
        features["data"].bytes_list.value.append(datum.data)
    if datum.float_data:
        features["float_data"].float_list.value.extend(datum.float_data)
    data: bytes = example.SerializeToString(deterministic=True)
    return data


def read_example(data: bytes) -> tuple[bytes | None, Callable[[], Datum]]:
    """The key in an Example, if it has one, and what makes its Datum or raises Fault."""
    try:
        features = _example_type().FromString(data).features.feature
    except DecodeError:
        return None, _not_an_example
    keys = list(features["key"].bytes_list.value) if "key" in features else []
    return (keys[0] if len(keys) == 1 else None), partial(_datum, features)


def _not_an_example() -> Datum:
    raise Fault("it is not a tf.train.Example")


def _datum(features: Any) -> Datum:
    if "data" not in features and "float_data" not in features:
        raise Fault(
            "it has neither the feature data nor float_data, but "
            f"{', '.join(sorted(features)[:10]) or 'none at all'}"
        )
    datum = Datum()
    for name in _NUMBERS:
        if name in features:
            value = _only(features[name].int64_list.value, name)
            try:
                setattr(datum, name, bool(value) if name == "encoded" else value)
            except ValueError:
                raise Fault(f"the feature {name} is {value}") from None
    if "data" in features:
        datum.data = _only(features["data"].bytes_list.value, "data")
    if "float_data" in features:
        datum.float_data.extend(features["float_data"].float_list.value)
    return datum


def _only(values: Any, name: str) -> Any:
    if len(values) != 1:
        raise Fault(f"the feature {name} has {len(values)} values of its type")
    return values[0]


@cache
def _example_type() -> Any:
    """tensorflow/core/example/example.proto and feature.proto, under another name."""
    file = descriptor_pb2.FileDescriptorProto(
        name="caffe2k_example.proto", package="caffe2k", syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, kind in (
        ("BytesList", kinds.TYPE_BYTES),
        ("FloatList", kinds.TYPE_FLOAT),
        ("Int64List", kinds.TYPE_INT64),
    ):
        file.message_type.add(name=name).field.add(
            name="value", number=1, type=kind, label=kinds.LABEL_REPEATED
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), 1):
        _message_field(feature, name, number, _camel(name)).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(
        name="key", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL
    )
    _message_field(entry, "value", 2, "Feature")
    field = _message_field(features, "feature", 1, "Features.FeatureEntry")
    field.label = kinds.LABEL_REPEATED
    _message_field(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("caffe2k.Example")
    )


def _camel(name: str) -> str:
    return name.title().replace("_", "")


def _message_field(message: Any, name: str, number: int, of: str) -> Any:
    kinds = descriptor_pb2.FieldDescriptorProto
    return message.field.add(
        name=name,
        number=number,
        type=kinds.TYPE_MESSAGE,
        label=kinds.LABEL_OPTIONAL,
        type_name=f".caffe2k.{of}",
    )
