"""The contract of an evaluator: its section of the config, what it is given, and what it returns."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from jax.sharding import Mesh

from jssl import settings
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.sources import Source
from jssl.errors import UserError
from jssl.evaluation.extract import Features, labels_of

if TYPE_CHECKING:
    from etils import epath
    from matplotlib.figure import Figure

    from jssl.data.datasets import Data
    from jssl.data.text import Tokenizer
    from jssl.train.program import Program
    from jssl.train.state import TrainState

    Drawing = Figure | Callable[[epath.Path], None]

BASELINES = ("pixels", "untrained")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of an evaluator.

    Attributes:
      values: numbers by name. The suite puts the evaluator's name before them: 'top1' becomes 'knn/top1'.
      figures: pictures by name, with the same prefixes: each a matplotlib figure, or a function that draws into
        the path of a PNG. At the end of a run they are written to its folder, 'knn/errors' as knn_errors.png.
    """

    values: dict[str, float] = dataclasses.field(default_factory=dict)
    figures: dict[str, Drawing] = dataclasses.field(default_factory=dict)

    def prefixed(self, prefix: str) -> Evaluation:
        """A copy with a prefix before every name."""
        return Evaluation(
            {prefix + name: value for name, value in self.values.items()},
            {prefix + name: figure for name, figure in self.figures.items()},
        )

    def __or__(self, other: Evaluation) -> Evaluation:
        """Both; where a name is in both, the other's."""
        return Evaluation(self.values | other.values, self.figures | other.figures)


class Encode:
    """Outputs of one model for whole sources, each of which is extracted once, whoever asks.

    Args:
      extract: (source, name of an output) -> its rows, one for every readable image.
      texts: N texts -> their embeddings, float32[N, D], of models that read.
      sounds: (waveforms int16[N, samples], name of an output) -> its rows, float32[N, D], of models that hear.
    """

    def __init__(
        self,
        extract: Callable[[Source, str], Features],
        texts: Callable[[Sequence[str]], np.ndarray] | None = None,
        sounds: Callable[[np.ndarray, str], np.ndarray] | None = None,
    ):
        self._extract, self._texts, self._sounds = extract, texts, sounds
        self._found: dict[tuple[int, str], tuple[Source, Features]] = {}

    def __call__(self, source: Source, output: str = "features") -> Features:
        """An output for all readable images of a source.

        Args:
          source: of images; the same object gives the same rows without another pass.
          output: 'features', 'embedding', or 'logits' where the method has a classifier. Raw pixels are 'features'.
        """
        key = (id(source), output)
        if key not in self._found:  # with the source, whose id would else be given to another one
            self._found[key] = (source, self._extract(source, output))
        return self._found[key][1]

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """The embeddings of texts, float32[N, D], beside those of images."""
        assert self._texts is not None, "evaluators that need text say so"
        return self._texts(texts)

    def sounds(self, waves: np.ndarray, output: str = "features") -> np.ndarray:
        """An output for waveforms int16[N, samples], float32[N, D]."""
        assert self._sounds is not None, "evaluators that need sound say so"
        return self._sounds(waves, output)

    def of_sounds(self) -> Encode:
        """The same model for the sounds beside images: its features of a source are those of all its sounds."""

        def extract(source: Source, output: str) -> Features:
            sounds = source.sounds()
            assert sounds is not None, "the suite looked"
            index = np.arange(len(source), dtype=np.int32)
            return Features(self.sounds(sounds, output), labels_of(source), index)

        return Encode(extract, self._texts, self._sounds)

    def given(self, source: Source, features: Features) -> Encode:
        """A copy that already has the features of one more source."""
        other = Encode(self._extract, self._texts, self._sounds)
        other._found = {**self._found, (id(source), "features"): (source, features)}
        return other


@dataclasses.dataclass(frozen=True)
class EvalData:
    """The images that evaluators see.

    Attributes:
      labeled: training images whose labels may be used; None without labels. For a draw of few labels, those.
      query: labelled images to be scored: the holdout during training; at the end the test set, without one the
        holdout. None if there is neither.
      unlabeled: images for evaluators that read no labels: the holdout, without one train.
      hidden: count -> at most so many images of the unlabelled stream, with labels that training does not see; None
        if there are none.
      classes: 0 without labels.
      class_names: by class.
      train: all training images, for evaluators that learn from what else is known of them: masks, boxes.
    """

    labeled: Source | None
    query: Source | None
    unlabeled: Source
    hidden: Callable[[int], Source | None] = lambda count: None
    classes: int = 0
    class_names: tuple[str, ...] = ()
    train: Source | None = None


