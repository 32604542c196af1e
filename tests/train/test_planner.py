"""The planner: what it counts against programs whose costs are known, its arithmetic, its command line."""

import dataclasses
import importlib.util
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jssl import parallel
from jssl.configs import dino, simclr
from jssl.data.streams import DataInfo
from jssl.errors import UserError
from jssl.parallel import chips, hlo
from jssl.parallel.chips import Chip
from jssl.parallel.hlo import Collective
from jssl.train import flops, planner, program
from tests.commands import SIMCLR, TINY, called
from tests.conftest import tiny_config

INFO = DataInfo(1600, (8, 8, 1), 1, 10)
AXIS = parallel.DATA_AXIS
NEXT = [(i, (i + 1) % 8) for i in range(8)]


def compiled(function, mesh):
    """A function of a device's part of float32[64, 32]."""
    rows = PartitionSpec(AXIS)
    mapped = jax.shard_map(function, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False)
    struct = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=parallel.batch_sharding(mesh))
    return jax.jit(mapped).lower(struct).compile().as_text()


LOCAL = 8 * 32 * 4  # bytes of a device's part


@pytest.mark.parametrize(
    ("function", "kind", "payload", "sent"),
    [
        (lambda x: jax.lax.psum(x, AXIS), "all-reduce", LOCAL, 2 * 7 / 8 * LOCAL),
        (lambda x: jax.lax.all_gather(x, AXIS, tiled=True)[:8], "all-gather", 8 * LOCAL, 7 * LOCAL),
        (lambda x: jax.lax.psum_scatter(x, AXIS, tiled=True), "reduce-scatter", LOCAL, 7 / 8 * LOCAL),
        (lambda x: jax.lax.all_to_all(x, AXIS, 0, 0, tiled=True), "all-to-all", LOCAL, 7 / 8 * LOCAL),
        (lambda x: jax.lax.ppermute(x, AXIS, NEXT), "collective-permute", LOCAL, LOCAL),
    ],
)
def test_communication_is_counted_by_kind_and_loops_as_often_as_they_run(
    mesh8, function, kind, payload, sent
):
    found = hlo.collectives(compiled(function, mesh8), 8)
    assert found.keys() == {kind}
    np.testing.assert_allclose(dataclasses.astuple(found[kind]), (1, payload, sent))

    def loop(x):
        return jax.lax.fori_loop(0, 5, lambda i, x: jnp.tile(function(jnp.sin(x)), (8, 1))[:8], x)

    found = hlo.collectives(compiled(loop, mesh8), 8)
    np.testing.assert_allclose(dataclasses.astuple(found[kind]), (5, 5 * payload, 5 * sent))


def test_memory_traffic_in_a_loop_counts_as_often_as_it_runs(mesh1):
    def loop(x):
        return jax.lax.fori_loop(0, 50, lambda i, x: jnp.sin(jnp.sort(x, axis=0)), x)

    assert 25 < hlo.loops_factor(compiled(loop, mesh1)) <= 50
    assert hlo.loops_factor(compiled(jnp.sin, mesh1)) == 1


# ruff: noqa: E501
TPU = """HloModule jit_step

%async_collective_fusion.1 (param_0: bf16[128,1024]) -> bf16[1024,1024] {
  ROOT %all-gather.1 = bf16[1024,1024]{1,0:T(8,128)(2,1)} all-gather(%param_0), channel_id=2, replica_groups=mesh['axis_0'=8,'axis_1'=1] {'axis_0'}, dimensions={0}
}

%fused_computation.2 (param_0.2: bf16[128,1024]) -> bf16[1024,1024] {
  ROOT %all-gather.2 = bf16[1024,1024]{1,0:T(8,128)(2,1)S(1)} all-gather(%param_0.2), channel_id=2, replica_groups=mesh['axis_0'=8,'axis_1'=1] {'axis_0'}, dimensions={0}
}

%all-reduce-scatter.6 (input_0: f32[1024,1024]) -> f32[128,1024] {
  %all-reduce.18 = f32[1024,1024]{1,0:T(8,128)} all-reduce(%input_0), channel_id=1, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
  ROOT %dynamic-slice.1 = f32[128,1024]{1,0} dynamic-slice(%all-reduce.18)
}

%body (param.1: (s32[], f32[64,8])) -> (s32[], f32[64,8]) {
  %gte.1 = f32[64,8]{1,0} get-tuple-element(%param.1), index=1
  %collective-permute.1 = f32[64,8]{1,0} collective-permute(%gte.1), channel_id=3, source_target_pairs={{0,1},{1,0}}
}

%condition (param.2: (s32[], f32[64,8])) -> pred[] {
  %constant.57 = s32[]{:T(128)} constant(7)
  %gte.2 = s32[]{:T(128)} get-tuple-element(%param.2), index=0
  ROOT %lt.9 = pred[]{:T(512)} compare(%gte.2, %constant.57), direction=LT
}

ENTRY %main (p0: bf16[128,1024], p1: f32[1024,1024]) -> f32[] {
  %fusion.1 = bf16[1024,1024]{1,0} fusion(%p0), kind=kCustom, calls=%async_collective_fusion.1
  %fusion.2 = bf16[1024,1024]{1,0} fusion(%p0), kind=kCustom, calls=%fused_computation.2
  %fusion.3 = f32[128,1024]{1,0} fusion(%p1), kind=kCustom, calls=%all-reduce-scatter.6
  %while.30 = (s32[]{:T(128)}, f32[64,8]{1,0}) while(%tuple.63), condition=%condition, body=%body
  %all-gather-start = ((f32[8]{0}, f32[16]{0}), (f32[64]{0}, f32[128]{0})) all-gather-start(%a, %b), channel_id=9, replica_groups=[1,8]<=[8], dimensions={0}
}
"""


