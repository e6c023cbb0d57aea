# DecodeLoop: many generations over one context.

cdef enum Phase:
    FREE
    RUNNING
    PAUSED      # has lost its place in memory to others, and starts again when one of them ends
    ENDED

cdef enum Finish:
    NOT_FINISHED
    END_OF_GENERATION
    STOP_TOKEN
    STOP_TEXT
    COMPLETE    # a constraint allows nothing more
    HALTED      # a processor wants nothing more
    MAX_TOKENS
    CONTEXT_FULL
    SCORED      # nothing was to be generated
    CANCELLED
    TIMED_OUT
    FAILED

FINISH_REASONS = (
    None, "stop", "stop", "stop", "stop", "stop", "length", "length", "length", "cancelled", "timeout", "error",
)

cdef enum:
    MIN_SHARED = 16     # fewer common tokens are computed again rather than copied
    NGRAM = 3           # most tokens that must have been said before for a guess
    LORA_STEPS = 32     # steps that slots of one set of adapters take before it is the turn of another one's
    MOVE_STEPS = 16     # a sequence with fewer tokens to come is not worth being moved
    UNKNOWN = -1        # stands for a token that is not in memory, or whose id is not known


cdef cppclass Slot:
    int index                       # its number
    llama_seq_id seq_id             # its sequence in memory, of the same number until sequences are moved
    Phase phase
    Finish finish
    Flag cancelled                  # by any thread
    cbool stream
    cbool share
    cbool special                   # the text is to have that of control tokens
    string error                    # why it failed
    llama_sampler * chain           # owned by the Sampler in DecodeLoop.samplers
    cbool plain_greedy
    llama_sampler * grammar         # that every token must satisfy, owned by DecodeLoop.grammars; NULL: none
    cbool constrained               # there is a Python constraint, in DecodeLoop.constraints
    vector[llama_token] tokens      # prompt and generation; what the memory holds is a prefix of it
    int n_past                      # length of that prefix
    int n_plain                     # length of the part of it that was computed from the tokens before it as they are
    cbool shared                    # cells of its sequence in memory may be another one's too
    int lora                        # number of the set of adapters that it is, or was, computed with
    int64_t t_turn                  # step that it last took part in
    int n_keep                      # tokens that stay when a full context is shifted; -1: it is not
    int n_shifted                   # tokens that have been dropped so
    int n_prompt
    int n_cached                    # tokens of the prompt that the memory held already
    int n_max                       # tokens to generate at most
    cbool limited                   # by the request, and not by the size of the context
    int row                         # index in the batch of this slot's row of logits; -1: none
    int row_first                   # index in the batch of this slot's first token
    int n_taken                     # tokens of this slot in the batch, drafted ones not among them
    int max_draft                   # tokens to draft at most before each step; 0: none
    vector[llama_token] draft       # guesses that follow its tokens in the batch
    vector[llama_token] draft_held  # tokens of its sequence in the draft model's memory
    int n_drafted                   # guesses made, all in all
    int n_accepted                  # guesses that turned out to be right
    vector[string] stops
    size_t longest_stop
    vector[llama_token] stop_tokens
    int stop_hit                    # index of the stop string, or the token, that ended the generation; -1: neither
    string text                     # what was generated, as UTF-8
    vector[llama_token] generated   # every token sampled and kept, those of a stop string too
    vector[uint32_t] ends           # length of text after each of them
    size_t n_safe                   # bytes that no stop string or later byte can change
    size_t n_read                   # bytes handed over
    int n_top                       # alternatives to report for each token; -1: no log-probabilities
    int score_from                  # first prompt token to report it of; n_prompt: none
    vector[float] logprobs          # of the scored tokens, in order
    vector[llama_token] top_ids     # n_top for each scored token, likeliest first
    vector[float] top_logprobs
    Py_buffer scores                # a copy of the logits for its processor; buf is NULL if it has none
    int64_t deadline_us             # when it ends at the latest; 0: never
    int64_t t_start_us
    int64_t t_first_us              # first token sampled
    int64_t t_end_us


