"""Which GPUs are used, how much of their memory, and data parallel training on several."""

import argparse
import contextlib
import ctypes
import platform

import keras

# settings of glibc's mallopt (malloc.h), in bytes: what a heap keeps when memory is freed
# (64 MB, all of it), and from which size on a buffer lies outside of the heaps (the largest)
MALLOC_SETTINGS = {"M_TOP_PAD": (-2, 64 * 2**20), "M_MMAP_THRESHOLD": (-3, 32 * 2**20)}


def gpu_numbers(text):
    """The numbers in "0,1", or those of all GPUs for "all"; what `--gpus` takes."""
    if text == "all":
        return list(range(available_gpus())) or [0]
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither `all` nor numbers separated by commas"
        ) from None
    count = available_gpus()
    if count and not set(numbers) <= set(range(count)):
        raise argparse.ArgumentTypeError(f"of {text}, only 0 to {count - 1} are here")
    return numbers


def available_gpus():
    """How many GPUs the backend finds."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return len(tf.config.list_physical_devices("GPU"))
    if backend == "torch":
        import torch

        return torch.cuda.device_count()
    import jax

    try:
        return len(jax.devices("gpu"))
    except RuntimeError:
        return 0


@contextlib.contextmanager
def device_scope(gpus=None, memory_limit=None, cpu=False):
    """Everything built and trained inside is on the GPUs numbered `gpus`.

    Without them the backend chooses; `cpu` leaves all GPUs alone. Of each GPU at most
    `memory_limit` MB are taken. On a machine without a GPU a line says so, and the CPU
    does the same work. Several GPUs get equal parts of each batch; their gradient is the
    mean, as in Caffe (parallel.cpp). Raises SystemExit where the backend can't do it.
    """
    count = 0 if cpu else available_gpus()
    if (gpus or memory_limit) and not count:
        reason = "--cpu is given" if cpu else "there is no GPU here"
        print(f"{reason}: no GPU is chosen and no memory limited")
    if not count:
        _keep_freed_memory()
        # With its number, "cpu:0", torch would train copies of the weights.
        with keras.device("cpu") if cpu else contextlib.nullcontext():
            yield
        return
    if memory_limit:
        _limit_memory(gpus or range(count), memory_limit)
    if not gpus:
        yield
        return
    with _one(gpus[0]) if len(gpus) == 1 else parallel([f"gpu:{i}" for i in gpus]):
        yield


def _keep_freed_memory():
    """The buffers of a training step stay with this process for the next step.

    Else glibc gives them back to the system after each step and takes them again, page
    by page, which can be half of the time of a step.
    """
    if platform.libc_ver()[0] == "glibc":
        for number, size in MALLOC_SETTINGS.values():
            ctypes.CDLL(None).mallopt(number, size)


def _one(gpu):
    if keras.backend.backend() != "tensorflow":
        return keras.device(f"gpu:{gpu}")
    import tensorflow as tf

    # The others are hidden: TensorFlow takes the memory of every GPU that it sees.
    tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[gpu], "GPU")
    return contextlib.nullcontext()


def parallel(devices):
    """A scope in which a model trains on all `devices`, such as ["gpu:0", "gpu:1"]."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.distribute.MirroredStrategy(devices).scope()
    if backend == "jax":
        return keras.distribution.DataParallel(devices=devices).scope()
    raise SystemExit(f"on {backend} Keras trains on one GPU: give --gpus one number")


def for_fit(stream):
    """The unused batches of a Stream, as fit() takes them inside a `device_scope`.

    Where tensorflow shares batches out among GPUs, it reads ahead and forgets that at the
    end of an epoch: so each epoch begins with the first batch that wasn't used.
    """
    if keras.backend.backend() != "tensorflow":
        return stream.unused()
    import tensorflow as tf

    if not tf.distribute.has_strategy():
        return stream.unused()
    batch = next(stream.unused())
    signature = keras.tree.map_structure(
        lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), batch
    )
    data = tf.data.Dataset.from_generator(stream.unused, output_signature=signature)
    return tf.distribute.get_strategy().experimental_distribute_dataset(data)


def separate_devices():
    """Whether several devices each compute a step of their own, as tensorflow's do.

    On jax one step is computed by all of them.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync > 1


def joined_gradients(gradients):
    """The gradients of the whole batch, where each device has those of its part.

    It is their sum: Keras has divided each device's loss by the number of devices.
    """
    if not separate_devices():
        return gradients
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)


def _limit_memory(gpus, megabytes):
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=megabytes)
        for gpu in gpus:
            tf.config.set_logical_device_configuration(found[gpu], [limit])
    elif backend == "torch":
        import torch

        for gpu in gpus:
            whole = torch.cuda.get_device_properties(gpu).total_memory
            share = min(1.0, megabytes * 2**20 / whole)
            torch.cuda.set_per_process_memory_fraction(share, gpu)
    else:
        raise SystemExit(
            "jax takes its memory before a program can limit it: set "
            "XLA_PYTHON_CLIENT_MEM_FRACTION=0.5, or so, instead of --memory-limit"
        )
