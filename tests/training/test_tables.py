"""Tests of the tables of an evaluation, and of its bars."""

import pytest

from training.metrics.tables import bars, gain_table, group_tables, reach_table, summary_table


def outcome(q=0.5, fsc=3.6, labels=("unet",)) -> dict:
    """Return what `evaluate` writes for two maps, the input and our models, all with the same figures."""
    common = {"q_backbone": 0.5, "fsc0143": 3.0, "rscc": 0.6, "cube": 0.7, "improved": 1.0, "improved_mean": 1.0}
    one = {"q": 0.4, "fsc05": 4.0, "cc_mask": 0.7, "cc_box": 0.7, "cube_mean": 0.6, **common}
    two = {"q": q, "fsc05": fsc, "cc_mask": 0.74, "cc_box": 0.77, "cube_mean": 0.66, **common}
    return {"maps": {name: {"input": one} | dict.fromkeys(labels, two) for name in ("a", "b")},
            "resolution": {"a": 3.5, "b": 4.0}, "groups": {"a": "A", "b": "B"}, "controls": {}}


def cells(line: str) -> list[str]:
    """Return the cells of a line of a table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_bars_are_met_or_missed_by_how_much():
    """Every bar is judged by its threshold."""
    assert all(met for _, _, met in bars(outcome(), "unet"))
    rows = {bar: (reached, met) for bar, reached, met in bars(outcome(q=0.43), "unet")}
    assert rows["Q-score, all atoms, +0.06"] == ("0.030 (0.030 short)", False)
    worse = [met for bar, _, met in bars(outcome(fsc=4.1), "unet") if "FSC" in bar or "coarser" in bar]
    assert worse == [False, False]


@pytest.mark.parametrize("ahead, met", [(3, False), (4, True)])
def test_four_of_six_maps_must_be_better_than_the_released_generator(ahead, met):
    """A better mean alone is not enough."""
    case = outcome(labels=("EM-GAN", "unet"))
    figures = case["maps"]["a"]["unet"]
    case["maps"] = {str(n): {"input": case["maps"]["a"]["input"], "EM-GAN": figures,
                             "unet": figures | {"q": figures["q"] + (0.2 if n < ahead else -0.01)}} for n in range(6)}
    rows = {bar: (reached, met) for bar, reached, met in bars(case, "unet")}
    reached, judged = rows["q better than EM-GAN on the mean and on 4 of 6 maps"]
    assert judged == met and f"{ahead} of 6" in reached


def test_the_worst_map_and_the_cubes_are_judged():
    """A sufficient mean does not hide a map that got worse; cubes are judged by their gain."""
    case = outcome()
    good = case["maps"]["a"]["unet"] | {"q": 0.6, "fsc05": 3.0, "cube_mean": 0.63}
    case["maps"]["a"]["unet"], case["maps"]["b"]["unet"] = good, good | {"q": 0.38, "fsc05": 4.1}
    rows = {bar.strip(): (reached, met) for bar, reached, met in bars(case, "unet")}
    assert rows["Q-score, all atoms, +0.06"] == ("0.090", True)
    assert rows["Q-score on the worst map not down by over 0.01"] == ("-0.020 (0.010 short)", False)
    assert rows["own masked FSC = 0.5 finer by 0.35 Å"] == ("0.45", True)
    assert rows["FSC = 0.5 on the worst map no coarser by over 0.05 Å"] == ("-0.10 (0.05 short)", False)
    assert rows["mean cube correlation about the mean +0.05"] == ("0.030 (0.020 short)", False)
    case["maps"]["b"]["unet"] = good | {"fsc05": None}
    assert ("FSC = 0.5 on the worst map no coarser by over 0.05 Å", "–", False) in [
        (text.strip(), reached, met) for text, reached, met in bars(case, "unet")]  # a map without a figure could be the worst


def test_bars_by_protein_count_every_protein_once():
    """Two good maps of one protein do not outweigh a bad one of another; the worst map stays the worst."""
    case = outcome()
    good = case["maps"]["a"]["unet"] | {"q": 0.49}
    case["maps"] = {name: case["maps"]["a"] | {"unet": good | {"q": q}} for name, q in (("a", 0.49), ("c", 0.49), ("b", 0.41))}
    case["groups"]["c"], case["resolution"]["c"] = "A", 3.5
    for by_protein, reached in ((False, "0.063"), (True, "0.050 (0.010 short)")):
        rows = {bar.strip(): text for bar, text, _ in bars(case, "unet", by_protein)}
        assert rows["Q-score, all atoms, +0.06"] == reached
        assert rows["Q-score on the worst map not down by over 0.01"] == "0.010"


@pytest.mark.parametrize("planted, words", [((1, 1), "of a planted glycan's"), ((1, 0), "of a ligand or planted glycan's")])
def test_the_bar_for_ligands_says_what_was_there(planted, words):
    """Success with planted glycans only is not presented as success with real ligands."""
    case = outcome()
    figures = {"noise": 0.0, "solvent": 0.0, "deleted": 0.0, "ligand": 0.95}
    case["controls"] = {name: {"unet": figures | {"planted": p}} for name, p in zip("ab", planted, strict=True)}
    assert (f"{words} correlation kept, 90 % (worst map)", "95.0 %", True) in bars(case, "unet")


def test_a_control_that_no_map_has_is_missed():
    """A ligand in an empty region of a map has no correlation to keep."""
    case = outcome()
    figures = {"noise": 0.0, "solvent": 0.0, "deleted": 0.0, "ligand": float("nan"), "planted": 0.0}
    case["controls"] = {name: {"unet": figures} for name in "ab"}
    missed = [(text, reached) for text, reached, met in bars(case, "unet") if "correlation kept" in text and not met]
    assert [reached for _, reached in missed] == ["– %"]


def test_tables_hold_every_map_and_the_mean():
    """There is a row for each map, one for the mean, and a column for each figure and method."""
    tables = group_tables(outcome())
    q = next(text for text in tables if "Q-score" in text)
    lines = q.splitlines()[2:]
    assert [cells(line)[0] for line in lines] == ["map", cells(lines[1])[0], "a", "b", "**mean**"]
    assert "0.400" in lines[-1] and "0.500" in lines[-1]
    assert not any("nan" in text for text in tables)


def test_models_stand_side_by_side():
    """The tables of means and of bars have one column per model."""
    two = outcome(q=0.43, labels=("old", "new"))
    assert cells(summary_table(two).splitlines()[0])[1:] == ["input", "old", "new"]
    rows = {cells(line)[0]: cells(line)[1:] for line in reach_table(two).splitlines()}
    assert rows["bar"] == ["old", "new"]
    assert rows["Q-score, all atoms, +0.06"] == 2 * ["0.030 (0.030 short), missed"]


def test_differences_have_the_standard_error_of_maps_and_of_proteins():
    """Gains in Q-score are 0.1, 0.3 and 0.5, the first two of one protein; the released generator is a second baseline."""
    case = outcome(labels=("EM-GAN", "unet"))
    figures = {key: value for key, value in case["maps"]["a"]["unet"].items() if key != "d_model"}
    case["maps"] = {name: {"input": case["maps"]["a"]["input"], "EM-GAN": figures | {"q": 0.4 + lead},
                           "unet": figures | {"q": 0.4 + gain}}
                    for name, gain, lead in (("a", 0.1, 0.1), ("b", 0.3, 0.3), ("c", 0.5, 0.4))}  # fmt: skip
    case["groups"] = {"a": "A", "b": "A", "c": "C"}
    lines = gain_table(case).splitlines()
    assert cells(lines[0])[1:] == ["unet − input: 3 maps", "unet − input: 2 proteins",
                                   "unet − EM-GAN: 3 maps", "unet − EM-GAN: 2 proteins"]  # fmt: skip
    row = next(cells(line) for line in lines if line.startswith("| Q-score"))
    # standard deviation 0.2 over sqrt(3); proteins' means 0.2 and 0.5; leads 0, 0, 0.1
    assert row[1:] == ["+0.300 ± 0.115", "+0.350 ± 0.150", "+0.033 ± 0.033", "+0.050 ± 0.050"]
    case["maps"] = {"a": case["maps"]["a"]}
    assert next(cells(line) for line in gain_table(case).splitlines() if line.startswith("| Q-score"))[1] == "+0.100 ± –"


@pytest.mark.parametrize("ran", [False, True])
def test_the_summary_has_one_fsc(ran):
    """It is mtriage's if that was run, else our own; rows without figures are left out."""
    case = outcome()
    for methods in case["maps"].values() if ran else ():
        for figures in methods.values():
            figures.update(d_fsc05=3.9, d_fsc0143=3.0, d_model=3.3)
    heads = [cells(line)[0] for line in summary_table(case).splitlines()[2:]]
    assert any("mtriage" in head for head in heads) == ran
    assert any("one mask for all" in head for head in heads) != ran
    assert "–" not in summary_table(case).replace("model–map", "")
