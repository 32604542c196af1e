import json

import pytest

from jssl.errors import UserError
from jssl.evaluation.classifier import TOP1
from jssl.report.tables import SUPERVISED_BASELINE
from jssl.runs import supervised_baseline


def test_the_baseline_is_read_from_a_finished_run(tmp_path):
    (tmp_path / "result.json").write_text(
        json.dumps({TOP1: 0.75, "knn/top1": 0.5, "step": 9, "seconds": 1.0})
    )
    assert supervised_baseline.read(str(tmp_path)) == {SUPERVISED_BASELINE: 0.75}
    assert supervised_baseline.read("") == {}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "no finished run with a classifier; run the supervised baseline first"),
        ({"config.json": "{}"}, "no finished run with a classifier"),
        (
            {"result.json": '{"knn/top1": 0.5, "step": 9, "seconds": 1.0}'},
            "no finished run with a classifier",
        ),
        ({"result.json": "{"}, "not readable JSON"),
    ],
)
def test_a_baseline_that_is_none(tmp_path, files, message):
    folder = tmp_path / "run"
    if files is not None:
        folder.mkdir()
    for name, text in (files or {}).items():
        (folder / name).write_text(text)
    with pytest.raises(UserError, match=message) as error:
        supervised_baseline.read(str(folder))
    assert str(folder) in str(error.value)
