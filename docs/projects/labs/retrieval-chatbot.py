# ---
# jupyter:
#   description: "Lab: search eight presidential addresses by words (BM25), by meaning (embeddings) and by both, measure the recall of each on 35 questions with intervals, and answer with quotations."
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: answers from documents
#
# A language model does not know documents that it was not trained on. Retrieval-augmented generation (RAG) first searches your documents and puts the passages that it finds into the prompt. In this lab you build three searches: by words, by meaning, and by both. You measure which of them finds the right passage, answer with quotations, and write the prompt that a chat model would get.
#
# The lab takes about half a minute on two CPU cores, after a download of 84 MB. Most of this time goes into embedding the passages. The [project](../retrieval-chatbot.md) adds a vector store, a threshold for abstaining, and a web application.

# %% tags=["skip-execution"]
# %pip install --quiet "llmguide[cli,hf] @ git+https://github.com/llmguide/llmguide" matplotlib

# %% [markdown]
# ## Documents become passages
#
# The documents are eight of the presidents' addresses to Congress, which come with the package. A whole address is too long for a prompt, and most of it has nothing to do with a given question. So we split each address into passages of at most 800 characters, at paragraph boundaries where possible.

# %%
from textwrap import fill

from llmguide.data.corpora import load_corpus
from llmguide.projects.retrieval_chatbot.chunks import cut


def show(text):
    print("\n".join(fill(line, 72) for line in text.splitlines()))


years = ("2002", "2003", "2007", "2011", "2013", "2016", "2019", "2023")
addresses = [address for address in load_corpus() if address.id.startswith(years)]
passages = [passage for address in addresses for passage in cut(address, size=800)]
print(f"{len(addresses)} addresses, {len(passages):,} passages")
show(f"{passages[5].document}: {passages[5].text[:150]} ...")

# %% [markdown]
# ## Search by words
#
# BM25 is the classic ranking function of search engines. A passage scores high if it is short and contains the words of the question often. A rare word counts more than a frequent one. Stop words, such as *the*, are dropped. Stemming cuts off endings, so that *countries* also finds *country*.

# %%
import numpy as np

from llmguide.projects.retrieval_chatbot.bm25 import BM25, terms

index = BM25([passage.text for passage in passages])
print(terms("Which countries are the axis of evil?"))


def by_words(question):
    return index.scores(question)


def search(question, scores_of, k=3):
    scores = scores_of(question)
    best = np.argsort(-scores, kind="stable")[:k]
    return [(float(scores[i]), passages[i]) for i in best if scores[i] > 0]


def show_search(question, scores_of):
    for score, passage in search(question, scores_of):
        show(f"{score:.2f}  {passage.document}\n{passage.text[:150]} ...\n\n")


show_search("Which countries are the axis of evil?", by_words)

# %% [markdown]
# The first passage is the right one. The other two only share words with the question.
#
# ## Search by meaning
#
# An embedding model maps a text to a vector, so that texts with similar meanings have similar vectors. We use all-MiniLM-L6-v2, a BERT of 22.7 million parameters, as the project does. Its vectors have length 1, so the inner product of two of them is the cosine of the angle between them. The passages are embedded once; then a question costs one vector and one matrix product. This is the slowest cell of the lab.

# %%
from llmguide.projects.retrieval_chatbot.embed import open_embedder

embedder = open_embedder()
vectors = embedder([passage.text for passage in passages])
print(f"{vectors.shape[0]:,} vectors of {vectors.shape[1]} numbers")


def by_meaning(question):
    return (vectors @ embedder([question])[0]).numpy()


show_search("Which countries are the axis of evil?", by_meaning)

# %% [markdown]
# The right passage is only third here: this question quotes the address, which helps a search by words. The two passages before it are about other countries and about evil, but not about the axis.
#
# ## Search by both
#
# A BM25 score and a cosine are on different scales, so we combine ranks. Reciprocal rank fusion (RRF) gives each passage the sum of $1/(60 + \text{rank})$ over the rankings that list it. A passage that both rankings place high comes first.

# %%


