"""What schemathesis sends for an image: real ones, broken ones, and any bytes."""

import schemathesis
from hypothesis import strategies as st

from sightline_testing.hostile.mutants import mutant
from sightline_testing.sample_images import GOOD_NAMES, good, jpeg

# Small ones: there are thousands of requests.
_REAL = st.sampled_from(
    [jpeg(96, 72), *(good(name).content for name in GOOD_NAMES if len(good(name).content) < 40_000)]
)
_BROKEN = st.integers(0, 100_000).map(mutant)

schemathesis.openapi.format("binary", st.one_of(_REAL, _REAL, _BROKEN, st.binary(max_size=200)))
