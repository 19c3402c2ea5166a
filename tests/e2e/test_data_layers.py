"""The emitted data.py of layers that the conformance suite has no case of."""

import importlib.util
import sys

import cv2
import numpy as np
import pytest

from caffe2k.translation import translate

LOSS = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" }
"""


@pytest.fixture
def emitted(tmp_path, monkeypatch):
    """Translates a net with these data layers; gives its data.py, imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAFFE_DATA_ROOT", raising=False)

    def make(layers):
        (tmp_path / "net.prototxt").write_text(layers + LOSS)
        made = translate(tmp_path / "net.prototxt")
        assert [w.code for w in made.warnings] == []
        made.write(tmp_path / "out")
        monkeypatch.syspath_prepend(str(tmp_path / "out"))
        spec = importlib.util.spec_from_file_location("emitted", "out/data.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield make
    for name in [n for n in sys.modules if n.startswith("caffe_runtime")]:
        del sys.modules[name]


def test_memory_data_takes_arrays(emitted):
    data = emitted("""
        layer { name: "d" type: "MemoryData" top: "data" top: "label"
          memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }""")
    images = np.arange(24.0).reshape(4, 1, 2, 3)
    stream = data.train_data({"data": images, "label": [3, 2, 1, 0]})
    batches = [next(stream) for _ in range(3)]
    stream.close()
    assert [y.tolist() for _, y in batches] == [[3, 2], [1, 0], [3, 2]]
    np.testing.assert_array_equal(batches[1][0][..., 0], images[2:, 0])
    with pytest.raises(ValueError, match="hand over arrays"):
        data.train_data()
    with pytest.raises(ValueError, match="no multiple of the batch size, 3"):
        data.train_data({"data": images, "label": [3, 2, 1, 0]}, batch_size=3)


def test_input_layers_take_an_iterator(emitted):
    data = emitted("""
        layer { name: "a" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "b" type: "Input" top: "label" input_param { shape { dim: 2 } } }""")
    blobs = ({"data": np.full((2, 3), i), "label": np.full(2, i)} for i in range(3))
    batches = list(data.train_data(blobs))
    assert [(x[0, 0], y[0]) for x, y in batches] == [(0, 0), (1, 1), (2, 2)]
    with pytest.raises(ValueError, match="'data', 'label' comes from the program"):
        data.train_data()


def test_window_data_reads_what_its_own_parameters_say(emitted, tmp_path):
    image = np.full((20, 30, 3), (10, 20, 30), np.uint8)
    (tmp_path / "images").mkdir()
    cv2.imwrite("images/a.png", image)
    (tmp_path / "windows.txt").write_text(
        "# 0\na.png\n3 20 30\n2\n5 0.8 2 2 9 9\n1 0.2 0 0 29 19\n"
    )
    data = emitted("""
        layer { name: "d" type: "WindowData" top: "data" top: "label"
          transform_param { crop_size: 8 mirror: true mean_value: 10 }
          window_data_param {
            source: "windows.txt" root_folder: "images/" batch_size: 4 scale: 0.5
            fg_threshold: 0.7 bg_threshold: 0.3 fg_fraction: 0.5 context_pad: 1
            crop_mode: "square" cache_images: true
          } }""")
    stream = data.train_data(seed=1)
    x, y = next(stream)
    stream.close()
    assert y.tolist() == [0, 0, 5, 5]
    assert x.shape == (4, 8, 8, 3)
    np.testing.assert_array_equal(x[2], np.broadcast_to([0, 5, 10], (8, 8, 3)))
    # The background's square is wider than the image, beyond which there are zeros.
    assert (x[0][0] == 0).all()
    assert x[0][4].any()


def test_fields_that_caffe_reads_and_does_not_read(emitted):
    text = """
        layer { name: "d" type: "DummyData" top: "label"
          dummy_data_param { shape { dim: 3 } } }
        layer { name: "e" type: "HDF5Data" top: "data"
          hdf5_data_param { source: "list.txt" batch_size: 3 shuffle: true } }"""
    import h5py

    with h5py.File("a.h5", "w") as file:
        file["data"] = np.arange(12.0).reshape(6, 2)
    with open("list.txt", "w") as file:
        file.write("a.h5\n")
    data = emitted(text)
    first, same = (data.train_data(seed=4) for _ in range(2))
    rows = np.concatenate([next(first)[0] for _ in range(2)])
    again = np.concatenate([next(same)[0] for _ in range(2)])
    np.testing.assert_array_equal(rows, again)
    assert sorted(rows[:, 0]) == [0, 2, 4, 6, 8, 10]
    assert rows[:, 0].tolist() != [0, 2, 4, 6, 8, 10]
    first.close()
    same.close()
