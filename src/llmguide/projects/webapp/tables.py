"""The tables of an application's database."""

from sqlalchemy import JSON, CheckConstraint, Column, ForeignKey, Integer, MetaData, String, Table, Text

TABLES = MetaData()
DOCUMENTS = Table(
    "documents",
    TABLES,
    Column("id", String(32), primary_key=True),
    Column("application", String(40), nullable=False, index=True),
    Column("title", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("version", Integer, nullable=False),  # number of changes
    Column("changed", String(32), nullable=False),
)
ANSWERS = Table(
    "answers",
    TABLES,
    Column("id", String(32), primary_key=True),
    Column("document", ForeignKey("documents.id"), nullable=False, index=True),
    Column("begun", String(32), nullable=False),
    Column("prompt", JSON, nullable=False),  # input of the model
    Column("settings", JSON, nullable=False),  # what the user chose and the application retrieved
    Column("text", Text, nullable=False),
    Column("state", String(10), nullable=False),  # writing, done, stopped or failed
)
FEEDBACK = Table(
    "feedback",
    TABLES,
    Column("answer", ForeignKey("answers.id"), primary_key=True),
    Column("verdict", Integer, CheckConstraint("verdict IN (-1, 0, 1)"), nullable=False),
    Column("comment", Text, nullable=False),
    Column("given", String(32), nullable=False),
)
