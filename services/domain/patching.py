"""Changes of what exists: JSON merge patches (RFC 7396)."""

from __future__ import annotations

from typing import Any

from .document import canonical
from .errors import FieldError, Invalid
from .study import Study, StudySpec

PATCHABLE = frozenset({"suggester", "limits", "early_stopping", "llm", "labels", "metadata"})


def patched(spec: StudySpec, patch: dict[str, Any]) -> StudySpec:
    """A JSON merge patch (RFC 7396) applied to what of a study may change.

    Raises:
        Invalid: a field that does not exist, may not change, or does not fit afterwards.
    """
    problems = [
        FieldError(f"/{name}", "cannot be changed after creation" if name in Study.model_fields else "no such field")
        for name in patch
        if name not in PATCHABLE
    ]
    if problems:
        raise Invalid(f"{problems[0].pointer}: {problems[0].message}", errors=problems)
    merged = merge(spec.model_dump(mode="json", include=set(StudySpec.model_fields)), patch)
    document = {name: value for name, value in merged.items() if value is not None or name == "seed"}
    changed = StudySpec.read(canonical(document))
    changed.check()
    return changed


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396: objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result
