"""SSD's AnnotatedData layer: images with the boxes of the objects in them."""

import numpy as np

from .annotated_images import AnnotatedTransformer
from .annotations import Boxes
from .databases import Keys, open_database
from .datum import DatumError, fields, parse_datum
from .labelled_images import RecordError
from .reading import Reader


class AnnotatedReader(Reader):
    """Endless batches of a database's AnnotatedDatum records, in their order.

    Batches are dicts: `tops[0]` -> float32 images (N, C, H, W), and where there is a
    second top its label, float32 (1, 1, rows, 8): for each box of the batch a row
    (number of the image, class, instance, xmin, ymin, xmax, ymax, difficult), the corners
    in parts of the image. A batch without any box has one row of -1.

    Where records have no type of annotation, the label is the Datum's, (N, 1, 1, 1).
    anno_type: "BBOX" says the type in their place; each must have one nevertheless.
    transform: an AnnotatedTransformer; by default one that changes nothing.
    SSD's Caffe: annotated_data_layer.cpp.
    """

    def __init__(
        self,
        source,
        batch_size,
        tops,
        backend="LEVELDB",
        transform=None,
        anno_type=None,
    ):
        self.source = source
        self.batch_size = batch_size
        self.tops = tuple(tops)
        self.transform = transform or AnnotatedTransformer("TEST")
        self.anno_type = anno_type
        self.database = open_database(source, backend)
        self.items = Keys(self.database)

    def check(self, reading):
        """Reads the first good record, which says whether there are boxes."""
        for position in range(len(self.items)):
            key = self.items[position]
            try:
                datum, _, has_type = self._parsed(key)
                self.transform.output_shape(datum.image(self._color(datum)).shape)
            except (ValueError, OSError) as error:
                self._tolerate(key, error, reading)
            else:
                self._has_boxes = has_type or self.anno_type is not None
                return
        raise RecordError(f"none of the {len(self.items)} records can be read")

    def batch(self, number, reading):
        rng = reading.draws(number)
        keys = reading.pick(self.items, number, self.batch_size)
        read = [self._read(key, rng, reading) for key in keys]
        good = [i for i, item in enumerate(read) if item is not None]
        if not good:
            raise RecordError("none of the records of a batch can be read")
        count = len(read)
        for i in set(range(count)) - set(good):
            read[i] = read[min(good, key=lambda j: (j - i) % count)]
        images, boxes, labels = zip(*read, strict=True)
        if len({image.shape for image in images}) > 1:
            shapes = sorted({image.shape for image in images})
            raise RecordError(f"images of a batch differ in shape: {shapes}")
        pixels = np.moveaxis(np.stack(images), -1, 1)
        if self._has_boxes:
            rows = [found.rows(i) for i, found in enumerate(boxes)]
            label = np.concatenate(rows)[None, None]
            if not label.size:
                label = np.full((1, 1, 1, 8), -1, np.float32)
        else:
            label = np.array(labels, np.float32).reshape(-1, 1, 1, 1)
        return dict(zip(self.tops, (pixels, label), strict=False))

    def _read(self, key, rng, reading):
        """The pixels, boxes and label of a record; None where it is bad."""
        try:
            datum, boxes, has_type = self._parsed(key)
            if self._has_boxes and not has_type:
                raise DatumError("the record has no type of annotation")
            image = datum.image(self._color(datum))
            pixels, boxes = self.transform.apply(image, boxes, datum.encoded, rng)
            return pixels, boxes, datum.label
        except (ValueError, OSError) as error:
            self._tolerate(key, error, reading)
            return None

    def _parsed(self, key):
        return parse_annotated_datum(self.database.get(key))

    def _color(self, datum):
        return self.transform.decode_as_color if datum.encoded else None

    def _tolerate(self, key, error, reading):
        name = f"{self.source}, record {key.decode(errors='backslashreplace')!r}"
        if reading.bad is None:
            raise RecordError(f"{name}: {error}") from error
        reading.bad.add(name)


def parse_annotated_datum(record):
    """The Datum in a record, its Boxes, and whether it says their type.

    Raises DatumError for what is not an AnnotatedDatum.
    """
    datum, rows, has_type = None, [], False
    for number, value in fields(record):
        if number == 1:
            datum = parse_datum(value)
        elif number == 2:
            has_type = True
        elif number == 3:
            rows += _group(value)
    if datum is None:
        raise DatumError("the record holds no datum")
    columns = list(zip(*rows, strict=True)) or [()] * 5
    corners, size, label, instance, difficult = columns
    boxes = Boxes(
        np.array(corners, np.float32).reshape(-1, 4),
        np.array(size, np.float32),
        np.array(label, np.int64),
        np.array(instance, np.int64),
        np.array(difficult, bool),
    )
    return datum, boxes, has_type


def _group(message):
    """The (corners, size, label, instance, difficult) of an AnnotationGroup."""
    label, found = 0, []
    for number, value in fields(message):
        if number == 1:
            label = value
        elif number == 2:
            instance, box = 0, {}
            for part, content in fields(value):
                if part == 1:
                    instance = content
                elif part == 2:
                    box.update(fields(content))
            found.append((instance, box))
    return [
        (
            [_float(box.get(side)) for side in range(1, 5)],
            _float(box.get(8), np.nan),
            label,
            instance,
            bool(box.get(6)),
        )
        for instance, box in found
    ]


def _float(value, default=0.0):
    return default if value is None else np.frombuffer(value, "<f4")[0]
