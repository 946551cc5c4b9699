"""Control blocks as Python: nested conditions, table lookups, actions where they are applied."""

from __future__ import annotations

from collections.abc import Sequence

from softswitch.program import ir
from softswitch.python_backend.context import Context
from softswitch.python_backend.source import bare
from softswitch.python_backend.statements import Statements


class ControlCompiler:
    """Adds control blocks to the source."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._source = context.source
        self._names = context.names

    def add(self, block: ir.Block, *, exits: bool) -> None:
        """Add a control block; when it `exits`, inside a loop of one round that `exit` can leave."""
        if not exits:
            self._block(block)
            return
        with self._source.block("while True"):
            self._block(block)
            self._source.line("break")

    def _block(self, block: ir.Block) -> None:
        for node in block:
            if isinstance(node, ir.Branch):
                self._branch(node, "if")
            else:
                self._apply(node)

    def _branch(self, branch: ir.Branch, word: str) -> None:
        with self._source.block(f"{word} {bare(self._context.expressions.condition(branch.condition))}"):
            self._block(branch.then)
        match branch.otherwise:
            case ():
                pass
            case (ir.Branch() as only,):
                self._branch(only, "elif")
            case otherwise:
                with self._source.block("else"):
                    self._block(otherwise)

    def _apply(self, apply: ir.Apply) -> None:
        table = self._context.program.tables[apply.table]
        if not table.keys and table.default_is_const and not table.has_counter:
            self._body(table.actions[table.default_action], [hex(p) for p in table.default_params])
            for names, block in apply.by_action:
                if table.default_action in names:
                    self._block(block)
            self._block(apply.on_miss)
        elif apply.on_hit or apply.on_miss:
            self._apply_by_result(apply, table)
        else:
            self._apply_by_action(apply, table)

    def _lookup(self, table: ir.TableDefinition) -> str:
        """Text for the entry that a packet hits, None when there is none."""
        runtime = self._context.state.tables[table.name]
        keys = [bare(self._context.expressions.value(key)) for key in table.keys]
        if runtime.is_exact:
            get = self._context.bind(runtime.exact.get, "get", table.name)
            return f"{get}({keys[0]})" if len(keys) == 1 else f"{get}(({', '.join(keys)}))"
        lookup = self._context.bind(runtime.lookup, "lookup", table.name)
        return f"{lookup}(({', '.join(keys)},))"

    def _default(self, table: ir.TableDefinition) -> str:
        return f"{self._context.bind(self._context.state.tables[table.name], 'table', table.name)}.default"

    def _apply_by_result(self, apply: ir.Apply, table: ir.TableDefinition) -> None:
        """A table whose hit and miss lead to different blocks."""
        if table.keys:
            self._source.line(f"entry = {self._lookup(table)}")
            with self._source.block("if entry is not None"):
                self._entry(table)
                self._block(apply.on_hit)
            with self._source.block("else"):
                self._miss(apply, table)
        else:
            self._miss(apply, table)

    def _miss(self, apply: ir.Apply, table: ir.TableDefinition) -> None:
        if not table.default_is_const:
            self._source.line(f"entry = {self._default(table)}")
            self._entry(table)
        else:
            if table.has_counter:
                self._source.line(f"entry = {self._default(table)}")
            self._touch(table)
            self._body(table.actions[table.default_action], [hex(p) for p in table.default_params])
        self._block(apply.on_miss)

    def _apply_by_action(self, apply: ir.Apply, table: ir.TableDefinition) -> None:
        """A table whose actions may lead to different blocks."""
        default = self._default(table)
        self._source.line(f"entry = {self._lookup(table)} or {default}" if table.keys else f"entry = {default}")
        branches = any(len(names) < len(table.actions) for names, _ in apply.by_action)
        self._entry(table, keeps_code=branches)
        codes = {name: code for code, name in enumerate(table.actions)}
        word = "if"
        for names, block in apply.by_action:
            if len(names) == len(table.actions):
                self._block(block)
                return
            tests = sorted(codes[name] for name in names)
            test = f"code == {tests[0]}" if len(tests) == 1 else f"code in {tuple(tests)}"
            with self._source.block(f"{word} {test}"):
                self._block(block)
            word = "elif"

    def _touch(self, table: ir.TableDefinition) -> None:
        if table.has_counter:
            self._source.line("hits = entry.hits")
            self._source.line("hits.packets += 1")
            self._source.line("hits.octets += size")

    def _entry(self, table: ir.TableDefinition, *, keeps_code: bool = False) -> None:
        """Count the packet, then run the action of `entry`, the number of which may be wanted later."""
        self._touch(table)
        if table.supports_idle_timeout:
            self._source.line("entry.hits.last_hit_ns = now_ns")
        actions = list(table.actions.values())
        if keeps_code or (len(actions) > 1 and any(action.body for action in actions)):
            self._source.line("code = entry.code")
        word = "if"
        for code, action in enumerate(actions):
            if not action.body:
                continue
            if len(actions) == 1:
                self._with_params(action)
                return
            with self._source.block(f"{word} code == {code}"):
                self._with_params(action)
            word = "elif"

    def _with_params(self, action: ir.Action) -> None:
        arguments = [f"argument{at}" for at in range(len(action.parameter_widths))]
        if arguments:
            comma = "," if len(arguments) == 1 else ""
            self._source.line(f"{', '.join(arguments)}{comma} = entry.params")
        self._body(action, arguments)

    def _body(self, action: ir.Action, arguments: Sequence[str]) -> None:
        Statements(self._context, arguments).add_action(action.body)
