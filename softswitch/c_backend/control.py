"""Control blocks as C: nested conditions, table lookups, actions where they are applied."""

from __future__ import annotations

from softswitch.c_backend.expressions import NotNativeError, c_type, literal, words_of
from softswitch.c_backend.layout import TableLayout
from softswitch.c_backend.statements import Statements
from softswitch.c_backend.unit import Unit
from softswitch.program import ir


class ControlCompiler:
    """Adds a control block, and the label where its `exit` leads."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._exit = unit.label("exit")
        self._expressions = unit.expressions()

    def add(self, block: ir.Block) -> None:
        """Add the block."""
        self._block(block)
        self._unit.line(f"{self._exit}:;")

    def _block(self, block: ir.Block) -> None:
        for node in block:
            match node:
                case ir.Branch(condition, then, otherwise):
                    with self._unit.block(f"if {self._expressions.condition(condition)}"):
                        self._block(then)
                    if otherwise:
                        with self._unit.block("else"):
                            self._block(otherwise)
                case ir.Apply():
                    with self._unit.block(""):
                        self._apply(node)
                case _:
                    raise NotNativeError(f"{type(node).__name__} in a control block")

    def _apply(self, apply: ir.Apply) -> None:
        unit, table = self._unit, self._unit.program.tables[apply.table]
        if not table.keys and table.default_is_const and not table.has_counter:
            self._action(table.actions[table.default_action], [literal(value) for value in table.default_params])
            for names, block in apply.by_action:
                if table.default_action in names:
                    self._block(block)
            self._block(apply.on_miss)
            return
        entry, code = unit.label("entry"), unit.label("code")
        runtime = f"(&state->tables[{unit.numbers['table'][table.name]}])"
        unit.line(f"struct pf_entry *{entry} = {self._lookup(table, runtime)};")
        by_result = apply.on_hit or apply.on_miss
        if by_result:
            unit.line(f"int {entry}_hit = {entry} != 0;")
        unit.line(f"if (!{entry}) {entry} = {runtime}->default_entry;")
        unit.line(f"u64 {code} = {entry}->code;")
        if table.has_counter:
            unit.line(f"{entry}->packets++;")
            unit.line(f"{entry}->octets += size;")
        if table.supports_idle_timeout:
            unit.line(f"{entry}->last_hit_ns = now_ns;")
        self._run(table, entry, code)
        if by_result:
            with unit.block(f"if ({entry}_hit)"):
                self._block(apply.on_hit)
            with unit.block("else"):
                self._block(apply.on_miss)
            return
        numbers = {name: number for number, name in enumerate(table.actions)}
        word = "if"
        for names, block in apply.by_action:
            test = " || ".join(f"{code} == {numbers[name]}" for name in sorted(names))
            with unit.block(f"{word} ({test or '0'})"):
                self._block(block)
            word = "else if"

    def _run(self, table: ir.TableDefinition, entry: str, code: str) -> None:
        """Run the entry's action."""
        for number, action in enumerate(table.actions.values()):
            if not action.body:
                continue
            arguments, at = [], 0
            for width in action.parameter_widths:
                count = words_of(width)
                low = f"{entry}->words[{at + count - 1}]"
                arguments.append(low if count == 1 else f"((u128){entry}->words[{at}] << 64 | {low})")
                at += count
            with self._unit.block(f"if ({code} == {number})"):
                self._action(action, arguments)

    def _action(self, action: ir.Action, arguments: list[str]) -> None:
        with self._unit.block(""):
            Statements(self._unit, arguments, self._exit).add_action(action.body)

    def _lookup(self, table: ir.TableDefinition, runtime: str) -> str:
        """Text for the entry that a packet hits, NULL when there is none."""
        if not table.keys:
            return "0"
        unit, layout = self._unit, self._unit.tables[table.name]
        keys = [
            self._expressions.fitting(key, width) for key, width in zip(table.keys, layout.field_widths, strict=True)
        ]
        if not layout.is_hashed:
            variables = []
            for text, width in zip(keys, layout.field_widths, strict=True):
                variables.append(unit.label("key"))
                unit.line(f"{c_type(width)} {variables[-1]} = {text};")
            return self._scan(layout, runtime, variables)
        words = []
        for text, width in zip(keys, layout.field_widths, strict=True):
            words += [text] if words_of(width) == 1 else [f"(u64)({text} >> 64)", f"(u64)({text})"]
        key = unit.label("key")
        unit.line(f"u64 {key}[] = {{{', '.join(words)}}};")
        return f"pf_find(state->seed, {runtime}, {key}, {layout.key_words})"

    def _scan(self, layout: TableLayout, runtime: str, keys: list[str]) -> str:
        """Add a search through the entries by falling rank."""
        unit, found = self._unit, self._unit.label("found")
        unit.line(f"struct pf_entry *{found} = 0;")
        with unit.block(f"for (u64 i = 0; i < {runtime}->count; i++)"):
            unit.line(f"const u64 *w = {runtime}->scan[i]->words + {layout.param_words};")
            at, tests = 0, []
            for key, width in zip(keys, layout.field_widths, strict=True):
                count = words_of(width)
                mask, low, high = (
                    f"w[{at + part}]" if count == 1 else f"((u128)w[{at + 2 * part}] << 64 | w[{at + 2 * part + 1}])"
                    for part in range(3)
                )
                tests.append(f"{low} <= ({key} & {mask}) && ({key} & {mask}) <= {high}")
                at += 3 * count
            with unit.block(f"if ({' && '.join(tests)})"):
                unit.line(f"{found} = {runtime}->scan[i];")
                unit.line("break;")
        return found