def test_what_is_special_in_the_programs_of_tpus():
    """Recorded forms: collectives within fusions, one in several; reductions that keep a part; loops without a note."""
    found = hlo.collectives(TPU, 8)
    assert found.keys() == {"all-gather", "reduce-scatter", "collective-permute"}
    gathered, small, reduced = 2 * 2**20, 4 * (64 + 128), 4 * 2**20
    assert found["all-gather"].count == 2
    assert found["all-gather"].payload == gathered + small
    assert found["reduce-scatter"] == Collective(1, reduced, 7 / 8 * reduced)
    assert found["collective-permute"] == Collective(7, 7 * 64 * 8 * 4, 7 * 64 * 8 * 4)


def convolution(x, kernel, stride=1):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def test_operations_are_those_of_products_and_convolutions():
    a, b = jnp.zeros((3, 4, 5)), jnp.zeros((3, 5, 6))
    one = 2 * 3 * 4 * 5 * 6
    assert flops.count(jax.make_jaxpr(jnp.matmul)(a, b)) == one
    assert flops.count(jax.make_jaxpr(jax.jit(lambda a, b: jnp.sin(a @ b)))(a, b)) == one
    square = jnp.zeros((8, 8))
    loop = jax.make_jaxpr(lambda x: jax.lax.scan(lambda c, _: (c @ c, None), x, length=7)[0])(square)
    assert flops.count(loop) == 7 * 2 * 8**3
    x, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((3, 3, 3, 10))
    for stride in (1, 2):
        forward = 2 * 2 * (8 // stride) ** 2 * 10 * 27
        loss = lambda x, k, stride=stride: jnp.sum(convolution(x, k, stride))  # noqa: E731
        assert flops.count(jax.make_jaxpr(loss)(x, kernel)) == forward
        assert flops.count(jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, kernel)) == 3 * forward


@pytest.fixture(scope="module")
def resnet_50(mesh8):
    """SimCLR's ImageNet preset, of ten epochs, built from shapes."""
    config = simclr.get_config("imagenet")
    config.encoder.resnet.conv = "xla"  # there is less to trace
    config.total_epochs, config.evals.every_epochs = 10.0, 1.0
    return program.make_program(config, planner.data_info(config), mesh8)


def test_the_imagenet_preset_is_built_from_shapes_and_its_step_has_the_operations_of_the_textbook(resnet_50):
    """4.1 billion multiplications and additions an image and pass, three passes, two views."""
    prog = resnet_50
    assert prog.clock.num_examples == 1_281_167 - 12_812
    assert prog.clock.total_steps == 3097  # ceil(10 * 1268355 / 4096)
    assert prog.traced.out_info[1]["loss"].shape == ()
    images = prog.abstract_batch()["unlabeled"]["image"]
    assert jax.tree.map(lambda x: x.shape, images) == dict.fromkeys(
        ("first", "second"), ((4096, 224, 224, 3),)
    )
    encoder = sum(x.size for x in jax.tree.leaves(prog.abstract_state().params["encoder"]))
    assert encoder == 25_557_032 - 2_049_000
    np.testing.assert_allclose(prog.flops, 3 * 2 * 4.1e9 * 2 * 4096, rtol=0.02)


@pytest.fixture(scope="module")
def small_plan(mesh8):
    return planner.plan(tiny_config(), INFO, "cpu:8", mesh8, chips.CHIPS["TPU v4"])


