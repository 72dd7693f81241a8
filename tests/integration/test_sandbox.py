"""Code of a model that goes on for too long is ended, whatever it does about it."""

import pytest
from attacked import ALL_MISSING, ON_TIME, name_of, require_held
from campaigns.attacks.witnesses import Stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Stage(tmp_path_factory.mktemp("attacks") / "stage") as made:
        yield made


@ALL_MISSING
@pytest.mark.parametrize("attack", ON_TIME, ids=name_of)
def test_an_attack_on_time_lasts_without_guards_and_not_in_a_guarded_process(stage, attack):
    require_held(stage, attack)
