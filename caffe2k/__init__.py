"""caffe2k turns Caffe projects into Keras projects that train the same."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caffe2k.translation import Translation, port_weights, translate

__version__ = "0.1.0"

__all__ = ["Translation", "__version__", "port_weights", "translate"]


def __getattr__(name: str) -> Any:
    """Imports the translator when it is asked for: `caffe2k --version` needs none of it."""
    if name in ("Translation", "port_weights", "translate"):
        from caffe2k import translation

        return getattr(translation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
