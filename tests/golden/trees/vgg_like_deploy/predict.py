"""Classifies images with the net of deploy.prototxt.

    python predict.py cat.jpg --weights FILE.h5 --labels synset_words.txt
    python predict.py cat.jpg --weights FILE.h5 --blob prob --out features.npy

An image is resized to RESIZE and cropped in its middle to the input's size; then MEAN is
subtracted, and SCALE multiplied.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np

from blobs import BLOBS
from caffe_runtime.blobs import blob_values
from caffe_runtime.finetune import load_caffe_weights
from caffe_runtime.flags import add_device_flags, chosen_device
from caffe_runtime.prediction import Preparation, best, mean_of, read_labels, size_of
from model import build_model

SHAPE = (3, 28, 28)  # the input: channels (B, G, R), height, width
RESIZE = (32, 32)  # the size of mean.npy
MEAN = str(Path(__file__).with_name("mean.npy"))  # train_val.prototxt:26
SCALE = 0.0078125  # train_val.prototxt:27


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument(
        "--weights",
        required=True,
        metavar="FILE",
        help="an .h5 file or .keras snapshot whose layers are loaded by name",
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="the classes' names, a line each"
    )
    parser.add_argument("--top", type=int, default=5, help="how many classes to print")
    parser.add_argument(
        "--oversample", action="store_true", help="average ten crops of each image"
    )
    parser.add_argument("--resize", type=size_of, default=RESIZE, metavar="H,W")
    parser.add_argument(
        "--mean",
        type=mean_of,
        metavar="FILE|B,G,R",
        help="another mean: a .binaryproto, a .npy, or a number for each channel",
    )
    parser.add_argument("--scale", type=float, default=SCALE)
    parser.add_argument(
        "--blob", choices=BLOBS, metavar="NAME", help="print a blob instead"
    )
    parser.add_argument(
        "--out", metavar="FILE.npy", help="write the blob of all images"
    )
    add_device_flags(parser)
    args = parser.parse_args()
    if args.out and not args.blob:
        parser.error("--out is about --blob, which is not given")

    mean = mean_of(MEAN) if args.mean is None and MEAN else args.mean
    prepare = Preparation(SHAPE, args.resize, mean, args.scale)
    with chosen_device(args):
        model = build_model()
        copied = load_caffe_weights(model, args.weights)
        if copied.kept:
            print(f"{args.weights}:\n{copied}", file=sys.stderr)
        batches = [prepare(image, args.oversample) for image in args.images]
        if args.blob:
            show_blob(model, args.blob, np.concatenate(batches), args.out)
            return
        classes = math.prod(model.output_shape[1:])
        labels = read_labels(args.labels, classes) if args.labels else range(classes)
        for image, batch in zip(args.images, batches):
            scores = model.predict_on_batch(batch).mean(axis=0)
            print(f"---------- Prediction for {image} ----------")
            for index, score in best(scores, args.top):
                print(f'{score:.4f} - "{labels[index]}"')


def show_blob(model, name, batch, out):
    """Prints which tensor a blob is, and its values; or writes them to `out`."""
    blob = BLOBS[name]
    values = blob_values(model, blob, batch)
    after = f", after {', '.join(blob.after)} in place" if blob.after else ""
    print(
        f"{name} is what layer {blob.layer!r} gives{after}: {values.shape}, in Caffe's axes"
    )
    if out:
        np.save(out, values)
    else:
        print(values)


if __name__ == "__main__":
    main()
