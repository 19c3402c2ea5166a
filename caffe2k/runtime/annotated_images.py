"""SSD's transform_param: images and the boxes in them, cut and changed together."""

import numpy as np

from . import annotations, augmentation
from .images import decode_image, require_opencv
from .transform import Transformer


class AnnotatedTransformer(Transformer):
    """What transform_param and batch_sampler ask for, in the order of SSD's Caffe.

    An image is distorted, laid on a larger canvas, cut to one of the windows that the
    samplers find, resized, made noisy, cropped and mirrored; each by chance. Its boxes
    follow. As in Caffe, what is done before the resizing passes through JPEG each time,
    and a raw image is neither distorted, resized nor made noisy.

    crop: (height, width), which crop_size also says.
    resize, noise, distort, expand, emit: the messages resize_param, noise_param,
        distort_param, expand_param and emit_constraint as dicts of what they set.
    samplers: batch_sampler messages, as dicts.
    Others as those of Transformer. A mean image has the size of what is left in the end,
    and of a raw image that of the whole; it is not mirrored, unless the image is raw.

    Raises ValueError where Caffe refuses.
    SSD's Caffe: annotated_data_layer.cpp, load_batch; data_transformer.cpp.
    """

    def __init__(
        self,
        phase,
        *,
        crop=None,
        resize=None,
        noise=None,
        distort=None,
        expand=None,
        emit=None,
        samplers=(),
        **settings,
    ):
        super().__init__(phase, **settings)
        self.crop = (self.crop_size, self.crop_size) if self.crop_size else crop
        self.resize = resize
        self.noise = noise
        self.distort = distort
        self.expand = expand
        self.emit = emit
        self.samplers = samplers

    def output_shape(self, shape):
        channels, height, width = shape
        if self.mean_values.size not in (0, 1, channels):
            raise ValueError(
                f"{self.mean_values.size} mean_value for {channels} channels"
            )
        if self.resize is not None:
            height, width = self.resize["height"], self.resize["width"]
            if self.resize.get("resize_mode") == "FIT_SMALL_SIZE":
                width, height = augmentation.fitted_small(*shape[:0:-1], self.resize)
        crop = self.crop or (height, width)
        if crop[0] > height or crop[1] > width:
            raise ValueError(f"a crop of {crop} is larger than {(height, width)}")
        return (channels, *crop)

    def apply(self, image, boxes, encoded, rng):
        """The pixels, float32 (H, W, C), and the boxes that an image is read as.

        image: (C, H, W). encoded: whether the record holds it as a file.
        """
        pixels = _for_opencv(image)
        if self.distort is not None and encoded:
            if pixels.ndim != 3 or pixels.shape[2] != 3:
                raise ValueError("distort_param needs an image of three channels")
            pixels = self._coded(augmentation.distorted(pixels, rng, self.distort))
        if self.expand is not None:
            pixels, boxes = self._expanded(pixels, boxes, encoded, rng)
        windows = annotations.sample(boxes, self.samplers, rng)
        if windows:
            window = windows[rng.integers(len(windows))]
            pixels, boxes = self._cut(pixels, boxes, encoded, window)
        return self._finished(pixels, boxes, encoded, rng)

    def _coded(self, pixels):
        """What is left of an image after the JPEG that Caffe keeps it in."""
        cv2 = require_opencv("changing images as Caffe does")
        data = cv2.imencode(".jpg", pixels)[1]
        return _for_opencv(decode_image(data, self.decode_as_color))

    def _expanded(self, pixels, boxes, encoded, rng):
        """ExpandImage."""
        most = self.expand.get("max_expand_ratio", 1.0)
        if rng.uniform() > self.expand.get("prob", 1.0) or abs(most - 1) < 1e-2:
            return pixels, boxes
        ratio = np.float32(rng.uniform(1, most))
        height, width = pixels.shape[:2]
        rows, columns = int(height * ratio), int(width * ratio)
        top = int(rng.uniform(0, rows - height))
        left = int(rng.uniform(0, columns - width))
        canvas = np.empty((rows, columns, *pixels.shape[2:]), pixels.dtype)
        # Around a raw image Caffe's string is full of blanks.
        canvas[...] = self._rim(pixels) if encoded else ord(" ")
        canvas[top : top + height, left : left + width] = pixels
        window = np.array([-left, -top, columns - left, rows - top], np.float32)
        window /= np.array([width, height] * 2, np.float32)
        boxes = annotations.cut(boxes, window, self.emit)
        return (self._coded(canvas) if encoded else canvas), boxes

    def _rim(self, pixels):
        if not self.mean_values.size:
            return 0
        means = np.clip(np.rint(self.mean_values), 0, 255)
        return means if pixels.ndim == 3 else means[0]

    def _cut(self, pixels, boxes, encoded, window):
        """CropImage."""
        height, width = pixels.shape[:2]
        window = np.clip(window, 0, 1)
        left, top, right, bottom = window * np.array([width, height] * 2, np.float32)
        rows, columns = int(bottom - top), int(right - left)
        pixels = pixels[int(top) : int(top) + rows, int(left) : int(left) + columns]
        boxes = annotations.cut(boxes, window, self.emit)
        pixels = np.ascontiguousarray(pixels)
        return (self._coded(pixels) if encoded else pixels), boxes

    def _finished(self, pixels, boxes, encoded, rng):
        """Transform and TransformAnnotation."""
        height, width = pixels.shape[:2]
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        _, *size = self.output_shape((channels, height, width))
        if encoded and self.resize is not None:
            pixels = augmentation.resized(pixels, rng, self.resize)
        if encoded and self.noise is not None:
            pixels = augmentation.noised(pixels, rng, self.noise)
        top, left = self._corner(pixels.shape, size, rng)
        end = left + size[1], top + size[0]
        extent = np.array(pixels.shape[1::-1] * 2, np.float32)
        window = np.array([left, top, *end], np.float32) / extent
        flip = self.mirror and rng.integers(2) == 1
        resize = self.resize
        if resize is not None:
            boxes = annotations.resized(boxes, width, height, resize)
        boxes = annotations.cut(boxes, window, self.emit)
        if flip:
            boxes = annotations.mirrored(boxes)
        if resize is not None:
            boxes = annotations.extrapolated(boxes, width, height, window, resize)
        place = np.s_[top : end[1], left : end[0]]
        return self._values(pixels, place, flip, encoded), boxes

    def _corner(self, shape, size, rng):
        spare = shape[0] - size[0], shape[1] - size[1]
        if min(spare) < 0 or (self.crop is None and max(spare) > 0):
            raise ValueError(
                f"an image of {shape[:2]} where {tuple(size)} is asked for: Caffe does "
                "not resize raw images"
            )
        if self.phase == "TRAIN":
            return [int(rng.integers(number + 1)) for number in spare]
        return [number // 2 for number in spare]

    def _values(self, pixels, place, flip, encoded):
        """The pixels of a place without the mean, scaled."""
        values = pixels[..., None] if pixels.ndim == 2 else pixels
        values = values[place].astype(np.float32)
        if self._mean is not None:
            mean = self._mean if encoded else self._mean[place]
            if mean.shape != values.shape or (
                encoded and values.shape[:2] != pixels.shape[:2]
            ):
                raise ValueError("the mean has another shape than the image")
            if encoded and flip:
                mean = mean[:, ::-1]
            values -= mean
        values -= self.mean_values if self.mean_values.size else 0
        values *= self.scale
        return values[:, ::-1] if flip else values


def _for_opencv(image):
    """An image (C, H, W) as (H, W, C), or (H, W) where it has one channel."""
    pixels = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    return np.ascontiguousarray(pixels)
