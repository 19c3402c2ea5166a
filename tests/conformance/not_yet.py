"""Cases of our own suite that do not pass yet, and why."""

_SSD = "the SSD fork's detection layers are not supported yet"

NOT_YET = {
    "ssd_detection_evaluate": _SSD,
    "ssd_head": _SSD,
    "ssd_multibox_l2_no_mining": _SSD,
    "ssd_multibox_smooth_l1": _SSD,
    "ssd_priorbox": _SSD,
}

NOT_YET_TRAINED = {
    "sgd_batchnorm": "before its last test Caffe runs the TRAIN net forward once more, "
    "which moves the running statistics",
}
