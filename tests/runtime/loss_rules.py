"""NumPy readings of Caffe's loss layers: (loss, gradients) in Caffe's axis order.

Each follows the named file's Forward_cpu and Backward_cpu, for a top diff of 1.
"""

import numpy as np

SMALLEST = 1e-20


def hinge(scores, labels, norm="L1"):
    """hinge_loss_layer.cpp."""
    n = len(scores)
    diff = scores.reshape(n, -1).astype("float64").copy()
    rows, index = np.arange(n), labels.reshape(-1).astype(int)
    diff[rows, index] *= -1
    diff = np.maximum(0, 1 + diff)
    loss = (diff if norm == "L1" else diff**2).sum() / n
    diff[rows, index] *= -1
    grad = np.sign(diff) / n if norm == "L1" else diff * 2 / n
    return loss, grad.reshape(scores.shape)


def multinomial_logistic(probabilities, labels):
    """multinomial_logistic_loss_layer.cpp."""
    n = len(probabilities)
    flat = probabilities.reshape(n, -1)
    grad, loss = np.zeros(flat.shape), 0.0
    for i, label in enumerate(labels.reshape(-1).astype(int)):
        probability = max(float(flat[i, label]), SMALLEST)
        loss -= np.log(probability)
        grad[i, label] = -1 / n / probability
    return loss / n, grad.reshape(probabilities.shape)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def infogain(scores, labels, matrix, axis=1, ignore_label=None, normalization="VALID"):
    """infogain_loss_layer.cpp; with an identity matrix, softmax_loss_layer.cpp."""
    scores = scores.astype("float64")
    classes = scores.shape[axis]
    outer = int(np.prod(scores.shape[:axis]))
    inner = int(np.prod(scores.shape[axis + 1 :]))
    prob = softmax(scores, axis).reshape(outer, classes, inner)
    h = np.asarray(matrix, "float64").reshape(classes, classes)
    labels = labels.reshape(outer, inner).astype(int)
    grad, loss, count = np.zeros_like(prob), 0.0, 0
    for i, j in np.ndindex(outer, inner):
        label = labels[i, j]
        if label == ignore_label:
            continue
        loss -= (h[label] * np.log(np.maximum(prob[i, :, j], SMALLEST))).sum()
        grad[i, :, j] = prob[i, :, j] * h[label].sum() - h[label]
        count += 1
    divisor = {"FULL": outer * inner, "VALID": count, "BATCH_SIZE": outer, "NONE": 1}
    divisor = max(1, divisor[normalization])
    return loss / divisor, grad.reshape(scores.shape) / divisor


def contrastive(a, b, similar, margin=1.0, legacy=False):
    """contrastive_loss_layer.cpp."""
    n = len(a)
    diff = (a.astype("float64") - b).reshape(n, -1)
    grad, loss = np.zeros(diff.shape), 0.0
    for i, flag in enumerate(similar.reshape(-1)):
        squared = (diff[i] ** 2).sum()
        if int(flag):
            loss += squared
            grad[i] = diff[i] / n
            continue
        if legacy:
            loss += max(margin - squared, 0)
            gap, beta = margin - squared, -1 / n
        else:
            loss += max(margin - np.sqrt(squared), 0) ** 2
            gap = margin - np.sqrt(squared)
            beta = -gap / (np.sqrt(squared) + 1e-4) / n
        if gap > 0:
            grad[i] = beta * diff[i]
    return loss / n / 2, [grad.reshape(a.shape), -grad.reshape(b.shape)]


def smooth_l1(a, b, inside=None, outside=None, sigma=1.0, divisor=None):
    """smooth_L1_loss_layer.cpp: of weiliu89/caffe (ssd) for two bottoms and three, and
    .cu of rbgirshick/caffe-fast-rcnn (faster-rcnn) for two and four."""
    divisor, s2 = divisor or len(a), sigma**2
    diff = a.astype("float64") - b
    if inside is not None:
        diff = inside * diff
    small = np.abs(diff) < 1 / s2
    errors = np.where(small, 0.5 * diff * diff * s2, np.abs(diff) - 0.5 / s2)
    grad = np.where(small, s2 * diff, np.sign(diff)) / divisor
    if outside is not None:
        errors, grad = errors * outside, grad * inside * outside
    return errors.sum() / divisor, [grad, -grad]


