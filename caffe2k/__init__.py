"""caffe2k turns Caffe projects into Keras projects that train the same."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caffe2k.ops.plugins import load_ops
    from caffe2k.porting import Porting, port_weights
    from caffe2k.translation import Translation, translate

__version__ = "0.1.0"

__all__ = [
    "Porting",
    "Translation",
    "__version__",
    "load_ops",
    "port_weights",
    "translate",
]


def __getattr__(name: str) -> Any:
    """Imports the translator when it is asked for: `caffe2k --version` needs none of it."""
    if name in ("Porting", "port_weights"):
        from caffe2k import porting

        return getattr(porting, name)
    if name in ("Translation", "translate"):
        from caffe2k import translation

        return getattr(translation, name)
    if name == "load_ops":
        from caffe2k.ops.plugins import load_ops

        return load_ops
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
