"""A P4 pipeline that runs: p4c's output in, frames through."""

from __future__ import annotations

from array import array
from collections.abc import Callable, MutableMapping

from pentaflow.errors import ConfigurationError, UnsupportedPipelineError
from softswitch.c_backend.build import BuildError, build_library
from softswitch.c_backend.compiler import compile_program as compile_to_c
from softswitch.c_backend.engine import NativeEngine, NativeGroups
from softswitch.c_backend.expressions import NotNativeError
from softswitch.program import ir
from softswitch.program.bmv2_json import read_program
from softswitch.python_backend.compiler import compile_program as compile_to_python
from softswitch.state import Digest as Digest
from softswitch.state import Engine as Engine
from softswitch.state import IndirectCounter as IndirectCounter
from softswitch.state import MakeCells, State
from softswitch.state import Output as Output
from softswitch.state import Replica as Replica
from softswitch.tables import Entry, Table

Process = Callable[[int, bytes | memoryview, int], list[Output]]


class Pipeline:
    """A compiled pipeline and its state. Not for use from several threads at once.

    The control plane changes the mappings and lists in place; the pipeline holds on to these very objects.

    Attributes:
        process: runs one Ethernet frame, given its port (9 bits) and the time in nanoseconds, and returns the frames
            to send. It never raises, whatever the frame's bytes; digests are added to `digests`.
        source: the Python or C that `process` was compiled from.
        native: the native engine, None when Python runs the pipeline.
        not_native: why native code does not run it, although it might have; else None.
    """

    def __init__(self, program: ir.Program, engine: Engine = Engine.PYTHON) -> None:
        self.program = program
        self.native: NativeEngine | None = None
        self.not_native: str | None = None
        if engine is not Engine.PYTHON:
            try:
                self._run_native(program)
            except (NotNativeError, BuildError) as error:
                self.not_native = str(error)
        if self.native is None:
            if engine is Engine.NATIVE:
                raise UnsupportedPipelineError("--engine native", str(self.not_native))
            self._run_python(program)

    def _run_native(self, program: ir.Program) -> None:
        compiled = compile_to_c(program)
        library = build_library(compiled.source)
        groups = NativeGroups()
        state = self._make_state(program, lambda size: array("Q", bytes(8 * size)), groups)
        self.native = NativeEngine(compiled, library, state, groups)
        self.source = compiled.source
        self.process: Process = self.native.process

    def _run_python(self, program: ir.Program) -> None:
        state = self._make_state(program, lambda size: [0] * size, {})
        self.source, environment = compile_to_python(program, state)
        exec(compile(self.source, "<pipeline>", "exec"), environment)
        self.process = environment["process"]

    def _make_state(
        self, program: ir.Program, make_cells: MakeCells, groups: MutableMapping[int, tuple[Replica, ...]]
    ) -> State:
        state = State(
            tables={name: _make_table(definition) for name, definition in program.tables.items()},
            counters={name: IndirectCounter(size, make_cells) for name, size in program.counters.items()},
            registers={name: make_cells(register.size) for name, register in program.registers.items()},
            clones_dropped=make_cells(1),
            multicast_groups=groups,
        )
        self.tables = state.tables
        self.counters = state.counters
        self.registers = state.registers
        self.multicast_groups = state.multicast_groups
        self._clones_dropped = state.clones_dropped
        self.digests = state.digests
        return state

    @property
    def clones_dropped(self) -> int:
        """Copies of egress clones that were one too many for their packet."""
        return self._clones_dropped[0]


def load_pipeline(json_text: bytes, place: str, engine: Engine = Engine.PYTHON) -> Pipeline:
    """The pipeline in p4c's BMv2 JSON, with empty tables but for the program's own entries.

    Args:
        json_text: the JSON.
        place: what errors call it, such as the file's name.
        engine: what runs it.

    Raises:
        ConfigurationError: it is not BMv2 JSON.
        UnsupportedPipelineError: it uses what the softswitch, or the engine that must run it, does not run.
    """
    try:
        return Pipeline(read_program(json_text, place), engine)
    except (RecursionError, SyntaxError, MemoryError):
        # Python's own parser has limits: a hundred levels of indentation, two hundred of brackets.
        raise UnsupportedPipelineError(
            place, "conditions or expressions nested as deeply as here are not supported by the softswitch"
        ) from None
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        # Names that nothing has, or a value of another kind: what reading by sections does not see.
        raise ConfigurationError(place, f"this is not BMv2 JSON as p4c writes it: {error!r}") from error


def _make_table(definition: ir.TableDefinition) -> Table:
    table = Table(
        name=definition.name,
        fields=definition.fields,
        actions={name: action.parameter_widths for name, action in definition.actions.items()},
        size=definition.size,
        default=Entry(match=(), action=definition.default_action, params=definition.default_params),
        default_is_const=definition.default_is_const,
        is_const=definition.const_entries is not None,
        supports_idle_timeout=definition.supports_idle_timeout,
        has_counter=definition.has_counter,
    )
    for entry in definition.const_entries or ():
        table.insert(entry, now_ns=0)
    return table
