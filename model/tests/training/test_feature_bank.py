"""Features of photographs that come with a bundle."""

from pathlib import Path

import numpy as np
import pytest

from inference import bundle
from inference.errors import BundleError
from onnx_tools.head import read_head
from training import feature_bank
from training.feature_bank import FeatureBank

BANK = FeatureBank(np.random.default_rng(0).random((30, 8)).astype(np.float32) * 3, np.arange(30))


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_the_default_bundles_have_a_bank_that_their_own_last_layer_recognises(precision: str, bundles: Path) -> None:
    folder = bundles / "efficientnet-lite0" / f"1-{precision}"
    bank = feature_bank.read(folder)
    assert bank is not None
    named = read_head(bundle.load(folder).model).logits(bank.features).argmax(axis=1)
    assert (named == bank.classes).mean() >= 0.88
    # The classes of the photographs that accuracy is measured on are in no bank.
    assert len(bank.classes) == 900
    assert not (bank.classes % 10 == 0).any()


def test_a_bank_is_read_to_a_precision_of_half_a_step() -> None:
    read = feature_bank.decode(feature_bank.encode(BANK), Path("bank"))
    assert np.abs(read.features - BANK.features).max() <= 3 / 255 / 2 * 1.01
    assert (read.classes == BANK.classes).all()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", feature_bank.encode(BANK)[:-40]])
def test_a_broken_bank_is_named(content: bytes) -> None:
    with pytest.raises(BundleError, match="bank cannot be read"):
        feature_bank.decode(content, Path("bank"))
