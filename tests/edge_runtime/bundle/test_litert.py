import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.arrays import TensorSpec
from edge_runtime.bundle.compute import Compute
from edge_runtime.bundle.litert import LiteRTSection
from edge_runtime.errors import InputError

Arrays = dict[str, NDArray[Any]]


def section_of(outputs: int) -> Any:
    """A Keras section whose inputs are not in alphabetical order; output k has k + 1 values."""
    import keras
    from keras import layers

    inputs = {
        "zoo": keras.Input((2,), name="zoo"),
        "cam": keras.Input((4, 4, 3), dtype="uint8", name="cam"),
        "present": keras.Input((2,), name="present"),
    }
    pixels = layers.Flatten()(layers.Rescaling(1 / 255, dtype="float32")(inputs["cam"]))
    x = layers.Concatenate()([inputs["zoo"], pixels, inputs["present"]])
    return keras.Model(inputs, [layers.Dense(k + 1)(x) for k in range(outputs)], name="section")


def inputs_of(batch: int) -> Arrays:
    rng = np.random.default_rng(batch)
    return {
        "cam": rng.integers(0, 256, (batch, 4, 4, 3)).astype(np.uint8),
        "present": np.ones((batch, 2), np.float32),
        "zoo": rng.normal(size=(batch, 2)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def keras_section() -> Any:
    return section_of(12)


@pytest.fixture(scope="module")
def artifact(keras_section: Any) -> bytes:
    from export.litert import convert

    return convert(keras_section)


def test_inputs_are_known_by_name_shape_and_type(artifact: bytes) -> None:
    assert LiteRTSection(artifact).inputs == {
        "cam": TensorSpec((4, 4, 3), "uint8"),
        "present": TensorSpec((2,), "float32"),
        "zoo": TensorSpec((2,), "float32"),
    }


def test_outputs_come_in_the_sections_order_for_any_batch(
    artifact: bytes, keras_section: Any
) -> None:
    section = LiteRTSection(artifact)
    for batch in (3, 1, 7):
        got = section(inputs_of(batch))
        expected = keras_section(inputs_of(batch))
        assert [x.shape for x in got] == [(batch, k + 1) for k in range(12)]
        for x, y in zip(got, expected, strict=True):
            # Float kernels add up in another order.
            assert x == pytest.approx(np.asarray(y), abs=1e-5)


def test_an_answer_stays_when_the_next_one_is_computed(artifact: bytes) -> None:
    section = LiteRTSection(artifact)
    first = section(inputs_of(2))
    kept = [x.copy() for x in first]
    section({name: x + 1 for name, x in inputs_of(2).items()})
    assert all((x == y).all() for x, y in zip(first, kept, strict=True))


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\0" * 64])
def test_what_is_no_model_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(InputError, match=r"nodes/left/model.tflite: not a LiteRT model"):
        LiteRTSection(content, where="nodes/left/model.tflite")


def test_outputs_with_names_of_their_own_are_refused() -> None:
    import keras

    from export.litert import convert

    x = keras.Input((2,), name="x")
    named = keras.Model(x, {"logits": x + 1.0, "aux": x * 2.0}, name="named")
    with pytest.raises(InputError, match="expected outputs output_0, output_1, got"):
        LiteRTSection(convert(named))


def test_without_litert_the_error_carries_the_install_line() -> None:
    code = (
        "import sys; sys.modules['ai_edge_litert'] = None\n"
        "from edge_runtime.bundle.litert import LiteRTSection\n"
        "LiteRTSection(b'')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'needs LiteRT: pip install "ddnn-tf[edge]"' in done.stderr


# -- by what it is computed ------------------------------------------------------------------------

#: A LiteRT delegate that takes no part of a model, and one that refuses to be made.
DELEGATE = """
#include <stddef.h>
#include <stdint.h>
typedef struct Delegate {
  void *data; int (*prepare)(void *, struct Delegate *); void *from, *to, *release;
  int64_t flags; void *opaque;
} Delegate;
static int prepare(void *context, Delegate *self) { return PREPARED; }
Delegate *tflite_plugin_create_delegate(char **k, char **v, size_t n, void (*say)(const char *)) {
  static Delegate one;
  one.prepare = prepare;
  one.flags = ANY_SIZE;
  if (!MADE) { say("no device here"); return NULL; }
  return &one;
}
void tflite_plugin_destroy_delegate(Delegate *one) {}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a delegate with")
    folder = tmp_path_factory.mktemp("delegates")

    def compile_one(name: str, source: str = DELEGATE, **changes: int) -> Path:
        (folder / f"{name}.c").write_text(source)
        library = folder / f"lib{name}.so"
        given = {"MADE": 1, "PREPARED": 0, "ANY_SIZE": 1, **changes}
        defined = [f"-D{key}={value}" for key, value in given.items()]
        command = [compiler, "-shared", "-fPIC", *defined, "-o", str(library)]
        subprocess.run([*command, str(folder / f"{name}.c")], check=True, capture_output=True)
        return library

    return compile_one


def test_more_threads_give_the_same_numbers(artifact: bytes) -> None:
    inputs = inputs_of(3)
    one, two = LiteRTSection(artifact), LiteRTSection(artifact, compute=Compute(threads=2))
    for a, b in zip(one(inputs), two(inputs), strict=True):
        assert a == pytest.approx(b, abs=1e-6)
    assert one.computed_by == "XNNPACK on 1 thread (built in; no other is asked for)"
    assert two.computed_by == "XNNPACK on 2 threads (built in; no other is asked for)"


def test_as_many_threads_are_started_as_are_asked_for(artifact: bytes) -> None:
    code = (
        "import os, sys\n"
        "from edge_runtime.bundle.compute import Compute\n"
        "from edge_runtime.bundle.litert import LiteRTSection\n"
        "model = sys.stdin.buffer.read()\n"
        "kept, counts = [], []\n"
        "for threads in (1, 1, 4):\n"
        "    kept.append(LiteRTSection(model, compute=Compute(threads=threads)))\n"
        "    counts.append(len(os.listdir('/proc/self/task')))\n"
        "print(counts[1] - counts[0], counts[2] - counts[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=artifact, capture_output=True)
    assert done.stdout.split() == [b"0", b"3"], done.stderr


def test_a_delegate_that_takes_nothing_is_said_to(artifact: bytes, compiled: Any) -> None:
    library = compiled("idle")
    section = LiteRTSection(artifact, compute=Compute(delegate=str(library)))
    assert section.computed_by == (
        f"XNNPACK on 1 thread: {library} takes no part of this section (as --delegate asks, from "
        f"{library})"
    )
    for a, b in zip(section(inputs_of(2)), LiteRTSection(artifact)(inputs_of(2)), strict=True):
        assert a == pytest.approx(b, abs=1e-6)


def test_a_delegate_that_cannot_be_had_is_one_line(
    artifact: bytes, compiled: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.so").write_text("no library")
    for delegate, message in (
        ("edgetpu", r"--delegate edgetpu: cannot be loaded: libedgetpu\.so\.1: .*No such file"),
        (tmp_path / "none.so", r"none\.so: cannot be loaded: .*No such file"),
        (tmp_path / "text.so", r"text\.so: cannot be loaded: .*(too short|invalid ELF header)"),
        (
            compiled("sized", ANY_SIZE=0),
            r"libsized\.so refuses model: it may want tensors of one size",
        ),
        (compiled("plain", source="int x;"), r"libplain\.so makes no LiteRT delegate"),
        (compiled("absent", MADE=0), r"cannot be loaded: Failed .*libabsent\.so no device here"),
        (compiled("broken", PREPARED=1), r"libbroken\.so refuses model: "),
    ):
        with pytest.raises(InputError, match=message) as error:
            LiteRTSection(artifact, compute=Compute(delegate=str(delegate)))
        assert "Leave --delegate out, and XNNPACK, which is built in, computes" in str(error.value)
        assert "\n" not in str(error.value)
    assert "Exception ignored" not in capfd.readouterr().err, "half an object was left"
