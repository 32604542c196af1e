"""Grids, random draws and sweeps of files: what is read, how runs are named, which mistakes are told."""

import math

import pytest

import jssl
from jssl import search_space
from jssl.errors import UserError
from jssl.runs.sweep import make_jobs
from jssl.search_space import Axis, Sweep, changed, open_sweep, parse_grid, parse_random

CONFIG = jssl.get_config("simclr:digits")
CHOICES = {name: {"seed": number} for number, name in enumerate("abc")}


def test_a_grid_is_every_combination_and_names_runs_by_what_differs():
    line = "optim.lr=.03,1; encoder.convnet.strides=(1,2),(2,); data.labels=10%,all; evals.online=True"
    trials = parse_grid(line, CONFIG).trials()
    assert len({trial.name for trial in trials}) == 8
    assert trials[0].name == "lr=0.03_strides=1x2_labels=10%_online=True"
    assert trials[0].labels == ("0.03", "(1,2)", "10%", "True")
    assert trials[-1].changes == {
        "optim.lr": 1.0,
        "encoder.convnet.strides": (2,),
        "data.labels": "all",
        "evals.online": True,
    }
    assert type(trials[-1].changes["optim.lr"]) is float, "as the command line of a run reads it"


def test_keys_of_one_ending_are_told_apart():
    trial = parse_grid("optim.lr=.1; evals.sgd.lr=.2", CONFIG).trials()[0]
    assert trial.name == "optim.lr=0.1_sgd.lr=0.2"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("optim.lrr=1", r"no key 'optim.lrr': did you mean optim\.lr"),
        ("batch_size=1", r"did you mean .*data\.unlabeled\.batch_size"),
        ("optim=1", "it is a section: optim"),
        ("optim.lr", "must be KEY=VALUE"),
        ("optim.lr=1,", "must be KEY=VALUE"),
        ("optim.lr=1;optim.lr=2", "there twice"),
        ("optim.lr=.1,0.1", "one value twice"),
        ("optim.lr=log(1e-4,1)", "--random=N"),
        (" ; ", "names no key"),
    ],
)
def test_a_line_that_is_no_grid_is_told(line, message):
    with pytest.raises(UserError, match=message):
        parse_grid(line, CONFIG)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("optim.lr=.1,-1", r"lr=-1: optim\.lr=-1\.0 must be positive"),
        ("seed=1.5", "seed=1.5 must be a whole number"),
        ("optim.name=sdg", "did you mean 'sgd'"),
        ("total_steps=5", "given at once"),
        ("data.holdout=0.1,0.0", "images held out"),
        ("evals.every_percent=20,100", "images held out"),
    ],
)
def test_values_are_checked_before_anything_begins(line, message, tmp_path):
    with pytest.raises(UserError, match=message):
        make_jobs(parse_grid(line, CONFIG).trials(), CONFIG, (), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_draws_are_within_their_ranges_and_do_not_depend_on_how_many_there_are():
    line = (
        "optim.lr=log(1e-4,1e-1); method.temperature=uniform(.1,.5); seed=uniform(0,9); optim.name=sgd,adamw"
    )
    few, many = (parse_random(line, CONFIG, count, seed=3).trials() for count in (5, 200))
    assert many[:5] == few
    assert parse_random(line, CONFIG, 5, seed=4).trials() != few
    rates = [trial.changes["optim.lr"] for trial in many]
    assert 1e-4 <= min(rates) < max(rates) <= 1e-1
    below = sum(rate < math.sqrt(1e-4 * 1e-1) for rate in rates)
    assert 70 <= below <= 130, "half of the draws are below the geometric mean"
    assert {trial.changes["seed"] for trial in many} == set(range(10))
    assert {trial.changes["optim.name"] for trial in many} == {"sgd", "adamw"}
    assert all(changed(CONFIG, trial.changes).method.temperature >= 0.1 for trial in few)


def test_draws_that_come_twice_are_one_run():
    assert len(parse_random("seed=0,1", CONFIG, 50).trials()) == 2


@pytest.mark.parametrize(
    ("line", "count", "message"),
    [
        ("optim.lr=log(0,1)", 1, "the first above 0"),
        ("optim.lr=uniform(2,1)", 1, "from a smaller number to a larger one"),
        ("optim.lr=uniform(a,1)", 1, "takes two numbers"),
        ("optim.lr=log(1,2)", 0, "--random=0"),
    ],
)
def test_ranges_that_are_none_are_told(line, count, message):
    with pytest.raises(UserError, match=message):
        parse_random(line, CONFIG, count)


def test_a_pair_without_order_is_one_run():
    axes = (Axis("first", CHOICES), Axis("second", CHOICES))
    labels = [trial.labels for trial in Sweep(axes, unordered=True).trials()]
    assert labels == [("a", "a"), ("a", "b"), ("a", "c"), ("b", "b"), ("b", "c"), ("c", "c")]


def test_sweeps_that_cannot_be_are_told():
    with pytest.raises(UserError, match="at least one axis"):
        Sweep(())
    with pytest.raises(UserError, match="one name"):
        Sweep((Axis("a", CHOICES), Axis("a", CHOICES)))
    with pytest.raises(UserError, match="of the same choices"):
        Sweep((Axis("a", CHOICES), Axis("b", {"c": {"seed": 1}})), unordered=True)
    with pytest.raises(UserError, match="name their choices apart"):
        Sweep((Axis("a", {"x/y": {"seed": 1}, "x?y": {"seed": 2}}),)).trials()
    with pytest.raises(UserError, match="too long a name"):
        Sweep((Axis("a", {"x" * 300: {"seed": 1}}),)).trials()


@pytest.mark.parametrize("name", search_space.sweep_names())
def test_shipped_sweeps_have_presets_whose_every_run_is_valid(name, tmp_path):
    """The first and the last run of each, which differ in all axes."""
    presets = {"augmentations": (28, 28), "supervised_baseline": (16, 16, 108), "temperature_batch": (15, 15)}
    for preset, count in zip(("digits", "small", "imagenet"), presets[name]):
        sweep = open_sweep(f"{name}:{preset}")
        config, trials = changed(jssl.get_config(sweep.config), sweep.changes), sweep.trials()
        assert len(make_jobs(trials[:1] + trials[-1:], config, (), tmp_path)) == 2
        assert len({trial.name for trial in trials}) == count


def test_augmentations_change_one_branch_alone():
    """As SimCLR's figure 5: the other one is the image itself."""
    sweep = open_sweep("augmentations:small")
    common = changed(jssl.get_config(sweep.config), sweep.changes)
    trials = {trial.labels: changed(common, trial.changes) for trial in sweep.trials()}
    resized = jssl.config.view(32)
    for labels in (("crop", "crop"), ("color", "sobel"), ("blur", "rotate")):
        views = {name: view.to_dict() for name, view in trials[labels].data.unlabeled.views.items()}
        differing = {key for key in resized if views["first"][key] != resized[key]}
        assert differing <= {"interpolation"}
        on = {key for key in resized if views["second"][key] != views["first"][key]}
        assert on == {key.rpartition(".")[2] for label in labels for key in sweep.axes[0].choices[label]} - {
            "jitter_prob"  # which is .8 already
        }


def test_a_file_of_ones_own_is_a_sweep_and_its_mistakes_are_told(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from jssl.search_space import Axis, Sweep\n\n\n"
        "def get_sweep(preset='one'):\n"
        "    return Sweep((Axis('seed', {preset: {'seed': 1}}),), 'simclr:digits')\n"
    )
    assert [trial.name for trial in open_sweep(f"{path}:two").trials()] == ["seed=two"]
    for text, message in [
        ("get_sweep = lambda: 1\n", "must return a jssl.search_space.Sweep"),
        ("x = 1\n", "no function get_sweep"),
        ("1 / 0\n", "ZeroDivisionError"),
    ]:
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            open_sweep(str(path))
    with pytest.raises(UserError, match="no such file"):
        open_sweep("nowhere.py")
    with pytest.raises(UserError, match="did you mean 'augmentations'"):
        open_sweep("augmentation:small")
    with pytest.raises(UserError, match="unknown preset 'smal': did you mean 'small'"):
        open_sweep("augmentations:smal")