def by_both(question, constant=60):
    fused = np.zeros(len(passages))
    for scores in (by_words(question), by_meaning(question)):
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > 0]  # without passages that share no word with the question
        fused[order] += 1 / (constant + 1 + np.arange(len(order)))
    return fused


# %% [markdown]
# ## Measure the searches
#
# A model cannot find the answer in the wrong passages, so we measure the search by itself. Each question comes with a phrase, as a regular expression, and a passage counts as right if it contains the phrase. Fifteen questions use the words of the addresses, often a name, and twenty use other words. We wrote all of them before we ran any search.

# %%
import re

same_words = {
    "Which countries are the axis of evil?": "axis of evil",
    "What was our Sputnik moment?": "sputnik",
    "Who is Dikembe Mutombo?": "mutombo",
    "What did Wesley Autrey do?": "autrey",
    "Who started the Baby Einstein company?": "baby einstein",
    "Which department is in charge of salmon?": "salmon",
    "How do burn pits harm veterans?": "burn pit",
    "What are junk fees?": "junk fee",
    "How was Osama bin Laden found?": "bin laden",
    "What is the First Step Act?": "first step act",
    "What does the CHIPS and Science Act do?": "chips and science",
    "What does the right to try law allow?": "right to try",
    "Who sequenced the human genome?": "human genome",
    "How many volunteers will the Peace Corps have?": "peace corps",
    "How much do hydrogen-powered automobiles cost?": "hydrogen",
}
other_words = {
    "How can diabetics afford their medicine?": "insulin",
    "How do we stop the planet from heating up?": "climate change|global warming",
    "What is done about pupils getting shot?": "gun violence",
    "How much must the worst jobs earn?": "minimum wage",
    "Do women get less than men for the same job?": "equal pay",
    "Can new parents stay at home with their baby?": "paid leave|family leave",
    "How do we fight the illness that mosquitoes carry?": "malaria",
    "Which painkillers cause so many overdoses?": "opioid|fentanyl",
    "Who watches the frontier with Mexico?": "border patrol",
    "How are we defended against hackers?": "cyber",
    "Can scientists copy a person?": "cloning",
    "Where do toddlers learn before they go to school?": "preschool|pre-k",
    "Will there be very fast trains?": "high-speed rail",
    "What about old people who lose their memory?": "alzheimer",
    "Which deadly germs did the Iraqi dictator hide?": "anthrax|botulinum",
    "Who helps people about to lose their house to the bank?": "foreclosure|mortgage",
    "Where are suspected terrorists locked up?": "guantanamo",
    "Which disease broke out in West Africa?": "ebola",
    "Do insurers accept people who are already ill?": "preexisting",
    "Must heirs give money to the government?": "death tax|estate tax",
}
lists = {"same words": same_words, "other words": other_words}
searches = {"BM25": by_words, "embeddings": by_meaning, "both (RRF)": by_both}
right = {
    phrase: np.array([bool(re.search(phrase, passage.text, re.IGNORECASE)) for passage in passages])
    for questions in lists.values()
    for phrase in questions.values()
}


def rank(question, phrase, scores_of):
    """Rank of the first right passage, from 1."""
    order = np.argsort(-scores_of(question), kind="stable")
    return 1 + int(right[phrase][order].argmax())


ranks = {
    (words, name): np.array([rank(question, phrase, scores_of) for question, phrase in questions.items()])
    for words, questions in lists.items()
    for name, scores_of in searches.items()
}
for (words, name), found in ranks.items():
    print(f"{words}, {name:10}  median rank {np.median(found):3.0f}, worst {found.max():5,}")

# %% [markdown]
# Recall@5 is the fraction of the questions for which a right passage is among the first five. So few questions give wide intervals, and the figure shows them.

# %% alt="Recall@5 of BM25, embeddings and both, with 95% intervals, on fifteen questions in the same words and twenty in other words. In the same words, all three are between 0.85 and 0.95. In other words, BM25 is at 0.4, both at 0.5 and embeddings at 0.7, and the intervals overlap."
import matplotlib.pyplot as plt

from llmguide.evaluation.metrics import wilson_interval

