"""Answers to exercises of adapters, as a reader would write them; the tests grade each."""


def lora(x, W, A, B, alpha):
    return x @ W.T + alpha / len(A) * (x @ A.T) @ B.T


def lora_params(shapes, rank):
    return sum(rank * d_in + d_out * rank for d_in, d_out in shapes)


def merge(weights, adapter, config):
    merged = dict(weights)
    for name, weight in weights.items():
        if f"{name}.A" not in adapter:
            continue
        A, B = adapter[f"{name}.A"], adapter[f"{name}.B"]
        rank = len(A)
        scale = config["alpha"] / (rank**0.5 if config["rank_stabilized"] else rank)
        update = scale * (B @ A)
        merged[name] = weight + (update.T if name in config["transposed"] else update)
    return merged