@cython.no_gc_clear  # its slots point into the samplers and the context
cdef class DecodeLoop:
    """Drives a context: each step decodes one batch for all running slots and samples from it.

    A slot is one sequence of the context, with everything that its generation needs. `run` takes steps until there is
    something to tell, and holds no GIL. One thread at a time may call it; any may call `cancel` and `interrupt`.

    Args:
        context: the context, which nothing else may decode with from now on.
        draft: the same of a smaller model with the same vocabulary, which then makes the guesses of `max_draft`; it
            needs as many sequences, each of them as long.
        movable: sequences may be moved in memory, over what free slots hold: each with a KV cache of its own, they are
            computed together only if their ids follow one on another. Else a slot's number is its sequence's id.

    Raises:
        ValidationError: if the model generates no text, or the draft's vocabulary is another one, or its sequences are
            shorter.
    """

    cdef readonly Context context
    cdef readonly Context draft
    cdef Batch batch
    cdef Batch draft_batch
    cdef vector[Slot *] slots
    cdef vector[Slot *] by_seq_id   # the same
    cdef bint movable
    cdef bint apart                 # sequences have KV caches of their own
    cdef int n_prompted             # tokens of prompts that were computed since slots last generated
    cdef list samplers              # keeps the chains that the slots point to alive
    cdef list processors            # callables, None for slots without
    cdef list failures              # what they raised
    cdef list grammars              # Samplers that hold the slots' grammars, None for slots without
    cdef list constraints           # objects that allow and accept tokens, None for slots without
    cdef vector[uint32_t] allowed   # a bit for each token that a constraint may allow
    cdef list loras                 # (LoraAdapter, scale)s of each slot in use, held strongly
    cdef list lora_keys             # the same as (id, scale)s, of each slot's sequence in memory
    cdef int active_lora            # number of the set that the context has
    cdef int last_lora
    cdef int64_t n_steps
    cdef int64_t lora_since         # step at which the active set was made that
    cdef cbool shift_pending        # positions were shifted since the last decode, which will rotate the keys
    cdef vector[llama_token_data] candidates    # what samplers work on
    cdef Flag wake                  # asks run() to return after the step
    cdef bint running               # run() is under way: it alone may look into the slots
    cdef unsigned long runner       # the thread that called it
    cdef cbool asking               # the draft model computes: what fails is its own failure
    cdef bint recurrent
    cdef bint shares                # sequences can take over each other's prefixes
    cdef bint speaks                # tokens have a text; a model may come without a vocabulary
    cdef bint drafts                # what was decoded in vain can be taken back
    cdef int n_swa

    def __cinit__(self, Context context not None, Context draft = None, bint movable = False):
        cdef int i
        cdef Slot * slot
        cdef Call call, draft_call
        self.context = context
        self.draft = draft
        context.hold(call)
        if not context.model.has_decoder() or context.memory == NULL:
            raise ValidationError(f"{context.model.path!r} generates no text; it is an encoder, for embeddings")
        if context.model.has_encoder():
            raise ValidationError(f"{context.model.path!r} has an encoder before its decoder, which is not supported")
        self.batch = Batch(context.n_batch)
        if draft is not None:
            draft.enter(draft_call)
            check_draft(context, draft)
            self.draft_batch = Batch(draft.n_batch)
            # One request to stop concerns both.
            llama_set_abort_callback(draft.ptr, poll, &context.interrupt)
        self.samplers = [None] * context.n_seq_max
        self.processors = [None] * context.n_seq_max
        self.failures = [None] * context.n_seq_max
        self.grammars = [None] * context.n_seq_max
        self.constraints = [None] * context.n_seq_max
        self.allowed.resize((context.vocab.n_tokens + 31) // 32)
        self.loras = [()] * context.n_seq_max
        self.lora_keys = [()] * context.n_seq_max
        self.recurrent = context.model.is_recurrent()
        self.n_swa = context.model.n_swa()
        self.speaks = context.vocab.type != <int> LLAMA_VOCAB_TYPE_NONE
        self.drafts = not self.recurrent and (self.n_swa == 0 or context.swa_full)
        self.shares = self.drafts
        self.apart = not context.kv_unified and context.n_seq_max > 1 and not self.recurrent
        self.movable = movable and self.apart
        self.n_prompted = 0
        self.candidates.resize(context.vocab.n_tokens)
        self.slots.reserve(context.n_seq_max)
        for i in range(context.n_seq_max):
            slot = new Slot()
            slot.index = slot.seq_id = i
            slot.phase = FREE
            slot.n_past = slot.lora = 0
            slot.n_plain = INT32_MAX
            slot.n_keep = -1
            slot.t_turn = 0
            slot.shared = False
            slot.cancelled = False
            slot.scores.buf = NULL
            self.slots.push_back(slot)
            self.by_seq_id.push_back(slot)

    def __dealloc__(self):
        for slot in self.slots:
            if slot.scores.buf != NULL:
                PyBuffer_Release(&slot.scores)
            del slot

    cdef Slot * slot(self, int index) except NULL:
        """Return a slot, which nothing may be computing for meanwhile but the calling thread itself."""
        if self.running and self.runner != PyThread_get_thread_ident():
            raise LlamaError("the context is in use by another thread")
        return self.known(index)

    cdef Slot * known(self, int index) except NULL:
        if not 0 <= index < <int> self.slots.size():
            raise ValidationError(f"there are slots 0 to {self.slots.size() - 1}, got {index}")
        return self.slots[index]

    def start(
        self, int index, tokens, Sampler sampler not None, *, int max_tokens = -1, stops = (), stop_tokens = (),
        int n_top = -1, int score_from = INT32_MAX, bint stream = False, bint reuse = False, bint append = False,
        bint share = False, bint special = False, double timeout = 0.0, processor = None, scores = None,
        int max_draft = 0, loras = (),
        int n_keep = -1, Sampler grammar = None, constraint = None,
    ) -> int:
        """Begin a generation in a free slot.

        Args:
            index: the slot.
            tokens: ids of the prompt; with what they are appended to one or more, context.n_ctx_seq at most.
            sampler: a chain that chooses; no other slot may use it meanwhile.
            max_tokens: tokens to generate at most; -1 is as many as fit, 0 only scores the prompt.
            stops: texts as bytes; the generation ends before the first of them.
            stop_tokens: ids that end the generation, as end-of-generation tokens do.
            n_top: alternatives to report the log-probabilities of, at each token; -1 reports none at all.
            score_from: index of the first prompt token to report them of too, 1 or more.
            stream: let run() return whenever there is new text.
            reuse: keep the longest prefix of the tokens that the slot's sequence holds in memory.
            append: let the tokens follow on those of the slot's sequence, and keep what the memory holds of it.
            share: take the longest prefix that any slot's sequence holds in memory.
            special: write the texts of control tokens too.
            timeout: seconds until the generation is ended; 0 is never.
            processor: is called with the sequence's tokens before each choice, and may change scores; True ends the
                generation before it.
            max_draft: tokens to guess before each step, for a batch to confirm: by the draft model, or from what the
                sequence has said before.
            loras: (LoraAdapter, scale)s to compute with.
            n_keep: when the sequence is full, go on after dropping the older half of what follows its first n_keep
                tokens; -1 ends the generation instead.
            grammar: a chain of nothing but a grammar, which every token must satisfy; a token is chosen first and the
                others are looked at only if the grammar rejects it.
            constraint: likewise an object with the methods `allows(token) -> bool`, `mask(address, n_bytes)`, which
                sets a bit for each token that may be allowed, `accept(token) -> list[int]`, which returns the tokens
                that must follow, and `stopped() -> bool`, whether nothing more is allowed.
            scores: writable float32 buffer of shape (n_vocab,), which then holds a copy of the logits to choose from.

        Returns:
            How many tokens of the prompt need not be computed.
        """
        cdef Slot * slot = self.slot(index)
        cdef vector[llama_token] ids
        cdef Vocab vocab = self.context.vocab
        cdef Call call
        self.context.enter(call)
        if slot.phase != FREE:
            raise LlamaError(f"slot {index} is in use")
        if not sampler.chooses:
            raise ValidationError("the sampler chain must end in one that chooses a token")
        if grammar is not None and grammar.vocab.ptr != vocab.ptr:
            raise ValidationError("the grammar was made for another model")
        if sampler.vocab.ptr != vocab.ptr:
            raise ValidationError("the sampler was made for another model")
        copy_tokens(tokens, vocab.n_tokens, ids)
        if append:
            ids.insert(ids.begin(), slot.tokens.begin(), slot.tokens.end())
        check_int("the number of prompt tokens", ids.size(), 1, self.context.n_ctx_seq)
        check_int("n_top", n_top, -1, vocab.n_tokens)
        if n_keep >= 0:
            self.check_shift()
            if share:
                raise ValidationError("a sequence that is shifted when it is full can't share a prefix with others")
        copy_tokens(stop_tokens, vocab.n_tokens, slot.stop_tokens)
        slot.stops.clear()
        slot.longest_stop = 0
        for stop in stops:
            slot.stops.push_back(stop)
            slot.longest_stop = max(slot.longest_stop, <size_t> len(stop))
        key = tuple([((<LoraAdapter?> adapter).id, scale) for adapter, scale in loras])
        lora = self.lora_number(key)
        # The logits that score the first token are those of the one before it.
        slot.n_past = self.keep_prefix(slot, ids, min(<int> ids.size(), score_from) - 1, lora, reuse, append, share)
        slot.lora = lora
        slot.n_keep = n_keep
        slot.n_shifted = 0
        self.lora_keys[index] = key
        if processor is not None:
            PyObject_GetBuffer(scores, &slot.scores, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
            if slot.scores.format != b"f" or slot.scores.len != <Py_ssize_t> (vocab.n_tokens * sizeof(float)):
                PyBuffer_Release(&slot.scores)
                slot.scores.buf = NULL
                raise ValidationError(f"scores must be a float32 array of shape ({vocab.n_tokens},)")
        self.processors[index] = processor
        self.failures[index] = None
        slot.n_max = self.context.n_ctx_seq + 1 - <int> ids.size() if n_keep < 0 else INT32_MAX
        slot.limited = 0 <= max_tokens <= slot.n_max
        if slot.limited:
            slot.n_max = max_tokens
        room = min(slot.n_max, self.context.n_ctx_seq)  # what is beyond it will be allocated as it comes
        slot.tokens.swap(ids)
        slot.tokens.reserve(slot.tokens.size() + room)
        slot.n_prompt = <int> slot.tokens.size()
        slot.n_cached = slot.n_past
        slot.text.clear()
        slot.text.reserve(8 * room)
        slot.generated.clear()
        slot.generated.reserve(room)
        slot.ends.clear()
        slot.ends.reserve(room)
        slot.n_safe = slot.n_read = 0
        slot.n_top = n_top
        slot.score_from = min(max(score_from, 1), slot.n_prompt) if n_top >= 0 else slot.n_prompt
        slot.logprobs.clear()
        slot.top_ids.clear()
        slot.top_logprobs.clear()
        slot.max_draft = max_draft if self.drafts else 0
        slot.n_drafted = slot.n_accepted = 0
        slot.stream = stream
        slot.share = share
        slot.special = special
        slot.cancelled = False
        slot.finish = NOT_FINISHED
        slot.stop_hit = -1
        slot.chain = sampler.chain
        slot.plain_greedy = sampler.plain_greedy
        slot.t_start_us = ggml_time_us()
        slot.deadline_us = slot.t_start_us + <int64_t> (timeout * 1e6) if timeout > 0.0 else 0
        slot.t_first_us = slot.t_end_us = 0
        slot.grammar = NULL
        if grammar is not None:
            slot.grammar = grammar.chain
        slot.constrained = constraint is not None
        self.samplers[index] = sampler
        self.grammars[index] = grammar
        self.constraints[index] = constraint
        self.loras[index] = tuple(loras)
        for i in range(max(0, slot.n_prompt - sampler.n_recent), slot.n_prompt):
            if slot.tokens[i] == UNKNOWN:
                continue
            for recalling in sampler.recalling:
                llama_sampler_accept(recalling, slot.tokens[i])
        slot.phase = RUNNING
        return slot.n_cached

    cdef int lora_number(self, tuple key) except -1:
        """Return the number that stands for a set of adapters in slots whose sequences were computed with it."""
        for i in range(<int> self.slots.size()):
            if self.lora_keys[i] == key:
                return self.slots[i].lora
        self.last_lora += 1
        return self.last_lora

    cdef int check_shift(self) except -1:
        """Refuse to shift positions where the memory can't."""
        if self.recurrent or not llama_memory_can_shift(self.context.memory):
            raise ValidationError(f"the memory of {self.context.model.path!r} can't shift positions")
        if self.context.type_k == GGML_TYPE_BF16:  # ggml's CPU backend ends the process
            raise ValidationError('a K cache of type_k="bf16" can\'t shift positions; use "f16" or a quantized type')
        return 0

    cdef int keep_prefix(
        self, Slot * slot, vector[llama_token] & tokens, int limit, int lora, bint reuse, bint append, bint share
    ) except -1:
        """Make the slot's sequence in memory a prefix of tokens, `limit` at most, and return its length.

        The last token of a prompt is always computed: its logits are what the first sample needs.
        """
        cdef Slot * source = slot
        cdef int n = 0, k, other
        if append and slot.lora == lora:
            n = common_length(slot.tokens, tokens, min(limit, slot.n_past))
        elif reuse or share:
            n = common_prefix(slot, tokens, limit, lora)
        if share and self.shares:
            for candidate in self.slots:
                other = common_prefix(candidate, tokens, limit, lora) if candidate.n_keep < 0 else 0
                if other >= n + MIN_SHARED:
                    n = other
                    source = candidate
        for k in range(n, <int> tokens.size()):
            if tokens[k] == UNKNOWN:
                raise LlamaError(
                    f"sequence {slot.index} was edited: it can't be computed again from position {n}, as this needs; "
                    "reset() it and give the whole prompt"
                )
        with nogil:
            if source == slot:
                return self.cut(slot, n)
            self.cut(slot, 0)
            if self.context.kv_unified:
                llama_memory_seq_cp(self.context.memory, source.seq_id, slot.seq_id, 0, n)
                slot.shared = source.shared = True
            else:
                llama_memory_seq_cp(self.context.memory, source.seq_id, slot.seq_id, -1, -1)
                llama_memory_seq_rm(self.context.memory, slot.seq_id, n, -1)
        return n

    def prefix(self, tokens, loras = ()) -> tuple[int, int, int]:
        """Look for a prompt's prefix in the memory, computed with the same (LoraAdapter, scale)s.

        Returns:
            The slot that has most of it, how many tokens, and how many a running slot will have, and could give, once
            its own prompt is computed.
        """
        cdef vector[llama_token] ids
        cdef int n, best = 0, have = 0, coming = 0
        cdef int lora = self.lora_number(tuple([(adapter.id, scale) for adapter, scale in loras]))
        copy_tokens(tokens, self.context.vocab.n_tokens, ids)
        for slot in self.slots:
            if slot.lora != lora or slot.n_keep >= 0:
                continue
            n = common_prefix(slot, ids, <int> ids.size() - 1, lora)
            if n > have:
                best, have = slot.index, n
            if slot.phase == RUNNING and self.shares:
                coming = max(coming, common_length(slot.tokens, ids, <int> ids.size() - 1))
        return best, have, coming

    cdef int cut(self, Slot * slot, int n) except -1 nogil:
        """Remove what the memory holds of a slot's sequence from position n on; return what is left, n or nothing."""
        cdef llama_memory_t memory = self.context.memory
        if n > 0 and not self.reaches(slot, n):
            n = 0
        if n == 0 and self.alone(slot):
            llama_memory_clear(memory, False)  # leaves no trace, not even in the layout of the cells
        elif not llama_memory_seq_rm(memory, slot.seq_id, n, -1):
            llama_memory_seq_rm(memory, slot.seq_id, -1, -1)  # a recurrent state can't go back, only be dropped
            n = 0
        if n <= slot.n_plain:
            slot.n_plain = INT32_MAX
        if n == 0:
            slot.shared = False
        return n

    cdef bint reaches(self, Slot * slot, int n) noexcept nogil:
        """Tell whether the memory has what token n of a sequence attends to; a window that has moved on lacks it."""
        return self.n_swa == 0 or llama_memory_seq_pos_min(self.context.memory, slot.seq_id) <= max(0, n - self.n_swa)

    cdef bint alone(self, Slot * slot) noexcept nogil:
        """Tell whether no other slot has anything in memory."""
        for other in self.slots:
            if other != slot and other.n_past > 0:
                return False
        return True

    def run(self, int64_t max_steps = -1) -> int:
        """Take steps until a slot ends, a streaming slot has new text, interrupt() is called, or none is running.

        Args:
            max_steps: return after that many steps at the latest; -1 is no limit.

        Returns:
            The number of steps taken.

        Raises:
            GenerationError: if llama.cpp fails. The slots stay as they are: cancel them, or run again.
            BaseException: what a signal handler raised, such as KeyboardInterrupt.
        """
        cdef int64_t steps = 0
        cdef cbool again = True
        cdef bint drafting = self.draft_lives()
        cdef Call call, draft_call
        self.context.enter(call)
        if drafting:
            self.draft.enter(draft_call)
        self.running = True
        self.runner = PyThread_get_thread_ident()
        try:
            with nogil:
                while again and steps != max_steps:
                    again = self.step()
                    steps += 1
        finally:
            self.running = self.wake = False
            call.blamed, draft_call.blamed = not self.asking, self.asking
            self.asking = False
        raise_interrupt(&self.context.interrupt)
        if <bint> self.context.gate.closing:
            raise ClosedError("the context was closed while it was computing")
        return steps

    cdef cbool draft_lives(self) noexcept nogil:
        """Tell whether there is a draft model that is neither closed nor has failed."""
        if self.draft is None or self.draft.ptr == NULL or self.draft.gate.broken:
            return False
        return not <bint> self.draft.gate.closing

    cdef cbool step(self) except? False nogil:
        """Decode a batch and sample from it; tell whether to go on without a word to Python."""
        cdef cbool again
        cdef int rc, end
        # Before what it was set for is looked at: who cancels from here on sets it again, and cuts this step short.
        self.context.interrupt.stop = False
        again = self.expire() and not <bint> self.wake
        if self.draft is not None and <bint> self.draft.gate.closing:
            again = False  # who closes it waits for that
        if self.context.interrupt.error[0] != NULL or <bint> self.context.gate.closing or <bint> exiting:
            return False
        if not self.fill():
            return False
        # A recurrent state can't go back to where it was before a step that was stopped.
        rc = self.context.compute(&self.batch.batch, not self.recurrent)
        self.context.count()
        native_log.muted = GGML_LOG_LEVEL_NONE
        self.shift_pending = self.shift_pending and rc != 0
        if rc == 1:
            return self.make_room()
        if rc == 2:
            self.recover()
            return True  # the next step sees who was cancelled, or that Python wants to raise
        if rc != 0:
            self.recover()
            with gil:
                raise GenerationError(native_message(decode_failure(rc, self.batch.batch.n_tokens)))
        for slot in self.slots:
            if slot.n_taken == 0:
                continue
            slot.n_past += slot.n_taken
            if slot.score_from < slot.n_prompt:
                self.score_rows(slot)
            if slot.row >= 0:
                end = slot.n_past + <int> slot.draft.size()
                self.advance(slot)
                self.verify(slot)
                if slot.n_past < end:  # guesses that were wrong, and what is behind a stop text
                    slot.n_past = self.cut(slot, slot.n_past)
            if slot.phase == ENDED:
                again = False
            elif slot.stream and slot.n_safe > slot.n_read:
                again = False
            elif slot.share and slot.generated.size() == 1:
                again = False  # its prompt is in memory, where others can take it from
        return again

    cdef cbool expire(self) noexcept nogil:
        """End the slots that were cancelled or whose time is over; tell whether there were none."""
        cdef int64_t now = 0, earliest = 0
        cdef cbool none = True
        for slot in self.slots:
            if slot.phase != RUNNING and slot.phase != PAUSED:
                continue
            if slot.deadline_us != 0 and now == 0:
                now = ggml_time_us()
            if <bint> slot.cancelled or (slot.deadline_us != 0 and now >= slot.deadline_us):
                self.end(slot, CANCELLED if <bint> slot.cancelled else TIMED_OUT)
                none = False
            elif slot.deadline_us != 0 and (earliest == 0 or slot.deadline_us < earliest):
                earliest = slot.deadline_us
        self.context.interrupt.deadline_us = earliest
        return none

    cdef cbool make_room(self) except? False nogil:
        """After a batch that found no room in memory, give up what is only kept, or else the newest generation."""
        cdef Slot * newest = NULL
        cdef int running = 0
        cdef cbool dropped = False
        for slot in self.slots:
            if slot.phase == RUNNING:
                running += 1
                if newest == NULL or slot.t_start_us >= newest.t_start_us:
                    newest = slot
            elif slot.n_past > 0:
                slot.n_past = self.cut(slot, 0)
                dropped = True
        if dropped:
            return True
        if running == 1:
            newest.error.assign(b"the KV cache has no room for it")
            self.end(newest, FAILED if newest.generated.empty() else CONTEXT_FULL)
            return False
        if unknown(newest.tokens):
            newest.error.assign(b"the KV cache has no room for it, and an edited sequence can't be computed again")
            self.end(newest, FAILED)
            return False
        newest.phase = PAUSED
        self.rewind(newest, 0)
        return True

    cdef void resume(self) noexcept nogil:
        """Let the oldest paused slot run again: another one has ended, and left its room."""
        cdef Slot * oldest = NULL
        for slot in self.slots:
            if slot.phase == PAUSED and (oldest == NULL or slot.t_start_us < oldest.t_start_us):
                oldest = slot
        if oldest != NULL:
            oldest.phase = RUNNING

    cdef int rewind(self, Slot * slot, int n) except -1 nogil:
        """Drop a slot's sequence in memory from position n on; what was scored there is scored again."""
        n = self.cut(slot, n)
        cdef size_t scored = max(0, min(n + 1, slot.n_prompt) - slot.score_from)
        if scored < slot.logprobs.size() and slot.generated.empty():
            slot.logprobs.resize(scored)
            slot.top_ids.resize(scored * max(slot.n_top, 0))
            slot.top_logprobs.resize(scored * max(slot.n_top, 0))
        slot.n_past = n
        return 0

    cdef int fill(self) except -1 nogil:
        """Fill the batch: with the slots that generate, and as much of the prompts as fits; tell if there is any.

        With a KV cache for each sequence, llama.cpp computes as many tokens of one as of the others at once, and cuts
        a batch of other proportions up. Prompts of one length then take turns with the slots that generate.
        """
        cdef int n, room = self.batch.capacity, rows = self.context.n_outputs_max
        self.batch.batch.n_tokens = 0
        for slot in self.slots:
            slot.n_taken = 0
            slot.row = -1
            slot.draft.clear()
            while slot.n_keep >= 0 and slot.phase == RUNNING and <int> slot.tokens.size() > self.context.n_ctx_seq:
                self.shift(slot)  # more than once after a constraint that forced many tokens
        self.n_steps += 1
        self.choose_lora()
        if self.movable:
            self.close_gaps()
        for slot in self.slots:
            if slot.phase == RUNNING and slot.lora == self.active_lora:
                slot.t_turn = self.n_steps
        if not self.apart:
            self.take_prompts(room - self.take_generating(room, &rows), &rows)
        else:
            n = self.take_alike(&rows) if self.n_prompted < room else 0
            if n == 0:
                self.n_prompted = 0
                if self.take_generating(room, &rows) == 0:
                    n = self.take_alike(&rows)
            self.n_prompted += n
        # In the order of their ids, since llama.cpp computes neighbours together.
        for slot in self.by_seq_id:
            if slot.n_taken > 0:
                self.put(slot)
        if self.batch.batch.n_tokens > 1:
            self.context.interrupt.skip = self.context.interrupt.countdown = 0
        return self.batch.batch.n_tokens > 0

    cdef int pending(self, const Slot * slot) noexcept nogil:
        """Return how many of a slot's tokens are not in memory; none if it is not its turn."""
        return <int> slot.tokens.size() - slot.n_past if slot.phase == RUNNING and slot.lora == self.active_lora else 0

    cdef int take_generating(self, int room, int * rows) except -1 nogil:
        """Put the next tokens of the slots that generate into the batch, with guesses; return their number."""
        cdef int n = 0
        for slot in self.slots:
            if self.pending(slot) != 1 or n == room or rows[0] == 0:
                continue
            slot.n_taken = 1
            if slot.max_draft > 0:
                self.guess(slot, min(room - n, rows[0]) - 1)
                if slot.phase != RUNNING:
                    slot.n_taken = 0
                    continue
            n += 1 + <int> slot.draft.size()
            rows[0] -= outputs(slot)
        return n

    cdef void take_prompts(self, int room, int * rows) noexcept nogil:
        """Put as much of the prompts into the batch as there is room for."""
        for slot in self.slots:
            if self.pending(slot) > 1:
                slot.n_taken = self.part(slot, room, rows[0])
                room -= slot.n_taken
                rows[0] -= outputs(slot)

    cdef int take_alike(self, int * rows) noexcept nogil:
        """Put the oldest prompt into the batch, and others of its length if they can be computed with it at once."""
        cdef Slot * oldest = NULL
        cdef Slot * slot
        cdef int room = self.context.n_ubatch, length, i, n = <int> self.slots.size()
        for slot in self.slots:
            if self.pending(slot) > 1 and (oldest == NULL or slot.t_start_us < oldest.t_start_us):
                oldest = slot
        if oldest == NULL:
            return 0
        length = self.part(oldest, room, rows[0])
        for i in range(n):
            slot = self.by_seq_id[(oldest.seq_id + i) % n]
            if self.pending(slot) > 1 and self.part(slot, room, rows[0]) == length:
                slot.n_taken = length
                room -= length
                rows[0] -= outputs(slot)
        return self.context.n_ubatch - room

    cdef int part(self, Slot * slot, int room, int rows) noexcept nogil:
        """Return how many tokens of a slot's prompt the batch can have, with room for so many tokens and outputs."""
        cdef int n = min(self.pending(slot), room)
        if rows == 0:
            return 0
        if slot.n_past + n >= slot.score_from and slot.generated.empty():
            n = min(n, max(0, slot.score_from - 1 - slot.n_past) + rows)
        return n

    cdef int close_gaps(self) except -1 nogil:
        """Move running sequences to the ids of free slots between them, if that pays: gaps are there to stay."""
        cdef Slot * last
        cdef Slot * gap
        while True:
            last = gap = NULL
            for slot in self.by_seq_id:
                if slot.phase == RUNNING:
                    last = slot
                elif slot.phase == FREE and last != NULL and gap == NULL:
                    gap = slot
            if gap == NULL or gap.seq_id > last.seq_id:
                return 0
            if last.n_max - <int> last.generated.size() < MOVE_STEPS:
                return 0
            self.move(last, gap)

    cdef int move(self, Slot * slot, Slot * free) except -1 nogil:
        """Let a running slot's sequence take the place in memory of a free one's."""
        cdef llama_memory_t memory = self.context.memory
        llama_memory_seq_cp(memory, slot.seq_id, free.seq_id, -1, -1)
        llama_memory_seq_rm(memory, slot.seq_id, -1, -1)
        if self.draft_lives():
            llama_memory_seq_cp(self.draft.memory, slot.seq_id, free.seq_id, -1, -1)
            llama_memory_seq_rm(self.draft.memory, slot.seq_id, -1, -1)
        free.n_past = 0
        free.draft_held.clear()
        slot.seq_id, free.seq_id = free.seq_id, slot.seq_id
        self.by_seq_id[slot.seq_id] = slot
        self.by_seq_id[free.seq_id] = free
        return 0

    cdef int choose_lora(self) except -1 nogil:
        """Make the adapters of some running slots the context's: a batch is computed with one set of them."""
        cdef Slot * next = NULL
        cdef cbool stay = False
        for slot in self.slots:
            if slot.phase != RUNNING:
                continue
            if slot.lora == self.active_lora:
                stay = stay or self.n_steps - self.lora_since <= LORA_STEPS
            elif next == NULL or slot.t_turn < next.t_turn:
                next = slot
        if stay or next == NULL:
            return 0
        with gil:
            set_loras(self.context, self.loras[next.index])
        self.active_lora = next.lora
        self.lora_since = self.n_steps
        return 0

    cdef int shift(self, Slot * slot) except -1 nogil:
        """Drop the older half of what a full sequence may lose, and move the rest to its place (context shift)."""
        cdef llama_memory_t memory = self.context.memory
        cdef int size = <int> slot.tokens.size()
        cdef int keep = min(slot.n_keep, size - 2)
        cdef int n = max(1, (size - keep) // 2)
        llama_memory_seq_rm(memory, slot.seq_id, keep, keep + n)
        llama_memory_seq_add(memory, slot.seq_id, keep + n, -1, -n)
        slot.tokens.erase(slot.tokens.begin() + keep, slot.tokens.begin() + keep + n)
        # Of what is dropped, the end need not be in memory yet.
        slot.n_past = min(slot.n_past, keep) + max(0, slot.n_past - keep - n)
        slot.n_plain = min(slot.n_plain, keep)
        slot.n_shifted += n
        slot.draft_held.clear()
        if self.draft_lives():
            llama_memory_seq_rm(self.draft.memory, slot.seq_id, -1, -1)
        self.shift_pending = True
        return 0

    cdef void put(self, Slot * slot) noexcept nogil:
        """Append a slot's next n_taken tokens to the batch, and its guesses."""
        cdef llama_batch * batch = &self.batch.batch
        cdef int i, index, end = slot.n_past + slot.n_taken
        slot.row_first = batch.n_tokens
        for i in range(slot.n_past, end):
            index = batch.n_tokens
            batch.seq_id[index][0] = slot.seq_id
            batch.n_seq_id[index] = 1
            self.batch.put(slot.tokens[i], i, scored(slot, i + 1) or i + 1 == <int> slot.tokens.size())
        if end == <int> slot.tokens.size():
            slot.row = batch.n_tokens - 1
        for i in range(<int> slot.draft.size()):
            batch.seq_id[batch.n_tokens][0] = slot.seq_id
            batch.n_seq_id[batch.n_tokens] = 1
            self.batch.put(slot.draft[i], end + i, True)

    cdef int guess(self, Slot * slot, int room) except -1 nogil:
        """Draft tokens that may follow a slot's sequence, with the draft model if there is one."""
        cdef int n = min(min(slot.max_draft, room), slot.n_max - <int> slot.generated.size() - 1)
        n = min(n, self.context.n_ctx_seq - <int> slot.tokens.size())
        if n <= 0:
            return 0
        if self.draft is None:
            self.look_up(slot, n)
        elif not self.draft_lives():
            slot.error.assign(b"its draft model is closed, or has failed; go on with draft_tokens=0")
            self.end(slot, FAILED)
            self.wake = True
        else:
            self.asking = True
            self.ask_draft(slot, n)
            self.asking = False
        slot.n_drafted += <int> slot.draft.size()
        return 0

    cdef int ask_draft(self, Slot * slot, int n) except -1 nogil:
        """Draft the n tokens that the draft model holds for the likeliest ones, one after the other."""
        cdef llama_memory_t memory = self.draft.memory
        cdef llama_batch * batch = &self.draft_batch.batch
        cdef const float * row
        cdef int i, end, size = <int> slot.tokens.size(), held = common_length(slot.draft_held, slot.tokens, size - 1)
        if not llama_memory_seq_rm(memory, slot.seq_id, held, -1):
            llama_memory_seq_rm(memory, slot.seq_id, -1, -1)
            held = 0
        slot.draft_held.resize(held)
        while <int> slot.draft.size() < n:
            size = <int> (slot.tokens.size() + slot.draft.size())
            end = min(size, held + self.draft_batch.capacity)
            batch.n_tokens = 0
            for i in range(held, end):
                batch.seq_id[i - held][0] = slot.seq_id
                batch.n_seq_id[i - held] = 1
                slot.draft_held.push_back(
                    slot.tokens[i] if i < <int> slot.tokens.size() else slot.draft[i - slot.tokens.size()]
                )
                self.draft_batch.put(slot.draft_held.back(), i, i == size - 1)
            if self.draft.compute(batch, False) != 0:
                # Stopped, or out of memory: there are no guesses then, and the next ones start anew.
                slot.draft_held.clear()
                llama_memory_seq_rm(memory, slot.seq_id, -1, -1)
                return 0
            held = end
            if end == size:
                row = llama_get_logits_ith(self.draft.ptr, -1)
                if row == NULL:
                    return 0
                slot.draft.push_back(argmax(row, self.context.vocab.n_tokens))
        return 0

    cdef void look_up(self, Slot * slot, int n) noexcept nogil:
        """Draft what followed the last tokens when they last stood in the sequence (prompt lookup decoding)."""
        cdef int size = <int> slot.tokens.size()
        cdef int length, i, k
        for length in range(NGRAM, 1, -1):
            for i in range(size - length - 1, -1, -1):
                k = 0
                while k < length and slot.tokens[i + k] == slot.tokens[size - length + k]:
                    k += 1
                if k == length:
                    for k in range(i + length, min(i + length + n, size)):
                        if slot.tokens[k] == UNKNOWN:
                            return
                        slot.draft.push_back(slot.tokens[k])
                    return

    cdef int verify(self, Slot * slot) except -1 nogil:
        """Go on along the draft as long as the tokens chosen are the drafted ones."""
        cdef int n = <int> slot.draft.size(), i = 0
        # A constraint may have added tokens of its own, which no guess can stand for.
        while i < n and slot.phase == RUNNING and <int> slot.tokens.size() == slot.n_past + 1 and (
            slot.tokens.back() == slot.draft[i]
        ):
            i += 1
            slot.n_accepted += 1
            slot.n_past += 1
            slot.row += 1
            self.advance(slot)
        return 0

    cdef int recover(self) except -1 nogil:
        """After a decode that did not finish, put the memory back to what it held of each slot before it."""
        for slot in self.slots:
            if slot.n_taken > 0:
                slot.n_drafted -= <int> slot.draft.size()  # the next step guesses again
                # A recurrent state may have advanced by an unknown part of the batch.
                self.rewind(slot, 0 if self.recurrent else slot.n_past)
        return 0

    cdef int advance(self, Slot * slot) except -1 nogil:
        """Sample a token for a slot whose logits were computed, and see what follows from it."""
        cdef const llama_vocab * vocab = self.context.vocab.ptr
        cdef llama_token token
        if slot.n_max == 0:
            self.end(slot, SCORED)
            return 0
        cdef const float * row = llama_get_logits_ith(self.context.ptr, slot.row)
        if slot.scores.buf != NULL and row != NULL:
            with gil:
                if not self.process(slot, row):
                    return 0
            row = <const float *> slot.scores.buf
        token = choose(row, slot.chain, slot.plain_greedy, self.candidates, slot.error)
        if token >= 0 and slot.grammar != NULL and not grammar_allows(slot.grammar, token, slot.error):
            token = choose(row, slot.chain, False, self.candidates, slot.error, NULL, slot.grammar)
        elif token >= 0 and slot.constrained:
            token = self.constrain(slot, row, token)
        if slot.t_first_us == 0:
            slot.t_first_us = ggml_time_us()
        if token >= 0 and not slot.plain_greedy and not accept_token(slot.chain, token, slot.error):
            token = -1
        if token >= 0 and slot.grammar != NULL and not accept_token(slot.grammar, token, slot.error):
            token = -1
        if token < 0:
            if slot.phase == RUNNING:
                self.end(slot, FAILED)
            return 0
        if llama_vocab_is_eog(vocab, token):
            slot.stop_hit = token
            self.end(slot, END_OF_GENERATION)
            return 0
        for stop in slot.stop_tokens:
            if stop == token:
                slot.stop_hit = token
                self.end(slot, STOP_TOKEN)
                return 0
        if slot.n_top >= 0:
            self.score(slot, slot.row, token)
        self.say(slot, token)
        if slot.constrained and (slot.phase == RUNNING or slot.finish == MAX_TOKENS):
            self.follow(slot, token)
        return 0

    cdef int say(self, Slot * slot, llama_token token) except -1 nogil:
        """Append a token to what a slot has generated."""
        slot.tokens.push_back(token)
        slot.generated.push_back(token)
        if self.speaks:
            append_piece(self.context.vocab.ptr, token, slot.special, slot.text)
        slot.ends.push_back(<uint32_t> slot.text.size())
        if self.find_stop(slot):
            self.end(slot, STOP_TEXT)
        elif <int> slot.ends.size() == slot.n_max:
            self.end(slot, MAX_TOKENS if slot.limited else CONTEXT_FULL)
        return 0

    cdef llama_token constrain(self, Slot * slot, const float * row, llama_token token) noexcept nogil:
        """Return a token that a slot's constraint allows: the one that was chosen, or else another one."""
        cdef bint masked = False
        while token >= 0:
            with gil:
                try:
                    constraint = self.constraints[slot.index]
                    if constraint.allows(token):
                        return token
                    if not masked:
                        constraint.mask(<size_t> self.allowed.data(), self.allowed.size() * sizeof(uint32_t))
                except BaseException as error:
                    self.fail(slot, error, "a constraint")
                    return -1
            masked = True
            self.allowed[token >> 5] &= ~(<uint32_t> 1 << (token & 31))
            token = choose(row, slot.chain, False, self.candidates, slot.error, self.allowed.data())
        return -1

    cdef int follow(self, Slot * slot, llama_token token) except -1 nogil:
        """Tell a slot's constraint of a token, and append what must follow it without sampling that."""
        cdef vector[llama_token] forced
        cdef cbool stopped = False
        with gil:
            try:
                constraint = self.constraints[slot.index]
                # Rows of logits, and guesses, belong to tokens that are sampled one by one.
                forced = constraint.accept(token)
                stopped = constraint.stopped()
            except BaseException as error:
                self.fail(slot, error, "a constraint")
                return 0
        for token in forced:
            if slot.phase != RUNNING:
                return 0
            if not slot.plain_greedy and not accept_token(slot.chain, token, slot.error):
                self.end(slot, FAILED)
                return 0
            self.say(slot, token)
        if stopped and (slot.phase == RUNNING or slot.finish == MAX_TOKENS):
            self.end(slot, COMPLETE)
        return 0

    cdef void fail(self, Slot * slot, error, str what) noexcept:
        """End a slot for what a Python callback of it raised."""
        if isinstance(error, Exception):
            self.failures[slot.index] = error
            slot.error.assign(f"{what} raised {type(error).__name__}: {error}".encode("utf-8", "replace"))
            self.end(slot, FAILED)
            return
        # For the caller of run(), once the other slots have had their turn.
        PyErr_SetObject(type(error), error)
        keep_error(&self.context.interrupt)
        self.end(slot, CANCELLED)

    cdef bint process(self, Slot * slot, const float * row) except -1:
        """Let a slot's Python processor change a copy of its logits, or end it; tell whether the slot goes on."""
        memcpy(slot.scores.buf, row, slot.scores.len)
        try:
            if self.processors[slot.index](slot.tokens) is True:
                self.end(slot, HALTED)
        except BaseException as error:
            self.fail(slot, error, "a logits processor or stopping criterion")
        return slot.phase == RUNNING

    cdef cbool find_stop(self, Slot * slot) noexcept nogil:
        """Look for stop strings at the end of the text; cut it before the first one, else set how much is safe."""
        cdef size_t size = slot.text.size()
        cdef size_t before = 0 if slot.ends.size() < 2 else slot.ends[slot.ends.size() - 2]
        cdef size_t start, found, first = size, held
        cdef int i, hit = -1
        if not slot.stops.empty():
            start = before + 1 - slot.longest_stop if before + 1 > slot.longest_stop else 0
            for i in range(<int> slot.stops.size()):
                found = slot.text.find(slot.stops[i], start)
                if found < first:
                    first = found
                    hit = i
            if hit >= 0:
                slot.text.resize(first)
                slot.stop_hit = hit
                return True
        held = unfinished_character(slot.text)
        for i in range(<int> slot.stops.size()):
            held = max(held, partial_match(slot.text, slot.stops[i]))
        slot.n_safe = max(slot.n_safe, size - held)
        return False

    cdef void end(self, Slot * slot, Finish finish) noexcept nogil:
        slot.phase = ENDED
        slot.finish = finish
        self.resume()
        if finish >= CANCELLED:  # a partial text, which the rest of a character could have followed
            slot.text.resize(slot.text.size() - unfinished_character(slot.text))
        slot.n_safe = slot.text.size()
        slot.t_end_us = ggml_time_us()
        if finish != STOP_TEXT:
            return
        # Tokens that lie wholly behind the cut are no part of what the sequence now says.
        while (
            <int> slot.tokens.size() + slot.n_shifted > slot.n_prompt and token_start(slot) >= slot.text.size()
            and <int> slot.tokens.size() > max(slot.n_keep, 0)  # a shift may have dropped some of them
        ):
            slot.tokens.pop_back()
        slot.n_past = min(slot.n_past, <int> slot.tokens.size())

    cdef int score_rows(self, Slot * slot) except -1 nogil:
        """Report the log-probabilities of the prompt tokens that the rows of this batch predict."""
        cdef int i, first = slot.n_past - slot.n_taken
        for i in range(first, slot.n_past):
            if scored(slot, i + 1):
                self.score(slot, slot.row_first + i - first, slot.tokens[i + 1])
        return 0

    cdef int score(self, Slot * slot, int index, llama_token token) except -1 nogil:
        """Report the log-probability of a token, and those of the likeliest ones, under a row of logits."""
        cdef const float * row = llama_get_logits_ith(self.context.ptr, index)
        cdef int n_vocab = self.context.vocab.n_tokens
        cdef int i, k, n = 0
        cdef float top
        cdef double total = 0.0
        cdef size_t base = slot.top_ids.size()
        cdef llama_token * ids
        cdef float * values
        if row == NULL:
            with gil:
                raise GenerationError(native_message(f"llama.cpp computed no logits at index {index}"))
        top = row[argmax(row, n_vocab)]
        for i in range(n_vocab):
            total += expf(row[i] - top)
        cdef float log_total = top + <float> log(total)
        slot.logprobs.push_back(row[token] - log_total)
        if slot.n_top <= 0:
            return 0
        slot.top_ids.resize(base + slot.n_top)
        slot.top_logprobs.resize(base + slot.n_top)
        ids = &slot.top_ids[base]
        values = &slot.top_logprobs[base]
        for i in range(n_vocab):
            if n == slot.n_top and row[i] <= values[n - 1]:
                continue
            k = n if n < slot.n_top else n - 1
            n = k + 1
            while k > 0 and values[k - 1] < row[i]:
                values[k] = values[k - 1]
                ids[k] = ids[k - 1]
                k -= 1
            values[k] = row[i]
            ids[k] = i
        for k in range(n):
            values[k] -= log_total
        return 0

    def read(self, int index) -> str:
        """Return a slot's new text, as far as neither a stop string nor the rest of a character can change it."""
        cdef Slot * slot = self.slot(index)
        cdef size_t start = slot.n_read
        slot.n_read = slot.n_safe
        return PyUnicode_DecodeUTF8(slot.text.data() + start, slot.n_safe - start, b"replace")

    def scores(self, int index, size_t start) -> dict[str, object]:
        """Return log-probabilities of the generated tokens from one on, as far as `read` has returned their text.

        Returns:
            token_ids, logprobs, top_ids, top_logprobs: of these tokens, as `release` has them.
        """
        cdef Slot * slot = self.slot(index)
        cdef size_t end = start, n_top = max(slot.n_top, 0), before = slot.n_prompt - slot.score_from
        while end < min(slot.ends.size(), slot.logprobs.size() - before) and slot.ends[end] <= slot.n_read:
            end += 1
        return {
            "token_ids": [slot.generated[i] for i in range(start, end)],
            "logprobs": [slot.logprobs[i] for i in range(before + start, before + end)],
            "top_ids": [slot.top_ids[i] for i in range(n_top * (before + start), n_top * (before + end))],
            "top_logprobs": [slot.top_logprobs[i] for i in range(n_top * (before + start), n_top * (before + end))],
        }

    def free(self, int index) -> bool:
        """Tell whether a slot can be started."""
        return self.slot(index).phase == FREE

    def ended(self, int index) -> bool:
        """Tell whether a slot's generation has come to its end."""
        return self.slot(index).phase == ENDED

    def paused(self) -> bool:
        """Tell whether a generation waits for room in memory, which newer ones had better not take."""
        for slot in self.slots:
            if slot.phase == PAUSED:
                return True
        return False

    def cancel(self, int index):
        """End a slot's generation at the next step; a step under way is cut short. Any thread may call this."""
        self.known(index).cancelled = True
        self.context.interrupt.stop = True

    def interrupt(self):
        """Make run() return after the step under way. Any thread may call this."""
        self.wake = True

    def tokens(self, int index) -> list[int]:
        """Return the tokens of a slot's sequence: the last prompt and what followed, up to a stop string."""
        return self.slot(index).tokens

    def forget(self, int index):
        """Remove a free slot's sequence from the memory."""
        cdef Call call
        self.drop(self.idle(index, call))

    # What follows edits the memory between two runs, and keeps the slots' tokens in step with it.

    cdef Slot * idle(self, int index, Call & call) except NULL:
        """Begin a call that edits a slot's sequence, and return the slot."""
        self.context.enter(call)
        return self.unused(index)

    cdef Slot * unused(self, int index) except NULL:
        """Return a slot in which nothing is generated."""
        cdef Slot * slot = self.slot(index)
        if slot.phase != FREE:
            raise LlamaError(f"sequence {index} is in use by a generation; let it end, or close it")
        return slot

    cdef int drop(self, Slot * slot) except -1:
        """Empty a slot's sequence."""
        slot.tokens.clear()
        slot.n_past = 0
        slot.n_keep = -1
        with nogil:
            self.cut(slot, 0)
        return 0

    def go_back(self, int index, int n):
        """Keep the first n tokens of a free slot's sequence, and what the memory can keep of them."""
        cdef Call call
        cdef Slot * slot = self.idle(index, call)
        if n < slot.n_past:
            with nogil:
                slot.n_past = self.cut(slot, max(n, 0))
        if n < <int> slot.tokens.size():
            slot.tokens.resize(max(n, 0))

    def n_past(self, int index) -> int:
        """Return how many positions of a slot's sequence are taken in memory."""
        return self.slot(index).n_past

    def seq_rm(self, int index, llama_pos p0, llama_pos p1):
        """Remove positions [p0, p1) of a free slot's sequence (llama_memory_seq_rm); p1 < 0 is the end.

        Raises:
            LlamaError: if the memory can't: a recurrent state only as a whole, a sliding window not where it has left.
        """
        cdef Call call
        cdef Slot * slot = self.idle(index, call)
        cdef int size = <int> slot.tokens.size(), end, i
        cdef vector[llama_token] held
        p0, p1 = max(p0, 0), p1 if 0 <= p1 < size else size
        if p0 >= p1:
            return
        end = min(p1, slot.n_past)
        if p0 < end:
            if p0 > 0 and end == slot.n_past and not self.reaches(slot, p0):
                raise LlamaError(
                    f"sequence {index} can't go back to position {p0}: its sliding window has moved on; "
                    "use swa_full=True, or compute it again"
                )
            with nogil:
                done = llama_memory_seq_rm(self.context.memory, slot.seq_id, p0, -1 if end == slot.n_past else end)
            if not done:
                raise LlamaError(
                    f"positions {p0} to {p1} of sequence {index} can't be removed alone: a recurrent state is kept or "
                    "dropped as a whole"
                )
        if p1 > slot.n_past:
            slot.tokens.erase(slot.tokens.begin() + max(p0, slot.n_past), slot.tokens.begin() + p1)
        if p0 < end:
            held.assign(slot.tokens.begin(), slot.tokens.begin() + slot.n_past)
            for i in range(p0, end):
                held[i] = UNKNOWN
            self.settle(slot, held, p0)

    cdef int settle(self, Slot * slot, vector[llama_token] & held, int n_plain) except -1:
        """Bring a sequence's tokens and counts in line with its memory after an edit.

        Args:
            slot: of the sequence. Its tokens that are not in memory yet have no positions: they go on after the last.
            held: the tokens by their positions in memory, as far as they are known.
            n_plain: length of the part that the edit left as it was.
        """
        cdef int n_past = llama_memory_seq_pos_max(self.context.memory, slot.seq_id) + 1
        held.resize(n_past, UNKNOWN)
        held.insert(held.end(), slot.tokens.begin() + slot.n_past, slot.tokens.end())
        slot.tokens.swap(held)
        slot.n_past = n_past
        slot.n_plain = min(slot.n_plain, n_plain)
        if n_past <= slot.n_plain:
            slot.n_plain = INT32_MAX
        if n_past == 0:
            slot.shared = False
        return 0

    def seq_cp(self, int source, int target, llama_pos p0 = 0, llama_pos p1 = -1):
        """Copy positions [p0, p1) of one free slot's sequence to another's (llama_memory_seq_cp); p1 < 0 is the end.

        A copy of the whole takes the target's place; one of a part goes behind what the target holds.

        Raises:
            LlamaError: if the memory can't: parts only where all sequences share one KV cache.
        """
        cdef Call call
        cdef Slot * one = self.idle(source, call)
        cdef Slot * other = self.unused(target)
        cdef int size = <int> one.tokens.size(), end
        if source == target:
            return
        p0, p1 = max(p0, 0), p1 if 0 <= p1 < size else size
        whole = p0 == 0 and p1 == size
        if not whole and (self.recurrent or not self.context.kv_unified):
            raise LlamaError(
                f"only the whole of sequence {source} can be copied here: "
                + ("its state is recurrent" if self.recurrent else "parts need kv_unified=True")
            )
        if not whole and other.n_past > p0:
            raise LlamaError(
                f"sequence {target} has {other.n_past} positions already, so that nothing can be copied to "
                f"position {p0}; remove them first"
            )
        if p0 >= p1 and not whole:
            return
        if not self.context.kv_unified and self.context.n_seq_max > 1:
            data = self.copy_out(one)
            self.drop(other)
            self.copy_in(other, data, one.n_past)
            other.tokens = one.tokens
            other.n_plain = one.n_plain
        else:
            if whole:
                self.drop(other)
            end = max(p0, min(p1, one.n_past))
            self.copy_cells(one, other, p0, end)
            other.tokens.insert(other.tokens.end(), one.tokens.begin() + end, one.tokens.begin() + p1)
        other.lora = one.lora
        self.lora_keys[target] = self.lora_keys[source]

    cdef int copy_cells(self, Slot * one, Slot * other, int p0, int end) except -1:
        """Let a sequence have what the memory holds of positions [p0, end) of another one."""
        cdef vector[llama_token] held
        if p0 == end:
            return 0
        with nogil:
            llama_memory_seq_cp(self.context.memory, one.seq_id, other.seq_id, p0, -1 if end == one.n_past else end)
        one.shared = other.shared = not self.recurrent
        held.assign(other.tokens.begin(), other.tokens.begin() + other.n_past)
        held.resize(p0, UNKNOWN)
        held.insert(held.end(), one.tokens.begin() + p0, one.tokens.begin() + end)
        self.settle(other, held, one.n_plain if p0 == 0 else p0)
        return 0

    def seq_add(self, int index, llama_pos p0, llama_pos p1, llama_pos delta):
        """Shift positions [p0, p1) of a free slot's sequence by delta (llama_memory_seq_add); p1 < 0 is the end.

        Raises:
            LlamaError: if the memory can't shift, or another sequence shares the cells.
            ValidationError: if positions would become negative, fall onto others or reach beyond the context.
        """
        cdef Call call
        cdef Slot * slot = self.idle(index, call)
        cdef vector[llama_token] held
        cdef int n = slot.n_past, i, n_tail = <int> slot.tokens.size() - n
        cdef int64_t begin, end  # where the positions come to, which may be no llama_pos
        p0, p1 = max(p0, 0), p1 if 0 <= p1 < n else n
        self.check_edit(slot)
        if p0 >= p1 or delta == 0:
            return
        # The last token that was chosen has a place behind a full context, too.
        begin, end = <int64_t> p0 + delta, <int64_t> p1 + delta
        if begin < 0 or end + max(n_tail - 1, 0) > self.context.n_ctx_seq:
            raise ValidationError(
                f"positions {p0} to {p1} shifted by {delta} would leave the range 0 to {self.context.n_ctx_seq}"
            )
        for i in range(<int> begin, <int> min(end, n)):
            if not p0 <= i < p1 and slot.tokens[i] != UNKNOWN:
                raise ValidationError(f"position {i} of sequence {index} is taken; remove it before others move there")
        held.assign(slot.tokens.begin(), slot.tokens.begin() + n)
        for i in range(p0, p1):
            held[i] = UNKNOWN
        held.resize(max(n, <int> end), UNKNOWN)
        for i in range(p0, p1):
            held[i + delta] = slot.tokens[i]
        with nogil:
            llama_memory_seq_add(self.context.memory, slot.seq_id, p0, p1, delta)
        self.settle(slot, held, min(p0, <int> begin))
        self.shift_pending = True

    def seq_div(self, int index, llama_pos p0, llama_pos p1, int divisor):
        """Divide positions [p0, p1) of a free slot's sequence (llama_memory_seq_div); p1 < 0 is the end.

        Raises:
            LlamaError: as `seq_add` has it.
        """
        cdef Call call
        cdef Slot * slot = self.idle(index, call)
        cdef vector[llama_token] held
        p0, p1 = max(p0, 0), p1 if 0 <= p1 < slot.n_past else slot.n_past
        check_int("divisor", divisor, 1)
        self.check_edit(slot)
        if p0 >= p1 or divisor == 1:
            return
        if p1 < slot.n_past:
            raise ValidationError(f"positions {p0} to {p1} can't be divided alone: those after them keep their place")
        with nogil:
            llama_memory_seq_div(self.context.memory, slot.seq_id, p0, -1, divisor)
        # Several tokens now stand at a position, those before p0 not excepted.
        held.assign(slot.tokens.begin(), slot.tokens.begin() + p0 // divisor)
        self.settle(slot, held, p0 // divisor)
        self.shift_pending = True

    cdef int check_edit(self, Slot * slot) except -1:
        try:
            self.check_shift()
        except ValidationError as error:
            raise LlamaError(str(error)) from None
        if slot.shared:
            raise LlamaError(f"sequence {slot.index} shares cells with another one, which would be shifted too")
        return 0

    def seq_pos_min(self, int index) -> int:
        """Return the smallest position of a sequence in memory, -1 if it is empty (llama_memory_seq_pos_min)."""
        cdef Slot * slot = self.slot(index)
        cdef Call call
        self.context.enter(call, False)
        return llama_memory_seq_pos_min(self.context.memory, slot.seq_id)

    def seq_pos_max(self, int index) -> int:
        """Return the largest position of a sequence in memory, -1 if it is empty (llama_memory_seq_pos_max)."""
        cdef Slot * slot = self.slot(index)
        cdef Call call
        self.context.enter(call, False)
        return llama_memory_seq_pos_max(self.context.memory, slot.seq_id)

    def state(self, int index) -> bytes:
        """Return what the memory holds of a free slot's sequence (llama_state_seq_get_data)."""
        cdef Call call
        return self.copy_out(self.idle(index, call))

    cdef bytes copy_out(self, Slot * slot):
        """Return what the memory holds of a slot's sequence."""
        cdef size_t size, written
        if self.shift_pending:
            raise LlamaError("positions were shifted, which takes effect with the next computation; generate first")
        with nogil:
            size = llama_state_seq_get_size(self.context.ptr, slot.seq_id)
        data = PyBytes_FromStringAndSize(NULL, size)
        buffer = <uint8_t *> PyBytes_AsString(data)
        with nogil:
            written = llama_state_seq_get_data(self.context.ptr, buffer, size, slot.seq_id)
        if written != size:
            raise LlamaError(native_message(f"the state of sequence {slot.index} could not be copied"))
        return data

    cdef int copy_in(self, Slot * slot, bytes data, int n_past) except -1:
        """Put what `copy_out` returned of n_past tokens into an empty sequence."""
        cdef const uint8_t * buffer = <const uint8_t *> PyBytes_AsString(data)
        cdef size_t size = len(data), taken
        with nogil:
            taken = llama_state_seq_set_data(self.context.ptr, buffer, size, slot.seq_id)
        if taken != size or llama_memory_seq_pos_max(self.context.memory, slot.seq_id) != n_past - 1:
            with nogil:
                llama_memory_seq_rm(self.context.memory, slot.seq_id, -1, -1)
            raise LlamaError(native_message(f"llama.cpp refused the state of sequence {slot.index}"))
        slot.n_past = n_past
        return 0

    def set_state(self, int index, tokens, int n_past, bytes data not None, bint edited, loras = ()):
        """Put what `state` returned into a free slot's sequence (llama_state_seq_set_data).

        Args:
            index: the slot.
            tokens: ids of the sequence.
            n_past: how many of them the data is of.
            data: the state; b"" leaves the sequence to be computed again.
            edited: whether the memory is something else than the tokens would give if they were computed again.
            loras: (id, scale)s of the adapters that the state was computed with.

        Raises:
            LlamaError: if llama.cpp refuses the data; the sequence is empty then.
        """
        cdef Call call
        cdef Slot * slot = self.idle(index, call)
        cdef vector[llama_token] ids
        for token in tokens:
            if token != UNKNOWN:
                self.context.vocab.check(token)
            ids.push_back(token)
        # There may be more tokens than the context holds: the last one chosen, and those that a constraint forced.
        check_int("n_past", n_past, 0, min(<int> ids.size(), self.context.n_ctx_seq))
        self.drop(slot)
        if data:
            self.copy_in(slot, data, n_past)
        slot.tokens.swap(ids)
        slot.n_plain = 0 if edited else INT32_MAX
        slot.lora = self.lora_number(tuple(loras))
        self.lora_keys[index] = tuple(loras)

    def loras_of(self, int index) -> tuple[tuple[int, float], ...]:
        """Return the (id, scale)s of the adapters that a sequence was computed with."""
        self.slot(index)
        return self.lora_keys[index]

    def edited(self, int index) -> bool:
        """Tell whether a sequence in memory is something else than its tokens would give."""
        return self.slot(index).n_plain < self.slot(index).n_past

    def set_control_vector(self, values, int width, int layer_first, int layer_last):
        """Add a vector to the output of each layer from now on (llama_set_adapter_cvec); sequences are computed again.

        Args:
            values: float32 buffer of shape (layers from 1 on, width); None adds nothing any more.
            width: of a row.
            layer_first, layer_last: the first and the last layer to add theirs to.
        """
        cdef Py_buffer view
        cdef Call call
        cdef int rc
        self.context.enter(call)
        for slot in self.slots:
            self.unused(slot.index)
            if unknown(slot.tokens):
                raise LlamaError(f"sequence {slot.index} was edited, and can't be computed again; reset() first")
        memset(&view, 0, sizeof(view))  # NULL, of no size, takes a vector away
        if values is not None:
            PyObject_GetBuffer(values, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        try:
            rc = llama_set_adapter_cvec(
                self.context.ptr, <const float *> view.buf, view.len // sizeof(float), width, layer_first, layer_last
            )
            for slot in self.slots:
                with nogil:
                    slot.n_past = self.cut(slot, 0)
        finally:
            PyBuffer_Release(&view)
        if rc != 0:
            raise ValidationError(native_message("llama.cpp refused the control vector"))

    def release(self, int index) -> dict[str, object]:
        """Free a slot and return what came of it; its sequence stays in memory, for `start` to reuse.

        A running generation is cut off where it is.

        Returns:
            text: what was generated, as str, without the stop string.
            token_ids: ids of the generated tokens, those of a stop string included, end-of-generation tokens not.
            finish_reason: "stop", "length", "cancelled", "timeout" or "error".
            stop_reason: index of the stop string, or id of the token, that ended it; None if neither did.
            stopped_by_text: whether stop_reason is such an index.
            stop_token: whether a token of stop_tokens did, or a processor that wants nothing more.
            context_full: whether the context's size ended it.
            error: why it failed, "" if it did not.
            cause: what a logits processor raised, None if nothing.
            n_prompt, n_cached: tokens of the prompt, and how many of them were in memory already.
            logprobs, top_ids, top_logprobs: of the scored tokens; top_* have n_top for each, likeliest first.
            n_drafted, n_accepted: tokens guessed, and how many of them were right.
            n_shifted: tokens that were dropped so that the sequence could go on.
            t_prompt_ms, t_generation_ms: from the start to the first sampled token, and from there to the end.
        """
        cdef Slot * slot = self.slot(index)
        if slot.phase == FREE:
            raise LlamaError(f"slot {index} is free")
        if slot.phase != ENDED:
            self.end(slot, CANCELLED)
        cdef int64_t first = slot.t_first_us or slot.t_end_us
        outcome = {
            "text": PyUnicode_DecodeUTF8(slot.text.data(), slot.text.size(), b"replace"),
            "token_ids": slot.generated,
            "finish_reason": FINISH_REASONS[<int> slot.finish],
            "stop_reason": None if slot.stop_hit < 0 else slot.stop_hit,
            "stopped_by_text": slot.finish == STOP_TEXT,
            "stop_token": slot.finish == STOP_TOKEN or slot.finish == HALTED,
            "context_full": slot.finish == CONTEXT_FULL,
            "error": (<bytes> slot.error).decode("utf-8", "replace"),
            "cause": self.failures[index],
            "n_prompt": slot.n_prompt,
            "n_cached": slot.n_cached,
            "n_drafted": slot.n_drafted,
            "n_accepted": slot.n_accepted,
            "n_shifted": slot.n_shifted,
            "logprobs": slot.logprobs,
            "top_ids": slot.top_ids,
            "top_logprobs": slot.top_logprobs,
            "t_prompt_ms": (first - slot.t_start_us) / 1000.0,
            "t_generation_ms": (slot.t_end_us - first) / 1000.0,
        }
        slot.phase = FREE
        slot.chain = NULL
        if slot.scores.buf != NULL:
            PyBuffer_Release(&slot.scores)
            slot.scores.buf = NULL
        slot.grammar = NULL
        self.samplers[index] = self.processors[index] = self.failures[index] = None
        self.grammars[index] = self.constraints[index] = None
        self.loras[index] = ()
        return outcome


cdef cbool scored(Slot * slot, int index) noexcept nogil:
    """Tell whether the log-probability of a prompt token is wanted, and not known yet."""
    return slot.score_from <= index < slot.n_prompt and slot.generated.empty()


cdef int outputs(Slot * slot) noexcept nogil:
    """Count the rows of logits that a slot's part of the batch asks for."""
    cdef int i, end = slot.n_past + slot.n_taken
    cdef int rows = <int> slot.draft.size() + (end == <int> slot.tokens.size())
    for i in range(slot.n_past + 1, end + 1):
        rows += scored(slot, i)
    return rows


cdef int common_length(vector[llama_token] & one, vector[llama_token] & other, int limit) noexcept nogil:
    """Return how many tokens two sequences have in common at the beginning, `limit` at most."""
    cdef int n = 0
    limit = min(limit, <int> min(one.size(), other.size()))
    while n < limit and one[n] == other[n]:
        n += 1
    return n


cdef int common_prefix(Slot * slot, vector[llama_token] & tokens, int limit, int lora) noexcept nogil:
    """Return how many of the tokens that a slot has in memory another sequence could take over, `limit` at most."""
    if slot.lora != lora:
        return 0
    return common_length(slot.tokens, tokens, min(limit, min(slot.n_past, slot.n_plain)))


cdef cbool unknown(vector[llama_token] & tokens) noexcept nogil:
    """Tell whether there are tokens that can't be computed again."""
    for token in tokens:
        if token == UNKNOWN:
            return True
    return False


cdef int check_draft(Context context, Context draft) except -1:
    """Refuse a draft model whose guesses would mean something else."""
    cdef const llama_vocab * one = context.vocab.ptr
    cdef const llama_vocab * other = draft.vocab.ptr
    cdef int i
    what = f"{draft.model.path!r} can't draft for {context.model.path!r}"
    if draft.memory == NULL or draft.model.has_encoder():
        raise ValidationError(f"{what}: it generates no text")
    if draft.vocab.n_tokens != context.vocab.n_tokens:
        raise ValidationError(
            f"{what}: its vocabulary has {draft.vocab.n_tokens} tokens, and not {context.vocab.n_tokens}"
        )
    if draft.n_ctx_seq < context.n_ctx_seq:
        raise ValidationError(
            f"{what}: its sequences have at most {draft.n_ctx_seq} tokens, and not {context.n_ctx_seq}; lower n_ctx"
        )
    for i in range(context.vocab.n_tokens):
        if strcmp(llama_vocab_get_text(one, i), llama_vocab_get_text(other, i)) != 0:
            raise ValidationError(f"{what}: its vocabulary has another token {i}")
    return 0


cdef size_t token_start(Slot * slot) noexcept nogil:
    """Return where in the text the last token that is still part of the sequence begins."""
    cdef size_t index = slot.tokens.size() + slot.n_shifted - slot.n_prompt - 1
    return 0 if index == 0 else slot.ends[index - 1]


cdef size_t unfinished_character(const string & text) noexcept nogil:
    """Return how many bytes at the end begin a UTF-8 character that more bytes may complete (0 to 3)."""
    cdef size_t size = text.size(), k
    cdef uint8_t byte
    for k in range(1, min(size, 3) + 1):
        byte = <uint8_t> text[size - k]
        if byte & 0xC0 == 0x80:
            continue
        if (byte & 0xE0 == 0xC0 and k < 2) or (byte & 0xF0 == 0xE0 and k < 3) or (byte & 0xF8 == 0xF0 and k < 4):
            return k
        return 0
    return 0


cdef size_t partial_match(const string & text, const string & stop) noexcept nogil:
    """Return the length of the longest end of text that is a proper beginning of stop."""
    cdef size_t k = min(text.size(), stop.size() - 1)
    while k > 0 and text.compare(text.size() - k, k, stop, 0, k) != 0:
        k -= 1
    return k
