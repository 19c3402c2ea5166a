"""The process in which OpenCV runs a net, since some nets make it crash.

    python opencv_process.py FOLDER

FOLDER holds request.json, net.prototxt, and inputs.npz with the inputs in the request's
order. It gets blobs.npz with the blobs that were wanted, in their order; or refused.txt.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Runs the net in the folder, as its request says."""
    import cv2
    import numpy as np

    # What it refuses is told by the exception.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    try:
        runtime = cv2.dnn.readNetFromCaffe(
            np.fromfile(folder / "net.prototxt", "uint8"),
            np.fromfile(request["caffemodel"], "uint8"),
        )
        # Fused layers would change the blobs between them.
        runtime.enableFusion(False)
        runtime.enableWinograd(False)
        with np.load(folder / "inputs.npz") as inputs:
            for name, array in zip(request["inputs"], inputs.values(), strict=True):
                runtime.setInput(array, name)
        # Some layers it calls like their tops.
        called = set(runtime.getLayerNames())
        wanted = [layer if layer in called else top for top, layer in request["wanted"]]
        results = runtime.forwardAndRetrieve(wanted)
    except cv2.error as e:
        (folder / "refused.txt").write_text(e.err, encoding="utf-8")
        return
    np.savez(folder / "blobs.npz", *(np.asarray(outputs[0]) for outputs in results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
