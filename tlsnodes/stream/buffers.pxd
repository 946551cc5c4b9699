"""The buffers that the streams of a poller share, and OpenSSL's way to them."""

from libc.stdint cimport uint8_t

from tlsnodes.stream.poller cimport Watcher
from tlsnodes.tls.openssl cimport BIO


cdef enum:
    RECORD = 16384
    RECEIVE_SIZE = 65536
    # One recv's worth, and what a record had before it.
    PLAIN_SIZE = RECEIVE_SIZE + RECORD
    # Sent at once when it gets fuller than this; four records and their headers.
    OUT_FULL = 65536


cdef struct Scratch:
    uint8_t *cipher_in  # what one recv took; plaintext of plain sockets
    const uint8_t *taken  # what OpenSSL has not read of it yet
    size_t taken_size
    uint8_t *plain_in  # what was decrypted of it
    uint8_t *gathered  # plaintext that was written and awaits encryption: one record at most
    size_t gathered_size
    uint8_t *out  # what the next send takes
    size_t out_size
    size_t out_room


cdef class SharedBuffers:
    """What the streams of one poller take turns in."""

    cdef Scratch scratch
    cdef Watcher owner  # the stream whose output is in scratch.gathered and scratch.out; None when both are empty


# A BIO that reads from scratch.taken and writes to scratch.out, which outlives it.
cdef BIO *new_bio(Scratch *scratch) except NULL
# Appends to scratch.out; False when memory is short.
cdef bint put_out(Scratch *scratch, const uint8_t *data, size_t size) noexcept
