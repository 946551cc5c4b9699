"""The store that nodes share [P9]: records of sessions and bindings, in SQLite or Redis, and copies in workers."""
