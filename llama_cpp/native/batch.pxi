# Batch: tokens to be decoded together.

cdef class Batch:
    """Tokens to be decoded together (llama_batch).

    Args:
        n_tokens: how many it can hold.
        n_seq_max: how many sequences one token can belong to.
    """

    cdef llama_batch batch
    cdef Gate gate                  # of Context.decode
    cdef readonly int capacity
    cdef readonly int n_seq_max

    def __cinit__(self, int n_tokens, int n_seq_max = 1):
        memset(&self.batch, 0, sizeof(self.batch))
        check_int("n_tokens", n_tokens, 1)
        check_int("n_seq_max", n_seq_max, 1)
        self.batch = llama_batch_init(n_tokens, 0, n_seq_max)
        self.capacity = n_tokens
        self.n_seq_max = n_seq_max

    def __dealloc__(self):
        if self.batch.token != NULL:
            llama_batch_free(self.batch)

    def __len__(self):
        return self.batch.n_tokens

    def clear(self):
        """Remove all tokens."""
        self.check_still()
        self.batch.n_tokens = 0

    def add(self, llama_token token, llama_pos pos, seq_ids, bint output):
        """Append a token.

        Args:
            token: its id.
            pos: its position in the sequences, from 0.
            seq_ids: the sequences that it belongs to.
            output: whether its logits (or embedding) are wanted.

        Raises:
            ValidationError: if the batch is full or there are too many sequences, or none.
            LlamaError: if it is being computed.
        """
        cdef vector[llama_seq_id] ids = seq_ids
        cdef int i
        self.check_still()
        if self.batch.n_tokens >= self.capacity:
            raise ValidationError(f"the batch is full; it holds {self.capacity} tokens")
        if not 0 < ids.size() <= <size_t> self.n_seq_max:
            raise ValidationError(f"a token belongs to 1 to {self.n_seq_max} sequences here, got {ids.size()}")
        for i in range(<int> ids.size()):
            self.batch.seq_id[self.batch.n_tokens][i] = ids[i]
        self.batch.n_seq_id[self.batch.n_tokens] = <int32_t> ids.size()
        self.put(token, pos, output)

    cdef int check_still(self) except -1:
        if not self.gate.threads.empty():
            raise LlamaError("the batch is being computed; change it afterwards")
        return 0

    cdef void put(self, llama_token token, llama_pos pos, bint output) noexcept nogil:
        """Write a token whose sequence ids are already in place."""
        cdef int i = self.batch.n_tokens
        self.batch.token[i] = token
        self.batch.pos[i] = pos
        self.batch.logits[i] = output
        self.batch.n_tokens = i + 1
