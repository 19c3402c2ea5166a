from caffe2k.plugin import ElementwiseOp, layer_op, runtime


@layer_op("Own")
class Own(ElementwiseOp):
    """A layer of the user's."""

    def lower(self, k):
        k.output(k.add(runtime("own", "Own")))