def l1(a, b):
    """l1_loss_layer.cpp of NVIDIA/caffe."""
    diff = a.astype("float64") - b
    grad = np.sign(diff) / len(a)
    return np.abs(diff).sum() / len(a), [grad, -grad]


def euclidean(a, b, weights=1.0):
    """euclidean_loss_layer.cpp; with weights, weighted_euclidean_loss_layer.cpp of
    linjieyangsc/densecap."""
    diff = a.astype("float64") - b
    grad = weights * diff / len(a)
    return (weights * diff**2).sum() / len(a) / 2, [grad, -grad]


def center(features, labels, centers, distance_type="L2"):
    """center_loss_layer.cpp of ydwen/caffe-face, distance_type of happynear/caffe-windows:
    (loss, gradient of the features, gradient of the centres)."""
    m = len(features)
    labels = labels.reshape(-1).astype(int)
    distance = features.reshape(m, -1).astype("float64") - centers[labels]
    if distance_type == "L2":
        loss = (distance**2).sum() / m / 2
    else:
        loss, distance = np.abs(distance).sum() / m, np.sign(distance)
    steps = np.zeros(centers.shape)
    for n in range(len(centers)):
        hit = labels == n
        steps[n] = -distance[hit].sum(0) / (hit.sum() + 1)
    return loss, (distance / m).reshape(features.shape), steps


def triplet(
    distances,
    labels,
    margin=0.2,
    add_center_loss=True,
    hardest_only=False,
    positive_first=False,
    positive_upper_bound=1.0,
    positive_weight=1.0,
    negative_weight=1.0,
):
    """general_triplet_loss_layer.cpp of happynear/caffe-windows."""
    num = len(distances)
    data = distances.reshape(num, -1)
    dim = data.shape[1]
    label = labels.reshape(-1).astype(int)
    diff, hardest = np.zeros(data.shape), np.full(num, -1)
    for i in range(num):
        same = data[i, label[i]]
        for j in range(dim):
            if j == label[i]:
                continue
            diff[i, j] = max(0, same + margin - data[i, j]) * negative_weight
            better = hardest[i] < 0 or diff[i, j] > diff[i, hardest[i]]
            if hardest_only and diff[i, j] > 0 and better:
                hardest[i] = j
        if hardest[i] >= 0:
            kept = diff[i, hardest[i]]
            diff[i] = 0
            diff[i, hardest[i]] = kept
        if positive_first and same > positive_upper_bound:
            diff[i] = 0
    loss = np.abs(diff).sum() / num
    for i in range(num):
        same, negatives = data[i, label[i]], 0
        if positive_first and same > positive_upper_bound:
            diff[i] = 0
            diff[i, label[i]] = positive_weight
            continue
        if hardest_only:
            if hardest[i] >= 0 and data[i, hardest[i]] != 0:
                diff[i, hardest[i]] = -negative_weight
                negatives += 1
        else:
            for j in range(dim):
                if j != label[i]:
                    pushed = same + margin > data[i, j]
                    diff[i, j] = -negative_weight if pushed else 0
                    negatives += pushed
        if add_center_loss or negatives:
            diff[i, label[i]] = positive_weight
    return loss, diff.reshape(distances.shape) / num


def confusion(scores, labels, ignore_labels=()):
    """SegAccuracyLayer::Forward_cpu of hszhao/PSPNet: rows by label, columns by prediction."""
    classes = scores.shape[1]
    matrix = np.zeros((classes, classes))
    for n, h, w in np.ndindex(scores.shape[0], *scores.shape[2:]):
        label = int(labels[n, 0, h, w])
        if label not in ignore_labels:
            best = max((score, c) for c, score in enumerate(scores[n, :, h, w]))[1]
            matrix[label, best] += 1
    return matrix


def seg_measures(matrix):
    """confusion_matrix.cpp of hszhao/PSPNet: accuracy, avgRecall and avgJaccard."""
    total, right = matrix.sum(), np.diag(matrix)
    recalls = [
        matrix[i, i] / matrix[i].sum() for i in range(len(matrix)) if matrix[i].sum()
    ]
    unions = matrix.sum(0) + matrix.sum(1) - right
    jaccards = [1.0 if r == u else r / u for r, u in zip(right, unions, strict=True)]
    return np.array(
        [
            right.sum() / total if total else 0.0,
            np.mean(recalls) if recalls else 0.0,
            np.mean(jaccards),
        ]
    )
