"""Batches of the readers against the batches that Caffe read, and the samples' data."""

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from caffe2k.runtime.databases import DataReader
from caffe2k.runtime.dummy_data import DummyReader
from caffe2k.runtime.hdf5_data import HDF5Reader
from caffe2k.runtime.image_data import ImageListReader
from caffe2k.runtime.readers import Batches
from caffe2k.runtime.transform import Transformer
from caffe2k.schema import caffe_pb2

PROJECT = Path(__file__).resolve().parents[2]
SUITES = (PROJECT / "tests" / "conformance", PROJECT.parent / "shared" / "conformance")
SAMPLES = (PROJECT / "samples", PROJECT.parent / "shared" / "samples")


def first_with(folders, name):
    return next((folder for folder in folders if (folder / name).exists()), folders[0])


CASES = first_with(SUITES, "data/cases") / "data" / "cases"


def net_reader(layer, root):
    """The reader of a data layer, as data.py would construct it."""
    tops = list(layer.top)
    if layer.type == "Data":
        p = layer.data_param
        backend = caffe_pb2.DataParameter.DB.Name(p.backend)
        transform = transformer(layer, root)
        return DataReader(root / p.source, p.batch_size, tops, backend, transform)
    if layer.type == "HDF5Data":
        p = layer.hdf5_data_param
        return HDF5Reader(root / p.source, p.batch_size, tops, p.shuffle, root)
    if layer.type == "ImageData":
        p = layer.image_data_param
        return ImageListReader(
            root / p.source,
            p.batch_size,
            tops,
            transformer(layer, root),
            root_folder=p.root_folder,
            new_height=p.new_height,
            new_width=p.new_width,
            is_color=p.is_color,
            shuffle=p.shuffle,
            rand_skip=p.rand_skip,
            root=root,
        )
    p = layer.dummy_data_param
    fillers = [{f.name: v for f, v in filler.ListFields()} for filler in p.data_filler]
    return DummyReader(tops, [list(shape.dim) for shape in p.shape], fillers)


def transformer(layer, root):
    p = layer.transform_param
    phases = {caffe_pb2.Phase.Name(rule.phase) for rule in layer.include}
    return Transformer(
        phases.pop() if phases else "TEST",
        scale=p.scale,
        mean=mean_image(root / p.mean_file) if p.mean_file else None,
        mean_values=list(p.mean_value),
        crop_size=p.crop_size,
        mirror=p.mirror,
        force_color=p.force_color,
        force_gray=p.force_gray,
    )


def mean_image(path):
    blob = caffe_pb2.BlobProto.FromString(path.read_bytes())
    shape = (blob.channels, blob.height, blob.width)
    return np.array(blob.data, np.float32).reshape(shape)


def read_net(path):
    return text_format.Parse(path.read_text(), caffe_pb2.NetParameter())


@pytest.mark.skipif(not CASES.is_dir(), reason="the conformance suite is not here")
@pytest.mark.parametrize("case", sorted(path.name for path in CASES.glob("*")))
def test_batches_are_caffes(case):
    (layer,) = read_net(CASES / case / "net.prototxt").layer
    resized = layer.image_data_param.new_height > 0
    recorded = np.load(CASES / case / "batches.npz")
    read = iter(net_reader(layer, CASES / case))
    for k in range(3):
        batch = next(read)
        for top in layer.top:
            expected = recorded[f"batch/{k}/{top}"]
            assert batch[top].shape == expected.shape
            difference = np.abs(batch[top] - expected).max()
            assert difference <= (resized and top == layer.top[0]), (k, top)


SAMPLE_SHAPES = {
    "digits_lenet": {"data": (50, 1, 28, 28), "label": (50,)},
    "digits_parity_finetune": {"data": (50, 1, 28, 28), "label": (50,)},
    "vgg_like": {"data": (20, 3, 28, 28), "label": (20,)},
    "lstm_text": {"tokens": (16, 50), "cont": (16, 50), "label": (16, 50)},
    "two_inputs_two_outputs": {
        "tokens": (16, 50),
        "cont": (16, 50),
        "numbers": (50, 5),
        "label": (50, 1),
    },
}


@pytest.mark.parametrize("sample", SAMPLE_SHAPES)
def test_samples_are_read(sample):
    folder = first_with(SAMPLES, sample) / sample
    if not folder.is_dir():
        pytest.skip("the samples are not here")
    layers = [
        layer
        for layer in read_net(folder / "train_val.prototxt").layer
        if layer.type.endswith("Data")
        and layer.include
        and layer.include[0].phase == caffe_pb2.TRAIN
    ]
    readers = [net_reader(layer, folder) for layer in layers]
    shapes = SAMPLE_SHAPES[sample]
    stream = Batches(readers, {top: top for top in shapes})
    (first,) = next(stream)
    stream.close()
    last = {
        top: s[:1] + s[2:] + s[1:2] if len(s) == 4 else s for top, s in shapes.items()
    }
    assert {top: array.shape for top, array in first.items()} == last
