import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl.config import defaults, duration, group
from jssl.errors import UserError
from jssl.train import optim
from jssl.train.durations import Clock

CLOCK = Clock(num_examples=1000, batch_size=100, total_steps=50)
PARAMS = {
    "encoder": {"kernel": jnp.asarray([[0.5, -1.0], [2.0, 0.1]]), "bias": jnp.asarray([0.3, -0.2])},
    "head": {"kernel": jnp.ones((2, 2))},
}
GRADS = jax.tree.map(lambda p: 0.1 * p + 0.05, PARAMS)


def config(**changes):
    settings = defaults("simclr").optim
    settings.update({"name": "sgd", "lr": 0.5, "lr_scaling": "none", "schedule": "constant", **changes})
    return settings


def steps(settings, count=3, clock=CLOCK):
    """Parameters after some updates with a constant gradient."""
    optimizer, _ = optim.make_optimizer(settings, clock, PARAMS)
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(count):
        updates, state = optimizer.update(GRADS, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return jax.tree.map(np.asarray, params)


def by_hand(direction, count=3):
    """The same with a plain rule `direction(p, g, memory) -> update` for every leaf, in float64."""
    result = {}
    for module, leaves in PARAMS.items():
        result[module] = {}
        for name, p in leaves.items():
            p, g, memory = np.asarray(p, np.float64), np.asarray(GRADS[module][name], np.float64), {}
            for _ in range(count):
                p = p + direction(p, g, memory)
            result[module][name] = p
    return result


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(x, y, rtol=1e-4)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_decays_kernels_only(nesterov):
    def rule(p, g, memory):
        g = g + 0.01 * p * (p.ndim > 1)
        memory["m"] = 0.9 * memory.get("m", 0) + g
        return -0.5 * (g + 0.9 * memory["m"] if nesterov else memory["m"])

    same(steps(config(weight_decay=0.01, nesterov=nesterov)), by_hand(rule))


def test_everything_may_decay():
    def rule(p, g, memory):
        memory["m"] = 0.9 * memory.get("m", 0) + g + 0.01 * p
        return -0.5 * memory["m"]

    same(steps(config(weight_decay=0.01, decay_all=True)), by_hand(rule))


@pytest.mark.parametrize("lr_first", [True, False])
def test_lars_as_simclr_and_as_byol(lr_first):
    def rule(p, g, memory):
        if p.ndim > 1:
            g = g + 0.01 * p
            g = 0.001 * np.linalg.norm(p) / np.linalg.norm(g) * g
        inner = 0.5 * g if lr_first else g
        memory["m"] = 0.9 * memory.get("m", 0) + inner
        return -memory["m"] * (1 if lr_first else 0.5)

    same(steps(config(name="lars", weight_decay=0.01, lars_lr_first=lr_first)), by_hand(rule))


@pytest.mark.parametrize("coefficient", [0.001, 100.0])
def test_clipped_lars_does_not_exceed_the_rate(coefficient):
    """solo-learn's: SGD with momentum on gradients times min(adapted rate / rate, 1)."""

    def rule(p, g, memory):
        if p.ndim > 1:
            g = g + 0.01 * p
            g = min(coefficient * np.linalg.norm(p) / np.linalg.norm(g) / 0.5, 1.0) * g
        memory["m"] = 0.9 * memory.get("m", 0) + g
        return -0.5 * memory["m"]

    changes = {"lars_lr_first": False, "lars_clip": True, "trust_coefficient": coefficient}
    same(steps(config(name="lars", weight_decay=0.01, **changes)), by_hand(rule))


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_adamw_and_lamb(name):
    def rule(p, g, memory):
        t = memory["t"] = memory.get("t", 0) + 1
        m = memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
        v = memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * g**2
        u = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        if p.ndim > 1:
            u = u + 0.01 * p
            if name == "lamb":
                u = u * np.linalg.norm(p) / np.linalg.norm(u)
        return -0.5 * u

    same(steps(config(name=name, weight_decay=0.01)), by_hand(rule))


def test_clipping_by_the_global_norm():
    norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(GRADS)))
    clipped = steps(config(momentum=0.0, weight_decay=0.0, clip_norm=norm / 4), count=1)
    free = steps(config(momentum=0.0, weight_decay=0.0, lr=0.125), count=1)
    same(clipped, free)


