from __future__ import annotations

from pathlib import Path

import pytest

from dualsys.system2.language import LanguageModel


@pytest.fixture(scope="session")
def language(language_folder: Path) -> LanguageModel:
    return LanguageModel.load(language_folder)