@dataclasses.dataclass(frozen=True)
class EvalContext:
    """The context of an evaluation, besides a model's outputs and the images.

    Attributes:
      program: of the run; evaluators that train something of their own build on it.
      state: the training state to evaluate; None for raw pixels.
      split: 'holdout' during training, 'test' at the end.
      baseline: '' for the run's own model, else 'pixels' or 'untrained'.
      cache: what evaluators store from one evaluation to the next, by their names: compiled functions, say.
      tokenizer: of captions; None where they are not read.
    """

    program: Program
    state: TrainState | None
    split: str = "test"
    baseline: str = ""
    cache: dict[str, Any] = dataclasses.field(default_factory=dict)
    tokenizer: Tokenizer | None = None

    @property
    def mesh(self) -> Mesh:
        """The devices of the run."""
        return self.program.mesh


@dataclasses.dataclass(frozen=True)
class Evaluator(abc.ABC):
    """Measures something of a model. Its fields, with their defaults, are its section of the config, `evals.NAME`.

    Attributes:
      enabled: whether it runs.
      baselines: the models that are measured beside the run's own, at its end: 'pixels', 'untrained'.
      name: of the section and of the results, 'NAME/...'.
      needs: what must be there, or it is passed over: 'labels' of images, 'classifier' of the method, 'text': captions
        and a method that reads, 'audio': sound and a method that hears, 'text or audio', 'masks', 'boxes'.
      during: whether it runs during training, too.
      on_query: whether its values are of `data.query`; if so, their names begin with 'val/' during training.
      few_labels: values that are measured with few labels, too, at the end: mean and standard deviation over
        `evals.draws` draws of every number in `evals.per_class`, as 'NAME_10_per_class/...'. For evaluators that
        learn from `data.labeled`.
      possible_baselines: those that it can measure: without 'pixels' if it needs more than `encode`.
      on_sounds: whether it is run on the features of sounds, too, at the end of a run that hears them beside images: as
        'audio_NAME/...'. For evaluators that need `encode` and labels alone.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    during: ClassVar[bool] = True
    on_query: ClassVar[bool] = True
    few_labels: ClassVar[tuple[str, ...]] = ()
    possible_baselines: ClassVar[tuple[str, ...]] = BASELINES
    on_sounds: ClassVar[bool] = False

    enabled: bool = True
    baselines: tuple[str, ...] = ()

    @abc.abstractmethod
    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        """Measures one model: the run's own, or a baseline.

        Args:
          encode: the model, as a function of sources.
          data: the images.
          ctx: the rest.
        """

    def check(self) -> None:
        """Raises UserError for what the rule of one field cannot tell; see `jssl.settings`."""
        return

    def check_run(self, program: Program, data: Data) -> None:
        """Raises UserError for what only the run can tell, before it begins; called if it is enabled."""
        del program, data

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> Self:
        """The evaluator of a section of the config.

        Raises:
          UserError: for unknown keys and for values that cannot be; the message names the key.
        """
        values = dict(section)
        for field in dataclasses.fields(cls):
            if isinstance(field.default, ViewSpec) and field.name in values:
                values[field.name] = settings.make(
                    ViewSpec, values[field.name], f"evals.{cls.name}.{field.name}"
                )
        evaluator: Self = settings.make(cls, values, f"evals.{cls.name}")
        evaluator._check_baselines()
        evaluator.check()
        return evaluator

    def require(self, field: str, valid: bool, words: str) -> None:
        """Raises UserError that names a field and its value unless it is valid: 'evals.knn.k=0 WORDS'."""
        if not valid:
            raise UserError(f"evals.{self.name}.{field}={getattr(self, field)!r} {words}")

    def _check_baselines(self) -> None:
        possible = (
            "" if not self.possible_baselines else f" of {', '.join(map(repr, self.possible_baselines))}"
        )
        valid = isinstance(self.baselines, tuple) and set(self.baselines) <= set(self.possible_baselines)
        self.require("baselines", valid, f"must be a tuple{possible}: () for none, ('untrained',) for one")
