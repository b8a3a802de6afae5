"""The stubs in the SDK are what the protos say now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_stubs_checked_in_are_those_of_the_protos(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)

    fresh = {path.name: path.read_text() for path in generator.generate(tmp_path)}

    folder = ROOT / "sdk" / "src" / "asktell" / "v1"
    assert "study_pb2.py" in fresh
    assert {path.name for path in folder.glob("*.py*")} == set(fresh)
    assert [name for name, text in fresh.items() if (folder / name).read_text() != text] == []
