from tests.cli.conftest import chat_run  # noqa: F401
