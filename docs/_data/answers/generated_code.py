"""Answers to exercises of generated code, as a reader would write them; the tests grade each."""


def allowed_tokens(prefix, vocabulary):
    def state(text):
        depth, last = 0, "start"
        for character in text:
            item_may_begin = last in ("[", ",")
            if last == "end":
                return "invalid"
            if character == "[" and (item_may_begin or last == "start"):
                depth, last = depth + 1, "["
            elif character == "]" and last in ("[", "0", "number", "]"):
                depth -= 1
                last = "]" if depth else "end"
            elif character == "," and last in ("0", "number", "]"):
                last = ","
            elif character.isdigit() and last == "number":
                pass
            elif character.isdigit() and item_may_begin:
                last = "0" if character == "0" else "number"
            else:
                return "invalid"
        return last

    return [
        state(prefix) == "end" if token == "<end>" else state(prefix + token) != "invalid"
        for token in vocabulary
    ]


def apply_edits(text, edits):
    reports = []
    for old, new in edits:
        places = [i for i in range(len(text)) if text.startswith(old, i)]
        if len(places) == 1:
            text = text.replace(old, new)
            reports.append("applied")
        else:
            reports.append("not unique" if places else "not found")
    return text, reports
