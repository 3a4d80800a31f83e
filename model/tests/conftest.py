from pathlib import Path

import hypothesis
import pytest

import settings

# No test judges speed: a busy machine may take any time for an example.
hypothesis.settings.register_profile("sightline", deadline=None)
hypothesis.settings.load_profile("sightline")

# Wherever the tests run from, as long as nothing else was said: the bundles that set-up made.
INSTALLED = Path(__file__).resolve().parents[2] / "var" / "bundles"


@pytest.fixture(scope="session")
def bundles() -> Path:
    folder = Path(settings.BUNDLES_FOLDER) if settings.BUNDLES_FOLDER else INSTALLED
    if not (folder / "efficientnet-lite0").is_dir():
        pytest.fail(f"no default bundle in {folder}: `make install` builds it, BUNDLES_FOLDER says where it is")
    return folder


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setattr(settings, "UPLOAD_FOLDER", str(folder))
    return folder
