"""Hatchling hook that gives the root folders their place under the name ``qkloom``.

A wheel gets the files of the top package added. An editable install gets a folder of links that
looks exactly like the wheel (``build/ns/qkloom/rtl -> rtl``), because type checkers and editors
follow links but run no import hooks. Whole folders are linked, so a new file is seen at once.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TOP = Path("gen/_top")


class Links(BuildHookInterface):  # type: ignore[type-arg]
    """Add the top package to a wheel, or lay the links of an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run before each build; ``version`` is ``editable`` or ``standard``."""
        root = Path(self.root)
        package = self.metadata.core.name
        top_files = {
            (TOP / file.name).as_posix(): f"{package}/{file.name}"
            for file in sorted((root / TOP).iterdir())
            if file.is_file()
        }
        if version != "editable":
            build_data["force_include"].update(top_files)
            return
        tree = root / self.build_config.dev_mode_dirs[0]
        shutil.rmtree(tree, ignore_errors=True)
        for source, target in {**self.build_config.sources, **top_files}.items():
            link = tree / target.rstrip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(root / source, link.parent))
