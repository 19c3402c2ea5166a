"""A sheet of the first images of a data set, with their labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from caffe2k.datasets import images
from caffe2k.datasets.errors import exists, library_missing, unwritable
from caffe2k.datasets.records import Values

_COLUMNS = _ROWS = 8
_SIDE = 96
_TEXT = 16
_GAP = 4


class ContactSheet:
    """Takes images until it is full."""

    def __init__(self, path: Path, *, force: bool = False) -> None:
        """Raises DatasetError where OpenCV is missing or the file exists."""
        if images.opencv() is None:
            raise library_missing("cv2", "drawing a contact sheet")
        if path.exists() and not force:
            raise exists(str(path), "overwrite it with --force")
        self._path = path
        self._cells: list[Any] = []

    def add(self, values: Values, label: int) -> None:
        """Takes an image of shape (C, H, W), if there is room for it."""
        if len(self._cells) < _COLUMNS * _ROWS:
            self._cells.append(_cell(values, str(label)))

    def write(self) -> None:
        """Writes the PNG; it appears whole or not at all. Raises DatasetError."""
        rows = -(-len(self._cells) // _COLUMNS)
        height, width = _SIDE + _TEXT + _GAP, _SIDE + _GAP
        sheet = np.full((rows * height + _GAP, _COLUMNS * width + _GAP, 3), 255, "u1")
        for number, cell in enumerate(self._cells):
            row, column = divmod(number, _COLUMNS)
            top, left = row * height + _GAP, column * width + _GAP
            sheet[top : top + _SIDE + _TEXT, left : left + _SIDE] = cell
        temporary = self._path.with_name(f".caffe2k-{uuid4().hex}.tmp")
        try:
            temporary.write_bytes(images.encode(sheet.transpose(2, 0, 1), "png"))
            os.replace(temporary, self._path)
        except OSError as e:
            raise unwritable(str(self._path), e) from None
        finally:
            temporary.unlink(missing_ok=True)


def _cell(values: Values, label: str) -> Any:
    """An image of (_SIDE + _TEXT) x _SIDE pixels, the label below the picture."""
    cv2 = images.opencv()
    cell = np.full((_SIDE + _TEXT, _SIDE, 3), 255, np.uint8)
    pixels = _as_colors(values)
    scale = _SIDE / max(pixels.shape[:2])
    height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
    method = cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA
    picture = cv2.resize(pixels, (width, height), interpolation=method)
    top, left = (_SIDE - height) // 2, (_SIDE - width) // 2
    cell[top : top + height, left : left + width] = picture
    place = (2, _SIDE + _TEXT - 4)
    cv2.putText(cell, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)
    return cell


def _as_colors(values: Values) -> images.Pixels:
    """(H, W, 3) for the eye: floats spread over the grey levels, other channels left out."""
    if values.dtype != np.uint8:
        known = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
        low, spread = known.min(), np.ptp(known) or 1
        values = np.round((known - low) / spread * 255).astype(np.uint8)
    channels = values[:3] if len(values) >= 3 else values[[0, 0, 0]]
    return np.ascontiguousarray(channels.transpose(1, 2, 0))
