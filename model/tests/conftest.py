from pathlib import Path

import hypothesis
import pytest

import settings

# No test judges speed: a busy machine may take any time for an example.
hypothesis.settings.register_profile("sightline", deadline=None)
hypothesis.settings.load_profile("sightline")

# The default, from any working folder: the bundles that set-up made.
INSTALLED = Path(__file__).resolve().parents[2] / "var" / "bundles"


@pytest.fixture(scope="session")
def bundles() -> Path:
    folder = Path(settings.BUNDLES_FOLDER) if settings.BUNDLES_FOLDER else INSTALLED
    if not (folder / "efficientnet-lite0").is_dir():
        pytest.fail(f"no default bundle in {folder}: `make install` builds it, and BUNDLES_FOLDER names its folder")
    return folder


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setattr(settings, "UPLOAD_FOLDER", str(folder))
    return folder
