"""Shell scripts that run Caffe: their commands, variables, and Caffe's flags."""
