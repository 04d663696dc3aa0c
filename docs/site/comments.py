"""Shows the comment beside a field, where its shape and unit stand, as what documents it."""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe


class Comments(griffe.Extension):
    """Loaded by mkdocs.yml."""

    def on_attribute_instance(
        self, *, node: ast.AST | griffe.ObjectNode, attr: griffe.Attribute, **_: Any
    ) -> None:
        """Take the comment at the end of a field's line."""
        if attr.docstring is not None or attr.lineno is None or attr.endlineno is None:
            return
        lines = attr.lines_collection[attr.filepath]
        found = re.search(r"  # (.+)$", lines[attr.endlineno - 1])
        if found and not found[1].startswith(("noqa", "type:", "fmt:")):
            attr.docstring = griffe.Docstring(found[1], parent=attr)
