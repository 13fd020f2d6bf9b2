"""Tests of the model card, the README's table and the figure of failures, from a made-up evaluation."""

import json
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from superem.core.density import DensityMap
from superem.nets import store

from training import card, export, failures, reliability
from training.metrics import Reference
from training.metrics.cache import Cache
from training.metrics.tables import bars
from training.predictions import Predictor


def write(evaluated, tmp_path, *more):
    """Run the command; return the card's text."""
    out = tmp_path / "small.md"
    card.main(["--evaluation", str(evaluated / "evaluation.json"), "--weights", str(evaluated / "small.safetensors"),
               "--out", str(out), "--cache", str(evaluated / "cache"), *more])
    return out.read_text()


def test_the_card_holds_the_evaluations_figures_and_nothing_unfilled(evaluated, tmp_path):
    """Means, bars, controls and training are those of the files, and no placeholder is left."""
    text = write(evaluated, tmp_path)
    outcome = json.loads((evaluated / "evaluation.json").read_text())
    for name in ("6spe_r", "QR_3los_A"):
        assert f"{outcome['maps'][name]['small']['q']:.3f}" in text
        assert f"{outcome['controls'][name]['small']['solvent']:.4f}" in text
    assert re.search(r"\| cubes improved, 98 % \(means not subtracted\)", text)
    assert "1,000 steps, 0.5 hours on one GPU" in text
    assert outcome["command"] in text and "--models small" in outcome["command"]
    assert str(evaluated) not in outcome["command"]
    assert "0.25 Å at 3 Å, 0.5 Å at 5 Å" in text and "in four orientations" in text
    assert "two maps of two proteins" in text and "of one protein" not in text
    assert "- **Data**: pairs simulated from 1,567 structures, and 17 deposited maps" in text
    assert outcome["groups"] == {"6spe_r": "6spe_r", "QR_3los_A": "QR_3los_A"} and "small − input: 2 proteins" in text
    assert not re.search(r"\$[a-z{]", text)
    assert max(len(line) for line in text.splitlines() if not line.startswith(("|", "    "))) <= 120
    assert "None" not in text


def test_a_card_of_other_data_says_so(evaluated, tmp_path):
    """The training data are those named in the weights file, and the proteins are the evaluation's, not this project's."""
    model = store.load(str(evaluated / "small.safetensors"))
    training = {**model.card.training, "data": "twelve maps of our ribosomes"}
    store.save(tmp_path / "ours.safetensors", model.network, store.Card(**{**model.card.__dict__, "training": training}))
    outcome = json.loads((evaluated / "evaluation.json").read_text())
    for key in ("maps", "controls", "resolution", "groups"):
        outcome[key] = {name.replace("QR_3los_A", "ours"): value for name, value in outcome[key].items()}
    outcome["groups"] = dict.fromkeys(outcome["groups"], "ribosome")
    (tmp_path / "ours.json").write_text(json.dumps(outcome))
    card.main(["--evaluation", str(tmp_path / "ours.json"), "--weights", str(tmp_path / "ours.safetensors"),
               "--cache", str(tmp_path)])
    text = (tmp_path / "ours.md").read_text()
    assert "- **Data**: twelve maps of our ribosomes. The validation maps" in text
    assert "On two maps of one protein that" in text and "Two of the two maps are of one protein, ribosome." in text
    assert "small − input: 1 protein |" in text and "one reconstruction" not in text
    assert "EMMIVox" not in text, "figures of the shipped weights alone"


def test_maps_of_one_protein_and_of_one_reconstruction_are_named():
    names = ["EMD-1461", "6spe_r", "Gorgon_vp6"]
    assert card.repeated(["VP6", "6spe_r", "VP6"], names) == (
        "Two of the three maps are of one protein, VP6. Two of these, EMD-1461 and Gorgon_vp6, are most likely of one "
        "reconstruction.")
    assert card.repeated(["VP6", "6spe_r"], names[:2]) == ""


def test_an_evaluation_without_proteins_is_refused(evaluated, tmp_path):
    """Older evaluations did not record proteins."""
    outcome = json.loads((evaluated / "evaluation.json").read_text())
    del outcome["groups"]
    (tmp_path / "old.json").write_text(json.dumps(outcome))
    with pytest.raises(SystemExit, match="old.json does not say which protein each map is of: run training.evaluate anew"):
        write(evaluated, tmp_path, "--evaluation", str(tmp_path / "old.json"))


def test_cubes_are_compared_with_the_inputs(evaluated):
    """Every method has a share of cubes that improved over the input's; it is 0 for the input itself."""
    for methods in json.loads((evaluated / "evaluation.json").read_text())["maps"].values():
        assert methods["input"]["improved"] == 0 and 0 <= methods["small"]["improved"] <= 1


