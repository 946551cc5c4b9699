"""The buffers that the streams of a poller share: see buffers.pxd."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from tlsnodes.tls.openssl cimport *

cdef enum:
    OUT_SIZE = OUT_FULL + RECORD + 1024


cdef int _bio_read(BIO *bio, char *data, int size) noexcept:
    cdef Scratch *scratch = <Scratch *>BIO_get_data(bio)
    cdef size_t count = <size_t>size if <size_t>size < scratch.taken_size else scratch.taken_size
    BIO_clear_retry_flags(bio)
    if count == 0:
        BIO_set_retry_read(bio)
        return -1
    memcpy(data, scratch.taken, count)
    scratch.taken += count
    scratch.taken_size -= count
    return <int>count


cdef int _bio_write(BIO *bio, const char *data, int size) noexcept:
    cdef Scratch *scratch = <Scratch *>BIO_get_data(bio)
    BIO_clear_retry_flags(bio)
    if not put_out(scratch, <const uint8_t *>data, size):
        return -1
    return size


cdef long _bio_control(BIO *bio, int command, long number, void *pointer) noexcept:
    return command == BIO_CTRL_FLUSH


cdef bint put_out(Scratch *scratch, const uint8_t *data, size_t size) noexcept:
    cdef uint8_t *moved
    cdef size_t need = scratch.out_size + size
    if need > scratch.out_room:  # a flight with a long certificate chain, or a lot of data while the socket is full
        moved = <uint8_t *>realloc(scratch.out, need + RECORD)
        if moved is NULL:
            return False
        scratch.out = moved
        scratch.out_room = need + RECORD
    memcpy(scratch.out + scratch.out_size, data, size)
    scratch.out_size = need
    return True


cdef BIO_METHOD *_make_bio_method() except NULL:
    cdef BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "shared buffers")
    if method is NULL:
        raise MemoryError
    BIO_meth_set_read(method, _bio_read)
    BIO_meth_set_write(method, _bio_write)
    BIO_meth_set_ctrl(method, _bio_control)
    return method


cdef BIO_METHOD *_bio_method = _make_bio_method()


cdef BIO *new_bio(Scratch *scratch) except NULL:
    cdef BIO *bio = BIO_new(_bio_method)
    if bio is NULL:
        raise MemoryError
    BIO_set_data(bio, scratch)
    BIO_set_init(bio, 1)
    return bio


cdef class SharedBuffers:
    """What the streams of one poller take turns in."""

    def __cinit__(self):
        cdef Scratch *scratch = &self.scratch
        scratch.cipher_in = <uint8_t *>malloc(RECEIVE_SIZE)
        scratch.plain_in = <uint8_t *>malloc(PLAIN_SIZE)
        scratch.gathered = <uint8_t *>malloc(RECORD)
        scratch.out = <uint8_t *>malloc(OUT_SIZE)
        scratch.out_room = OUT_SIZE
        if not (scratch.cipher_in and scratch.plain_in and scratch.gathered and scratch.out):
            raise MemoryError

    def __dealloc__(self):
        free(self.scratch.cipher_in)
        free(self.scratch.plain_in)
        free(self.scratch.gathered)
        free(self.scratch.out)
