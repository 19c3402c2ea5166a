"""Curves for TensorBoard, written as its event files without TensorFlow's help."""

import os
import socket
import struct
import time

from keras import ops

from .callbacks import IterationCallback


class TensorBoardCurves(IterationCallback):
    """Writes what Keras logs at the end of each epoch, against Caffe's iteration.

    The training's numbers, with the learning rate, go to `<folder>/train`, the test's to
    `<folder>/validation`, under the same names, so that TensorBoard draws them together.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self._files = {}

    def on_epoch_end(self, epoch, logs=None):
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self._write("train", "learning_rate", rate)
        for name, value in (logs or {}).items():
            part = "validation" if name.startswith("val_") else "train"
            if ops.ndim(value) == 0:
                self._write(part, name.removeprefix("val_"), float(value))

    def on_train_end(self, logs=None):
        for file in self._files.values():
            file.close()
        self._files = {}

    def _write(self, part, name, value):
        if part not in self._files:
            self._files[part] = EventFile(os.path.join(self.folder, part))
        self._files[part].scalar(name, value, self.iteration)


class EventFile:
    """A new file of tensorflow.Event records (event.proto) in `folder`."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._file = open(os.path.join(folder, name), "wb")  # noqa: SIM115
        self._event(_text(3, "brain.Event:2"))

    def scalar(self, name, value, step):
        """Adds one number under a name, at a step."""
        entry = _text(1, name) + _key(2, 5) + struct.pack("<f", value)
        self._event(_key(2, 0) + _varint(step) + _bytes(5, _bytes(1, entry)))

    def close(self):
        self._file.close()

    def _event(self, fields):
        event = _key(1, 1) + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        for part in (length, event):
            self._file.write(part + struct.pack("<I", _masked_crc(part)))
        self._file.flush()


def _key(field, kind):
    """The tag of a protobuf field: 0 varint, 1 double, 2 bytes, 5 float."""
    return _varint(field << 3 | kind)


def _varint(number):
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def _bytes(field, value):
    return _key(field, 2) + _varint(len(value)) + value


def _text(field, value):
    return _bytes(field, value.encode())


def _crc_table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


_CRC_TABLE = tuple(_crc_table())


def _masked_crc(data):
    """The checksum of a TFRecord: CRC-32C, rotated and moved."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