def test_memory_by_part_is_that_of_the_state(small_plan, mesh8):
    state = program.make_program(tiny_config(), INFO, mesh8).init()
    assert small_plan.memory["parameters"] == sum(x.nbytes for x in jax.tree.leaves(state.params))
    assert small_plan.memory["optimizer"] == sum(x.nbytes for x in jax.tree.leaves(state.opt_state))
    assert small_plan.memory["inputs"] == 16 * (8 * 8 + 4 + 4) / 8  # rows are split
    assert small_plan.fits
    assert small_plan.largest_batch > 16
    assert small_plan.collectives["all-reduce"].payload >= small_plan.memory["parameters"]  # the gradient


def test_split_state_takes_a_device_its_part(mesh8):
    programs = []
    for fsdp in (False, True):
        config = dino.get_config("small")
        config.encoder.name = "vit_ti"
        config.encoder.vit.update({"patch_size": 8, "image_size": 32, "scan": True})
        config.mesh.update({"fsdp": fsdp, "fsdp_min_size": 1024})
        programs.append(program.make_program(config, DataInfo(50_000, (32, 32, 3), 3, 10), mesh8))
    whole, split = map(planner.state_memory, programs)
    for part in ("parameters", "optimizer", "method state"):
        assert whole[part] / 8 <= split[part] < whole[part] / 7


CHIP = Chip(peak=1e12, hbm=1e9, hbm_bandwidth=1e9, network=1e8, source="")
PLAN = planner.Plan(
    topology="v5e:4x8",
    devices=32,
    chip=CHIP,
    batch_size=3200,
    memory={
        "parameters": 1e8,
        "optimizer": 1e8,
        "method state": 0.0,
        "inputs": 1e7,
        "temporaries": 3.8e8,
        "program": 1e7,
    },
    needed=6e8,
    compiled=True,
    flops=2e12,
    hbm_bytes=1e9,
    collectives={"all-reduce": Collective(10, 4e6, 7e6), "all-gather": Collective(2, 1e6, 1e6)},
    steps=3600,
    evaluation_flops=32 * 2e12 * 360,  # as 360 steps
)


def test_the_arithmetic_of_a_plan():
    assert PLAN.seconds == pytest.approx(
        {"compute": 2.0, "memory": 1.0, "network": 0.08, "latency": 12 * 12e-6}
    )
    low, high = 2.0, (2 + 1 + 0.080144) / 0.5
    assert PLAN.step_seconds == pytest.approx((low, high))
    assert PLAN.limit == "compute"
    assert PLAN.images_per_second == pytest.approx((3200 / low, 3200 / high))
    assert PLAN.hours == pytest.approx((low, high))
    assert PLAN.evaluation_hours == pytest.approx((0.1 * low, 0.1 * high))
    assert PLAN.chip_hours == pytest.approx((32 * 1.1 * low, 32 * 1.1 * high))
    # 590 MB of 980 may grow from 100 images a device: (980 - 210) / 390.
    assert PLAN.largest_batch == math.floor(100 * (0.98e9 - 2.1e8) / 3.9e8) * 32
    assert PLAN.fits
    assert not dataclasses.replace(PLAN, needed=0.99e9).fits
    json.dumps(PLAN.as_json())
    failed = dataclasses.replace(PLAN, compiled=False, needed=2e9, collectives={})
    assert not failed.fits
    assert failed.largest_batch < PLAN.batch_size
    assert json.loads(json.dumps(failed.as_json()))["step_seconds"] is None
    text = planner.table([PLAN, failed], price=1.5)
    assert "| fits | yes | NO |" in text
    assert "| images/s | 1,600 to 519 | - |" in text
    assert "| accelerator type | v5litepod-32 | v5litepod-32 |" in text
    assert "| images/s that each host must decode | 200 to 64.9 | - |" in text  # of 8
    assert "| price, at 1.5 for a chip and hour | 106 to 325 | - |" in text
    assert text.count("\n|") == len(text.splitlines()) - 1


@pytest.mark.parametrize(
    ("topology", "devices", "name", "hosts"),
    [
        ("v5e:2x4", 8, "v5litepod-8", 1),
        ("v5e:16x16", 256, "v5litepod-256", 64),
        ("v4:4x4x4", 64, "v4-128", 16),
        ("v5p:2x2x4", 16, "v5p-32", 4),
        ("v6e:2x2", 4, "v6e-4", 1),
        ("cpu:8", 8, None, None),
    ],
)
def test_how_a_slice_is_rented(topology, devices, name, hosts):
    rented = dataclasses.replace(PLAN, topology=topology, devices=devices).rented
    assert (rented and rented.accelerator_type, rented and rented.hosts) == (name, hosts)


