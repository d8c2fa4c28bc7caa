"""The check of the notebooks fails where it should."""

from __future__ import annotations

import nbformat
import pytest

import check
import figures


def notebook(prose: str, *proven: tuple[str, float, float], **output: object) -> nbformat.NotebookNode:
    made = nbformat.v4.new_notebook()
    shown = [{"text": t, "value": v, "within": w} for t, v, w in proven]
    outputs = [nbformat.v4.new_output("display_data", data={figures.MIME: shown})] if shown else []
    if output:
        outputs.append(nbformat.v4.new_output(**output))
    made.cells = [nbformat.v4.new_markdown_cell(prose), nbformat.v4.new_code_cell("prove([])", outputs=outputs)]
    return made


def test_a_figure_of_the_text_that_the_data_do_not_have_is_told() -> None:
    with pytest.raises(AssertionError, match="the text says '92.8 %'.*the data say 92.9"):
        figures.prove([("92.8 %", 92.9)])
    with pytest.raises(AssertionError, match="1,934 pairs"):
        figures.prove([("1,934 pairs", 1935)])
    with pytest.raises(AssertionError):
        figures.prove([("0.5", float("nan"))])
    with pytest.raises(AssertionError, match="metrics@2"):
        figures.prove([("metrics@2", "metrics@3")])
    with pytest.raises(AssertionError, match="'7' is said twice"):
        figures.prove([("7", 7), ("7", 7)])
    with pytest.raises(AssertionError, match="expected figures"):
        figures.prove([])


def test_what_rounding_takes_is_no_difference() -> None:
    figures.prove([("92.8 %", 92.84), ("−0.05", -0.05), ("1,934 pairs", 1934), ("about 12", 12.6, 1)])


def test_a_bold_figure_without_proof_is_told_and_so_is_proof_of_nothing() -> None:
    fine = notebook("It is **92.8 %** of `0.5`.", ("92.8 %", 92.8, 0.05))
    assert check.faults_of(fine) == []
    assert "and no cell proves it" in check.faults_of(notebook("**93 %** **92.8 %**", ("92.8 %", 92.8, 0.05)))[0]
    assert "does not have it in bold" in check.faults_of(notebook("nothing", ("92.8 %", 92.8, 0.05)))[0]
    assert "is not in bold" in check.faults_of(notebook("**7** of 1,934", ("7", 7, 0)))[0]
    assert "no cell proves" in check.faults_of(notebook("nothing"))[0]


def test_warnings_and_what_is_of_a_machine_is_told() -> None:
    for stream, says in [
        ({"name": "stderr", "text": "Warning: old"}, "prints to stderr: Warning: old"),
        ({"name": "stdout", "text": "at http://127.0.0.1:8642"}, "shows an address"),
        ({"name": "stdout", "text": "in /opt/data/x"}, "shows a folder of a machine"),
        ({"name": "stdout", "text": "01a20f13-d914-76bf-a895-bb3aed969ebd"}, "shows the id of a run"),
    ]:
        faults = check.faults_of(notebook("**7**", ("7", 7, 0), output_type="stream", **stream))
        assert len(faults) == 1 and says in faults[0], faults


def test_figures_that_differ_are_named() -> None:
    def one(value: float) -> list[dict]:
        return [{"text": "92.8 %", "value": value, "within": 0.05}]

    assert check.differences(one(92.8), one(92.83)) == []
    assert "92.8 is committed, 92.9 made anew" in check.differences(one(92.8), one(92.9))[0]
    assert "not made anew" in check.differences(one(92.8), [])[0]
    assert "not committed" in check.differences([], one(92.8))[0]
    assert "NaN" not in check.differences(one(92.8), one(float("nan")))[0] and check.differences(one(92.8), one(float("nan")))
