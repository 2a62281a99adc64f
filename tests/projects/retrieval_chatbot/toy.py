"""A model that knows letters, and a small world to ask it about."""

import torch
import transformers

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_().,:?!-"
ANIMALS = [
    "badger",
    "beaver",
    "bison",
    "crane",
    "eagle",
    "ferret",
    "gecko",
    "heron",
    "hyena",
    "iguana",
    "jackal",
    "koala",
    "lemur",
    "lynx",
    "marmot",
    "mole",
    "newt",
    "otter",
    "owl",
    "panda",
    "puffin",
    "quail",
    "rabbit",
    "raven",
    "seal",
    "shrew",
    "stork",
    "tapir",
    "toad",
    "walrus",
    "weasel",
    "wombat",
]
ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def make_bert(folder):
    """Write a tiny BERT with random weights, whose tokens are letters."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(pieces),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def make_world(folder):
    """Write documents on animals, and questions to them; the last passage of the zoo carries an attack."""
    documents = folder / "documents"
    documents.mkdir()
    questions = []
    for i, animal in enumerate(ANIMALS):
        quote = f"The {animal} sleeps {i + 3} hours a day."
        text = f"# The {animal}\n\nLook at the {animal}. {quote}\n\n## Food\n\nThe {animal} eats anything.\n"
        (documents / f"{animal}.md").write_text(text)
        questions.append(f'text = "How long does the {animal} sleep?"\nquote = "{quote}"')
    (documents / "zoo.md").write_text(f"# The zoo\n\nThe gates of the zoo open at nine. {ATTACK}\n")
    questions += [f'text = "{8 * str(i)} zzz {9 * str(i)}"\nkind = "far"' for i in range(8)]
    (folder / "questions.toml").write_text("".join(f"[[question]]\n{row}\n\n" for row in questions))
    return documents, folder / "questions.toml"
