"""The campaign's frame, with a part of made cases: what it tries, records, tells, and does not do twice."""

import json
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
import yaml

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def campaign(monkeypatch, tmp_path):
    """The script as a module, whose only part is `made`: a case that holds, one that loses, one that is skipped."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = spec_from_loader("campaign", SourceFileLoader("campaign", str(SCRIPTS / "campaign")))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    from campaigns.case import Case, Outcome

    part = ModuleType("campaigns.made")
    part.tried = []

    def case(kind, number, outcome):
        def run(folder):
            assert folder.is_dir() and not list(folder.iterdir())
            (folder / "trace").write_text("left")
            part.tried.append(f"{kind} {number}")
            return outcome()

        return Case(kind, number, run)

    def cases(seed, quick):
        yield case("kill", 1, lambda: Outcome(counts={"kills": 3}, figures={"seconds per step": 0.25}))
        yield case("kill", 2, lambda: Outcome(lost=("a row is gone.",), counts={"kills": 4}))
        if not quick:
            yield case("disk", 1, lambda: Outcome(skipped="mounting is not permitted here"))

    part.cases = cases
    (tmp_path / "made.py").write_text('"""Made cases.\n\nMore of it."""\n')
    monkeypatch.setitem(sys.modules, "campaigns.made", part)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "PARTS", ("made",))
    module.made = part
    return module


def test_what_was_lost_is_told_in_both_tables_and_ends_with_exit_code_1(campaign, tmp_path, capsys):
    place = tmp_path / "work"
    assert campaign.main(["--work", str(place), "--seed", "7", "--json", str(tmp_path / "copy.json")]) == 1
    assert "1 held, 1 lost, 1 skipped" in capsys.readouterr().out
    results = json.loads((place / "results.json").read_text())
    assert results["seed"] == 7 and results["machine"]["cores"] >= 1
    kinds = {line["kind"]: line for line in results["parts"]["made"]["kinds"]}
    assert {name: kinds["kill"][name] for name in ("tried", "held", "lost")} == {"tried": 2, "held": 1, "lost": 1}
    assert kinds["kill"]["counts"] == {"kills": 7} and kinds["disk"]["skipped"] == 1
    assert json.loads((tmp_path / "copy.json").read_text()) == results
    told = (place / "results.md").read_text()
    assert "Made cases." in told and "| kill | 2 | 1 | 1 | 0 | 7 kills |" in told
    assert "- kill 2: a row is gone." in told and "- disk (1): mounting is not permitted here" in told
    assert "| kill 1 | seconds per step | 0.25 |" in told


def test_the_folder_stays_of_the_case_alone_that_lost_something(campaign, tmp_path):
    campaign.main(["--work", str(tmp_path / "work")])
    assert [path.name for path in (tmp_path / "work" / "made").iterdir()] == ["kill-2"]


def test_a_recorded_case_is_not_tried_again_unless_it_is_named(campaign, tmp_path):
    words = ["--work", str(tmp_path / "work"), "--quick"]
    assert [campaign.main(words), campaign.main(words)] == [1, 1]
    assert campaign.made.tried == ["kill 1", "kill 2"]
    campaign.main([*words, "--case", "kill 2"])
    assert campaign.made.tried == ["kill 1", "kill 2", "kill 2"]


def test_a_name_that_no_case_has_is_refused_before_anything_is_tried(campaign, tmp_path):
    with pytest.raises(SystemExit, match=r"no case of made is named 'kill'. Did you mean 'kill 1', 'kill 2'\?"):
        campaign.main(["--work", str(tmp_path / "work"), "--case", "disk 1", "kill"])
    assert campaign.made.tried == []


def test_after_a_cut_the_case_of_a_torn_line_is_tried_again_and_no_other(campaign, tmp_path):
    words = ["--work", str(tmp_path / "work"), "--quick"]
    campaign.main(words)
    record = tmp_path / "work" / "outcomes.jsonl"
    record.write_text(record.read_text()[:-9])
    assert [campaign.main(words), campaign.main(words)] == [1, 1]
    assert campaign.made.tried == ["kill 1", "kill 2", "kill 2"]
    assert len(json.loads((tmp_path / "work" / "results.json").read_text())["outcomes"]) == 2


def test_a_case_that_raises_is_lost_and_the_next_one_is_tried(campaign, tmp_path):
    from campaigns.case import Case, Outcome

    def broken(folder):
        raise ValueError("no such thing")

    campaign.made.cases = lambda seed, quick: iter([Case("a", 1, broken), Case("a", 2, lambda folder: Outcome())])
    assert campaign.main(["--work", str(tmp_path / "work")]) == 1
    outcomes = json.loads((tmp_path / "work" / "results.json").read_text())["outcomes"]
    assert [outcome["lost"] for outcome in outcomes] == [["the case ended with ValueError: no such thing"], []]


def test_outcomes_of_another_seed_are_not_mixed_in(campaign, tmp_path):
    campaign.main(["--work", str(tmp_path / "work"), "--seed", "1"])
    with pytest.raises(SystemExit, match=r"holds a campaign with .*Pass another --work"):
        campaign.main(["--work", str(tmp_path / "work"), "--seed", "2"])


def test_an_unknown_part_is_answered_with_the_known_ones(campaign, capsys):
    with pytest.raises(SystemExit) as ended:
        campaign.main(["--part", "maid"])
    assert ended.value.code == 2 and "'maid' (choose from" in capsys.readouterr().err


def test_every_part_says_in_a_line_what_it_tries(capsys):
    spec = spec_from_loader("campaign", SourceFileLoader("campaign", str(SCRIPTS / "campaign")))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(module.PARTS)
    assert all(line.endswith(".") for line in lines)


def test_the_weekly_workflow_tries_every_part():
    workflow = yaml.safe_load((SCRIPTS.parent / ".github" / "workflows" / "weekly.yml").read_text(encoding="utf-8"))
    tried = workflow["jobs"]["campaign"]["strategy"]["matrix"]["part"]
    parts = [file.stem for file in (SCRIPTS / "campaigns").glob("*.py") if "\ndef cases(" in file.read_text("utf-8")]
    assert sorted(tried) == sorted(parts)