def test_controls_are_judged_at_the_level_of_the_result(evaluated):
    """The level is matched on the result, not on the input."""
    cache, outcome = Cache(evaluated / "cache"), json.loads((evaluated / "evaluation.json").read_text())
    predictor = Predictor(store.load(str(evaluated / "small.safetensors")), cache)
    for name, result in failures.results(failures.read_cases(evaluated), predictor, cache).items():
        level = outcome["controls"][name]["small"]["level"]
        assert level == pytest.approx(result.level_units(result.level), rel=1e-3)
        assert level != pytest.approx(result.level_units(result.level_input), rel=1e-3)


def test_figures_are_written_into_the_weights_that_they_are_of(evaluated, tmp_path, monkeypatch):
    """Figures are written to the card of the weights that were evaluated, and refused for others."""
    weights = tmp_path / "small.safetensors"
    weights.write_bytes((evaluated / "small.safetensors").read_bytes())
    outcome = json.loads((evaluated / "evaluation.json").read_text())
    monkeypatch.chdir(tmp_path)

    def run(*more):
        export.main(["--weights", str(weights), *more, "--validation", str(evaluated / "evaluation.json")])

    run("--summary", "New words.")
    written = store.load(str(weights)).card
    assert written.summary == "New words." and written.validation == export.figures(outcome, "small")
    with pytest.raises(SystemExit, match="of other weights"):
        run("--blur", "[]")
    assert store.load(str(weights)).card == written


def test_the_card_says_where_to_believe_a_result(evaluated, tmp_path, capsys):
    """Each map's row uses the curve of the other map; the curve of both is printed, for the weights file."""
    reliability.main(["--data", str(evaluated), "--weights", str(evaluated / "small.safetensors"),
                      "--cache", str(evaluated / "cache"),
                      "--markdown", str(tmp_path / "reliability.md")])
    printed = capsys.readouterr().out
    curve = json.loads(printed.splitlines()[-1])
    assert [d for d, _ in curve] == list(reliability.NODES)
    first, other = reliability.read_samples(evaluated, str(evaluated / "small.safetensors"), [], Cache(evaluated / "cache"))
    error = np.abs(reliability.expected([other], first.detail) - first.q).mean()
    row = next(line for line in printed.splitlines() if first.name in line)
    assert f"| {error:.2f} |" in re.sub(" +", " ", row)
    text = write(evaluated, tmp_path, "--reliability", str(tmp_path / "reliability.md"))
    assert row in text and "Where to believe it" in text
    assert "Where to believe it" not in write(evaluated, tmp_path)


def test_bars_are_counted_and_the_missed_ones_named(evaluated):
    """The counts and names are those of the table of bars."""
    outcome = json.loads((evaluated / "evaluation.json").read_text())
    judged = bars(outcome, "small")
    found = card.verdict(outcome, "small")
    assert int(found["bar_count"]) == len(judged) and int(found["reached"]) == sum(met for _, _, met in judged)
    assert found["missed"].split("; ") == [text.strip() for text, _, met in judged if not met]
    assert found["reached_by_protein"] == str(sum(met for _, _, met in bars(outcome, "small", by_protein=True)))


def test_maps_that_got_worse_are_named(evaluated, tmp_path):
    """Every figure that became worse is named, and none that became better."""
    outcome = json.loads((evaluated / "evaluation.json").read_text())
    outcome["maps"]["6spe_r"]["small"] |= {"q": outcome["maps"]["6spe_r"]["input"]["q"] - 0.1}
    for key in ("cc_mask", "cc_box", "cube_mean", "q"):
        outcome["maps"]["QR_3los_A"]["small"][key] = 0.999
    outcome["maps"]["QR_3los_A"]["small"]["fsc05"] = 2.0
    lines = card.worse_maps(outcome, "small")
    assert len(lines) == 1
    assert "6spe_r" in lines[0]
    assert f"Q-score {outcome['maps']['6spe_r']['input']['q']:.3f} → {outcome['maps']['6spe_r']['small']['q']:.3f}" in lines[0]


def test_compute_is_a_share_of_the_papers(evaluated):
    """It is steps times batch times tile volume, over 100 epochs of 201,552 cubes of 25³; unknown if a number is missing."""
    training = store.load(str(evaluated / "small.safetensors")).card.training
    share = 1000 * 20 * 40**3 / (100 * 201_552 * 25**3)
    assert f"{100 * share:.2g} % of the paper's 100 epochs" in card.compute(training)
    # tile sizes may differ between sessions, so a count of voxels is preferred if there is one
    counted = card.compute(training | {"voxels": 3_000_000_000})
    assert counted.startswith("1,000 steps on 3 billion voxels, 0.95 % of the paper's 100 epochs")
    assert "does not record" in card.compute({key: training[key] for key in ("steps", "tile_edge")})
    assert card.trained({}) == "the weights file does not say how"
    assert card.trained({"steps": 7}) == "7 steps"


