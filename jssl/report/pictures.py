"""Figures in the workdir. Drawing never stops a run: these take NumPy arrays and write PNG files.

Nothing here goes through pyplot, whose backend and open figures are the notebook's.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from sklearn.cluster import KMeans

from jssl import storage

DPI = 110
CLUSTERS = 8  # on the map of features without labels
THUMBNAIL = 0.09  # side of an image on the map, as a part of it
MAX_ROWS = 8  # images in the figure of the attention
UNLABELLED = ("health/features/rank_me", "health/features/uniformity")  # curves of runs without labels

CELL = 1.1  # inches of a cell of a grid
ROOM = 0.22  # above an image, for its title, as a part of a cell
GAP = 0.06  # between images without

Limits = tuple[float, float]


def save(figure: Figure, path: epath.Path) -> None:
    """Writes a figure as a PNG, whole or not at all; texts in it are text, whatever dollar signs they have."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"text.parse_math": False}):
        for text in figure.findobj(Text):
            text.set_parse_math(False)
        figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    storage.write_whole(path, buffer.getvalue())


class Grid:
    """Images in rows and columns of one size, on one axes: an axes for each takes ten times as long to draw.

    Args:
      rows, columns: how many.
      limits: what black and white are, in [0, 1]; see `contrast`.
      titles: whether rows have titles; else there is room above the first alone.
    """

    def __init__(self, rows: int, columns: int, limits: Limits = (0.0, 1.0), titles: bool = False):
        self.limits, self._room = limits, ROOM if titles else GAP
        self._shape = columns, ROOM + rows + (rows - 1) * self._room
        self.figure = Figure(figsize=(CELL * self._shape[0], CELL * self._shape[1]))
        self.axes = self.figure.add_axes((0, 0, 1, 1))

    def show(self, row: int, column: int, image: np.ndarray, title: str = "", frame: str = "") -> None:
        """Puts an image [H, W, C], see `pixels`, into a cell, with a title above and a frame of a colour around it."""
        self.draw(row, column, pixels(image, self.limits), title, frame, cmap="gray", vmin=0, vmax=1)

    def draw(
        self, row: int, column: int, image: np.ndarray, title: str = "", frame: str = "", **options: Any
    ) -> None:
        """As `show`, of what `imshow` takes with its options."""
        extent = left, right, bottom, top = self._extent(row, column, image)
        self.axes.imshow(image, extent=extent, aspect="auto", **options)
        if title:
            above = ROOM + row * (1 + self._room) - 0.01
            self.axes.text(column + 0.5, above, title, fontsize=8, ha="center", va="bottom")
        if frame:
            self._frame((left, top), right - left, bottom - top, frame, 2)

    def outline(self, row: int, column: int, mask: np.ndarray, colour: str = "white") -> None:
        """Draws the border of a part of an image, bool[H, W], over a cell with an image of that size."""
        extent = self._extent(row, column, mask)
        self.axes.contour(mask, [0.5], colors=colour, linewidths=0.8, extent=extent, origin="upper")

    def box(
        self, row: int, column: int, image: np.ndarray, where: Sequence[float], name: str, colour: str
    ) -> None:
        """Draws a box over a cell with an image [H, W, C], y0, x0, y1, x1 as parts of its sides, with a name in it."""
        left, right, bottom, top = self._extent(row, column, image)
        y0, x0, y1, x1 = (float(side) for side in where)
        corner = left + x0 * (right - left), top + y0 * (bottom - top)
        self._frame(corner, (x1 - x0) * (right - left), (y1 - y0) * (bottom - top), colour, 1)
        self.axes.text(*corner, name, fontsize=5, color=colour, va="top")

    def _extent(self, row: int, column: int, image: np.ndarray) -> tuple[float, float, float, float]:
        """Where an image lies in a cell: left, right, bottom, top."""
        height, width = (side / max(image.shape[:2]) * (1 - GAP) for side in image.shape[:2])
        left, top = column + (1 - width) / 2, ROOM + row * (1 + self._room) + (1 - height) / 2
        return left, left + width, top + height, top

    def _frame(
        self, corner: tuple[float, float], width: float, height: float, colour: str, line: float
    ) -> None:
        self.axes.add_patch(Rectangle(corner, width, height, fill=False, linewidth=line, edgecolor=colour))

    def save(self, path: epath.Path, title: str) -> None:
        """Writes the figure with a title."""
        columns, rows = self._shape
        self.axes.set(xlim=(0, columns), ylim=(rows, 0))
        self.axes.set_axis_off()
        self.figure.suptitle(title, fontsize=9, y=1.0, va="bottom")
        save(self.figure, path)


