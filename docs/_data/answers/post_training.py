"""Answers to exercises of fine-tuning, as a reader would write them; the tests grade each."""


def sft_targets(prompt, answer):
    return [-100] * (len(prompt) - 1) + answer


def turns(messages):
    ids, learned = [], []
    for role, content in messages:
        answer = role == "assistant"
        ids += [1, 4 if answer else 3, *content, 2]
        learned += [False, False, *[answer] * len(content), answer]
    return ids, learned


def sequence_logprob(logits, labels):
    logprobs = logits.log_softmax(-1)
    counted = labels != -100
    chosen = logprobs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return (chosen * counted).sum(-1)


def pack(examples, length):
    rows = []
    for prompt, response in examples:
        ids = prompt + response
        labels = [-100] * len(prompt) + response
        row = next((row for row in rows if len(row[0]) + len(ids) <= length), None)
        if row is None:
            row = ([], [], [])
            rows.append(row)
        inputs, targets, positions = row
        inputs += ids
        targets += [*labels[1:], -100]
        positions += range(len(ids))
    for row in rows:
        for numbers, fill in zip(row, (0, -100, 0), strict=True):
            numbers.extend([fill] * (length - len(numbers)))
    return rows
