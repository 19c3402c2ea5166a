"""Says which fork of Caffe added a field or an enum value."""

from typing import Any

from google.protobuf.descriptor import EnumValueDescriptor, FieldDescriptor

from caffe2k.schema import caffe_pb2


def fork_of(element: FieldDescriptor | EnumValueDescriptor) -> str | None:
    """Return the fork's word (the list is in caffe.proto), or None for BVLC's own.

    A value is marked only where a fork added it to one of BVLC's enums; an enum
    that belongs to a fork is reached by that fork's fields.
    """
    is_field = isinstance(element, FieldDescriptor)
    # protoc's stubs and typeshed's disagree about the type of an extension.
    extension: Any = caffe_pb2.fork if is_field else caffe_pb2.value_fork
    options = element.GetOptions()
    if not options.HasExtension(extension):
        return None
    return str(options.Extensions[extension])
