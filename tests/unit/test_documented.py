"""What the pages of methods show is what the service takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from asktell.updates import Update as ClientUpdate
from services.domain.document import canonical
from services.domain.study import StudySpec
from services.domain.updates import Update
from workers.suggesters.registry import specs

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = [
    pytest.param(json.loads(block), id=f"{page.stem} {number}")
    for page in sorted((DOCS / "suggesters").glob("*.md"))
    for number, block in enumerate(re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("document", BLOCKS)
def test_a_study_of_a_page_is_served(document: dict[str, Any]) -> None:
    if "parameters" in document:
        spec = StudySpec.read(canonical({"name": "shown"} | document))
        specs()[spec.suggester.name].check(spec)
    else:
        shown = document.get("suggester", document)
        specs()[shown["name"]].parse_options(shown["options"])


def test_the_update_of_the_page_of_seeds_is_read_by_both_sides() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", (DOCS / "seeds.md").read_text(), re.DOTALL)
    assert ClientUpdate.read(json.loads(block)).wire() == Update.read(block).wire() == json.loads(block)
