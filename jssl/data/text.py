"""Captions as tokens: a tokeniser, trained or given, and the caption that an image has in an epoch."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from jssl import storage
from jssl.errors import UserError

if TYPE_CHECKING:
    import tokenizers

SPECIAL = ("[PAD]", "[START]", "[END]", "[MASK]")  # of tokenisers that are trained here, tokens 0 to 3
BYTES = 256  # that every tokeniser trained here knows, so that it can write any script
STARTS = ("[START]", "<|startoftext|>", "[CLS]", "<s>", "<bos>")
ENDS = ("[END]", "<|endoftext|>", "[SEP]", "</s>", "<eos>")
MASKS = ("[MASK]", "<mask>")
NO_MASK = -1
SHORTEST = 3  # start, one token, end


def library() -> Any:
    """The package `tokenizers`; raises UserError where it is missing."""
    try:
        import tokenizers
    except ImportError as error:
        raise UserError(
            "captions need the package tokenizers: python -m pip install tokenizers (or 'jssl[text]')"
        ) from error
    return tokenizers


class Tokenizer:
    """Texts as numbers: start, tokens, end, then zeros up to one length.

    Args:
      description: the text of a tokenizer.json of the library tokenizers, which names a start and an end token.
      context: tokens of a text, start and end included; longer ones are cut, and the end stays.

    Raises:
      UserError: if the description is none, or names no start or no end.

    Example:
      >>> from jssl.data.text import Tokenizer, trained
      >>> tokenizer = Tokenizer(trained(["two cats", "two dogs"], 300), context=6)
      >>> tokenizer(["two", "two two two two two"])[:, [0, -1]].tolist()  # 1 is the start, 2 the end
      [[1, 0], [1, 2]]
    """

    def __init__(self, description: str, context: int):
        self.description, self.context = description, context
        try:
            self._tokenizer: tokenizers.Tokenizer = library().Tokenizer.from_str(description)
        except UserError:
            raise
        except Exception as error:  # the library raises nothing narrower
            raise UserError(f"the tokeniser is no tokenizer.json: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # [END] within a caption is text
        self.start, self.end = self._special(STARTS), self._special(ENDS)

    def _special(self, names: Sequence[str]) -> int:
        token = self._first(names)
        if token is None:
            raise UserError(f"the tokeniser has none of the tokens {', '.join(names)}")
        return token

    def _first(self, names: Sequence[str]) -> int | None:
        found = (self._tokenizer.token_to_id(name) for name in names)
        return next((token for token in found if token is not None), None)

    @property
    def mask(self) -> int:
        """The token that stands for hidden ones; -1 if there is none."""
        token = self._first(MASKS)
        return NO_MASK if token is None else token

    @property
    def vocabulary(self) -> int:
        """One more than the largest token."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """The tokens of texts, int32[N, context]."""
        out = np.zeros((len(texts), self.context), np.int32)
        for row, tokens in zip(out, self._encoded(texts)):
            tokens = [self.start, *tokens[: self.context - 2], self.end]
            row[: len(tokens)] = tokens
        return out

    def count_longer(self, texts: Sequence[str]) -> int:
        """How many texts are cut."""
        return sum(len(tokens) > self.context - 2 for tokens in self._encoded(texts))

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        texts = list(texts)
        wrong = [text for text in texts if not isinstance(text, str)]
        if wrong:
            raise UserError(f"a text must be a str, not {wrong[0]!r}")
        try:
            return [found.ids for found in self._tokenizer.encode_batch(texts, add_special_tokens=False)]
        except Exception as error:  # the library raises nothing narrower
            raise UserError(f"the tokeniser cannot take these texts: {error}") from error


def trained(texts: Sequence[str], vocabulary: int) -> str:
    """A byte-pair encoding of lower-case text, learnt from texts: a tokenizer.json.

    Any script can be written, since all bytes are tokens. The same texts give the same encoding.

    Args:
      texts: to learn the frequent pieces of.
      vocabulary: number of tokens, at least 260; fewer if the texts are short.

    Raises:
      UserError: if the vocabulary is too small.
    """
    least = BYTES + len(SPECIAL)
    if vocabulary < least:
        raise UserError(
            f"data.text.vocabulary={vocabulary} must be at least {least}: all bytes, and {len(SPECIAL)} more"
        )
    lib, texts = library(), list(texts)
    vocabulary = min(vocabulary, least + sum(len(text.encode(errors="replace")) for text in texts))
    tokenizer = lib.Tokenizer(lib.models.BPE())
    tokenizer.normalizer = lib.normalizers.Sequence([lib.normalizers.NFKC(), lib.normalizers.Lowercase()])
    tokenizer.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = lib.decoders.ByteLevel()
    trainer = lib.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=lib.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())


def open_tokenizer(section: Any, captions: Sequence[Sequence[str]], recorded: str | None) -> Tokenizer:
    """The tokeniser of a run: the one that it began with, a file's, or one learnt from the captions.

    Args:
      section: `data.text` of a config.
      captions: of the training images.
      recorded: tokenizer.json of the run's folder.
    """
    if section.context < SHORTEST:
        raise UserError(
            f"data.text.context={section.context} must be at least {SHORTEST}: start, a token, end"
        )
    texts = list(itertools.chain.from_iterable(captions))
    if recorded is None and section.tokenizer:
        try:
            recorded = storage.located(section.tokenizer).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"data.text.tokenizer={section.tokenizer}: it cannot be read: {error}") from error
    tokenizer = Tokenizer(
        trained(texts, section.vocabulary) if recorded is None else recorded, section.context
    )
    longer = tokenizer.count_longer(texts)
    if longer:
        logging.warning(
            "%d of %d captions have more than data.text.context=%d tokens: their ends are cut",
            *(longer, len(texts), section.context),
        )
    return tokenizer


@dataclasses.dataclass(frozen=True)
class Captions:
    """The tokens of all captions of a source, and which of them an image has in an epoch.

    Attributes:
      tokens: of all captions, one image's after the other's, int[M, context].
      first: where those of every image begin, int64[N + 1].
      seed: of the draws.
    """

    tokens: np.ndarray
    first: np.ndarray
    seed: int

    @classmethod
    def of(cls, captions: Sequence[Sequence[str]], tokenizer: Tokenizer, seed: int) -> Captions:
        """Those of images with one caption or several."""
        first = np.concatenate([[0], np.cumsum([len(own) for own in captions])])
        tokens = tokenizer(list(itertools.chain.from_iterable(captions)))
        return cls(tokens.astype(np.min_scalar_type(tokenizer.vocabulary)), first, seed)

    def drawn(self, indices: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Tokens int32[b, context] of the images at `indices`, at `positions` of the endless stream.

        Every epoch draws one caption of each image, a function of the seed, the epoch and the image.
        """
        length = len(self.first) - 1
        epochs = positions // length
        counts = self.first[indices + 1] - self.first[indices]
        draws = np.empty(len(indices), np.int64)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            draws[rows] = _draws(self.seed, int(epoch), length)[indices[rows]]
        return self.tokens[self.first[indices] + draws % counts].astype(np.int32)


@functools.lru_cache(maxsize=4)
def _draws(seed: int, epoch: int, length: int) -> np.ndarray:
    """A large number for every image."""
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return generator.integers(2**31, size=length)