k = 5
fig, axes = plt.subplots()
for row, words in enumerate(lists):
    for column, name in enumerate(searches):
        hits = ranks[words, name] <= k
        recall = wilson_interval(hits.sum(), len(hits))
        error = [[recall.score - recall.low], [recall.high - recall.score]]
        label = name if row == 0 else None
        axes.errorbar(
            row + (column - 1) / 5, recall.score, yerr=error, fmt="o", color=f"C{column}", label=label
        )
axes.set_xticks(range(len(lists)), list(lists))
axes.set(ylabel=f"recall@{k}", ylim=(0, 1.05), xlim=(-0.5, 1.5))
axes.legend(loc="lower left")
plt.show()

# %% [markdown]
# **Embeddings look better on the questions in other words, but the intervals overlap.** On the questions in the same words, each of the three searches finds a right passage for at least 13 of 15, so this list hardly tells them apart.
#
# All three searches answered the same questions, so their differences are more precise than the intervals of the figure suggest. We resample questions (bootstrap) for the interval of a difference.

# %%
from llmguide.evaluation.metrics import bootstrap_interval

for first, second in (("embeddings", "BM25"), ("both (RRF)", "BM25"), ("both (RRF)", "embeddings")):
    for words in lists:
        hits = [(ranks[words, name] <= k).astype(int) for name in (first, second)]
        gain = bootstrap_interval(hits[0] - hits[1])
        print(f"{words:11}  {first} - {second}: {gain.score:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})")

# %% [markdown]
# Two intervals exclude zero, both on the questions in other words: the embeddings are ahead of BM25, and also ahead of the fusion. On these questions, the ranks of BM25 are so poor that they push right passages out of the first five. So a second search is no safe improvement, and you have to measure it. With six comparisons on questions that we wrote ourselves, more questions should confirm a difference before you rely on it.
#
# ## Where each of them fails
#
# Some questions have a right passage among the first five of one search only. Here are all of them, each with its right passage.

# %%
everything = [(question, phrase) for questions in lists.values() for question, phrase in questions.items()]
rank_of = {name: np.concatenate([ranks[words, name] for words in lists]) for name in ("BM25", "embeddings")}


def excerpt(passage, phrase):
    place = re.search(phrase, passage.text, re.IGNORECASE)
    start = max(0, place.start() - 80) if place else 0
    return " ".join(passage.text[start : start + 160].split())


for finder, other in (("embeddings", "BM25"), ("BM25", "embeddings")):
    only = np.flatnonzero((rank_of[finder] <= k) & (rank_of[other] > k))
    print(f"Only {finder}: {len(only)} of {len(everything)} questions\n")
    for i in only:
        question, phrase = everything[i]
        passage = search(question, searches[finder], k)[rank_of[finder][i] - 1][1]
        show(f"{question} Rank {rank_of[finder][i]} by {finder}, {rank_of[other][i]} by {other}:")
        show(f"   ... {excerpt(passage, phrase)} ...\n\n")

# %% [markdown]
# The embedding model connects *copy a person* with *cloning*. BM25 cannot find this passage, because it has no term in common with the question. For Osama bin Laden, a rare name decides, which puts BM25 ahead. But the passage only quotes him and does not say how he was found.
#
# ## Answer with a quotation
#
# The simplest answer is the sentence of the best passages that is nearest to the question. We search by meaning, because that did best on the questions in other words. A quotation cannot be hallucinated, because it is copied, and it comes with its source.

# %%
from llmguide.projects.retrieval_chatbot.answer import quotable


def answer(question):
    found = [passage for _, passage in search(question, by_meaning)]
    sentences = quotable(found)
    scores = embedder([text for _, text in sentences]) @ embedder([question])[0]
    number, text = sentences[int(scores.argmax())]
    return f"“{text}” ({found[number - 1].document})"


for question in (
    "Which countries are the axis of evil?",
    "How can diabetics afford their medicine?",
    "Who is Dikembe Mutombo?",
):
    show(f"{question}\n{answer(question)}\n\n")

