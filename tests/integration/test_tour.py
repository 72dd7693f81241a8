"""The notebook in docs/ runs from top to bottom, and the student learns in it."""

import os
import re

import nbformat
import pytest
from documentation import ROOT
from nbclient import NotebookClient
from running import ENVIRONMENT

TOUR = ROOT / "docs" / "tour.ipynb"


@pytest.fixture(scope="module")
def printed():
    """What each cell of code printed, by a word that only that cell has."""
    notebook = nbformat.read(TOUR, 4)
    client = NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(TOUR.parent)}})
    client.execute(env=os.environ | ENVIRONMENT)
    return {
        cell.source: "".join(output.get("text", "") for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def cell_with(word, printed):
    (found,) = (text for source, text in printed.items() if word in source)
    return found


def test_the_new_skill_is_learnt_and_the_old_ones_stay(printed):
    shown = cell_with("run.changes.items()", printed)
    before, after = map(float, re.search(r"new_skill +([\d.]+)% → +([\d.]+)%", shown).groups())
    assert before < 10 and after > 80
    before, after = map(float, re.search(r"prior_skills +([\d.]+)% → +([\d.]+)%", shown).groups())
    assert after > before - 10


def test_the_exported_model_answers_as_the_skill_has_it(printed):
    assert "Action: gerida" in cell_with("AutoModelForCausalLM", printed)


def test_a_wrong_setting_is_told_in_words(printed):
    assert "objective='sdtf' (from program): expected one of sdft" in cell_with("sdtf", printed)
