"""Fine-tuning: it begins with the run's encoder, and has nothing of the run's optimiser."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from jssl import config as schema
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.datasets import open_data
from jssl.errors import UserError
from jssl.evaluation import EVALUATORS
from jssl.evaluation.finetune import RECIPES, FineTune, fine_tuned, finetune_program, optimizer_section
from jssl.evaluation.suite import Suite
from jssl.methods.networks import encoder_with_head
from jssl.train.program import make_program
from tests.conftest import tiny_config

VIEW = ViewSpec(8)
RECIPE = FineTune(enabled=True, epochs=0.1, least_steps=3, batch_size=16, view=VIEW)


@pytest.fixture(scope="module")
def run(mesh1):
    """A program and its data."""
    config = tiny_config(evals__baselines=True, evals__knn__enabled=False, evals__linear__enabled=False)
    section = {"enabled": True, "epochs": 0.1, "least_steps": 4, "batch_size": 16, "draws": 2}
    config.evals.finetune.update({**section, "labels": ("all", "2 per class"), "lr": 0.01})
    data = open_data(config)
    return make_program(config, data.info, mesh1), data


def tuned(run, **changes):
    """A state of the run, and what a recipe makes of its encoder."""
    program, data = run
    recipe, state = dataclasses.replace(RECIPE, **changes), program.init()
    source = data.train.take(np.arange(40))
    own = finetune_program(recipe, program, state, len(source), 10)
    after = fine_tuned(own, program, state, source, recipe.head_layers)
    return encoder_with_head(program.method, state.params, state.method_state, recipe.head_layers), after, own


@pytest.mark.parametrize("head_layers", [0, 1])
def test_it_begins_with_the_encoder_of_the_run_and_all_of_it_learns(run, head_layers):
    (before, _), still, _ = tuned(run, lr=1e-30, head_lr=1e-2, weight_decay=0.0, head_layers=head_layers)
    close = functools.partial(np.testing.assert_allclose, atol=1e-20)
    jax.tree.map(close, before, still.params["encoder"])
    (_, stats), after, own = tuned(run, lr=1e-2, head_layers=head_layers)
    for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(after.params["encoder"])):
        assert not np.array_equal(x, y)
    averages = jax.tree.leaves(after.method_state["stats"]["encoder"])
    assert not any(map(np.array_equal, jax.tree.leaves(stats), averages))
    images = run[1].test.images[:4]
    assert own.logits(after.params, after.method_state, images).shape == (4, 10)


def test_the_encoder_may_wait(run):
    (before, _), after, _ = tuned(run, lr=1e-2, freeze_percent=100.0)
    jax.tree.map(np.testing.assert_array_equal, before, after.params["encoder"])


def test_results_of_all_labels_and_of_few_beside_training_from_scratch(run):
    program, data = run
    values = Suite(program, data).final(program.init()).values
    for name in ("finetune/all/top1", "finetune/2_per_class/top1", "finetune/2_per_class/top1_std"):
        assert 0 <= values[name] <= 1
        assert f"untrained/{name}" in values
    assert "finetune/all/top1_std" not in values


def test_every_key_of_the_optimiser_is_given_and_none_is_the_runs():
    section = schema.section(schema.Optim)
    found = optimizer_section(FineTune(lr=0.02, head_lr=5.0, freeze_percent=10.0))
    groups = found.pop("groups")
    assert found.keys() == section.keys()
    assert groups["classifier"].keys() == groups["encoder"].keys() == schema.section(schema.Group).keys()
    assert groups["classifier"]["lr_factor"] == pytest.approx(250.0)
    assert groups["encoder"]["freeze_percent"] == 10.0


def test_a_recipe_gives_what_stands_at_its_default():
    asked = FineTune(recipe="swav", epochs=7.0)
    one, ten = asked.with_recipe("1%"), asked.with_recipe("10%")
    assert (one.lr, one.head_lr, ten.lr, ten.head_lr) == (0.02, 5.0, 0.01, 0.2)
    assert (one.epochs, one.optimizer, one.schedule, one.step_factor) == (7.0, "sgd", "step", 0.2)
    mae = FineTune(recipe="mae").with_recipe("all")
    assert (mae.optimizer, mae.layer_decay, mae.mixup, mae.drop_path) == ("adamw", 0.65, 0.8, 0.1)
    for name in RECIPES:
        FineTune.from_config({"recipe": name, "enabled": True})


def test_a_recipe_that_mixes_images_trains(run):
    recipe = FineTune(recipe="mae", batch_size=16, least_steps=2, epochs=0.01, view=VIEW).with_recipe("all")
    program, data = run
    own = finetune_program(recipe, program, program.init(), 16, 10)
    after = fine_tuned(own, program, program.init(), data.train.take(np.arange(16)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params))


def test_paths_of_a_transformer_are_dropped(mesh1, run):
    config = tiny_config(encoder__name="vit_mini", encoder__vit__patch_size=4)
    program = make_program(config, run[1].info, mesh1)
    own = finetune_program(FineTune(drop_path=0.2, view=VIEW), program, program.abstract_state(), 32, 10)
    assert own.method.encoder.module.drop_path == 0.2


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"labels": ("some",)},
            r"^evals\.finetune\.labels: cannot read the labels 'some': write 'all', '10%'",
        ),
        ({"labels": ()}, r"^evals\.finetune\.labels=\(\) must name some"),
        ({"recipe": "simsiam"}, r"^unknown evals\.finetune\.recipe 'simsiam'"),
        ({"lr": 0.0}, r"^evals\.finetune\.lr=0\.0 must be positive$"),
        ({"view": {"size": 8, "copies": 2}}, r"must be a single view"),
    ],
)
def test_fields_that_cannot_be(section, message):
    with pytest.raises(UserError, match=message):
        EVALUATORS["finetune"].from_config(section)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"labels": ("500 per class",)}, r"the smallest class has only"),
        ({"head_layers": 3}, r"head_layers asks for 3 layers of a projector .* SimCLR has"),
    ],
)
def test_what_only_the_run_can_tell_is_told_before_it_begins(run, section, message):
    program, data = run
    config = tiny_config()
    config.evals.finetune.update({"enabled": True, "batch_size": 16, **section})
    with pytest.raises(UserError, match=message):
        Suite(make_program(config, data.info, program.mesh), data)
