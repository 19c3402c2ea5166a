"""SSD's detection layers in plain Python, box by box, from the sources of its Caffe.

weiliu89/caffe, branch ssd: prior_box_layer.cpp, detection_output_layer.cpp,
multibox_loss_layer.cpp, detection_evaluate_layer.cpp and util/bbox_util.cpp.
"""

import math
from collections import defaultdict

import numpy as np

F = np.float32
FLT_MIN = float(np.finfo("float32").tiny)


def prior_box(cells, image, min_size, p):
    """PriorBoxLayer::Forward_cpu; cells and image are (height, width)."""
    ratios = [F(1)]
    for ratio in map(F, p.get("aspect_ratio", [])):
        if not any(abs(ratio - known) < 1e-6 for known in ratios):
            ratios.append(ratio)
            if p.get("flip", True):
                ratios.append(F(1 / ratio))
    height, width = p.get("image_size") or image
    step_h, step_w = p.get("step") or (F(height) / cells[0], F(width) / cells[1])
    offset, boxes = F(p.get("offset", 0.5)), []
    for h in range(cells[0]):
        for w in range(cells[1]):
            x, y = F(F(w + offset) * F(step_w)), F(F(h + offset) * F(step_h))
            for s, size in enumerate(map(int, min_size)):
                sides = [(size, size)]
                if p.get("max_size"):
                    side = math.sqrt(size * int(p["max_size"][s]))
                    sides.append((side, side))
                for ratio in ratios:
                    if abs(ratio - 1) >= 1e-6:
                        sides.append((size * math.sqrt(ratio), size / math.sqrt(ratio)))
                for a, b in sides:
                    boxes += [
                        (x - F(a) / 2) / width,
                        (y - F(b) / 2) / height,
                        (x + F(a) / 2) / width,
                        (y + F(b) / 2) / height,
                    ]
    boxes = np.array(boxes, F)
    if p.get("clip"):
        boxes = np.minimum(np.maximum(boxes, 0), 1)
    variance = p.get("variance", [0.1])
    variance = variance * 4 if len(variance) == 1 else variance
    return np.stack([boxes, np.tile(np.array(variance, F), len(boxes) // 4)])[None]


def size(box, rim=0):
    if box[2] < box[0] or box[3] < box[1]:
        return 0.0
    return (box[2] - box[0] + rim) * (box[3] - box[1] + rim)


def jaccard(a, b, rim=0, area_rim=None):
    if b[0] > a[2] or b[2] < a[0] or b[1] > a[3] or b[3] < a[1]:
        common = [0, 0, 0, 0]
    else:
        common = [max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])]
    w, h = common[2] - common[0] + rim, common[3] - common[1] + rim
    if w <= 0 or h <= 0:
        return 0.0
    area_rim = rim if area_rim is None else area_rim
    return w * h / (size(a, area_rim) + size(b, area_rim) - w * h)


def decode(prior, variance, code, encoded, box):
    v = [1, 1, 1, 1] if encoded else variance
    w, h = prior[2] - prior[0], prior[3] - prior[1]
    if code == "CORNER":
        return [p + q * b for p, q, b in zip(prior, v, box, strict=True)]
    if code == "CORNER_SIZE":
        return [
            p + q * b * s
            for p, q, b, s in zip(prior, v, box, [w, h, w, h], strict=True)
        ]
    x = v[0] * box[0] * w + (prior[0] + prior[2]) / 2
    y = v[1] * box[1] * h + (prior[1] + prior[3]) / 2
    bw, bh = math.exp(v[2] * box[2]) * w, math.exp(v[3] * box[3]) * h
    return [x - bw / 2, y - bh / 2, x + bw / 2, y + bh / 2]


def encode(prior, variance, code, encoded, box):
    v = [1, 1, 1, 1] if encoded else variance
    w, h = prior[2] - prior[0], prior[3] - prior[1]
    if code == "CORNER":
        return [(b - p) / q for p, q, b in zip(prior, v, box, strict=True)]
    if code == "CORNER_SIZE":
        return [
            (b - p) / s / q
            for p, q, b, s in zip(prior, v, box, [w, h, w, h], strict=True)
        ]
    bw, bh = box[2] - box[0], box[3] - box[1]
    return [
        ((box[0] + box[2]) / 2 - (prior[0] + prior[2]) / 2) / w / v[0],
        ((box[1] + box[3]) / 2 - (prior[1] + prior[3]) / 2) / h / v[1],
        math.log(bw / w) / v[2],
        math.log(bh / h) / v[3],
    ]


def read_priors(priors):
    boxes, variances = np.float64(priors).reshape(2, -1, 4)
    return boxes.tolist(), variances.tolist()


def nms_fast(boxes, scores, p):
    """ApplyNMSFast."""
    threshold = p.get("confidence_threshold", -np.inf)
    queue = [i for i, s in enumerate(scores) if s > threshold]
    queue.sort(key=lambda i: -scores[i])
    if p.get("top_k", -1) > -1:
        queue = queue[: p["top_k"]]
    limit, kept, eta = p.get("nms_threshold", 0.3), [], p.get("eta", 1.0)
    for i in queue:
        keep = all(jaccard(boxes[i], boxes[k]) <= limit for k in kept)
        if keep:
            kept.append(i)
            if eta < 1 and limit > 0.5:
                limit *= eta
    return kept


def detection_output(locations, confidences, priors, num_classes, p):
    """DetectionOutputLayer::Forward_cpu: rows (image, class, score, box)."""
    boxes, variances = read_priors(priors)
    shared = p.get("share_location", True)
    background = p.get("background_label_id", 0)
    rows = []
    for i, (loc, conf) in enumerate(zip(locations, confidences, strict=True)):
        loc = np.float64(loc).reshape(len(boxes), -1, 4)
        conf = conf.reshape(len(boxes), num_classes)
        found = []
        for c in range(num_classes):
            if c == background:
                continue
            decoded = [
                decode(
                    prior,
                    variances[j],
                    p.get("code_type", "CORNER"),
                    p.get("variance_encoded_in_target", False),
                    loc[j, 0 if shared else c],
                )
                for j, prior in enumerate(boxes)
            ]
            for j in nms_fast(decoded, conf[:, c].tolist(), p):
                found.append((c, conf[j, c], decoded[j]))
        most = p.get("keep_top_k", -1)
        if -1 < most < len(found):
            best = sorted(found, key=lambda d: -d[1])[:most]
            found = sorted(best, key=lambda d: d[0])
        rows += [[i, c, score, *box] for c, score, box in found]
    if not rows:
        rows = [[i, *[-1] * 6] for i in range(len(locations))]
    return np.array(rows, F)[None, None]


def match(truth, boxes, label, p):
    """MatchBBox: the index of a true box for each box (-1, or -2), and its overlap."""
    matches, overlaps = [-1] * len(boxes), [0.0] * len(boxes)
    candidates = [j for j, t in enumerate(truth) if label in (-1, t["label"])]
    pairs = defaultdict(dict)
    if not candidates:
        return matches, overlaps
    for i, box in enumerate(boxes):
        if p.get("ignore_cross_boundary_bbox") and any(v < 0 or v > 1 for v in box):
            matches[i] = -2
            continue
        for j in candidates:
            overlap = jaccard(box, truth[j]["box"])
            if overlap > 1e-6:
                overlaps[i] = max(overlaps[i], overlap)
                pairs[i][j] = overlap
    pool = list(candidates)
    while pool:
        best = (-1, -1, -1)
        for i in sorted(pairs):
            for j in pool:
                if matches[i] == -1 and pairs[i].get(j, -1) > best[0]:
                    best = (pairs[i][j], i, j)
        if best[1] == -1:
            break
        overlaps[best[1]], matches[best[1]] = best[0], best[2]
        pool.remove(best[2])
    if p.get("match_type", "PER_PREDICTION") == "PER_PREDICTION":
        for i in sorted(pairs):
            best = (-1, -1)
            for j in candidates:
                overlap = pairs[i].get(j, -1)
                if overlap >= p.get("overlap_threshold", 0.5) and overlap > best[0]:
                    best = (overlap, j)
            if matches[i] == -1 and best[1] != -1:
                overlaps[i], matches[i] = best
    return matches, overlaps


def read_truth(rows, use_difficult):
    truth = defaultdict(list)
    for row in np.reshape(rows, (-1, 8)).tolist():
        if int(row[0]) != -1 and (use_difficult or not row[7]):
            truth[int(row[0])].append({"label": int(row[1]), "box": row[3:7]})
    return truth


def nms(boxes, scores, threshold, top_k):
    """ApplyNMS."""
    queue = sorted(range(len(scores)), key=lambda i: -scores[i])
    if top_k > -1:
        queue = queue[:top_k]
    kept = []
    while queue:
        best = queue.pop(0)
        if size(boxes[best]) < 1e-5:
            continue
        kept.append(best)
        queue = [
            i
            for i in queue
            if size(boxes[i]) >= 1e-5 and jaccard(boxes[best], boxes[i]) <= threshold
        ]
    return kept


def conf_loss(scores, label, kind):
    """ComputeConfLoss."""
    if kind == "SOFTMAX":
        e = np.exp(scores - scores.max())
        return -math.log(max(e[label] / e.sum(), FLT_MIN))
    target = np.arange(len(scores)) == label
    return float(np.sum(np.logaddexp(0, scores) - scores * target))


class MultiBox:
    """MultiBoxLossLayer: `loss`, and the gradients `d_locations`, `d_confidences`."""

    def __init__(self, locations, confidences, priors, rows, num_classes, p):
        self.p, self.classes = p, num_classes
        self.boxes, self.variances = read_priors(priors)
        number = len(self.boxes)
        self.shared = p.get("share_location", True)
        self.code = p.get("code_type", "CORNER")
        self.encoded = p.get("encode_variance_in_target", False)
        self.background = p.get("background_label_id", 0)
        self.kind = p.get("conf_loss_type", "SOFTMAX")
        self.mining = p.get("mining_type", "MAX_NEGATIVE")
        self.loc = np.float64(locations).reshape(len(locations), number, -1, 4)
        self.conf = np.float64(confidences).reshape(-1, number, num_classes)
        self.truth = read_truth(rows, p.get("use_difficult_gt", True))
        self.matches, self.overlaps = self._find_matches()
        self.negatives = [[] for _ in self.conf]
        if self.mining != "NONE":
            self._mine()
        self._losses()

    def _decoded(self, i, label):
        which = 0 if label == -1 else label
        return [
            decode(prior, v, self.code, self.encoded, self.loc[i, j, which])
            for j, (prior, v) in enumerate(zip(self.boxes, self.variances, strict=True))
        ]

    def _find_matches(self):
        all_matches, all_overlaps = [], []
        for i in range(len(self.conf)):
            matches, overlaps = {}, {}
            truth = self.truth.get(i)
            labels = [-1] if self.shared else range(self.classes)
            labels = [c for c in labels if self.shared or c != self.background]
            if truth and self.p.get("use_prior_for_matching", True):
                found, fits = match(truth, self.boxes, -1, self.p)
                for c in labels:
                    matches[c] = [
                        m if self.shared or (m > -1 and truth[m]["label"] == c) else -1
                        for m in found
                    ]
                    overlaps[c] = fits
            elif truth:
                for c in labels:
                    matches[c], overlaps[c] = match(
                        truth, self._decoded(i, c), c, self.p
                    )
            all_matches.append(matches)
            all_overlaps.append(overlaps)
        return all_matches, all_overlaps

    def _distance(self, i, label, j, m):
        """The four differences that count, as the loss layer sees them."""
        prior, v = self.boxes[j], self.variances[j]
        truth = encode(prior, v, self.code, self.encoded, self.truth[i][m]["box"])
        given = self.loc[i, j, 0 if label == -1 else label]
        found = np.subtract(given, truth)
        if self.p.get("bp_inside"):
            box = prior
            if not self.p.get("use_prior_for_matching", True):
                box = self._decoded(i, label)[j]
            found = np.where([0 <= b <= 1 for b in box], found, 0)
        return found / v if self.encoded else found

    def _loc_loss(self, difference):
        if self.p.get("loc_loss_type", "SMOOTH_L1") == "L2":
            return np.square(difference) / 2, difference
        far = np.abs(difference) >= 1
        value = np.where(far, np.abs(difference) - 0.5, np.square(difference) / 2)
        return value, np.where(far, np.sign(difference), difference)

    def _mine(self):
        p = self.p
        for i, matches in enumerate(self.matches):
            for label, match_of in matches.items():
                losses, boxes = [], self.boxes
                if not p.get("use_prior_for_nms"):
                    boxes = self._decoded(i, label)
                for j, m in enumerate(match_of):
                    target = self.truth[i][m]["label"] if m > -1 else self.background
                    loss = conf_loss(self.conf[i, j], target, self.kind)
                    if self.mining == "HARD_EXAMPLE" and m > -1:
                        loss += self._loc_loss(self._distance(i, label, j, m))[0].sum()
                    losses.append(loss)
                eligible = list(range(len(match_of)))
                if self.mining == "MAX_NEGATIVE":
                    fits = self.overlaps[i][label]
                    eligible = [
                        j
                        for j in eligible
                        if match_of[j] == -1 and fits[j] < p.get("neg_overlap", 0.5)
                    ]
                    positives = sum(m > -1 for m in match_of)
                    count = int(positives * p.get("neg_pos_ratio", 3.0))
                else:
                    count = p.get("sample_size", 64)
                if p.get("nms_threshold") is not None:
                    kept = nms(
                        [boxes[j] for j in eligible],
                        [losses[j] for j in eligible],
                        p["nms_threshold"],
                        p.get("nms_top_k", 0),
                    )
                    chosen = {eligible[k] for k in kept[:count]}
                else:
                    chosen = set(sorted(eligible, key=lambda j: -losses[j])[:count])
                for j, m in enumerate(match_of):
                    if m > -1 and self.mining == "HARD_EXAMPLE" and j not in chosen:
                        match_of[j] = -1
                    elif m == -1 and j in chosen:
                        self.negatives[i].append(j)

    def _normalizer(self):
        kind = self.p.get("normalization", "VALID")
        matched = sum(
            m > -1 for one in self.matches for found in one.values() for m in found
        )
        batch, number = self.conf.shape[:2]
        counts = {"VALID": matched, "FULL": batch * number, "BATCH_SIZE": batch}
        return max(1, counts.get(kind, 1))

    def _losses(self):
        normalizer, loss = self._normalizer(), 0.0
        d_loc, d_conf = np.zeros_like(self.loc), np.zeros_like(self.conf)
        weight = self.p.get("loc_weight", 1.0)
        for i, matches in enumerate(self.matches):
            for label, found in matches.items():
                for j, m in enumerate(found):
                    if m > -1 and self.p.get("with_locations", True):
                        value, slope = self._loc_loss(self._distance(i, label, j, m))
                        loss += weight * value.sum()
                        d_loc[i, j, 0 if label == -1 else label] = weight * slope
        if self.p.get("with_confidences", True):
            loss += self._conf_losses(d_conf)
        self.loss = loss / normalizer
        batch = len(self.conf)
        self.d_locations = d_loc.reshape(batch, -1) / normalizer
        self.d_confidences = d_conf.reshape(batch, -1) / normalizer

    def _label(self, i, m):
        if self.p.get("map_object_to_agnostic"):
            return self.background + 1
        return self.truth[i][m]["label"]

    def _conf_losses(self, d_conf):
        """EncodeConfPrediction and the loss of what it has written."""
        batch, number, classes = self.conf.shape
        softmax = self.kind == "SOFTMAX"
        # Rows of scores, where they come from, and their targets.
        rows, targets = [], []
        if self.mining == "NONE":
            rows = [(i, j) for i in range(batch) for j in range(number)]
            width = 1 if softmax else classes
            flat = np.full(len(rows) * width, float(self.background))
            for i, matches in enumerate(self.matches):
                for found in matches.values():
                    for j, m in enumerate(found):
                        if m <= -1:
                            continue
                        if softmax:
                            flat[i * number + j] = self._label(i, m)
                        else:
                            # The pointer moves on by `number` for each image.
                            place = i * number + j * classes + self._label(i, m)
                            flat[place] = 1
            targets = flat.reshape(len(rows), width)
        else:
            for i, matches in enumerate(self.matches):
                chosen = [
                    (j, self._label(i, m))
                    for found in matches.values()
                    for j, m in enumerate(found)
                    if m > -1
                ]
                chosen += [(j, self.background) for j in self.negatives[i]]
                for j, label in chosen:
                    rows.append((i, j))
                    target = np.full(classes, float(self.background))
                    if label < classes:
                        target[label] = 1
                    targets.append([label] if softmax else target)
        loss = 0.0
        for (i, j), target in zip(rows, targets, strict=True):
            x = self.conf[i, j]
            if softmax:
                label = int(target[0])
                loss += conf_loss(x, label, "SOFTMAX")
                e = np.exp(x - x.max())
                d_conf[i, j] = e / e.sum() - (np.arange(classes) == label)
            else:
                loss += float(np.sum(np.logaddexp(0, x) - x * target))
                d_conf[i, j] = 1 / (1 + np.exp(-x)) - target
        return loss


def output_box(box, image, resize):
    """OutputBBox; the box and whether its area counts the last pixel."""
    height, width = image
    mode = (resize or {}).get("resize_mode", "WARP")
    if mode == "FIT_SMALL_SIZE" and resize.get("height_scale"):
        scales = [resize["width_scale"], resize["height_scale"]] * 2
        scaled = [v * s for v, s in zip(box, scales, strict=True)]
        limits = [width, height] * 2
        return [min(max(v, 0), m) for v, m in zip(scaled, limits, strict=True)], 0
    if mode == "FIT_LARGE_SIZE_AND_PAD":
        new_h, new_w = resize["height"], resize["width"]
        aspect = width / height
        if aspect > new_w / new_h:
            rim = (new_h - new_w / aspect) / 2 / new_h
            source = [0, rim, 1, 1 - rim]
        else:
            rim = (new_w - new_h * aspect) / 2 / new_w
            source = [rim, 0, 1 - rim, 1]
        if not (
            box[0] >= source[2]
            or box[2] <= source[0]
            or box[1] >= source[3]
            or box[3] <= source[1]
        ):
            w, h = source[2] - source[0], source[3] - source[1]
            box = [
                (box[0] - source[0]) / w,
                (box[1] - source[1]) / h,
                (box[2] - source[0]) / w,
                (box[3] - source[1]) / h,
            ]
    clipped = [min(max(v, 0.0), 1.0) for v in box]
    return [v * s for v, s in zip(clipped, [width, height] * 2, strict=True)], 1


def detection_evaluate(detections, rows, num_classes, p, state=None):
    """DetectionEvaluateLayer::Forward_cpu; `state` is [the next image's place]."""
    background = p.get("background_label_id", 0)
    difficult_counts = p.get("evaluate_difficult_gt", True)
    sizes, state = p.get("image_sizes"), state or [0]
    truth = defaultdict(lambda: defaultdict(list))
    for row in np.reshape(rows, (-1, 8)).tolist():
        if int(row[0]) == -1:
            break
        truth[int(row[0])][int(row[1])].append((row[3:7], bool(row[7])))
    found = defaultdict(lambda: defaultdict(list))
    detections = np.reshape(detections, (-1, 7)).tolist()
    for row in detections:
        if int(row[0]) != -1:
            found[int(row[0])][int(row[1])].append((row[2], row[3:7]))
    out = []
    for c in range(num_classes):
        if c != background:
            number = sum(
                difficult_counts or not difficult
                for labels in truth.values()
                for _, difficult in labels.get(c, [])
            )
            out.append([-1, c, number, -1, -1])
    for image in sorted(found):
        for label in sorted(found[image]):
            if label == -1:
                continue
            boxes = found[image][label]
            if image not in truth or label not in truth[image]:
                out += [[image, label, score, 0, 1] for score, _ in boxes]
                continue
            true = truth[image][label]
            rim = area_rim = 0
            if sizes:
                given = sizes[state[0]], p.get("resize")
                true = [(output_box(b, *given)[0], d) for b, d in true]
                rim, area_rim = 1, output_box(boxes[0][1], *given)[1]
                boxes = [(s, output_box(b, *given)[0]) for s, b in boxes]
            visited = set()
            for score, box in sorted(boxes, key=lambda b: -b[0]):
                overlaps = [jaccard(box, b, rim, area_rim) for b, _ in true]
                best = int(np.argmax(overlaps))
                verdict = [0, 1]
                if overlaps[best] >= p.get("overlap_threshold", 0.5):
                    if not difficult_counts and true[best][1]:
                        verdict = [0, 0]
                    elif best not in visited:
                        verdict = [1, 0]
                        visited.add(best)
                out.append([image, label, score, *verdict])
        if sizes:
            state[0] = (state[0] + 1) % len(sizes)
    empty = (
        sum(row[1] != -1 for row in detections)
        + num_classes
        - (0 <= background < num_classes)
    )
    out += [[0] * 5] * (empty - len(out))
    return np.array(out, F)[None, None]
