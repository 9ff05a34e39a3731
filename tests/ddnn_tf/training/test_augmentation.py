from typing import Any

import numpy as np

from ddnn_tf.datasets import Batches
from ddnn_tf.training.augmentation import Augmented, vary
from edge_runtime.samples import Samples


def batches(count: int = 6, **options: Any) -> Batches:
    rng = np.random.default_rng(0)
    inputs: dict[str, Any] = {
        "cam": rng.integers(1, 200, (count, 8, 10, 3)).astype(np.uint8),
        "blank": np.zeros((count, 8, 10, 3), np.uint8),
        "wave": rng.normal(size=(count, 5)).astype(np.float32),
    }
    return Batches(Samples(inputs, np.arange(count) % 2, ("a", "b")), **options)


def varied(source: Batches, **options: Any) -> Augmented:
    return Augmented(source, np.random.default_rng(1), **options)


def test_without_variation_the_batches_pass_as_they_are() -> None:
    source = batches(batch_size=4)
    same = varied(source, shift=0, gain=0.0, mirror=False)
    assert len(same) == len(source) == 2
    for i in range(2):
        (inputs, labels), (expected, expected_labels) = same[i], source[i]
        assert (labels == expected_labels).all()
        for name, x in expected.items():
            assert (inputs[name] == x).all()
            assert inputs[name].dtype == x.dtype


def test_only_pictures_are_varied_and_blank_ones_stay_blank() -> None:
    inputs, _ = varied(batches(), gain=0.9)[0]
    original, _ = batches()[0]
    assert (inputs["cam"] != original["cam"]).any()
    assert inputs["cam"].shape == original["cam"].shape
    assert inputs["cam"].dtype == np.uint8
    assert not inputs["blank"].any()
    assert (inputs["wave"] == original["wave"]).all()


def test_repeats_stand_beside_each_other_each_varied_its_own_way() -> None:
    source = batches(batch_size=3)
    inputs, labels = varied(source, repeats=4)[0]
    assert labels.tolist() == [0] * 4 + [1] * 4 + [0] * 4
    assert all(len(x) == 12 for x in inputs.values())
    assert len(np.unique(inputs["cam"][:4].reshape(4, -1), axis=0)) > 1
    assert (inputs["wave"] == np.repeat(source[0][0]["wave"], 4, axis=0)).all()


def test_a_shift_moves_whole_rows_and_columns_and_repeats_the_border() -> None:
    original = batches()[0][0]["cam"]
    moved = varied(batches(), shift=2, gain=0.0, mirror=False)[0][0]["cam"]
    for old, new in zip(original, moved, strict=True):
        padded = np.pad(old, ((2, 2), (2, 2), (0, 0)), mode="edge")
        places = [(r, c) for r in range(5) for c in range(5)]
        assert any((padded[r : r + 8, c : c + 10] == new).all() for r, c in places)


def test_mirroring_turns_about_half_of_the_views_left_to_right() -> None:
    original = batches(200, batch_size=200)[0][0]["cam"]
    moved = varied(batches(200, batch_size=200), shift=0, gain=0.0)[0][0]["cam"]
    mirrored = (moved == original[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (moved == original).all(axis=(1, 2, 3))).all()
    assert 60 < mirrored.sum() < 140


def test_brightness_changes_by_at_most_the_gain() -> None:
    original = batches()[0][0]["cam"].astype(float)
    moved = varied(batches(), shift=0, gain=0.25, mirror=False)[0][0]["cam"]
    assert (moved >= np.floor(original * 0.75)).all()
    assert (moved <= np.ceil(original * 1.25)).all()
    ratios = (moved / original).mean(axis=(1, 2, 3))
    assert np.ptp(ratios) > 0.05, "each view its own"


def test_zoom_scales_about_the_center() -> None:
    picture = np.zeros((200, 9, 9, 3), np.uint8)
    picture[:, 3:6, 3:6] = 100
    zoomed = vary(picture, np.random.default_rng(0), shift=0, gain=0.0, mirror=False, zoom=0.5)
    bright = np.all(zoomed > 0, axis=3)
    sizes = bright.sum(axis=(1, 2))
    assert sizes.min() < 9 < sizes.max()
    assert (bright == bright[:, ::-1, ::-1]).all()


def test_every_epoch_varies_anew_and_shuffles() -> None:
    source = batches(32, batch_size=32, shuffle=True, rng=np.random.default_rng(2))
    both = varied(source)
    first = both[0][1].copy()
    both.on_epoch_end()
    assert (both[0][1] != first).any()
    assert sorted(both[0][1]) == sorted(first)
    assert (varied(batches())[0][0]["cam"] == varied(batches())[0][0]["cam"]).all(), "seeded"
    once = varied(batches())
    assert (once[0][0]["cam"] != once[0][0]["cam"]).any()
