caffe train --gpu 0