def test_every_parameter_is_clipped_on_its_own():
    norms = sorted(float(jnp.linalg.norm(g)) for g in jax.tree.leaves(GRADS))
    bound = (norms[0] + norms[1]) / 2  # the smallest gradient stays as it is

    def rule(p, g, memory):
        return -0.5 * g * min(1, bound / np.linalg.norm(g))

    settings = config(momentum=0.0, weight_decay=0.0, clip_each_norm=bound)
    same(steps(settings), by_hand(rule))
    assert not np.any(optim.clip_each(bound).update(jnp.zeros((2, 2, 2)), optax.EmptyState())[0])


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("final", [0.0, 0.4])
def test_the_weight_decay_goes_to_its_end_along_a_cosine(name, final):
    clock, settings = (
        Clock(1000, 100, total_steps=6),
        {"weight_decay": 0.04, "momentum": 0.0, "b1": 0.0, "b2": 0.0},
    )

    def rule(p, g, memory):
        t = memory["t"] = memory.get("t", -1) + 1
        decay = final + (0.04 - final) * (1 + np.cos(np.pi * t / 6)) / 2 if final else 0.04
        direction = g if name == "sgd" else np.sign(g)  # without its averages Adam divides by |g|
        return -0.5 * (direction + decay * p * (p.ndim > 1))

    result = steps(config(name=name, final_weight_decay=final, **settings), 6, clock)
    same(result, by_hand(rule, 6))


def test_cosine_with_warm_up():
    settings = config(schedule="cosine", final_lr_factor=0.1, **duration("warmup", steps=10))
    schedule = optim.make_schedule(settings, CLOCK)
    values = np.asarray([schedule(step) for step in range(51)])
    np.testing.assert_allclose(values[:10], 0.5 * np.arange(1, 11) / 10, rtol=1e-6)
    cosine = 0.5 * (0.1 + 0.9 * (1 + np.cos(np.pi * np.arange(41) / 40)) / 2)
    np.testing.assert_allclose(values[10:], cosine, rtol=1e-5)


def test_steps_and_units_of_time():
    settings = config(schedule="step", step_at=(0.5, 0.8), step_factor=0.1)
    schedule = optim.make_schedule(settings, CLOCK)
    np.testing.assert_allclose(
        [schedule(s) for s in (0, 24, 26, 39, 41)], [0.5, 0.5, 0.05, 0.05, 0.005], rtol=1e-5
    )
    for unit, value, expected in [
        ("epochs", 1.5, 15),
        ("percent", 10, 5),
        ("examples", 450, 5),
        ("steps", 7, 7),
    ]:
        assert CLOCK.steps(duration("warmup", **{unit: value}), "warmup") == expected


@pytest.mark.parametrize(("scaling", "factor"), [("linear", 4), ("sqrt", 2), ("none", 1)])
def test_scaling_with_the_batch(scaling, factor):
    assert optim.peak_lr(config(lr_scaling=scaling), 1024) == 0.5 * factor


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw", "lamb"])
def test_groups_have_their_own_rate_and_wait(name):
    settings = config(name=name, weight_decay=0.01)
    settings.groups = {"head": group("head/", lr_factor=0.1, steps=2)}
    still, after, free = (
        steps(settings, 2),
        steps(settings, 3),
        steps(config(name=name, weight_decay=0.01), 3),
    )
    np.testing.assert_array_equal(still["head"]["kernel"], PARAMS["head"]["kernel"])
    assert np.all(after["head"]["kernel"] != PARAMS["head"]["kernel"])
    same(after["encoder"], free["encoder"])
    if name == "sgd":  # its first update, a tenth of the rate, no momentum gathered while it waited
        expected = 1 - 0.05 * (0.15 + 0.01)
        np.testing.assert_allclose(after["head"]["kernel"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_a_group_that_waited_begins_as_if_new(name):
    """The bias correction of Adam starts when the group does."""
    settings = config(name=name, weight_decay=0.01)
    fresh = steps(settings, 2)
    settings.groups = {"head": group("head/", steps=5)}
    same(steps(settings, 7)["head"], fresh["head"])


def test_the_probe_does_not_decide_how_the_rest_is_clipped():
    settings = config(momentum=0.0, weight_decay=0.0, clip_norm=0.01)
    params = {**PARAMS, "probe": {"kernel": 100 * jnp.ones((2, 2))}}
    results = []
    for tree in (PARAMS, params):
        optimizer, _ = optim.make_optimizer(settings, CLOCK, tree, ("probe",))
        results.append(optimizer.update(jax.tree.map(jnp.ones_like, tree), optimizer.init(tree), tree)[0])
    same(results[0], {name: results[1][name] for name in PARAMS})
    np.testing.assert_allclose(results[1]["probe"]["kernel"], -0.5, rtol=1e-6)


def test_a_group_may_keep_the_peak_rate():
    settings = config(schedule="cosine", momentum=0.0, weight_decay=0.0)
    settings.groups = {"head": group("head", constant_lr=True)}
    result = steps(settings, 40)
    np.testing.assert_allclose(result["head"]["kernel"], 1 - 40 * 0.5 * 0.15, rtol=1e-4)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "groups.head.pattern"), ("predictor", "matches no parameter.*encoder, head")],
)
def test_a_group_that_matches_nothing_is_an_error(pattern, message):
    settings = config()
    settings.groups = {"head": group(pattern)}
    with pytest.raises(UserError, match=message):
        optim.make_optimizer(settings, CLOCK, PARAMS)


