"""The mean average precision of a detector: what the solver's eval_type detection tests."""

import itertools
from collections import defaultdict

import numpy as np

from .detection_evaluate import DetectionEvaluate
from .training_log import Output, TrainingLog

VERSIONS = ("11point", "MaxIntegral", "Integral")
SMALLEST_STEP = 1e-6


class MeanPrecision:
    """Tests a model by the rows of its DetectionEvaluate layers; see `evaluate`.

    Prints and returns for each such output the mean over the classes of their average
    precision in all batches together, 0 for a class without detections.
    SSD's Caffe: solver.cpp, Solver::TestDetection.

    ap_version: how precision and recall become a number: "11point" (VOC 2007),
        "MaxIntegral" (VOC 2012) or "Integral".
    per_class: whether each class's number is printed too.
    """

    def __init__(self, ap_version="Integral", per_class=False):
        if ap_version not in VERSIONS:
            raise ValueError(f"ap_version {ap_version!r} is not one of {VERSIONS}")
        self.ap_version = ap_version
        self.per_class = per_class

    def __call__(self, model, data, test_iter, outputs=(), log=None):
        """Tests `model` on the next `test_iter` batches of the iterator `data`."""
        log = log or TrainingLog()
        found = defaultdict(list)
        names = _evaluated(model)
        for x, *_ in itertools.islice(data, test_iter):
            values = model.predict_on_batch(x)
            values = values if isinstance(values, dict) else {names[0]: values}
            for name in names:
                found[name].append(np.reshape(values[name], (-1, 5)))
        means = {}
        for name, rows in found.items():
            precisions = class_precisions(np.concatenate(rows), self.ap_version)
            if self.per_class:
                for label, precision in precisions.items():
                    log.line(f"class{label}: {precision:.6g}", "solver.cpp:546")
            means[name] = sum(precisions.values()) / len(precisions)
        printed = [Output(name, name) for name in means]
        log.outputs("Test", printed, means, "solver.cpp:553")
        return means


def _evaluated(model):
    """The names of the outputs that DetectionEvaluate computes."""
    output = model.output
    if not isinstance(output, dict):
        output = {model.output_names[0]: output}
    return [
        name
        for name, tensor in output.items()
        if isinstance(tensor._keras_history.operation, DetectionEvaluate)
    ]


def class_precisions(rows, version):
    """The average precision of each class, from rows of DetectionEvaluate (rows, 5)."""
    image, label = rows[:, 0].astype(int), rows[:, 1].astype(int)
    # Under JAX rows of -1 follow, which are of no class.
    totals = (image == -1) & (label != -1)
    judged = ~totals & (rows[:, 3:].any(axis=1))
    return {
        int(c): average_precision(
            rows[judged & (label == c), 2:4],
            int(rows[totals & (label == c), 2].sum()),
            version,
        )
        for c in sorted(set(label[totals]))
    }


def average_precision(found, true, version):
    """One number for the precision at each recall.

    SSD's Caffe: util/bbox_util.cpp, ComputeAP.

    Args:
        found: (detections, 2), the confidence, and 1 for those that are right.
        true: how many true boxes there are.
        version: one of VERSIONS.
    """
    if not true or not len(found):
        return 0.0
    order = np.argsort(-found[:, 0], kind="stable")
    right = np.cumsum(found[order, 1])
    recall = (right / true).astype(np.float32)
    precision = (right / np.arange(1, len(right) + 1)).astype(np.float32)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if version == "11point":
        # Caffe's recall is a float32, and a tenth is not: 7 of 10 are less than 0.7.
        exact = recall.astype(np.float64)
        reached = [best[exact >= place / 10] for place in range(11)]
        return float(sum(above[0] for above in reached if len(above)) / 11)
    steps = np.diff(recall, prepend=np.float32(0))
    # As in Caffe, the first step of "MaxIntegral" counts however small it is.
    counts = steps > SMALLEST_STEP
    counts[0] |= version == "MaxIntegral"
    heights = best if version == "MaxIntegral" else precision
    return float(np.sum(np.where(counts, steps * heights, 0)))
