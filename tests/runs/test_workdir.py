"""Who may use a folder, and with which config it goes on."""

import pytest
from etils import epath

import jssl
from jssl.errors import UserError
from jssl.runs import workdir
from tests.conftest import tiny_config


def test_a_folder_is_for_one_run_at_a_time(tmp_path):
    folder = epath.Path(tmp_path / "run")
    with workdir.locked(folder):
        workdir.prepare(folder, tiny_config())
        before = (folder / workdir.CONFIG_FILE).read_text()
        with pytest.raises(
            UserError, match=r"is in use by process \d+ on .+: wait for its end, or choose another"
        ):
            jssl.run(tiny_config(log__every_steps=3), folder)
        assert (folder / workdir.CONFIG_FILE).read_text() == before
    assert jssl.run(tiny_config(), folder)["step"] == 6  # a lock of one that has ended is none


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to --workdir="):
        jssl.run(tiny_config(), tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "changes",
    [
        {"log__every_steps": 3},
        {"evals__knn__k": 5, "evals__baselines": True},
        {"checkpoint__keep_last": 5, "checkpoint__every_steps": 2},
        {"data__max_bad_fraction": 0.5},
    ],
)
def test_what_does_not_train_may_change(tmp_path, changes):
    folder = epath.Path(tmp_path / "run")
    workdir.prepare(folder, tiny_config())
    workdir.check(folder, tiny_config(**changes))
    workdir.prepare(folder, tiny_config(**changes))
    assert workdir.as_json(workdir.read_config(folder), folder) == workdir.as_json(
        tiny_config(**changes), folder
    )


def test_what_trains_may_not_and_a_longer_run_is_told_how(tmp_path):
    folder = epath.Path(tmp_path / "run")
    workdir.prepare(folder, tiny_config())
    with pytest.raises(UserError, match=r"evals\.online: False there, True now"):
        workdir.check(folder, tiny_config(evals__online=True))
    with pytest.raises(
        UserError, match=r"total_steps: 6 there, 12 now.*--config\.init_from=.* begins with its weights"
    ):
        workdir.check(folder, tiny_config(total_steps=12))


def test_the_same_data_at_another_place(tmp_path, photos):
    config = tiny_config(data__name=str(photos), data__holdout=0.0, data__unlabeled__batch_size=8)
    folder = tmp_path / "run"
    jssl.run(config, folder)
    (folder / "result.json").unlink()
    moved = photos.rename(photos.parent / "elsewhere")
    config.data.name = f"{moved}/"
    jssl.run(config, folder)
    assert workdir.read_config(epath.Path(folder)).data.name == f"{moved}/"


def test_a_finished_run_says_what_it_does_not_apply(tmp_path, caplog):
    folder = tmp_path / "run"
    first = jssl.run(tiny_config(), folder)
    with caplog.at_level("WARNING", logger="absl"):
        again = jssl.run(tiny_config(evals__knn__k=5), folder)
    assert again.values == first.values
    assert "is finished, this is its result: evals.knn.k not applied; python -m jssl.evaluate" in caplog.text
