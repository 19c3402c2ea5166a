if [ -n "$FAST" ]; then
  LR=fast
else
  LR=slow
fi
caffe train \
  -solver "solver_$LR.prototxt"