# %% [markdown]
# ## The prompt of a chat model
#
# The quotation about the axis of evil repeats the question and names no country. The passage does not name one either, although we counted it as right: the three countries are in the paragraphs before it, and the boundary of the passage cuts them off. The phrase of a question is a rough test of an answer, so read what your search finds. Here we search by both, because this question uses the words of the address.
#
# A chat model can do more than quote: it can combine passages and use the words of the question. Its prompt contains numbered passages, so that it can cite them, and an instruction to say so if they do not contain the answer.

# %%
from llmguide.projects.retrieval_chatbot.answer import messages

question = "Which countries are the axis of evil?"
found = [passage for _, passage in search(question, by_both, k=2)]
for message in messages(question, found):
    show(f"--- {message['role']}\n{message['content']}")

# %% [markdown]
# ## When the documents do not say
#
# A good chatbot abstains if the documents do not contain the answer. Can it tell from the score of the best passage? We compare the scores of questions that the documents answer with those of questions that they do not.

# %% alt="Scores of the best passage for each question, in three rows of dots: same words, other words, unanswerable. In the left panel, by BM25, the three rows overlap. In the right panel, by cosine, all unanswerable questions are to the left of all others but one."
unanswerable = [
    "What is the capital of Australia?",
    "How do I bake sourdough bread?",
    "Who won the football world cup in 1974?",
    "What is the boiling point of mercury?",
    "Who painted the Mona Lisa?",
    "How does photosynthesis work?",
    "Which planet has the most moons?",
    "How do I change a bicycle tire?",
    "Who wrote the opera Carmen?",
    "How long do elephants live?",
]
rows = {**lists, "unanswerable": unanswerable}
fig, axes = plt.subplots(1, 2, sharey=True)
for panel, (label, scores_of) in zip(axes, [("BM25 score", by_words), ("cosine", by_meaning)], strict=True):
    best = [[scores_of(question).max() for question in questions] for questions in rows.values()]
    for y, values in enumerate(best):
        panel.plot(values, [y] * len(values), "o", alpha=0.5)
    answerable = np.array(best[0] + best[1])
    separated = np.mean(answerable[:, None] > np.array(best[2]))
    panel.set(xlabel=label, title=f"AUROC {separated:.2f}", ylim=(2.5, -0.5))
axes[0].set_yticks(range(len(rows)), list(rows))
plt.show()

# %% [markdown]
# AUROC is the probability that an answerable question has a higher score than an unanswerable one; 0.5 is chance. By BM25 score the ranges overlap, and the score also tends to grow with the number of words in the question. The cosine separates the ten unanswerable questions from all 35 others but one, whose score is lower than that of two of the ten. But these ten are about other topics, which is the easy case. The [project](../retrieval-chatbot.md#results) also asks unanswerable questions about the same field, and there the ranges of the cosine overlap.
#
# ## Change something and run it again
#
# 1. **Cut differently.** Set `size=1600` in `cut`. Does the passage about the axis of evil now name the countries, and what happens to the ranks? Embedding takes about as long as before. But the embedding model reads only the first 256 tokens of a passage; what does that mean for passages of this size?
# 2. **Change the depth.** Set `k = 1`, then `k = 20`. Which search gains most from a longer list? If you report only the `k` with the largest difference, its interval is too optimistic.
# 3. **Rewrite the questions.** Add words to the questions of `other_words` that the answer could contain, such as *insulin* or *Guantanamo*. Which search gains more? A language model can do this before the search; it is called query expansion.
# 4. **Change the fusion.** Set `constant=0` in `by_both`, so that the first places count much more, then `constant=1000`. Does the fusion catch up with the embeddings?
# 5. **Ask a chat model.** Give it the prompt above. Then set `question = "What is the capital of Australia?"` in that cell, and give it the new prompt. Does it abstain both times, as the instruction says?
# 6. **Use your own documents.** `load_corpus("my-folder")` reads a folder of text files. Leave out the condition on `address.id`, which selects addresses by their year; with `years = ("20",)` you search all addresses since 2000, which takes three times as long. Write the questions and their phrases before you search, so that you do not fit them to the results.
#
# Next: `llmguide project retrieval-chatbot` builds the whole chatbot, and [its page](../retrieval-chatbot.md) explains every part.
