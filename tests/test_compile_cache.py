"""Where compiled programs are kept, and how many."""

import os

import pytest

from jssl import compile_cache


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in (compile_cache.VARIABLE, compile_cache.JAX_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_it_is_in_the_users_cache_unless_the_environment_says_otherwise(home, monkeypatch):
    folder = compile_cache.use()
    assert folder.parent == home / ".cache" / "jssl" / "compiled"
    assert os.environ[compile_cache.JAX_VARIABLE] == str(folder)
    monkeypatch.delenv(compile_cache.JAX_VARIABLE)
    monkeypatch.setenv(compile_cache.VARIABLE, str(home / "mine"))
    assert compile_cache.use().parent == home / "mine"
    assert compile_cache.use() is None  # JAX's own variable is set now
    monkeypatch.delenv(compile_cache.JAX_VARIABLE)
    monkeypatch.setenv(compile_cache.VARIABLE, "off")
    assert compile_cache.use() is None
    assert compile_cache.JAX_VARIABLE not in os.environ


def test_a_folder_that_cannot_be_made_is_none(home, monkeypatch):
    (home / "file").write_text("")
    monkeypatch.setenv(compile_cache.VARIABLE, str(home / "file" / "cache"))
    assert compile_cache.use() is None


def test_the_programs_used_longest_ago_go_first(tmp_path):
    for age, name in enumerate(("new", "middle", "old")):
        path = tmp_path / "machine" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 100)
        os.utime(path, (1e9 - age, 1e9 - age))
    compile_cache.prune(tmp_path, limit=250)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["middle", "new"]
    compile_cache.prune(tmp_path, limit=0)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
