"""JAX functions as ONNX models: their operations one by one, for any number of images."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jssl.errors import UserError

OPSET = 17  # read by onnxruntime since 1.12, of 2022
IR_VERSION = 8
LARGEST = 2**31 - 2**24  # bytes of weights in a file of protobuf
Shape: TypeAlias = tuple[Any, ...]  # of integers, and of the symbol for the number of images
Known: TypeAlias = np.ndarray  # what does not depend on the images

ELEMENTWISE = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "ceil": "Ceil",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}
SAME = ("copy", "copy_p", "stop_gradient", "optimization_barrier", "sharding_constraint", "reduce_precision")
REDUCTIONS = {"reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "reduce_prod": "ReduceProd"}
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "remat": "jaxpr", "checkpoint": "jaxpr",
         "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}  # fmt: skip


def to_onnx(function: Callable[[jax.Array], jax.Array], shape: Sequence[int], name: str = "encoder") -> bytes:
    """Translates a function of images to an ONNX model.

    Constants and what is computed from them alone become weights. The operations are those of which encoders of this
    library consist when they do not train; others are refused by name.

    Args:
      function: float32[B, H, W, C] to float32[B, ...], each image by itself.
      shape: (H, W, C).
      name: of the graph.

    Returns:
      The model: 'images', float32[b, C, H, W] for any b, to 'features'.

    Raises:
      UserError: if the package onnx is missing, the weights are too large for a file, or for an operation that there is
        no translation of.

    References:
      https://onnx.ai/onnx/operators

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.models import onnx_graph
      >>> model = onnx_graph.to_onnx(lambda images: jnp.mean(images, axis=(1, 2)), (8, 8, 3))
      >>> isinstance(model, bytes)
      True
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError("--format=onnx needs: pip install 'jssl[onnx]'") from error
    (rows,) = jax.export.symbolic_shape("b")
    traced = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((rows, *shape), jnp.float32))
    graph = _Graph(rows)
    images = graph.add("Transpose", ["images"], (rows, *shape), perm=[0, 2, 3, 1])
    (features,) = graph.run(traced.jaxpr, [np.asarray(c) for c in traced.consts], [images])
    features = graph.add("Identity", [graph.whole(features)], features.shape, output="features")

    def described(name: str, shape: Shape) -> Any:
        sizes = [size if isinstance(size, int) else str(size) for size in shape]
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)

    size = sum(len(weight.raw_data) for weight in graph.weights)
    if size > LARGEST:
        raise UserError(
            f"onnx: {size:,} bytes of weights are more than a file holds, {LARGEST:,}; take --format=stablehlo"
        )
    height, width, channels = shape
    made = onnx.helper.make_graph(
        graph.nodes,
        name,
        [described("images", (rows, channels, height, width))],
        [described("features", features.shape)],
        graph.weights,
    )
    opset = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(made, producer_name="jssl", opset_imports=opset, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class _Value:
    """A tensor of the graph.

    Attributes:
      name: of the node's output.
      shape: what it is in JAX.
      held: what it is in the graph: where it would only be repeated, 1 stays, for ONNX repeats by itself.
    """

    def __init__(self, name: str, shape: Shape, held: Shape | None = None):
        self.name, self.shape, self.held = name, shape, shape if held is None else held


class _Graph:
    """Nodes and weights, as they are made."""

    def __init__(self, rows: Any):
        self.rows = rows
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._names: dict[tuple[Any, ...], str] = {}

    def add(
        self,
        kind: str,
        inputs: Sequence[str | _Value | Known],
        shape: Shape,
        held: Shape | None = None,
        output: str = "",
        **attributes: Any,
    ) -> _Value:
        """Adds a node; what is known becomes a weight."""
        from onnx import helper

        names = [x if isinstance(x, str) else self.named(x) for x in inputs]
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], name=output, **attributes))
        return _Value(output, shape, held)

    def named(self, x: _Value | Known) -> str:
        """The name of a tensor; that of a weight, which is stored once."""
        from onnx import numpy_helper

        if isinstance(x, _Value):
            return x.name
        key = (str(x.dtype), x.shape, x.tobytes())
        if key not in self._names:
            self._names[key] = f"weight_{len(self._names)}"
            self.weights.append(numpy_helper.from_array(np.asarray(x, order="C"), self._names[key]))
        return self._names[key]

    def sizes(self, shape: Shape) -> Known | _Value:
        """A shape as a tensor."""
        if all(isinstance(size, int) for size in shape):
            return np.array(shape, np.int64)
        if any(not isinstance(size, int) and size != self.rows for size in shape):
            raise UserError(f"onnx: a shape of {shape} has no translation")
        if "batch" not in {node.output[0] for node in self.nodes}:
            self.add("Shape", ["images"], (1,), output="batch", start=0, end=1)
        parts = ["batch" if size == self.rows else np.array([size], np.int64) for size in shape]
        return self.add("Concat", parts, (len(shape),), axis=0)

    def whole(self, x: _Value | Known) -> _Value | Known:
        """A tensor that is repeated to its own shape."""
        if isinstance(x, np.ndarray) or x.shape == x.held:
            return x
        return self.add("Expand", [x, self.sizes(x.shape)], x.shape)

    def run(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[_Value | Known]) -> list[Any]:
        """Adds all operations of a function; returns its outputs."""
        known: dict[Any, _Value | Known] = dict(zip(jaxpr.constvars, consts)) | dict(
            zip(jaxpr.invars, inputs)
        )

        def read(var: Any) -> _Value | Known:
            return np.asarray(var.val, var.aval.dtype) if isinstance(var, core.Literal) else known[var]  # type: ignore[attr-defined]

        for equation in jaxpr.eqns:
            results = self.operate(equation, [read(var) for var in equation.invars])
            known.update(zip(equation.outvars, results))
        return [read(var) for var in jaxpr.outvars]

    def operate(self, equation: Any, inputs: list[_Value | Known]) -> Sequence[_Value | Known]:
        """Adds one operation."""
        name, params = equation.primitive.name, equation.params
        shapes = [var.aval.shape for var in equation.outvars]
        fixed = all(isinstance(size, int) for shape in shapes for size in shape)
        if name == "platform_index":
            return [np.array(-1)]  # of no platform: the default
        if name == "cond":
            index = inputs[0]
            if not isinstance(index, np.ndarray):
                raise UserError("onnx: a branch that depends on the images has no translation")
            branch = params["branches"][int(index)]
            return self.run(branch.jaxpr, [np.asarray(c) for c in branch.consts], inputs[1:])
        if name in CALLS:
            inner = params[CALLS[name]]
            jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
            return self.run(jaxpr, [np.asarray(c) for c in consts], inputs)
        if fixed and all(isinstance(x, np.ndarray) for x in inputs):
            with jax.ensure_compile_time_eval():
                values = equation.primitive.bind(*map(jnp.asarray, inputs), **params)
            return [np.asarray(x) for x in (values if equation.primitive.multiple_results else [values])]
        if name == "split":
            return self.split(self.whole(inputs[0]), params["sizes"], params["axis"], shapes)
        (shape,) = shapes
        if name in SAME:
            return inputs
        if name in ELEMENTWISE:
            return [self.elementwise(ELEMENTWISE[name], inputs, shape)]
        translate = getattr(self, f"_{name}", None)
        if name in REDUCTIONS:
            axes = [int(axis) for axis in params["axes"]]
            return [self.add(REDUCTIONS[name], [self.whole(inputs[0])], shape, axes=axes, keepdims=0)]
        if translate is None:
            raise UserError(f"onnx: the operation {name} has no translation; take --format=stablehlo")
        return [translate(inputs, params, shape)]

    def elementwise(self, kind: str, inputs: Sequence[_Value | Known], shape: Shape) -> _Value:
        """An operation on each element, of tensors that ONNX repeats where their size is 1."""
        helds = [x.held if isinstance(x, _Value) else x.shape for x in inputs]
        held = tuple(
            next((size for size in sizes if size != 1), 1)
            for sizes in zip(*([1] * (len(shape) - len(held)) + list(held) for held in helds))
        )
        return self.add(kind, inputs, shape, held)

    def split(
        self, x: _Value | Known, sizes: Sequence[int], axis: int, shapes: Sequence[Shape]
    ) -> list[_Value]:
        ends = np.cumsum(sizes)
        return [
            self.slice(x, {axis: (int(end) - size, int(end), 1)}, shape)
            for end, size, shape in zip(ends, sizes, shapes)
        ]

    def slice(self, x: _Value | Known, parts: dict[int, tuple[int, int, int]], shape: Shape) -> _Value:
        """From, to and step along some axes."""
        axes = np.array(list(parts), np.int64)
        first, last, step = (np.array([part[n] for part in parts.values()], np.int64) for n in range(3))
        return self.add("Slice", [x, first, last, axes, step], shape)

    # One method for every other primitive, of inputs, parameters and the shape that JAX gives the output.

    def _square(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        return self.elementwise("Mul", [inputs[0], inputs[0]], shape)

    def _rsqrt(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        return self.elementwise("Reciprocal", [self.elementwise("Sqrt", inputs, shape)], shape)

    def _erfc(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        return self.elementwise(
            "Sub", [np.ones((), np.float32), self.elementwise("Erf", inputs, shape)], shape
        )

    def _integer_pow(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        return self.elementwise("Pow", [inputs[0], np.array(params["y"], np.float32)], shape)

    def _select_n(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        where, no, yes = inputs
        return self.elementwise("Where", [where, yes, no], shape)

    def _clamp(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        low, x, high = inputs
        return self.elementwise("Min", [self.elementwise("Max", [x, low], shape), high], shape)

    def _convert_element_type(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(np.dtype(params["new_dtype"]))
        return self.add("Cast", inputs, shape, getattr(inputs[0], "held", None), to=kind)

    def _broadcast_in_dim(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        (x,) = inputs
        x = _Value(self.named(x), x.shape) if isinstance(x, np.ndarray) else x
        held: list[Any] = [1] * len(shape)
        for axis, size in zip(params["broadcast_dimensions"], x.held):
            held[axis] = size
        return self._shaped(x, shape, tuple(held))

    def _reshape(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        return self._shaped(self.whole(inputs[0]), shape, shape)

    def _squeeze(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        return self._reshape(inputs, params, shape)

    def _expand_dims(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        return self._reshape(inputs, params, shape)

    def _shaped(self, x: Any, shape: Shape, held: Shape) -> _Value:
        """As in the graph, `held`; at most one size is a number of images, which ONNX finds by itself."""
        unknown = sum(not isinstance(size, int) for size in held)
        if unknown > 1:
            raise UserError(f"onnx: a shape of {shape} has no translation")
        sizes = np.array([size if isinstance(size, int) else -1 for size in held], np.int64)
        return self.add("Reshape", [x, sizes], shape, held)

    def _transpose(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        axes = [int(axis) for axis in params["permutation"]]
        held = tuple(getattr(inputs[0], "held", inputs[0].shape)[axis] for axis in axes)
        return self.add("Transpose", inputs, shape, held, perm=axes)

    def _concatenate(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        return self.add("Concat", [self.whole(x) for x in inputs], shape, axis=int(params["dimension"]))

    def _stack(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        axis = int(params["axis"])
        one = (*shape[:axis], 1, *shape[axis + 1 :])
        parts = [self._shaped(self.whole(x), one, one) for x in inputs]
        return self.add("Concat", parts, shape, axis=axis)

    def _slice(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        x = self.whole(inputs[0])
        steps = params["strides"] or [1] * len(shape)
        bounds = zip(x.shape, params["start_indices"], params["limit_indices"], steps)
        parts = {
            axis: (int(first), int(last), int(step))
            for axis, (size, first, last, step) in enumerate(bounds)
            if (first, last, step) != (0, size, 1)
        }
        return self.slice(x, parts, shape)

    def _rev(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        low = np.iinfo(np.int64).min
        return self.slice(self.whole(inputs[0]), {int(a): (-1, low, -1) for a in params["dimensions"]}, shape)

    def _gather(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        """A part at one known place, as x[:, :, 0] and x[:, 3:] are."""
        x, first = self.whole(inputs[0]), inputs[1]
        numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
        axes, gone = numbers.start_index_map, numbers.collapsed_slice_dims
        one = isinstance(first, np.ndarray) and first.size == len(axes) and not numbers.operand_batching_dims
        if not one or tuple(numbers.offset_dims) != tuple(range(len(shape))):
            raise UserError("onnx: this way of indexing has no translation; take --format=stablehlo")
        parts = {int(a): (int(n), int(n) + int(sizes[a]), 1) for a, n in zip(axes, first.ravel())}
        part = self.slice(x, parts, tuple(sizes))
        return self._shaped(part, shape, shape) if gone else part

    def _pad(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        x, value = self.whole(inputs[0]), inputs[1]
        pads = params["padding_config"]
        if any(low < 0 or high < 0 or inner for low, high, inner in pads):
            raise UserError("onnx: this padding has no translation; take --format=stablehlo")
        sizes = np.array([low for low, _, _ in pads] + [high for _, high, _ in pads], np.int64)
        return self.add("Pad", [x, sizes, value], shape)

    def _reduce_sum(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        axes = np.array(params["axes"], np.int64)
        return self.add("ReduceSum", [self.whole(inputs[0]), axes], shape, keepdims=0)

    def _dot_general(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        a, b = (self.whole(x) for x in inputs)
        (a_axes, b_axes), (a_batch, b_batch) = params["dimension_numbers"]
        last = len(a.shape) - 1
        if not a_batch and tuple(a_axes) == (last,) and tuple(b_axes) == (0,) and len(b.shape) == 2:
            return self.add("MatMul", [a, b], shape)
        letters = iter(string.ascii_letters)
        left = [next(letters) for _ in a.shape]
        shared = {y: left[x] for x, y in [*zip(a_axes, b_axes), *zip(a_batch, b_batch)]}
        right = [shared[n] if n in shared else next(letters) for n in range(len(b.shape))]
        free = [c for n, c in enumerate(left) if n not in (*a_axes, *a_batch)]
        free += [c for n, c in enumerate(right) if n not in shared]
        out = [left[n] for n in a_batch] + free
        return self.add("Einsum", [a, b], shape, equation=f"{''.join(left)},{''.join(right)}->{''.join(out)}")

    def _conv_general_dilated(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        x, kernel = (self.whole(value) for value in inputs)
        numbers = params["dimension_numbers"]
        if any(n != 1 for n in params["lhs_dilation"]) or params["batch_group_count"] != 1:
            raise UserError("onnx: a transposed convolution has no translation; take --format=stablehlo")
        x = self._transposed(x, numbers.lhs_spec)
        kernel = self._transposed(kernel, numbers.rhs_spec)
        pads = params["padding"]
        mixed = self.add(
            "Conv",
            [x, kernel],
            tuple(shape[n] for n in numbers.out_spec),
            strides=list(params["window_strides"]),
            pads=[int(low) for low, _ in pads] + [int(high) for _, high in pads],
            dilations=list(params["rhs_dilation"]),
            group=params["feature_group_count"],
        )
        return self._transposed(mixed, np.argsort(numbers.out_spec).tolist())

    def _reduce_window_max(self, inputs: list[Any], params: Any, shape: Shape) -> _Value:
        (x,) = (self.whole(value) for value in inputs)
        outer = [0, len(shape) - 1]
        kept = all(params["window_dimensions"][n] == params["window_strides"][n] == 1 for n in outer)
        dilated = [*params["base_dilation"], *params["window_dilation"]]
        if len(shape) != 4 or not kept or any(n != 1 for n in dilated):
            raise UserError("onnx: this pooling has no translation; take --format=stablehlo")
        to, back = (0, 3, 1, 2), (0, 2, 3, 1)
        pads = params["padding"][1:3]
        pooled = self.add(
            "MaxPool",
            [self._transposed(x, to)],
            tuple(shape[n] for n in to),
            kernel_shape=list(params["window_dimensions"][1:3]),
            strides=list(params["window_strides"][1:3]),
            pads=[int(low) for low, _ in pads] + [int(high) for _, high in pads],
        )
        return self._transposed(pooled, back)

    def _transposed(self, x: Any, axes: Sequence[int]) -> Any:
        if isinstance(x, np.ndarray):
            return np.transpose(x, axes)
        axes = [int(axis) for axis in axes]
        return self.add("Transpose", [x], tuple(x.shape[axis] for axis in axes), perm=axes)
