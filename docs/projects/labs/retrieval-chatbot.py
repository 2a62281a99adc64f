# ---
# jupyter:
#   description: "Lab: search 60 years of presidents' addresses with BM25, answer with quotations, write the prompt of a RAG system, and measure where keyword search fails."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: answers from documents
#
# A language model does not know documents that it was not trained on. Retrieval-augmented generation (RAG) first searches your documents and puts the passages that it finds into the prompt. In this lab you build the search, answer with quotations, write the prompt that a chat model would get, and measure where the search fails. Nothing is trained, and every cell takes a few seconds.
#
# The [project](../retrieval-chatbot.md) adds embeddings, a vector store, a threshold for abstaining, and a web application.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## Documents become passages
#
# The documents are the presidents' addresses to Congress since 1961, which come with the package. A whole address is too long for a prompt, and most of it has nothing to do with a given question. So we split each address into passages of at most 800 characters, at paragraph boundaries where possible.

# %%
from textwrap import fill

from llmguide.data.corpora import load_corpus
from llmguide.projects.retrieval_chatbot.chunks import cut


def show(text):
    print("\n".join(fill(line, 72) for line in text.splitlines()))


addresses = [address for address in load_corpus() if address.id >= "1961"]
passages = [passage for address in addresses for passage in cut(address, size=800)]
print(f"{len(addresses)} addresses, {len(passages):,} passages")
show(f"{passages[5].document}: {passages[5].text[:150]} ...")

# %% [markdown]
# ## Keyword search
#
# BM25 is the classic ranking function of search engines. A passage scores high if it is short and contains the words of the question often. A rare word counts more than a frequent one. Stop words, such as *the*, are dropped. Stemming cuts off endings, so that *declared* also finds *declare*.

# %%
import numpy as np

from llmguide.projects.retrieval_chatbot.bm25 import BM25, terms

index = BM25([passage.text for passage in passages])
print(terms("Who declared a war on poverty?"))


def search(question, k=3):
    scores = index.scores(question)
    best = np.argsort(-scores, kind="stable")[:k]
    return [(float(scores[i]), passages[i]) for i in best if scores[i] > 0]


for score, passage in search("Which countries are the axis of evil?"):
    show(f"{score:.1f}  {passage.document}\n{passage.text[:180]} ...\n\n")

# %% [markdown]
# The first passage is the right one. The other two only share words with the question.
#
# ## Answer with a quotation
#
# The simplest answer is the sentence of the best passages that matches the question best. A quotation cannot be hallucinated, because it is copied, and it comes with its source. We rank sentences with BM25, as we ranked passages.

# %%
from llmguide.projects.retrieval_chatbot.answer import quotable


def answer(question):
    found = [passage for _, passage in search(question)]
    sentences = quotable(found)
    scores = BM25([text for _, text in sentences]).scores(question)
    number, text = sentences[int(scores.argmax())]
    return f"“{text}” ({found[number - 1].document})"


for question in ("Who declared war on poverty?", "Which country invaded Kuwait?"):
    show(f"{question}\n{answer(question)}\n\n")

# %% [markdown]
# ## The prompt of a chat model
#
# The first quotation answers its question. The second matches the words *country* and *invading* but does not answer the question, although the search found the right passage, as the prompt below shows. A chat model can do more than quote: it can combine passages and use the words of the question. Its prompt contains numbered passages, so that it can cite them, and an instruction to say so if they do not contain the answer.

# %%
from llmguide.projects.retrieval_chatbot.answer import messages

question = "Which country invaded Kuwait?"
found = [passage for _, passage in search(question, k=2)]
for message in messages(question, found):
    show(f"--- {message['role']}\n{message['content']}")

# %% [markdown]
# ## Measure the search
#
# A model cannot find the answer in the wrong passages, so we measure the search by itself. A passage counts as right if it contains a phrase that we chose for the question. The questions of the first list use the words of the addresses, and those of the second list use other words. The output is the rank of the first right passage, or `None` if the first 100 passages have none.

# %%
same_words = {
    "Who declared war on poverty?": "war on poverty",
    "Which countries are the axis of evil?": "axis of evil",
    "Is the era of big government over?": "era of big government is over",
    "Which country invaded Kuwait?": "kuwait",
    "What did the Peace Corps do?": "peace corps",
    "How was Osama bin Laden found?": "bin laden",
}
other_words = {
    "How can old people afford a doctor?": "medicare",
    "What helps those who lost their job?": "unemploy",
    "Who protects rivers and lakes from dirt?": "water pollution",
    "How do we keep the atom bomb from spreading?": "nonproliferation",
    "What is done for pupils with little money?": "student loan",
    "Who looks after soldiers when they come home?": "veterans",
}


def rank(question, phrase, depth=100):
    hits = (i for i, (_, passage) in enumerate(search(question, depth), 1) if phrase in passage.text.lower())
    return next(hits, None)


for name, questions in {"same words": same_words, "other words": other_words}.items():
    ranks = [rank(*pair) for pair in questions.items()]
    hits = sum(r is not None and r <= 3 for r in ranks)
    print(f"{name}: ranks {ranks}, {hits} of {len(ranks)} in the top 3")

# %% [markdown]
# **Keyword search finds words, not meanings.** It ranks passages that share words with the question first. For five of the six questions in other words, no right passage is in the top 3. Because a question and its answer often use different words, many RAG systems also search with [embeddings](../retrieval-chatbot.md), vectors that are close to each other for texts of similar meaning.
#
# ## When the documents do not say
#
# A good chatbot abstains if the documents do not contain the answer. Can it tell from the score of the best passage? We compare the scores of questions that the documents answer with those of questions that they do not.

# %% alt="BM25 score of the best passage for each question, in three rows of dots: questions in the same words, in other words, and unanswerable ones. The three ranges overlap."
import matplotlib.pyplot as plt

unanswerable = [
    "What is the capital of Australia?",
    "How do I bake sourdough bread?",
    "Who won the football world cup in 1974?",
    "What is the boiling point of mercury?",
    "Who painted the Mona Lisa?",
    "How does photosynthesis work?",
]
rows = {"same words": same_words, "other words": other_words, "unanswerable": unanswerable}
fig, axes = plt.subplots()
for y, questions in enumerate(rows.values()):
    best = [search(question, k=1)[0][0] for question in questions]
    axes.plot(best, [y] * len(best), "o")
axes.set_yticks(range(len(rows)), list(rows))
axes.set(xlabel="BM25 score of the best passage", ylim=(2.5, -0.5))
plt.show()

# %% [markdown]
# The ranges overlap, so no threshold on this score separates the answerable questions from the unanswerable ones. The score also tends to grow with the number of words in the question. The project abstains below a threshold on the cosine similarity of embeddings, and [measures](../retrieval-chatbot.md#results) how often that is right.
#
# ## Change something and run it again
#
# 1. **Cut differently.** Set `size=400` or `size=4000` in `cut`. What happens to the ranks, and to the quotations?
# 2. **Rewrite the question.** Add words to the questions of the second list that the answer could contain, such as *Medicare* or *unemployment*. A language model can do this before the search; it is called query expansion.
# 3. **Ask a chat model.** Give it the prompt above, then one with passages that do not contain the answer. Does it abstain, as the instruction says?
# 4. **Use your own documents.** `load_corpus("my-folder")` reads a folder of text files. Leave out the condition on `address.id`, which selects addresses by their year. Write six questions and their phrases before you search, so that you do not fit them to the results.
#
# Next: `llmguide project retrieval-chatbot` builds the whole chatbot, and [its page](../retrieval-chatbot.md) explains every part.
