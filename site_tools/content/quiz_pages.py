"""The pages of the quiz, docs/quiz.md and docs/quiz/*.md, from the items of docs/_data/quiz."""

from pathlib import Path

from site_tools import DOCS, generated_head
from site_tools.content.quiz import PARTS, Chapter, chapters
from site_tools.links import heading_at
from site_tools.markdown.quiz import rendered

PAGE = DOCS / "quiz.md"
_INTRODUCTION = """
Questions on every chapter, each with an explanation of every choice. Some of them are asked on the page that
answers them, too. Numbers and outputs were computed by the code of this guide when the page was built; many
questions come in several variants with other numbers. Your answers stay in your browser. Each question that
you answer becomes a card, which you [review](review.md) when it is due.

<div class="catalog" markdown>

Each link leads to the questions of one chapter.

</div>
"""


def pages() -> dict[Path, str]:
    """Every page of the quiz: one that can show all questions, and one for each part."""
    by_name = {chapter.name: chapter for chapter in chapters()}
    origin = "site_tools/content/quiz_pages.py from docs/_data/quiz"
    description = (
        "Questions on every chapter, with an explanation of every choice and answers computed by code."
    )
    parts, found = [], {}
    for title, names in PARTS.items():
        path = DOCS / part_of(names[0])
        about = f"Questions on {title.lower()}, with an explanation of every choice."
        head = generated_head(f"Quiz on {title.lower()}", about, origin)
        found[path] = "\n".join([head, *(_chapter(by_name[name]) for name in names)])
        parts += [f"## {title}\n", *(_entry(path, by_name[name]) for name in names), ""]
    found[PAGE] = "\n".join([generated_head("Quiz", description, origin), _INTRODUCTION.strip(), "", *parts])
    return found


def part_of(chapter: str) -> str:
    """The page below docs/ that has the questions of a chapter.

    >>> part_of("sampling")
    'quiz/foundations.md'
    """
    title = next(title for title, names in PARTS.items() if chapter in names)
    return f"quiz/{title.lower()}.md"


def _entry(path: Path, chapter: Chapter) -> str:
    address = f"{path.relative_to(DOCS).as_posix()}#{chapter.name}"
    return f"- [{chapter.title}]({address}): {len(chapter.questions)} questions"


def _chapter(chapter: Chapter) -> str:
    questions = [
        rendered(f"{number}.", question, _link(question.see))
        for number, question in enumerate(chapter.questions, start=1)
    ]
    about = f"About {_link(chapter.page)}. {len(questions)} questions."
    return "\n".join(
        [
            f"## {chapter.title} {{ #{chapter.name} }}\n",
            f'<div class="quiz" data-chapter="{chapter.name}" markdown>\n',
            f"{about}\n",
            *questions,
            "</div>\n",
        ]
    )


def _link(address: str) -> str:
    """A link with the heading it leads to."""
    return f"[{heading_at(address)}](../{address})"  # from the page of a part
