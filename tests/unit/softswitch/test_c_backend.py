"""The native back end by itself: building, falling back, bounds."""

from __future__ import annotations

import gc
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from pentaflow.errors import UnsupportedPipelineError
from softswitch.c_backend import build
from softswitch.c_backend.build import BuildError, build_library
from softswitch.c_backend.engine import DIGEST_WORDS
from softswitch.pipeline import Engine, Output, Pipeline, Replica, load_pipeline
from softswitch.tables import Entry
from support.pipelines import PENTAFLOW_JSON, PROGRAMS

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc) on PATH")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of compiled pipelines."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pentaflow"


def load(name: str, engine: Engine) -> Pipeline:
    return load_pipeline((PROGRAMS / f"{name}.json").read_bytes(), name, engine)


@needs_compiler
class TestBuilding:
    def test_a_library_is_built_once(self, cache: Path) -> None:
        source = "int answer(void) { return 42; }"
        library = build_library(source)
        built = library.stat().st_mtime_ns
        assert build_library(source) == library
        assert library.stat().st_mtime_ns == built
        assert [path.name for path in cache.iterdir()] == [library.name]

    def test_options_make_another_library(self, cache: Path) -> None:
        source = "int answer(void) { return 42; }"
        assert build_library(source) != build_library(source, ("-O1",))

    def test_the_cache_is_this_users_alone(self, cache: Path) -> None:
        build_library("int answer;")
        assert stat.S_IMODE(cache.stat().st_mode) == 0o700

    def test_what_others_may_write_to_is_not_loaded(self, cache: Path) -> None:
        cache.mkdir(mode=0o777)
        cache.chmod(0o777)
        with pytest.raises(BuildError, match="others may write to it"):
            build_library("int answer;")

    @pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away needs root")
    def test_a_folder_of_somebody_else_is_not_loaded(self, cache: Path) -> None:
        cache.mkdir(mode=0o700)
        os.chown(cache, 1, 1)
        with pytest.raises(BuildError, match="belongs to somebody else"):
            build_library("int answer;")

    def test_a_cache_that_cannot_be_made(self, cache: Path) -> None:
        cache.write_text("a file")
        with pytest.raises(BuildError, match="cache of compiled pipelines can't be used"):
            build_library("int answer;")

    def test_what_does_not_compile(self, cache: Path) -> None:
        with pytest.raises(BuildError, match=r"the C compiler failed: .*error"):
            build_library("no C at all")
        assert list(cache.iterdir()) == []

    def test_the_compiler_takes_too_long(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(build, "_TIMEOUT_S", 0)
        with pytest.raises(BuildError, match="took longer than 0 s"):
            build_library("int answer;")


class TestFallingBack:
    def test_without_a_compiler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        pipeline = load("skip", Engine.AUTO)
        assert pipeline.native is None
        assert pipeline.not_native == "there is no C compiler (cc) on PATH"
        with pytest.raises(UnsupportedPipelineError, match="no C compiler"):
            load("skip", Engine.NATIVE)

    def test_python_is_not_compiled_to_c(self) -> None:
        pipeline = load("skip", Engine.PYTHON)
        assert (pipeline.native, pipeline.not_native) == (None, None)

    @needs_compiler
    def test_values_that_are_too_wide(self) -> None:
        """The register's cells, made wider than C's widest integer."""
        text = (PROGRAMS / "state.json").read_text()
        assert '"bitwidth" : 32' in text
        pipeline = load_pipeline(text.replace('"bitwidth" : 32', '"bitwidth" : 136').encode(), "wide", Engine.AUTO)
        assert pipeline.native is None
        assert pipeline.not_native == "the cells of register 'I.cells' have 136 bits"


@needs_compiler
class TestBounds:
    def test_ten_thousand_entries_come_and_go(self) -> None:
        pipeline = load_pipeline(PENTAFLOW_JSON.read_bytes(), "pentaflow", Engine.NATIVE)
        table = next(table for table in pipeline.tables.values() if table.name.endswith("bucket"))
        action, widths = next(iter(table.actions.items()))
        for number in range(10_000):
            table.insert(
                Entry(match=(number % 7, number), action=action, params=tuple(0 for _ in widths)), now_ns=number
            )
        for number in range(0, 10_000, 3):
            table.delete((number % 7, number), 0)
        kept = {entry.match: entry.last_hit_ns for entry in table}
        assert kept == {(number % 7, number): number for number in range(10_000) if number % 3}

    def test_entries_outlive_their_pipeline(self) -> None:
        pipeline = load("matches", Engine.NATIVE)
        [entry, *_] = pipeline.tables["I.const_exact"]
        del pipeline
        gc.collect()
        assert entry.packets == 0

    def test_a_flood_of_digests_is_bounded(self) -> None:
        pipeline = load_pipeline(PENTAFLOW_JSON.read_bytes(), "pentaflow", Engine.NATIVE)
        native = pipeline.native
        assert native is not None
        frame = native.ffi.from_buffer("uint8_t[]", bytes.fromhex("020000000001") + bytes(54))
        for _ in range(DIGEST_WORDS):
            native.outputs.count = 0
            native.lib.pf_process(native.state, 1, frame, len(frame), 0, native.outputs)
        assert native.state.digests_dropped > 0
        native.take_digests()
        assert 0 < len(pipeline.digests) + native.state.digests_dropped == DIGEST_WORDS

    def test_a_group_of_many_copies(self) -> None:
        pipeline = load_pipeline(PENTAFLOW_JSON.read_bytes(), "pentaflow", Engine.NATIVE)
        flood = next(table for table in pipeline.tables.values() if table.name.endswith("flood"))
        action = next(name for name in flood.actions if name.endswith("flood_to"))
        flood.insert(Entry(match=(0,), action=action, params=(9,)), now_ns=0)
        replicas = tuple(Replica(2 + number % 400, number) for number in range(5000))
        pipeline.multicast_groups[9] = replicas
        frame = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x12\x34" + bytes(46)
        assert pipeline.process(1, frame, 0) == [Output(replica.port, frame) for replica in replicas]
        del pipeline.multicast_groups[9]
        assert pipeline.process(1, frame, 0) == []


@needs_compiler
def test_tables_can_be_freed_while_cffi_looks_something_up(cache: Path) -> None:
    """The collector runs at any moment; freeing that needs cffi's lock then would wait for itself for ever."""
    pipeline = load("state", Engine.NATIVE)
    assert pipeline.native is not None
    freed = threading.Event()
    lock = pipeline.native.ffi._lock

    def free() -> None:
        nonlocal pipeline
        with lock:
            del pipeline
            gc.collect()
        freed.set()

    threading.Thread(target=free, daemon=True).start()
    assert freed.wait(30)
