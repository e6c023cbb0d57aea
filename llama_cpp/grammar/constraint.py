"""What the decode loop asks of a grammar that is not llama.cpp's own: llguidance, over a model's vocabulary."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import GenerationError, ValidationError
from .checks import Checks, State, Violation
from .matching import error_of, new_matcher
from .trigger import Trigger, Watch

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

LONGEST_PIECE = 64  # bytes of a token that the approximate tokenizer looks for
MAX_MATCHERS = 32  # kept for each model
MAX_TRIES = 300  # tokens that are tried, where a value may end that must not, to see whether another one can follow


class Vocabulary:
    """A model's tokens, as llguidance wants them; made once for each model.

    Args:
        pieces: text of each token.
        special: ids of control tokens, which no text of a grammar stands for.
        eog: ids of the tokens that end a generation.
        tokenize: text as bytes -> token ids, without special tokens.
    """

    def __init__(
        self,
        pieces: Sequence[bytes],
        special: Collection[int],
        eog: Collection[int],
        tokenize: Callable[[bytes], list[int]],
    ) -> None:
        from llguidance import LLTokenizer, TokenizerWrapper

        self.eos_token_id = min(eog, default=0)
        self.bos_token_id = None
        self.tokens = list(pieces)
        self.eog = frozenset(eog)
        empty = (token for token, piece in enumerate(pieces) if not piece)
        self.special_token_ids = sorted({*special, *eog, *empty})
        self._special = frozenset(special)
        self._controls = {self.tokens[token]: token for token in self._special}
        self._tokenize = tokenize
        self._ids: dict[bytes, int] = {}
        self._matchers: dict[str, LLMatcher] = {}
        # It is told of one end, since llguidance before 1.6 takes no more; `Constraint` adds the others.
        self.native: LLTokenizer = LLTokenizer(TokenizerWrapper(self), n_vocab=len(pieces), eos_token=self.eos_token_id)

    def matcher(self, grammar: str) -> LLMatcher:
        """Return a matcher at the beginning of a text; the last grammars are kept, which take milliseconds to read.

        Raises:
            ValidationError: if llguidance refuses the grammar.
        """
        matcher = self._matchers.get(grammar)
        if matcher is None:
            matcher = new_matcher(self.native, grammar)
            if matcher.is_error():
                raise ValidationError(f"llguidance refuses the grammar: {error_of(matcher)}")
            if len(self._matchers) >= MAX_MATCHERS:
                self._matchers.pop(next(iter(self._matchers)), None)
            self._matchers[grammar] = matcher
        return matcher.deep_copy()

    def __call__(self, text: bytes) -> list[int]:
        """Tokenize a text the way the model would write it."""
        if not text:
            return []
        tokens = self._tokenize(text)
        if b"".join(self.tokens[token] for token in tokens) == text:
            return tokens
        return self._greedy(text)  # SentencePiece puts a space before a text

    @functools.cached_property
    def _control(self) -> re.Pattern[bytes]:
        """Finds the texts of control tokens."""
        texts = {self.tokens[token] for token in self._special if len(self.tokens[token]) > 1}
        return re.compile(b"|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or b"(?!)")

    @functools.cached_property
    def with_special(self) -> frozenset[int]:
        """Ids of ordinary tokens whose text has that of a control token in it."""
        begun = {self.tokens[token][:2] for token in self._special if len(self.tokens[token]) > 1}
        return frozenset(
            token
            for token, text in enumerate(self.tokens)
            if len(text) > 2
            and token not in self._special
            and any(two in text for two in begun)
            and self._control.search(text)
        )

    def with_tokens(self, text: bytes) -> list[int]:
        """Tokenize a text in which the text of a control token stands for that token."""
        found: list[int] = []
        at = 0
        for control in self._control.finditer(text):
            found += [*self(text[at : control.start()]), self._controls[control[0]]]
            at = control.end()
        return found + self(text[at:])

    def _greedy(self, text: bytes) -> list[int]:
        if not self._ids:
            self._ids = {piece: token for token, piece in enumerate(self.tokens) if token not in self.special_token_ids}
        tokens, start = [], 0
        while start < len(text):
            for end in range(min(len(text), start + LONGEST_PIECE), start, -1):
                if text[start:end] in self._ids:
                    tokens.append(self._ids[text[start:end]])
                    start = end
                    break
            else:
                start += 1
        return tokens


class Balance(NamedTuple):
    """How much of a JSON text is blank space between its tokens.

    Attributes:
        blank: bytes of it.
        rest: all other bytes.
        least: what every document that begins as the text does has of them.
        mode: "v" between values, "s" in a string, "e" after a backslash in it.
    """

    blank: int = 0
    rest: int = 0
    least: int = 0
    mode: str = "v"

    @property
    def holds(self) -> bool:
        """Whether blank space does not outweigh the rest, nor will have when the text ends."""
        return self.blank <= max(self.rest, self.least)

    def after(self, text: bytes) -> Balance:
        """Return the balance of the text with some more behind it."""
        blank, rest, least, mode = self
        for byte in text:
            if mode == "v" and byte in b" \t\n":
                blank += 1
                continue
            if rest == 0:
                least = {0x7B: 6, 0x5B: 3}.get(byte, 0)  # {"":0} and [0]: in an empty one there is no blank space
            rest += 1
            if mode == "e":
                mode = "s"
            elif byte == 0x22:
                mode = "v" if mode == "s" else "s"
            elif byte == 0x5C and mode == "s":
                mode = "e"
        return Balance(blank, rest, least, mode)


class Constraint:
    """Holds one generation to a grammar.

    Args:
        vocabulary: of the model.
        grammar: in llguidance's own format.
        trigger: where in the text the grammar begins; None is at once.
        begun: text that the grammar has begun with already.
        fast_forward: let `accept` return what must follow.
        canonical: if not, allow it in those tokens alone, one at a time.
        checks: what is checked at the ends of values, beside the grammar.
        tidy: the text is a JSON document in which blank space must not outweigh the rest.

    Raises:
        ValidationError: if llguidance refuses the grammar, or that text.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        grammar: str,
        *,
        trigger: Trigger | None = None,
        begun: bytes = b"",
        fast_forward: bool = True,
        canonical: bool = True,
        checks: Checks | None = None,
        tidy: bool = False,
    ) -> None:
        self._vocabulary = vocabulary
        self._matcher = vocabulary.matcher(grammar)
        self._watch = None if trigger is None else Watch(trigger)
        self._fast_forward = fast_forward
        self._canonical = canonical
        self._forced: list[int] = []  # what must come next, token by token
        if begun and not self._matcher.consume_tokens(vocabulary(begun)):
            text = begun.decode("utf-8", "replace")
            raise ValidationError(f"no text of the grammar begins with {text!r}, which the answer is to go on with")
        self._checks = checks
        self._tries = 0
        self._balance = Balance().after(begun) if tidy else None
        self._state = None if checks is None else checks.after(checks.start, begun)

    def allows(self, token: int) -> bool:
        """Tell whether a token may come next."""
        if self._watch is not None:
            begun = self._begun(self._watch.copy(), token)
            return begun is None or self._read(begun) is not None
        if self._forced:
            return token == self._forced[0]
        if token in self._vocabulary.eog:
            return bool(self._matcher.is_accepting()) and self._may_end()
        tokens = self._spelled(token)
        if tokens is None or not (self._balance is None or self._balance.after(self._text(tokens)).holds):
            return False
        if self._state is None:
            return True
        self._tries = MAX_TRIES
        return self._leads_on(self._matcher, self._state, tokens)

    def mask(self, address: int, n_bytes: int) -> None:
        """Set a bit, at an address, for each token that `allows` may allow; the vocabulary is padded to 32 tokens."""
        import ctypes

        if self._watch is None and not self._forced:
            self._matcher.unsafe_compute_mask_ptr(address, n_bytes)
            for token in self._vocabulary.eog if self._matcher.is_accepting() else ():
                word, bit = divmod(token, 32)
                ctypes.c_uint32.from_address(address + 4 * word).value |= 1 << bit
            return
        ctypes.memset(address, 0 if self._forced else 0xFF, n_bytes)  # any text may stand before the grammar
        if self._forced:
            word, bit = divmod(self._forced[0], 32)
            ctypes.c_uint32.from_address(address + 4 * word).value = 1 << bit

    def accept(self, token: int) -> list[int]:
        """Note that a token was chosen, and return those that must follow it, which count as chosen too."""
        if self._watch is not None:
            begun = self._begun(self._watch, token)
            if begun is None:
                return []
            self._watch = None
            tokens = self._read(begun) or []
        else:
            tokens = [token] if self._forced else self._spelled(token) or [token]
        self._consume(tokens)
        self._follow(tokens)
        if self._forced:
            del self._forced[0]
            return []
        if not self._fast_forward and not self._canonical:
            return []
        forced = [one for one in self._matcher.compute_ff_tokens() if one not in self._vocabulary.eog]
        if self._state is not None:
            self._check_forced(forced)
        if not self._fast_forward:
            self._forced = forced
            return []
        self._consume(forced)
        self._follow(forced)
        return forced

    def stopped(self) -> bool:
        """Tell whether the text is complete, and nothing may follow."""
        return self._watch is None and bool(self._matcher.is_stopped())

    def _consume(self, tokens: list[int]) -> None:
        if tokens and not self._matcher.consume_tokens(tokens):
            raise ValidationError(f"the grammar failed: {error_of(self._matcher)}")

    def _begun(self, watch: Watch, token: int) -> bytes | int | None:
        """Return what the grammar begins with if a token comes next: it, or the text that ends in it; None if not."""
        return token if watch.begins_with(token) else watch.add(self._vocabulary.tokens[token])

    # -- checks at the ends of values ----------------------------------------------------------------------------------

    def _may_end(self) -> bool:
        if self._checks is None or self._state is None:
            return True
        try:
            self._checks.ended(self._state)
        except Violation:
            return False
        return True

    def _leads_on(self, matcher: LLMatcher, state: State, tokens: list[int]) -> bool:
        """Tell whether no value ends wrongly in tokens, and something can follow; after many tries, that is hoped."""
        assert self._checks is not None
        try:
            after = self._checks.after(state, self._text(tokens))
        except Violation:
            return False
        if not self._checks.is_risky(after):
            return True
        following = matcher.deep_copy()
        following.consume_tokens(tokens)
        mask = int.from_bytes(following.compute_bitmask(), "little")
        while mask and self._tries:
            lowest = mask & -mask
            mask ^= lowest
            one = lowest.bit_length() - 1
            if self._vocabulary.tokens[one].isspace() or one in self._vocabulary.eog:
                continue  # with blank space, the same would follow as without
            self._tries -= 1
            if self._leads_on(following, after, [one]):
                return True
        return not self._tries

    def _text(self, tokens: list[int]) -> bytes:
        return b"".join(self._vocabulary.tokens[token] for token in tokens if token not in self._vocabulary.eog)

    def _follow(self, tokens: list[int]) -> None:
        if self._balance is not None:
            self._balance = self._balance.after(self._text(tokens))
        if self._checks is not None and self._state is not None:
            self._state = self._checks.after(self._state, self._text(tokens))

    def _check_forced(self, forced: list[int]) -> None:
        """Refuse tokens that must follow, and in which a value ends that must not."""
        assert self._checks is not None
        assert self._state is not None
        try:
            self._checks.after(self._state, self._text(forced))
        except Violation as problem:
            raise GenerationError(f"nothing valid can follow what was generated: {problem}") from None

    def _spelled(self, token: int) -> list[int] | None:
        """Return the tokens that the grammar knows a token as, None if it allows none of them."""
        if self._matcher.validate_tokens([token]) == 1:
            return [token]
        return self._read(self._vocabulary.tokens[token]) if token in self._vocabulary.with_special else None

    def _read(self, begun: bytes | int) -> list[int] | None:
        """Return a text's tokens, as the grammar allows them; None if it allows no such text."""
        ways = [[begun]] if isinstance(begun, int) else (self._vocabulary(begun), self._vocabulary.with_tokens(begun))
        return next((tokens for tokens in ways if self._matcher.validate_tokens(tokens) == len(tokens)), None)
