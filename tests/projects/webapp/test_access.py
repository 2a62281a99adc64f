import os

import pytest

from llmguide.projects.webapp.access import token_of


def test_a_token_stays_and_only_its_owner_reads_it(tmp_path):
    folder = tmp_path / "run"
    token = token_of(folder)
    assert len(token) >= 40
    assert token_of(folder) == token
    assert token_of(tmp_path / "other") != token
    if os.name != "nt":
        assert (folder / "app.token").stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["emptied", "deleted", "readable"])
def test_a_token_that_is_none_or_was_open_to_all_is_replaced(tmp_path, damage):
    token, path = token_of(tmp_path), tmp_path / "app.token"
    if damage == "emptied":
        path.write_text("")
    elif damage == "deleted":
        path.unlink()
    else:
        path.chmod(0o644)
    assert token_of(tmp_path) not in {token, ""}
    if os.name != "nt":
        assert path.stat().st_mode & 0o777 == 0o600
