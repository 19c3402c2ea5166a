"""The sizes of images in the list that SSD's name_size_file names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from caffe2k.weights.blob import FloatArray


def read_image_sizes(path: Path) -> FloatArray | None:
    """The (height, width) of each image, from `name height width` for each.

    None where the file says something else. SSD's Caffe: detection_evaluate_layer.cpp,
    LayerSetUp.
    """
    words = path.read_text(encoding="utf-8", errors="replace").split()
    if not words or len(words) % 3:
        return None
    try:
        sizes = [
            [int(n) for n in words[i + 1 : i + 3]] for i in range(0, len(words), 3)
        ]
    except ValueError:
        return None
    return np.array(sizes, np.float32) if min(map(min, sizes)) > 0 else None
