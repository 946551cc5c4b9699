from libc.stdint cimport uint8_t

from tlsnodes.http.heads cimport RequestHead, ResponseHead
from tlsnodes.proxy.client cimport ClientConnection
from tlsnodes.proxy.server cimport Requester, ServerConnection
from tlsnodes.proxy.vserver cimport VserverProxy


cdef class Exchange(Requester):
    cdef ClientConnection client
    cdef VserverProxy vserver
    cdef bint active
    cdef RequestHead head
    cdef bytes cookie
    cdef bytes request_id  # None where requests have none
    cdef object server  # ServerState
    cdef object by  # `ChosenBy`: why that one
    cdef tuple tried
    cdef bytes session_key  # what the session is known by whose id the request shows; None: it shows none
    cdef object session  # `BoundSession`: what it is bound to; None: that is not known
    cdef object waiting  # for the store: what tells this wait from others; None: it is not
    cdef ServerConnection connection
    cdef bint ready  # the connection is open and has the head
    cdef bint request_done
    cdef bint keep_alive
    cdef bint server_keep_alive
    cdef bint chunked  # how the response's body goes to the client
    cdef int status  # 0 until the final response's head has gone to the client
    cdef double patience_s  # without progress
    cdef double started_at
    cdef double answered_at
    cdef long long sent
    cdef long long received

    cdef int begin(self, RequestHead head) except -1
    cdef int choose(self) except -1
    cdef int begin_in_session(self) except -1
    cdef int replace_binding(self) except -1
    cdef int wait_for(self, coroutine) except -1
    cdef int go_on_with(self, session) except -1
    cdef int note_session(self, ResponseHead response) except -1
    cdef int redirect(self) except -1
    cdef int connect(self) except -1
    cdef int send_head(self) except -1
    cdef int request_data(self, const uint8_t *data, Py_ssize_t size) except -1
    cdef int request_end(self) except -1
    cdef int tunnel_up(self, const uint8_t *data, Py_ssize_t size) except -1
    cdef bint takes_more(self) noexcept
    cdef bint may_repeat(self) noexcept
    cdef int put(self, bytes wire) except -1
    cdef void half_ended(self) noexcept
    cdef int tunnel_over(self) except -1
    cdef object describe(self, str refused)
    cdef int detach(self, bint reusable, str refused) except -1
