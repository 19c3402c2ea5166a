"""`caffe test`: a net's outputs on each batch, and their means."""

import collections

from .callbacks import batch_means


def score(model, data, iterations, outputs):
    """Prints the `outputs` of the next `iterations` batches of `data`, then their means.

    The lines are those of test() in tools/caffe.cpp: `Batch 0, accuracy = 0.9`, then
    `Loss: 0.3`, `accuracy = 0.9` and `loss = 0.3 (* 1 = 0.3 loss)`. `model` is compiled;
    `outputs` are Outputs of training_log. Returns the means by blob, the whole loss as "".
    """
    sums = collections.Counter()
    for batch in range(iterations):
        values = batch_means(model, data, 1, outputs)
        sums[""] += values["loss"]
        for output in outputs:
            value = output.value(values)
            sums[output.top] = sums[output.top] + value
            for number in _numbers(value):
                print(f"Batch {batch}, {output.top} = {number:.6g}", flush=True)
    means = {top: total / iterations for top, total in sums.items()}
    print(f"Loss: {means['']:.6g}")
    for output in outputs:
        weight = output.loss_weight
        for mean in _numbers(means[output.top]):
            loss = f" (* {weight:g} = {weight * mean:.6g} loss)" if weight else ""
            print(f"{output.top} = {mean:.6g}{loss}")
    return means


def _numbers(value):
    """The numbers of a float, or of an array in C order."""
    return value.ravel().tolist() if hasattr(value, "ravel") else [value]