def pixels(image: np.ndarray, limits: Limits = (0.0, 1.0)) -> np.ndarray:
    """An image as it is drawn, float[H, W] or [H, W, 3] in [0, 1].

    Args:
      image: [H, W, C], integers or float in [0, 1]; of two channels the first is shown, of more than three the first
        three.
      limits: what black and white are; of 8 bits they are 0 and 1.
    """
    flat = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    low, high = (0.0, 1.0) if flat.dtype == np.uint8 else limits
    shown: np.ndarray = np.clip((unit(flat) - low) / (high - low), 0, 1)
    return shown


def unit(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1], whose integers are divided by the largest of their dtype."""
    return images / np.iinfo(images.dtype).max if images.dtype.kind == "u" else images


def contrast(images: Sequence[np.ndarray], dtype: str) -> Limits:
    """Black and white for showing images together: 8 bits fill their range, of 16 the values that there are.

    Args:
      images: arrays [n, H, W, C], integers or floats in [0, 1].
      dtype: of the pixels before they were floats.

    Returns:
      (low, high) in [0, 1], low < high: but for a thousandth at either end all pixels of uint16 lie between them.
    """
    if dtype == "uint8":
        return 0.0, 1.0
    ends = [np.quantile(unit(part), (0.001, 0.999)) for part in images]
    low, high = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
    return (low, high) if low < high else (0.0, 1.0)


def views_grid(
    path: epath.Path, originals: np.ndarray | None, views: Mapping[str, np.ndarray], dtype: str = "uint8"
) -> None:
    """One row an image: as it is (where the host has it), then its views.

    Args:
      path: PNG to write.
      originals: [n, H, W, C] of the dtype, or None.
      views: by name float[n, S, S, C] in [0, 1].
      dtype: 'uint8' or 'uint16', that the views were made of.
    """
    limits = contrast([*([] if originals is None else [originals]), *views.values()], dtype)
    columns = {**({} if originals is None else {"original": originals}), **views}
    _columns(path, columns, "What the augmentation does to the first batch", limits)


def reconstructions(path: epath.Path, columns: Mapping[str, np.ndarray], dtype: str = "uint8") -> None:
    """One row an image: what a method sees of it, what it fills in, and the truth.

    Args:
      path: PNG to write.
      columns: by title float[n, S, S, C] in [0, 1].
      dtype: 'uint8' or 'uint16', of the pixels before.
    """
    limits = contrast(list(columns.values()), dtype)
    _columns(path, columns, "What a method predicts of test images", limits)


def _columns(path: epath.Path, columns: Mapping[str, np.ndarray], title: str, limits: Limits) -> None:
    """A grid of images: a column by title, a row an image."""
    rows = len(next(iter(columns.values())))
    grid = Grid(rows, len(columns), limits)
    for column, (name, images) in enumerate(columns.items()):
        for row in range(rows):
            grid.show(row, column, images[row], name if row == 0 else "")
    grid.save(path, title)


def curves(
    path: epath.Path, lines: Sequence[Mapping[str, Any]], final: Mapping[str, Any] | None = None
) -> None:
    """Loss, and accuracies or what else is measured, over steps.

    Args:
      path: PNG to write.
      lines: of metrics.jsonl.
      final: the result: the closing evaluation is a star, the baselines are dashed lines.
    """
    final = final or {}
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    names = sorted({name for line in lines for name in line if name.endswith("/top1")})
    labelled = bool(names) or any(name.endswith("/top1") for name in final)
    names = names if labelled else [name for name in UNLABELLED if any(name in line for line in lines)]
    figure = Figure(figsize=(11, 3.4))
    left, right = figure.subplots(1, 2)
    left.plot(*zip(*losses), color="tab:blue") if losses else None
    left.set(title="training loss", xlabel="step")
    twin = right.twinx() if not labelled and len(names) > 1 else right
    for number, name in enumerate(names):
        points = [(line["step"], line[name]) for line in lines if name in line]
        axes, colour = (twin if number else right), f"C{number}"
        axes.plot(*zip(*points), marker="o", markersize=3 + 2 * (number == 0), label=name, color=colour)
        own = name.removeprefix("val/")
        if own in final and labelled:
            axes.plot([final["step"]], [final[own]], marker="*", markersize=9, linestyle="", color=colour)
        for style, prefix in (("--", "pixels/"), (":", "untrained/")):
            if prefix + own in final:
                label = f"{own}, {'raw pixels' if prefix == 'pixels/' else 'untrained'}"
                axes.axhline(final[prefix + own], linestyle=style, linewidth=1, color=colour, label=label)
    right.set(title="accuracy (val: on the holdout; star: the end)" if labelled else "health", xlabel="step")
    handles = [
        found for axes in dict.fromkeys((right, twin)) for found in zip(*axes.get_legend_handles_labels())
    ]
    if handles:
        right.legend(
            *zip(*handles),
            fontsize=7,
            loc="center left",
            bbox_to_anchor=(1.15 if twin is not right else 1.02, 0.5),
        )
    else:
        right.text(0.5, 0.5, "no evaluation during training", ha="center", transform=right.transAxes)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.set_layout_engine("tight")
    save(figure, path)


def feature_map(
    path: epath.Path,
    x: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str] | None,
    images: np.ndarray | None = None,
) -> None:
    """The features on their first two principal components, coloured by class, or by cluster where there are none.

    Args:
      path: PNG to write.
      x: float[N, D].
      labels: int[N].
      class_names: for the legend; None if unlabelled: then k-means of the features' directions colours them.
      images: [N, H, W, C], of which some are drawn beside, at their places; None without.
    """
    centred = x - x.mean(axis=0)
    _, scale, axes_of_x = np.linalg.svd(centred, full_matrices=False)
    place = centred @ axes_of_x[:2].T
    place = np.pad(place, [(0, 0), (0, 2 - place.shape[1])])
    part = np.square(scale[:2]).sum() / max(float(np.square(scale).sum()), 1e-12)
    if class_names is None:
        labels, names = _clusters(x), [f"cluster {number}" for number in range(1, CLUSTERS + 1)]
    else:
        names = list(class_names)
    few = len(names) <= 20
    colours = matplotlib.colormaps["tab10" if len(names) <= 10 else "tab20" if few else "viridis"]
    span = (0, colours.N - 1) if few else (0, len(names) - 1)
    figure = Figure(figsize=(6, 5) if images is None else (11, 5))
    panels = figure.subplots(1, 1 if images is None else 2, squeeze=False)[0]
    points = panels[-1].scatter(
        place[:, 0], place[:, 1], s=8, c=labels, cmap=colours, vmin=span[0], vmax=span[1]
    )
    if few:
        there = sorted(set(labels.tolist()))
        panels[-1].legend(
            points.legend_elements(num=there)[0],
            [names[i] for i in there],
            fontsize=7,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
        )
    if images is not None:
        shown = colours((labels - span[0]) / max(1, span[1] - span[0]))
        _thumbnails(panels[0], place, images, shown)
    figure.suptitle(
        f"features of {len(x)} images: two principal components, {part:.0%} of the variance", fontsize=9
    )
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
    figure.set_layout_engine("tight", pad=0.5)
    save(figure, path)


def _clusters(x: np.ndarray) -> np.ndarray:
    """The cluster of every row by k-means of directions, int[N]; the same rows always give the same."""
    directions = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    count = min(CLUSTERS, len(np.unique(directions, axis=0)))
    return KMeans(count, n_init=3, random_state=0).fit_predict(directions)


def _thumbnails(axes: Axes, place: np.ndarray, images: np.ndarray, colours: np.ndarray) -> None:
    """Images at their places on a map, framed in their colours; of those that would overlap the first alone."""
    low, high = place.min(axis=0), place.max(axis=0)
    extent = np.maximum(high - low, 1e-12)
    half = THUMBNAIL * extent / 2
    limits, drawn = contrast([images], images.dtype.name), np.zeros((0, 2))
    for index in np.random.default_rng(0).permutation(len(place)):
        if len(drawn) and (np.abs(place[index] - drawn) < 2 * half).all(axis=1).any():
            continue
        drawn = np.concatenate([drawn, place[index][None]])
        (left, bottom), (right, top) = place[index] - 0.92 * half, place[index] + 0.92 * half
        shown = pixels(images[index], limits)
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1, extent=(left, right, bottom, top))
        frame = Rectangle((left, bottom), right - left, top - bottom, fill=False, linewidth=1.5)
        frame.set_edgecolor(colours[index])
        axes.add_patch(frame)
    axes.set(
        xlim=(low[0] - half[0], high[0] + half[0]), ylim=(low[1] - half[1], high[1] + half[1]), aspect="auto"
    )


def neighbours(
    path: epath.Path,
    x: np.ndarray,
    images: np.ndarray,
    rows: int,
    count: int = 7,
    labels: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "Nearest neighbours in feature space, with their cosine",
) -> None:
    """The nearest neighbours (by cosine) of some images among the others.

    Args:
      path: PNG to write.
      x: features, float[N, D].
      images: the images they belong to, uint8 or uint16[N, H, W, C].
      rows: how many images to ask for, of as many classes as there are.
      count: neighbours of each.
      labels: int[N], of which a neighbour's is green where it is the image's and red where not; None without.
      class_names: by label.
      title: of the figure.
    """
    known = labels is not None and class_names is not None
    directions = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    asked = _spread(labels if known else None, len(x), rows)
    similarity = directions[asked] @ directions.T
    similarity[np.arange(len(asked)), asked] = -np.inf
    nearest = np.argsort(-similarity, axis=1)[:, : min(count, len(x) - 1)]
    grid = Grid(len(asked), nearest.shape[1] + 1, contrast([images], images.dtype.name), titles=True)
    for row, query in enumerate(asked):
        name = class_names[labels[query]][:12] if known else ("image" if row == 0 else "")  # type: ignore[index]
        grid.show(row, 0, images[query], name)
        for column, index in enumerate(nearest[row], 1):
            frame = ""
            if known:
                frame = "tab:green" if labels[index] == labels[query] else "tab:red"  # type: ignore[index]
            grid.show(row, column, images[index], f"{similarity[row, index]:.2f}", frame)
    of_class = "; green: of its class, red: of another" if known else ""
    grid.save(path, f"{title}{of_class}")


def clusters(path: epath.Path, p: np.ndarray, images: np.ndarray, rows: int, count: int = 10) -> None:
    """The most typical images of the largest clusters, and of some others.

    Args:
      path: PNG to write.
      p: how much an image belongs to each cluster, float[N, K]; it is one of the largest.
      images: uint8 or uint16[N, H, W, C].
      rows: clusters; the first half of them are the largest, the others random ones.
      count: images of each.
    """
    labels = np.argmax(p, axis=1)
    sizes = np.bincount(labels, minlength=p.shape[1])
    by_size = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    largest, rest = by_size[: rows // 2], by_size[rows // 2 :]
    others = np.random.default_rng(0).permutation(rest)[: rows - len(largest)]
    chosen = [*largest, *others]
    grid = Grid(len(chosen), count, contrast([images], images.dtype.name), titles=True)
    for row, cluster in enumerate(chosen):
        members = np.flatnonzero(labels == cluster)
        typical = members[np.argsort(-p[members, cluster], kind="stable")]
        for column, index in enumerate(typical[:count]):
            grid.show(row, column, images[index], f"{sizes[cluster]} images" if column == 0 else "")
    text = f"The most typical of {len(images)} images in the largest clusters and in others, drawn at random"
    grid.save(path, f"{text}; {len(by_size)} of {p.shape[1]} clusters are not empty")


def _spread(labels: np.ndarray | None, length: int, rows: int) -> np.ndarray:
    """Positions of so many images: of the classes in turn, or evenly spaced."""
    if labels is None:
        return np.linspace(0, length - 1, min(rows, length)).astype(int)
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    turns = [each[turn] for turn in range(max(map(len, places))) for each in places if turn < len(each)]
    return np.array(turns[:rows])


def attention(path: epath.Path, images: np.ndarray, maps: np.ndarray) -> None:
    """The attention of the class token: one row an image, then one map a head, each on a scale of its own.

    Args:
      path: PNG to write.
      images: uint8 or uint16[n, H, W, C]; the first 8 are shown.
      maps: attention to the patches, float[n, heads, rows, cols].
    """
    images, maps = images[:MAX_ROWS], maps[:MAX_ROWS]
    grid = Grid(len(images), 1 + maps.shape[1], contrast([images], images.dtype.name))
    for row, image in enumerate(images):
        grid.show(row, 0, image, "image" if row == 0 else "")
        for head, weights in enumerate(maps[row], 1):
            title = f"head {head}" if row == 0 else ""
            grid.draw(row, head, weights, title, interpolation="nearest")
    grid.save(path, "What the class token attends to in the last block")


def similarity_maps(path: epath.Path, images: np.ndarray, maps: Mapping[str, np.ndarray]) -> None:
    """How near the places of images are to something, by title: one row an image, maps on one scale.

    Args:
      path: PNG to write.
      images: uint8 or uint16[n, H, W, C]; of clips, which have more than three channels, the frame in the middle is
        shown.
      maps: float[n, h, w] in [-1, 1].
    """
    if images.shape[-1] > 3:
        images = images[..., images.shape[-1] // 2, None]
    low, high = min(map(np.min, maps.values())), max(map(np.max, maps.values()))
    grid = Grid(len(images), 1 + len(maps), contrast([images], images.dtype.name))
    for row, image in enumerate(images):
        grid.show(row, 0, image, "image" if row == 0 else "")
        for column, (name, of_images) in enumerate(maps.items(), 1):
            title = name if row == 0 else ""
            grid.draw(row, column, of_images[row], title, interpolation="nearest", vmin=low, vmax=high)
    grid.save(path, f"Cosine of every place and a sound, from {low:.2f} (dark) to {high:.2f} (bright)")