def test_evaluations_are_passes_of_the_encoder(resnet_50):
    """A ResNet-50 has 4.1 billion multiplications and additions an image; no SGD probe without its section."""
    config = resnet_50.config
    once = resnet_50.info.num_labeled * 2 * 4.1e9
    untrained = "untrained" in config.evals.knn.baselines
    config.evals.sgd.enabled = False
    assert planner.evaluation_flops(resnet_50) == pytest.approx((10 + untrained) * once, rel=0.02)
    config.evals.sgd.enabled = True
    epochs = config.evals.sgd.epochs * (1 + ("untrained" in config.evals.sgd.baselines))
    assert planner.evaluation_flops(resnet_50) == pytest.approx((10 + untrained + epochs) * once, rel=0.02)


def test_what_the_compiler_says_of_memory_is_understood():
    """Both forms, as libtpu 0.0.42.1 wrote them; the first counts the state too."""
    first = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 27.46G of 15.75G hbm. Exceeded hbm ..."
    second = (
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (38.27G) exceeds "
        "available HBM (15.75G)."
    )
    assert planner.out_of_memory(first, 2.0**30) == pytest.approx(26.46 * 2**30)
    assert planner.out_of_memory(second, 2.0**30) == 38.27 * 2**30
    assert planner.out_of_memory("INVALID_ARGUMENT: whatever", 0.0) is None


@pytest.mark.parametrize(
    ("topology", "hops"), [("v5e:4x4", 8), ("v4:2x2x4", 8), ("v6e:16x16", 32), ("cpu:8", 8), ("v5e:1x1", 1)]
)
def test_the_longest_way_there_and_back(topology, hops):
    assert planner.hops(topology, 8) == hops


def test_chips_are_found_by_the_longest_name():
    assert chips.chip("TPU v5 lite") == chips.CHIPS["TPU v5e"]
    assert chips.chip("TPU v5p") == chips.CHIPS["TPU v5"]
    assert chips.chip("NVIDIA H100 80GB HBM3") == chips.CHIPS["NVIDIA H100"]
    assert chips.chip("cpu") is None


def test_the_command_line_plans_for_devices_that_are_not_there(tmp_path):
    out = tmp_path / "plan.json"
    command = (SIMCLR, *TINY, "--config.total_steps=10", "--platform=cpu", "--devices=4", "--chip=TPU v4")
    status, text, err = called(*command, f"--out={out}", module="jssl.plan")
    assert status == 0, err
    assert "| devices | 4 |" in text
    assert "not a measurement" in text
    assert "| hours of evaluations | " in text
    (plan,) = json.loads(out.read_text())
    assert plan["devices"] == 4
    assert plan["steps"] == 10
    assert plan["flops"] > 0
    assert plan["collectives"]["all-reduce"]["count"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--topology=v5e:4x4 is missing"),
        (("--platform=cpu", "--topology=v5e:4x4"), "leave it out with --platform=cpu"),
        (("--platform=cpu", "--chip=TPU v44"), "did you mean 'TPU v4'"),
        (("--topology=v4=2x2x2",), "write it as v5e:4x4"),
        (("--topology=v5e:2x2", "--chip=TPU v4"), "--chip is for --platform=cpu"),
        (("--platform=cpu", "--devices=0"), "--devices=0 must be at least 1"),
        (("--platform=cpu", "--out=nowhere/plan.json"), "there is no folder nowhere"),
        (("--platform=cpu", "--devices=3", *TINY, "--config.total_steps=9"), "multiple of the 3 device"),
    ],
)
def test_a_mistake_is_one_line(arguments, message):
    status, _, err = called(SIMCLR, *arguments, module="jssl.plan")
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_a_real_slice_is_compiled_for_where_libtpu_is():
    if importlib.util.find_spec("libtpu") is None:
        with pytest.raises(UserError, match="needs libtpu"):
            planner.tpu_mesh("v5e:2x2")
        pytest.skip("libtpu is not installed: pip install 'jssl[tpu]'")
    status, text, err = called(SIMCLR, "--topology=v5e:2x2", module="jssl.plan")
    assert status == 0, err
    assert "| devices | 4 |" in text
    assert "| fits | yes |" in text
    status, _, err = called(SIMCLR, "--topology=v5e:3x3", module="jssl.plan")
    assert status == 2
    assert "write it as v5e:4x4" in err
