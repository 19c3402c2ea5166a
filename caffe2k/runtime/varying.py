"""Batches whose arrays differ in size from one to the next, such as boxes, for fit()."""

import itertools

import keras
import numpy as np


def any_sizes(batches, varying):
    """The generator `batches` of (x, ...) as model.fit takes it.

    Without this, fit() under TensorFlow expects of all batches the sizes of the first
    two, and under JAX the model is compiled anew for each size: there, rows of -1 are
    added up to a power of two. As the image of a box, -1 says that there is none.

    varying: which inputs of the model vary, a dict from their names to the axis that does.
    """
    if keras.backend.backend() == "jax":
        return _padded(batches, varying)
    if keras.backend.backend() == "tensorflow":
        return _dataset(batches, varying)
    return batches


def _padded(batches, varying):
    for x, *others in batches:
        rows = {name: _filled(x[name], axis) for name, axis in varying.items()}
        yield ({**x, **rows}, *others)


def _filled(array, axis):
    missing = 2 ** (array.shape[axis] - 1).bit_length() - array.shape[axis]
    widths = [(0, missing if i == axis else 0) for i in range(array.ndim)]
    return np.pad(array, widths, constant_values=-1)


def _dataset(batches, varying):
    import tensorflow as tf

    first = next(batches)

    def spec(array, axis=0):
        free = {0, axis}
        shape = [None if i in free else size for i, size in enumerate(array.shape)]
        return tf.TensorSpec(shape, array.dtype)

    x, *others = first
    signature = (
        {name: spec(array, varying.get(name, 0)) for name, array in x.items()},
        *keras.tree.map_structure(spec, others),
    )
    return tf.data.Dataset.from_generator(
        lambda: itertools.chain([first], batches), output_signature=signature
    )