def test_lower_layers_of_the_encoder_learn_at_lower_rates():
    """Layers in the order of their numbers; modules of one number are one layer, what has none is below or above."""
    leaf = jnp.ones(2)
    names = ("stem", "stage0_block0", "stage0_block1", "stage1_block0", "final_bn")
    encoder = {name: {"kernel": leaf} for name in names}
    params = {"encoder": encoder, "classifier": {"dense": {"kernel": leaf}}}
    expected = {
        "stem": 1 / 16,
        "stage0_block0": 1 / 8,
        "stage0_block1": 1 / 4,
        "stage1_block0": 1 / 2,
        "final_bn": 1,
    }
    factors = optim.layer_factors(params, 0.5)
    assert {name: factor["kernel"] for name, factor in factors["encoder"].items()} == expected
    assert factors["classifier"]["dense"]["kernel"] == 1
    under_a_head = {"encoder": {"base": {"conv0": leaf, "conv1": leaf, "bn1": leaf}, "head": leaf}}
    factors = optim.layer_factors(under_a_head, 0.1)["encoder"]
    np.testing.assert_allclose(
        [factors["base"][name] for name in ("conv0", "conv1", "bn1")], [0.01, 0.1, 0.1]
    )
    assert factors["head"] == 1

    optimizer, _ = optim.make_optimizer(
        config(layer_decay=0.5, weight_decay=0.0, momentum=0.0), CLOCK, params
    )
    moved, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(moved["encoder"]["stage0_block1"]["kernel"], -0.5 / 4 * leaf)


@pytest.mark.parametrize("name", ["lars", "sgd"])
def test_a_group_that_waits_has_the_rate_and_the_decay_of_the_runs_step(name):
    """LARS's clip by the rate, and a decay that changes, when it wakes in the middle of the warm-up."""
    woken, total, decay = 3, 10, (0.01, 0.4)
    changes = {"name": name, "lars_lr_first": False, "lars_clip": True, "trust_coefficient": 0.05}
    settings = config(momentum=0.0, weight_decay=decay[0], final_weight_decay=decay[1], **changes)
    settings.update(duration("warmup", steps=5))
    settings.groups = {"head": group("head", steps=woken)}
    after = steps(settings, woken + 1, Clock(1000, 100, total))["head"]["kernel"]
    rate = 0.5 * (woken + 1) / 5
    now = decay[1] + (decay[0] - decay[1]) * (1 + np.cos(np.pi * woken / total)) / 2
    p, g = (np.asarray(x["head"]["kernel"], np.float64) for x in (PARAMS, GRADS))
    g = g + now * p
    trust = min(0.05 * np.linalg.norm(p) / np.linalg.norm(g) / rate, 1.0) if name == "lars" else 1.0
    assert 0.1 < trust <= 1
    np.testing.assert_allclose(after, p - rate * trust * g, rtol=1e-5)


def test_a_warm_up_that_fills_the_run_takes_a_tenth_of_it(caplog):
    settings = config(schedule="cosine")
    settings.update(duration("warmup", epochs=10))
    with caplog.at_level("WARNING", logger="absl"):
        optim.warn_of_warmup(settings, CLOCK)
    schedule = optim.make_schedule(settings, CLOCK)
    assert (
        "the warm-up of 100 steps (optim.warmup_*) fills the run of 50: it takes 5 steps instead"
        in caplog.text
    )
    np.testing.assert_allclose([schedule(t) for t in range(6)], [0.1, 0.2, 0.3, 0.4, 0.5, 0.5], rtol=1e-2)


def test_players_of_their_own_are_outside_clipping_wherever_they_are():
    params = {
        "encoder": jnp.ones(2),
        "terms": {"inpainting": {"discriminator": jnp.ones(2), "decoder": jnp.ones(2)}},
    }
    name = "terms/inpainting/discriminator"
    left = optim.without(params, (name,))
    assert len(left) == 2
    settings = config(clip_norm=1.0, momentum=0.0, weight_decay=0.0, lr=1.0, **duration("warmup"))
    optimizer, _ = optim.make_optimizer(settings, CLOCK, params, (name,))
    grads = jax.tree.map(lambda x: 100.0 * x, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates["terms"]["inpainting"]["discriminator"], -100.0)
    rest = [updates["encoder"], updates["terms"]["inpainting"]["decoder"]]
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(rest)), 1.0, rtol=1e-5)