def test_other_weights_are_refused(evaluated, tmp_path):
    """Another blur, other orientations or other weights are not what was evaluated; another summary does not matter."""
    model = store.load(str(evaluated / "small.safetensors"))

    def saved(**changes):
        path = tmp_path / "other.safetensors"
        values = {**model.card.__dict__, **changes}
        store.save(path, model.network, store.Card(**values))
        return str(path)

    arguments = ["--evaluation", str(evaluated / "evaluation.json"), "--out", str(tmp_path / "o.md"), "--cache", str(tmp_path)]
    card.main([*arguments, "--weights", saved(summary="other words", validation={"q": "0.5"})])
    for other in ({"blur": []}, {"follow": 0.5}, {"rotations": 1}):
        with pytest.raises(SystemExit, match="of other weights"):
            card.main([*arguments, "--weights", saved(**other)])
    with torch.no_grad():
        next(model.network.parameters()).mul_(1.5)
    with pytest.raises(SystemExit, match="of other weights"):
        card.main([*arguments, "--weights", saved()])


def test_only_the_readmes_table_changes(evaluated, tmp_path):
    """The text around the table stays; a second run changes nothing; a README without the markers is refused."""
    readme = tmp_path / "README.md"
    readme.write_text(f"# A\n\n{card.BEGIN}\nthe table before\n{card.END}\n\n## B\n")
    write(evaluated, tmp_path, "--readme", str(readme))
    text = readme.read_text()
    assert text.startswith(f"# A\n\n{card.BEGIN}\nMeans over two real maps") and text.endswith(f"{card.END}\n\n## B\n")
    assert "the table before" not in text and "Q-score, all atoms" in text
    write(evaluated, tmp_path, "--readme", str(readme))
    assert readme.read_text() == text
    readme.write_text("# A\n")
    with pytest.raises(SystemExit, match="has no lines"):
        write(evaluated, tmp_path, "--readme", str(readme))


def test_failures_are_found_and_drawn(evaluated, tmp_path, monkeypatch):
    """The figure is drawn, and the captions hold the evaluation's figures and are included in the card."""
    monkeypatch.chdir(tmp_path)  # by default, files are written to build and nowhere else
    failures.main(["--data", str(evaluated), "--weights", str(evaluated / "small.safetensors"), "--evaluation",
                   str(evaluated / "evaluation.json"), "--cache", str(evaluated / "cache")])
    picture, captions = tmp_path / "build/failures.png", tmp_path / "build/failures.md"
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [captions, picture]
    assert np.asarray(Image.open(picture).convert("L")).std() > 20
    text = captions.read_text()
    outcome = json.loads((evaluated / "evaluation.json").read_text())
    worst = failures.least_gain(outcome, "small")
    assert f"Least gain in Q-score: {worst}" in text
    for control in ("noise", "phases", "solvent"):
        assert f"{100 * max(c['small'][control] for c in outcome['controls'].values()):.1f} %" in text
    assert [line[:4] for line in text.splitlines() if line.startswith("- ")] == 5 * ["- **"]
    card_text = write(evaluated, tmp_path, "--failures", str(captions), "--picture", str(picture))
    assert " ".join(text.split()) in " ".join(card_text.split()) and "(build/failures.png)" in card_text


def test_the_worst_cases_are_chosen():
    """The map with the least gain is chosen, not that with the lowest score; and the control that passes most."""
    outcome = {"maps": {"a": {"input": {"q": 0.2}, "unet": {"q": 0.4}}, "b": {"input": {"q": 0.6}, "unet": {"q": 0.7}}},
               "controls": {"a": {"unet": {"noise": 0.1, "noise_input": 0.5}}, "b": {"unet": {"noise": 0.2, "noise_input": 0.3}}}}
    assert failures.least_gain(outcome, "unet") == "b"
    assert failures.worst_control(outcome, "unet", "noise") == ("b", 0.2, 0.3)


def test_invented_density_is_found_away_from_atoms(evaluated):
    """A blob far from the model that only the result has is found; a stronger one on an atom does not count."""
    case = failures.read_cases(evaluated)[0]
    reference = Reference.prepare(case.atoms, case.density, 4.0)
    array = case.density.array.copy()
    top = float(np.percentile(array, 99.9))
    array[3, 4, 5] += 3 * top
    i, j, k = np.round(case.density.indices(reference.atoms.xyz[:1])[0]).astype(int)
    array[k, j, i] += 9 * top
    result = failures.Result(case, reference, DensityMap(array, case.density.origin), 0.1, 0.1)
    voxel, before, after, distance = failures.most_invented(result)
    assert voxel == (3, 4, 5)
    assert after > before + 1 and distance >= failures.FAR
    assert math.isclose(after, result.units(array)[voxel])


def test_an_evaluation_without_controls_is_refused(evaluated, tmp_path):
    """The figure needs controls."""
    outcome = json.loads((evaluated / "evaluation.json").read_text())
    path = tmp_path / "none.json"
    path.write_text(json.dumps(outcome | {"controls": {}}))
    with pytest.raises(SystemExit, match="has no controls"):
        failures.main(["--data", str(evaluated), "--weights", str(evaluated / "small.safetensors"), "--evaluation", str(path),
                       "--cache", str(evaluated / "cache")])
