"""While one client attacks, others are served: rightly, in time, from the same processes and in the same memory.

An attack is a function of sightline_testing.hostile.attacks, or of a module next to it; one row in ATTACKS adds it.
FULL=1 attacks for 30 s each and asserts times.
"""

from collections.abc import Iterator, Mapping

import pytest

from sightline_testing.api_keys import add_key, authorization
from sightline_testing.faults.keeper import IS_FULL, LONG_DEADLINE
from sightline_testing.faults.system import System, running_system
from sightline_testing.hostile import attacks, body_attacks, expensive
from sightline_testing.hostile.attacks import Attack
from sightline_testing.hostile.bystanders import MAX_GROWTH_MIB, POLITE_CLIENTS, impact_of
from sightline_testing.hostile.measured import Measured

SECONDS = 30.0 if IS_FULL else 2.0
SLOWEST_PROBE_S = 0.5
# A machine that stands still answers no one for as long as a short attack takes: that is no effect of it.
TRIES = 1 if IS_FULL else 20
SETTINGS: Mapping[str, str] = {} if IS_FULL else LONG_DEADLINE
ATTACKS: Mapping[str, Attack] = {
    attack.__name__: attack
    for attack in (
        attacks.pipelined_requests,
        attacks.pipelined_requests_on_many_connections,
        attacks.pipelined_unread_bodies,
        attacks.pipelined_pages,
        attacks.one_byte_chunks,
        attacks.one_byte_chunks_on_many_connections,
        attacks.chunk_extensions,
        attacks.endless_trailers,
        attacks.heads_in_small_packets,
        attacks.bodies_in_small_packets,
        attacks.bodies_after_the_answer,
        attacks.held_connections,
        attacks.expensive_forms,
        attacks.expensive_heads,
        expensive.small_expensive_images,
        body_attacks.json_of_many_elements,
        body_attacks.json_of_as_many_elements_as_are_taken,
        body_attacks.json_of_large_images,
        body_attacks.tensors_of_many_elements,
        body_attacks.forms_of_many_fields,
        body_attacks.bodies_that_are_held,
        expensive.small_medium_images,
    )
}
# Those that a check of keys could make worse; behind it, the others meet the same code as without.
WITH_KEYS = (
    ATTACKS
    if IS_FULL
    else ("pipelined_requests", "pipelined_pages", "held_connections", "expensive_heads", "json_of_many_elements")
)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The service as it is shipped."""
    with running_system(tmp_path_factory.mktemp("attacked") / "state", SETTINGS) as system:
        yield system


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A service that requires keys, of which polite clients and attackers have one."""
    state_dir = tmp_path_factory.mktemp("keyed") / "state"
    headers = authorization(add_key(state_dir, "polite"))
    with running_system(state_dir, SETTINGS, headers=headers) as system:
        yield system


@pytest.mark.parametrize("name", ATTACKS)
def test_others_are_served_while_one_client_attacks(attacked: System, measured: Measured, name: str) -> None:
    check_that_others_are_served(attacked, measured, name)


@pytest.mark.parametrize("name", WITH_KEYS)
def test_others_with_keys_are_served_while_one_attacks(keyed: System, measured: Measured, name: str) -> None:
    check_that_others_are_served(keyed, measured, name)


def check_that_others_are_served(system: System, measured: Measured, name: str) -> None:
    for _ in range(TRIES):
        impact = impact_of(ATTACKS[name], system, SECONDS)
        measured.told[f"{name}, {'with' if system.headers else 'without'} keys, {SECONDS:g} s"] = str(impact)
        assert impact.ended == [], impact
        assert not impact.ledger.failed(), impact
        assert impact.growth_mib <= MAX_GROWTH_MIB, impact
        assert impact.slowest_probe_s < (SLOWEST_PROBE_S if IS_FULL else float("inf")), impact
        if impact.answered >= (POLITE_CLIENTS if IS_FULL else 1):
            return
    pytest.fail(f"no polite client was answered meanwhile: {impact}")
